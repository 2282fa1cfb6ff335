"""The algorithm: its statistics, advantages and schedule against naive formulations."""

import copy
import math

import pytest
import torch

from reference_trainer.config import Settings
from reference_trainer.ppo import (
    ActorCritic,
    EpisodeStatistics,
    Ppo,
    RunningMeanStd,
    StateError,
    adapted_learning_rate,
    gaussian_kl,
    generalised_advantages,
    log_probability,
)

CPU = torch.device("cpu")


def tiny(seed: int = 0, units: tuple[int, ...] = (32, 32)) -> Ppo:
    settings = Settings(num_envs=16, mini_epochs=2, units=list(units), seed=seed)
    return Ppo(settings, CPU)


def test_running_mean_std_equals_that_of_everything_seen() -> None:
    batches = [3.0 * torch.randn(size, 4) + 7.0 for size in (1, 5, 200)]
    running = RunningMeanStd(4)
    for batch in batches:
        running.update(batch)
    var, mean = torch.var_mean(torch.cat(batches).double(), dim=0, correction=0)
    torch.testing.assert_close(running.running_mean, mean)
    torch.testing.assert_close(running.running_var, var)
    assert running.count.item() == 206


def test_normalising_and_restoring_are_inverse() -> None:
    running = RunningMeanStd(1)
    running.update(torch.tensor([[10.0], [30.0]]))
    batch = torch.tensor([[12.0], [25.0]])
    torch.testing.assert_close(running(batch)[0].item(), -0.8, atol=1e-5, rtol=0)
    torch.testing.assert_close(running.restore(running(batch)), batch)


def test_normalised_values_are_clipped() -> None:
    assert RunningMeanStd(1)(torch.tensor([[100.0], [-100.0]])).tolist() == [[5.0], [-5.0]]


def test_advantages_equal_the_naive_double_sum() -> None:
    generator = torch.Generator().manual_seed(0)
    horizon, num_envs, gamma, tau = 9, 5, 0.97, 0.9
    rewards, values = torch.randn(2, horizon, num_envs, generator=generator)
    last_value = torch.randn(num_envs, generator=generator)
    dones = torch.rand(horizon, num_envs, generator=generator) < 0.2
    expected = torch.zeros(horizon, num_envs)
    following = torch.cat([values[1:], last_value.unsqueeze(0)])
    for env in range(num_envs):
        for start in range(horizon):
            weight = 1.0
            for step in range(start, horizon):
                ended = bool(dones[step, env])
                ahead = 0.0 if ended else gamma * following[step, env]
                expected[start, env] += weight * (rewards[step, env] + ahead - values[step, env])
                if ended:
                    break
                weight *= gamma * tau
    actual = generalised_advantages(rewards, values, dones, last_value, gamma, tau)
    torch.testing.assert_close(actual, expected)


def test_densities_and_kl_agree_with_torch_distributions() -> None:
    mu, old_mu, action = torch.randn(3, 50, 2)
    sigma, old_sigma = torch.rand(2, 50, 2) + 0.5
    new, old = torch.distributions.Normal(mu, sigma), torch.distributions.Normal(old_mu, old_sigma)
    torch.testing.assert_close(log_probability(action, mu, sigma), new.log_prob(action).sum(dim=-1))
    expected = torch.distributions.kl_divergence(new, old).sum(dim=-1).mean()
    torch.testing.assert_close(gaussian_kl(mu, sigma, old_mu, old_sigma), expected)


@pytest.mark.parametrize(
    ("rate", "kl", "expected"),
    [
        (3e-4, 0.0161, 2e-4),
        (3e-4, 0.016, 3e-4),
        (3e-4, 0.004, 3e-4),
        (3e-4, 0.0039, 4.5e-4),
        (9e-3, 0.0, 1e-2),
        (1.1e-6, 1.0, 1e-6),
        (3e-4, math.inf, 2e-4),
        (3e-4, math.nan, 3e-4),
    ],
)
def test_learning_rate_answers_to_the_kl(rate: float, kl: float, expected: float) -> None:
    assert adapted_learning_rate(rate, kl, 0.008) == pytest.approx(expected)


def test_no_episode_finished_has_no_mean() -> None:
    statistics = EpisodeStatistics(2)
    statistics.add(torch.ones(3, 2), torch.zeros(3, 2, dtype=torch.bool))
    assert statistics.mean_reward is None
    assert statistics.mean_length is None


def test_episodes_go_on_over_the_end_of_an_epoch() -> None:
    statistics = EpisodeStatistics(2)
    dones = torch.zeros(3, 2, dtype=torch.bool)
    statistics.add(torch.ones(3, 2), dones)
    dones[1, 0] = True
    statistics.add(torch.full((3, 2), 10.0), dones)
    assert statistics.mean_reward == 3 * 1 + 2 * 10
    assert statistics.mean_length == 5
    dones[1, 0], dones[0, 0] = False, True
    statistics.add(torch.zeros(3, 2), dones)
    assert list(statistics.returns) == [23.0, 10.0]
    assert list(statistics.lengths) == [5.0, 2.0]


def test_only_the_last_100_episodes_count() -> None:
    statistics = EpisodeStatistics(64)
    for reward in (0.0, 5.0, 1.0):
        statistics.add(torch.full((1, 64), reward), torch.ones(1, 64, dtype=torch.bool))
    assert statistics.mean_reward == pytest.approx((36 * 5.0 + 64 * 1.0) / 100)


def test_remembered_episodes_survive_a_checkpoint() -> None:
    statistics, later = EpisodeStatistics(3), EpisodeStatistics(3)
    statistics.add(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[True, False, True]]))
    later.load(statistics.state())
    assert (later.mean_reward, later.mean_length) == (2.5, 1.0)


def test_foreign_episodes_are_refused() -> None:
    with pytest.raises(StateError, match="episodes"):
        EpisodeStatistics(3).load({"returns": torch.ones(2)})


def test_the_rollout_holds_what_was_played() -> None:
    ppo = tiny()
    ppo.collect()
    rollout = ppo.rollout
    with torch.no_grad():
        mu, sigma, value = ppo.model(rollout.observations)
    torch.testing.assert_close(rollout.mus, mu)
    torch.testing.assert_close(rollout.log_probs, log_probability(rollout.actions, mu, sigma))
    torch.testing.assert_close(rollout.values, ppo.model.value_mean_std.restore(value))
    assert ppo.frame == 16 * 16
    assert 0.8 < ((rollout.actions - mu) / sigma).std() < 1.2
    torch.testing.assert_close(
        rollout.rewards[0],
        1
        - rollout.observations[1, :, 2] ** 2
        - 0.01 * rollout.observations[1, :, 1].abs()
        - 0.005 * rollout.observations[1, :, 3].abs(),
    )


def test_an_update_moves_the_weights_and_reports() -> None:
    ppo = tiny()
    before = copy.deepcopy(ppo.model.state_dict())
    ppo.collect()
    losses = ppo.update()
    after = ppo.model.state_dict()
    assert all(not torch.equal(before[key], after[key]) for key in before)
    assert ppo.is_finite()
    assert losses["info/last_lr"] == ppo.learning_rate
    assert losses["losses/entropy"] == pytest.approx(0.5 + 0.5 * math.log(2 * math.pi), abs=1e-2)
    assert losses["info/kl"] > 0
    assert losses["losses/c_loss"] > 0


def test_time_outs_are_worth_what_would_follow() -> None:
    """With the bootstrap a cut-off episode's last return is not just its last reward."""
    losses = []
    for value_bootstrap in (True, False):
        settings = Settings(num_envs=16, mini_epochs=1, value_bootstrap=value_bootstrap)
        ppo = Ppo(settings, CPU)
        ppo.collect()
        ppo.rollout.values.fill_(10.0)
        ppo.rollout.last_value.fill_(10.0)
        ppo.rollout.rewards.fill_(1.0)  # 0.1 when scaled: at 10 the discounted sum of it
        ppo.rollout.dones.fill_(False)[7] = True
        ppo.rollout.timeouts.fill_(False)[7] = True
        ppo.update()
        losses.append(ppo.model.value_mean_std.running_var.item())
    assert losses[0] < 1e-6 < losses[1]


def test_non_finite_weights_are_noticed() -> None:
    ppo = tiny()
    with torch.no_grad():
        ppo.model.mu.bias.fill_(math.nan)
    assert not ppo.is_finite()


def test_the_same_seed_trains_the_same() -> None:
    ours, theirs = tiny(seed=5), tiny(seed=5)
    for ppo in (ours, theirs):
        for _ in range(2):
            ppo.collect()
            ppo.update()
    other = tiny(seed=6).model.state_dict()
    for key, tensor in ours.model.state_dict().items():
        assert torch.equal(tensor, theirs.model.state_dict()[key])
    assert not torch.equal(other["mu.weight"], ours.model.state_dict()["mu.weight"])


def test_making_an_agent_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    tiny().collect()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_state_goes_on_where_it_was_taken() -> None:
    ppo, later = tiny(seed=1), tiny(seed=2)
    ppo.collect()
    ppo.update()
    state = copy.deepcopy(ppo.state())
    later.load(state)
    assert later.frame == ppo.frame
    assert later.learning_rate == ppo.learning_rate
    for key, tensor in ppo.model.state_dict().items():
        assert torch.equal(tensor, later.model.state_dict()[key])
    moments = later.optimizer.state_dict()["state"][0]["exp_avg"]
    assert torch.equal(moments, state["optimizer"]["state"][0]["exp_avg"])
    later.collect()
    later.update()
    assert later.is_finite()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda state: state["model"].pop("mu.bias"), "'mu.bias' is absent, not torch.float32"),
        (
            lambda state: state["model"].update(extra=torch.ones(1)),
            r"'extra' is torch.float32 of shape \[1\], not absent",
        ),
        (
            lambda state: state["model"].update({"mu.bias": torch.ones(2)}),
            r"shape \[2\], not .* shape \[1\]",
        ),
        (lambda state: state["model"].update({"mu.bias": 1.0}), r"is float, not .* shape \[1\]"),
        (
            lambda state: state["model"].update({"mu.bias": torch.ones(1).double()}),
            "is torch.float64 .* not torch.float32",
        ),
        (lambda state: state["optimizer"].clear(), "not one of torch.optim.Adam"),
        (lambda state: state["optimizer"]["param_groups"].clear(), "not one of torch.optim.Adam"),
        (lambda state: state["optimizer"]["state"][0].clear(), "not one of torch.optim.Adam"),
        (
            lambda state: state["optimizer"]["state"][0].update(exp_avg=torch.ones(9)),
            "of another network",
        ),
    ],
)
def test_a_foreign_state_is_refused_and_changes_nothing(damage: object, message: str) -> None:
    source, ppo = tiny(seed=1), tiny(seed=2)
    source.collect()
    source.update()
    state = copy.deepcopy(source.state())
    damage(state)  # type: ignore[operator]
    before = copy.deepcopy(ppo.model.state_dict())
    with pytest.raises(StateError, match=message):
        ppo.load(state)
    for key, tensor in ppo.model.state_dict().items():
        assert torch.equal(tensor, before[key])


def test_another_shape_of_network_is_refused() -> None:
    with pytest.raises(StateError, match="shape"):
        tiny().load(tiny(units=(16, 16)).state())


def test_playing_is_the_same_twice_and_one_episode_each() -> None:
    first, second = tiny(seed=3).play(), tiny(seed=3).play()
    assert torch.equal(first, second)
    assert first.shape == (16,)
    assert (first <= 500).all()
    assert (first > -2.0 - 500).all()


def test_the_network_can_be_made_without_arguments() -> None:
    mu, sigma, value = ActorCritic()(torch.zeros(7, 4))
    assert (mu.shape, sigma.shape, value.shape) == ((7, 1), (1,), (7,))

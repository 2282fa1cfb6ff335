"""The task: its physics against an independent formulation, its rewards and its resets."""

import math

import pytest
import torch

from reference_trainer import cartpole
from reference_trainer.cartpole import Cartpole, accelerations, advance, reward_and_fall

MOMENT = cartpole.POLE_MASS * cartpole.POLE_COM
HINGE_INERTIA = cartpole.POLE_INERTIA + cartpole.POLE_MASS * cartpole.POLE_COM**2
TOTAL_MASS = cartpole.CART_MASS + cartpole.POLE_MASS


def make(num_envs: int, seed: int = 0) -> Cartpole:
    device = torch.device("cpu")
    return Cartpole(num_envs, device, torch.Generator(device).manual_seed(seed))


def energy(state: torch.Tensor) -> torch.Tensor:
    _, velocity, angle, pole_velocity = state
    kinetic = 0.5 * TOTAL_MASS * velocity**2 + 0.5 * HINGE_INERTIA * pole_velocity**2
    kinetic = kinetic + MOMENT * angle.cos() * velocity * pole_velocity
    return kinetic + MOMENT * cartpole.GRAVITY * angle.cos()


def test_the_body_is_the_published_one() -> None:
    assert pytest.approx(0.08363, abs=1e-5) == cartpole.POLE_INERTIA
    assert (cartpole.CART_MASS, cartpole.POLE_MASS, cartpole.POLE_COM) == (1.0, 1.0, 0.47)


def test_accelerations_solve_the_mass_matrix() -> None:
    generator = torch.Generator().manual_seed(1)
    angle, pole_velocity, force = torch.randn(3, 500, dtype=torch.float64, generator=generator)
    angle, pole_velocity, force = math.pi * angle, 4.0 * pole_velocity, 200.0 * force
    coupling = MOMENT * angle.cos()
    total = torch.full_like(angle, TOTAL_MASS)
    inertia = torch.full_like(angle, HINGE_INERTIA)
    mass = torch.stack([total, coupling, coupling, inertia], dim=-1).reshape(-1, 2, 2)
    forces = torch.stack(
        [
            force + MOMENT * angle.sin() * pole_velocity**2,
            MOMENT * cartpole.GRAVITY * angle.sin(),
        ],
        dim=-1,
    )
    expected = torch.linalg.solve(mass, forces)
    cart, pole = accelerations(angle, pole_velocity, force)
    torch.testing.assert_close(torch.stack([cart, pole], dim=-1), expected)


def test_accelerations_follow_from_the_energy() -> None:
    """The Lagrangian of the body, differentiated by autograd: no formula of ours in it."""
    angle, pole_velocity, velocity = (
        torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (0.4, 1.5, -0.7)
    )
    hub = torch.stack([velocity, torch.zeros_like(velocity)])
    swing = cartpole.POLE_COM * pole_velocity * torch.stack([angle.cos(), -angle.sin()])
    kinetic = 0.5 * cartpole.CART_MASS * velocity**2
    kinetic = kinetic + 0.5 * cartpole.POLE_MASS * (hub + swing).square().sum()
    kinetic = kinetic + 0.5 * cartpole.POLE_INERTIA * pole_velocity**2
    potential = cartpole.POLE_MASS * cartpole.GRAVITY * cartpole.POLE_COM * angle.cos()
    lagrangian = kinetic - potential

    speeds = (velocity, pole_velocity)
    momenta = torch.autograd.grad(lagrangian, speeds, create_graph=True)
    force = torch.tensor(7.0, dtype=torch.float64)
    cart, pole = accelerations(angle.detach(), pole_velocity.detach(), force)
    by_angle = torch.autograd.grad(lagrangian, angle, retain_graph=True)[0]
    for momentum, generalised_force in zip(momenta, (force, by_angle), strict=True):
        slopes = torch.autograd.grad(
            momentum, (angle, velocity, pole_velocity), retain_graph=True, allow_unused=True
        )
        rates = (pole_velocity, cart, pole)
        change = sum(
            slope * rate for slope, rate in zip(slopes, rates, strict=True) if slope is not None
        )
        torch.testing.assert_close(change, generalised_force)


def test_energy_is_kept_without_force() -> None:
    state = torch.tensor([[0.0], [0.2], [0.3], [0.0]], dtype=torch.float64)
    force = torch.zeros(1, dtype=torch.float64)
    before = energy(state)
    for _ in range(5000):
        advance(state, force, 1e-4)
    assert state[2].item() != pytest.approx(0.3, abs=0.1), "the pole moved"
    torch.testing.assert_close(energy(state), before, rtol=1e-3, atol=0.0)


def test_upright_at_rest_stays_and_leaning_falls_further() -> None:
    state = torch.zeros(4, 2)
    state[2, 1] = 0.01
    for _ in range(20):
        advance(state, torch.zeros(2), 0.0083)
    assert (state[:, 0] == 0.0).all()
    assert state[2, 1] > 0.01


def test_pushing_the_cart_leans_the_pole_back() -> None:
    state = torch.zeros(4, 1)
    advance(state, torch.full((1,), 10.0), 0.0083)
    assert state[1] > 0
    assert state[3] < 0


def test_pole_speed_is_limited() -> None:
    state = torch.zeros(4, 2)
    for _ in range(3):
        advance(state, torch.tensor([400.0, -400.0]), 0.0083)
    assert state[3].tolist() == [-8.0, 8.0]


def test_reward_is_the_published_formula() -> None:
    state = torch.tensor([[0.5], [-2.0], [0.1], [3.0]])
    reward, fallen = reward_and_fall(state)
    assert reward.item() == pytest.approx(1 - 0.1**2 - 0.01 * 2.0 - 0.005 * 3.0)
    assert not fallen.item()


@pytest.mark.parametrize(
    ("position", "angle", "fallen"),
    [(2.99, 0.0, False), (3.01, 0.0, True), (-3.01, 0.0, True), (0, 1.57, False), (0, -1.58, True)],
)
def test_leaving_the_limits_is_punished(position: float, angle: float, fallen: bool) -> None:
    reward, fell = reward_and_fall(torch.tensor([[position], [0.0], [angle], [0.0]]))
    assert fell.item() == fallen
    assert (reward.item() == -2.0) == fallen


def test_starts_are_drawn_from_the_published_ranges() -> None:
    env = make(20_000)
    env.reset()
    limits = torch.tensor([0.1, 0.25, 0.1, 0.25])
    assert (env.state.abs().amax(dim=1) <= limits).all()
    assert (env.state.abs().amax(dim=1) > 0.99 * limits).all()
    assert (env.state.mean(dim=1).abs() < 0.02 * limits).all()


def test_observations_are_clipped_but_rewards_are_not() -> None:
    env = make(1)
    env.reset()
    env.step(torch.zeros(1, 1))
    env.state[1] = 9.0
    observation, reward, _, _ = env.step(torch.zeros(1, 1))
    assert observation[0, 1].item() == 5.0
    assert reward.item() < 1 - 0.01 * 8.0


def test_actions_are_clipped() -> None:
    envs = [make(1), make(1)]
    for env, action in zip(envs, (1.0, 50.0), strict=True):
        env.reset()
        env.step(torch.zeros(1, 1))
        env.step(torch.full((1, 1), action))
    torch.testing.assert_close(envs[0].state, envs[1].state)


def test_an_episode_that_never_falls_has_500_rewards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cartpole, "GRAVITY", 0.0)
    monkeypatch.setattr(cartpole, "START_VELOCITY", 0.0)
    env = make(3)
    env.reset()
    ends = []
    for step in range(1, 1002):
        _, _, done, timed_out = env.step(torch.zeros(3, 1))
        env.state.zero_()
        if done.any():
            assert done.all()
            assert timed_out.all()
            ends.append(step)
    assert ends == [500, 1000]


def test_an_environment_that_fell_starts_anew_alone() -> None:
    env = make(2)
    env.reset()
    env.step(torch.zeros(2, 1))
    env.state[0, 1] = 3.5
    _, reward, done, timed_out = env.step(torch.zeros(2, 1))
    assert done.tolist() == [False, True]
    assert not timed_out.any()
    assert reward[1].item() == -2.0
    _, reward, done, _ = env.step(torch.zeros(2, 1))
    assert env.state[0, 1].abs() <= 0.1
    assert reward[1].item() > 0.9
    assert not done.any()
    assert env.progress.tolist() == [2, 0]


def test_the_same_seed_gives_the_same_starts() -> None:
    assert torch.equal(make(8, seed=3).reset(), make(8, seed=3).reset())
    assert not torch.equal(make(8, seed=3).reset(), make(8, seed=4).reset())

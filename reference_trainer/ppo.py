"""The algorithm: PPO with an adaptive learning rate, as rl_games runs it for Cartpole.

Read `Ppo.collect` and `Ppo.update`. The order of steps follows rl_games' continuous A2C agent,
which IsaacGymEnvs trains with; the names are those of the papers: Schulman et al. 2017 (PPO,
arXiv:1707.06347) and 2015 (GAE, arXiv:1506.02438).
"""

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from reference_trainer.cartpole import MAX_EPISODE_LENGTH, Cartpole
from reference_trainer.config import Settings
from reference_trainer.ranks import ALONE, Ranks

MIN_LEARNING_RATE, MAX_LEARNING_RATE = 1e-6, 1e-2
SOFT_BOUND = 1.1  # actions beyond it are clipped by the task anyway: means are drawn back to it


class StateError(ValueError):
    """A checkpoint's content does not fit this network and optimizer."""


class RunningMeanStd(nn.Module):
    """Mean and variance of everything seen so far (Chan et al. 1979), to normalise with."""

    running_mean: Tensor
    running_var: Tensor
    count: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("running_var", torch.ones(size, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, batch: Tensor, ranks: Ranks = ALONE) -> None:
        """Take in `batch`, (samples, size), of each of the `ranks`: as many samples of each."""
        moments = torch.stack(torch.var_mean(batch.double(), dim=0, correction=0))
        vars_, means = ranks.gather(moments).unbind(1)
        mean = means.mean(dim=0)
        var = (vars_ + (means - mean).square()).mean(dim=0)
        samples = batch.shape[0] * ranks.size
        total = self.count + samples
        delta = mean - self.running_mean
        squares = self.running_var * self.count + var * samples
        squares += delta.square() * self.count * samples / total
        self.running_mean += delta * samples / total
        self.running_var.copy_(squares / total)
        self.count.copy_(total)

    def _std(self) -> Tensor:
        return (self.running_var + 1e-5).sqrt().float()

    def forward(self, batch: Tensor) -> Tensor:
        """Return `batch`, (..., size), normalised and clipped to +-5."""
        return ((batch - self.running_mean.float()) / self._std()).clamp(-5.0, 5.0)

    def restore(self, batch: Tensor) -> Tensor:
        """Return what a normalised `batch` of any shape stood for: the inverse of `forward`."""
        return batch.clamp(-5.0, 5.0) * self._std() + self.running_mean.float()


class ActorCritic(nn.Module):
    """A Gaussian policy and a value on one shared ELU trunk, with the statistics that feed it.

    Without arguments it is the network of a default run, for `conformance check --model`.
    """

    def __init__(
        self,
        num_observations: int = Cartpole.num_observations,
        num_actions: int = Cartpole.num_actions,
        units: Sequence[int] = (32, 32),
    ) -> None:
        super().__init__()
        self.running_mean_std = RunningMeanStd(num_observations)
        self.value_mean_std = RunningMeanStd(1)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([num_observations, *units]):
            layers += [nn.Linear(inputs, outputs), nn.ELU()]
        self.actor_mlp = nn.Sequential(*layers)
        self.mu = nn.Linear(units[-1], num_actions)
        self.value = nn.Linear(units[-1], 1)
        self.sigma = nn.Parameter(torch.zeros(num_actions))  # the logarithm of the deviation
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the policy's mean and deviation and the normalised value of an observation.

        Shapes: (batch, observations), not normalised, to (batch, actions), (actions,) and (batch,).
        """
        hidden = self.actor_mlp(self.running_mean_std(observation))
        mu = self.mu(hidden)
        return mu, self.sigma.exp(), self.value(hidden).squeeze(-1)


def log_probability(action: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    """Return log N(action; mu, sigma), (batch,), of a Gaussian with independent components."""
    scaled = (action - mu) / sigma
    density = -0.5 * scaled.square() - sigma.log() - 0.5 * math.log(2.0 * math.pi)
    return density.sum(dim=-1)


def gaussian_kl(mu: Tensor, sigma: Tensor, old_mu: Tensor, old_sigma: Tensor) -> Tensor:
    """Return the mean over the batch of KL(N(mu, sigma) || N(old_mu, old_sigma)), 0-d."""
    spread = (sigma.square() + (mu - old_mu).square()) / (2.0 * old_sigma.square())
    return ((old_sigma / sigma).log() + spread - 0.5).sum(dim=-1).mean()


def generalised_advantages(  # noqa: PLR0917  # the terms of the formula
    rewards: Tensor,
    values: Tensor,
    dones: Tensor,
    last_value: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Return the advantages of GAE(gamma, lambda), all of (horizon, environments).

    `rewards` and `dones` are of the step from each observation, `values` of the observation, and
    `last_value`, (environments,), is of the observation after the last step.
    """
    advantages = torch.empty_like(rewards)
    going_on = 1.0 - dones.float()
    advantage = torch.zeros_like(last_value)
    next_value = last_value
    for step in reversed(range(rewards.shape[0])):
        delta = rewards[step] + gamma * next_value * going_on[step] - values[step]
        advantage = delta + gamma * gae_lambda * going_on[step] * advantage
        advantages[step] = advantage
        next_value = values[step]
    return advantages


def adapted_learning_rate(learning_rate: float, kl: float, threshold: float) -> float:
    """Return the next learning rate, as rl_games' `AdaptiveScheduler`; NaN leaves it as it is."""
    if kl > 2.0 * threshold:
        return max(learning_rate / 1.5, MIN_LEARNING_RATE)
    if kl < 0.5 * threshold:
        return min(learning_rate * 1.5, MAX_LEARNING_RATE)
    return learning_rate


class EpisodeStatistics:
    """The returns and lengths of the last `window` episodes that finished, kept on the host.

    Of episodes that finish in the same step, the higher environment counts as the later.
    """

    def __init__(self, num_envs: int, window: int = 100) -> None:
        self.returns: deque[float] = deque(maxlen=window)
        self.lengths: deque[float] = deque(maxlen=window)
        self._return = torch.zeros(num_envs, dtype=torch.float64)
        self._length = torch.zeros(num_envs)

    def add(self, rewards: Tensor, dones: Tensor) -> None:
        """Take in an epoch's rewards and dones, (horizon, environments), from any device."""
        for reward, done in zip(rewards.cpu(), dones.cpu(), strict=True):
            self._return += reward
            self._length += 1
            self.returns.extend(self._return[done].tolist())
            self.lengths.extend(self._length[done].tolist())
            self._return.masked_fill_(done, 0)
            self._length.masked_fill_(done, 0)

    @property
    def mean_reward(self) -> float | None:
        """The mean return of the remembered episodes; None if none has finished yet."""
        return math.fsum(self.returns) / len(self.returns) if self.returns else None

    @property
    def mean_length(self) -> float | None:
        """The mean length in steps of the remembered episodes; None if none has finished yet."""
        return math.fsum(self.lengths) / len(self.lengths) if self.lengths else None

    def state(self) -> dict[str, Tensor]:
        """Return the remembered episodes for a checkpoint; those still being played are lost."""
        return {
            "returns": torch.tensor(self.returns, dtype=torch.float64),
            "lengths": torch.tensor(self.lengths, dtype=torch.float64),
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Remember the episodes of `state` again; raise StateError if it holds none."""
        try:
            returns, lengths = state["returns"].tolist(), state["lengths"].tolist()
        except (AttributeError, KeyError, TypeError) as error:
            raise StateError("its episodes are not returns and lengths") from error
        self.returns.extend(returns)
        self.lengths.extend(lengths)


class Rollout:
    """What an epoch collects: tensors of (horizon, environments, ...), filled anew each time."""

    def __init__(self, horizon: int, num_envs: int, device: torch.device) -> None:
        def steps(*features: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(horizon, num_envs, *features, dtype=dtype, device=device)

        self.observations = steps(Cartpole.num_observations)
        self.actions = steps(Cartpole.num_actions)
        self.mus = steps(Cartpole.num_actions)
        self.sigma = torch.zeros(Cartpole.num_actions, device=device)  # one for the whole rollout
        self.log_probs, self.values, self.rewards = steps(), steps(), steps()
        self.dones, self.timeouts = steps(dtype=torch.bool), steps(dtype=torch.bool)
        self.last_value = torch.zeros(num_envs, device=device)


class Ppo:
    """A policy, the environments that it plays and the optimizer that improves it.

    Args:
        settings: `seed` draws the first weights, the starting states and the exploration.
        device: where everything lives.
        ranks: the processes that improve the policy together, each with as many environments; the
            weights are the same on all of them, starting states and exploration are not.
    """

    def __init__(self, settings: Settings, device: torch.device, ranks: Ranks = ALONE) -> None:
        self.settings = settings
        self.device = device
        self.ranks = ranks
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.model = ActorCritic(units=settings.units).to(device)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=settings.learning_rate, fused=True
        )
        self.generator = torch.Generator(device).manual_seed(settings.seed + ranks.rank)
        self.env = Cartpole(settings.num_envs, device, self.generator)
        self.observation = self.env.reset()
        self.rollout = Rollout(settings.horizon_length, settings.num_envs, device)
        self.frame = 0

    @property
    def frames_per_epoch(self) -> int:
        """Environment steps of one epoch, over all environments of all ranks."""
        return self.rollout.rewards.numel() * self.ranks.size

    @torch.inference_mode()
    def collect(self) -> float:
        """Play one horizon into `rollout`, waiting for the device nowhere.

        Returns:
            Seconds spent inside the task (on an accelerator: spent giving it its orders).
        """
        rollout, restore = self.rollout, self.model.value_mean_std.restore
        seconds = 0.0
        for step in range(self.settings.horizon_length):
            mu, sigma, value = self.model(self.observation)
            action = rollout.actions[step].normal_(generator=self.generator).mul_(sigma).add_(mu)
            rollout.observations[step] = self.observation
            rollout.mus[step] = mu
            rollout.log_probs[step] = log_probability(action, mu, sigma)
            rollout.values[step] = restore(value)
            started = time.perf_counter()
            self.observation, reward, done, timed_out = self.env.step(action)
            seconds += time.perf_counter() - started
            rollout.rewards[step] = reward
            rollout.dones[step] = done
            rollout.timeouts[step] = timed_out
        _, sigma, value = self.model(self.observation)
        rollout.sigma.copy_(sigma)
        rollout.last_value.copy_(restore(value))
        self.frame += self.frames_per_epoch
        return seconds

    def update(self) -> dict[str, float]:
        """Improve the policy on `rollout`.

        Returns:
            Means over the gradient steps, and the learning rate after the last; by rl_games' tags.
        """
        settings, model, rollout = self.settings, self.model, self.rollout
        rewards = settings.reward_scale * rollout.rewards
        if settings.value_bootstrap:
            # What a cut-off episode would have gone on to earn, as rl_games estimates it.
            rewards += settings.gamma * rollout.values * rollout.timeouts
        played = (rewards, rollout.values, rollout.dones, rollout.last_value)
        advantages = generalised_advantages(*played, settings.gamma, gae_lambda=settings.tau)
        returns = _flat(advantages + rollout.values)
        observations, actions = _flat(rollout.observations), _flat(rollout.actions)
        old_log_probs, old_mus = _flat(rollout.log_probs), _flat(rollout.mus)
        model.running_mean_std.update(observations, self.ranks)
        model.value_mean_std.update(returns.unsqueeze(1), self.ranks)
        returns = model.value_mean_std(returns)
        old_values = model.value_mean_std(_flat(rollout.values))
        advantages = _flat(advantages)
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)

        samples, clip = len(returns), settings.e_clip
        size = min(settings.minibatch_size, samples)
        seen = []
        for start in [*range(0, samples, size)] * settings.mini_epochs:
            part = slice(start, start + size)
            mu, sigma, value = model(observations[part])

            logratio = log_probability(actions[part], mu, sigma) - old_log_probs[part]
            ratio, advantage = logratio.exp(), advantages[part]
            clipped_ratio = ratio.clamp(1.0 - clip, 1.0 + clip)
            policy_loss = -torch.min(advantage * ratio, advantage * clipped_ratio).mean()

            old_value, target = old_values[part], returns[part]
            clipped_value = old_value + (value - old_value).clamp(-clip, clip)
            value_loss = torch.max((value - target).square(), (clipped_value - target).square())
            value_loss = value_loss.mean()

            bounds_loss = (mu.abs() - SOFT_BOUND).clamp_min(0.0).square().sum(dim=-1).mean()
            entropy = (0.5 + 0.5 * math.log(2.0 * math.pi) + sigma.log()).sum()
            loss = (
                policy_loss
                + 0.5 * settings.critic_coef * value_loss
                - settings.entropy_coef * entropy
                + settings.bounds_loss_coef * bounds_loss
            )
            self.optimizer.zero_grad()
            loss.backward()
            gradients = [weight.grad for weight in model.parameters()]
            self.ranks.average([gradient for gradient in gradients if gradient is not None])
            nn.utils.clip_grad_norm_(model.parameters(), settings.grad_norm)
            self.optimizer.step()

            with torch.no_grad():
                # Exact for two Gaussians; approximate in that it knows these observations alone.
                approx_kl = gaussian_kl(mu, sigma, old_mus[part], rollout.sigma)
                figures = torch.stack([policy_loss, value_loss, bounds_loss, entropy, approx_kl])
                self.ranks.average([figures])
            seen.append(figures)
            self.learning_rate = adapted_learning_rate(
                self.learning_rate, figures[-1].item(), settings.kl_threshold
            )
        tags = ("losses/a_loss", "losses/c_loss", "losses/bounds_loss", "losses/entropy", "info/kl")
        means = torch.stack(seen).mean(dim=0).tolist()
        return {**dict(zip(tags, means, strict=True)), "info/last_lr": self.learning_rate}

    @property
    def learning_rate(self) -> float:
        """The optimizer's learning rate."""
        return float(self.optimizer.param_groups[0]["lr"])

    @learning_rate.setter
    def learning_rate(self, learning_rate: float) -> None:
        self.optimizer.param_groups[0]["lr"] = learning_rate

    def played(self) -> tuple[Tensor, Tensor]:
        """Return the rewards and dones of the rollout, (horizon, environments of all ranks)."""
        rewards = self.ranks.gather(self.rollout.rewards)
        dones = self.ranks.gather(self.rollout.dones)
        return rewards.transpose(0, 1).flatten(1), dones.transpose(0, 1).flatten(1)

    @torch.inference_mode()
    def is_finite(self) -> bool:
        """Tell whether every weight and statistic is a finite number."""
        tensors = [tensor.flatten().double() for tensor in self.model.state_dict().values()]
        return bool(torch.cat(tensors).isfinite().all())

    @torch.inference_mode()
    def play(self) -> Tensor:
        """Play one episode in every environment without exploration; return the returns, on CPU."""
        observation = self.env.reset()
        returns = torch.zeros(observation.shape[0], device=self.device)
        playing = torch.ones_like(returns, dtype=torch.bool)
        for _ in range(MAX_EPISODE_LENGTH):
            observation, reward, done, _ = self.env.step(self.model(observation)[0])
            returns += reward * playing
            playing &= ~done
        return returns.cpu()

    def state(self) -> dict[str, Any]:
        """Return what a later session goes on from: the live tensors, but not the environments."""
        return {
            "model": dict(self.model.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "frame": self.frame,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`; exploration and starts are drawn afresh from the seed and frame.

        Raises:
            StateError: the state is of another network or optimizer; nothing was changed then.
        """
        _require_fitting(self.model.state_dict(), state["model"])
        shapes = dict(enumerate(weight.shape for weight in self.model.parameters()))
        try:
            (group,) = state["optimizer"]["param_groups"]
            fitting = (group["params"], float(group["lr"]) >= 0) == ([*shapes], True) and all(
                shapes[index] == moment["exp_avg"].shape == moment["exp_avg_sq"].shape
                and moment["step"].item() >= 0
                for index, moment in state["optimizer"]["state"].items()
            )
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise StateError("its optimizer is not one of torch.optim.Adam") from error
        if not fitting:
            raise StateError("its optimizer is of another network")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.frame = state["frame"]
        self.generator.manual_seed(self.settings.seed + self.frame + self.ranks.rank)
        self.observation = self.env.reset()


def _flat(steps: Tensor) -> Tensor:
    """Return (horizon, environments, ...) as (samples, ...): by environment, then by step."""
    return steps.transpose(0, 1).reshape(-1, *steps.shape[2:])


def _require_fitting(own: Mapping[str, Tensor], other: Mapping[str, Any]) -> None:
    """Refuse a `state_dict` whose keys, shapes or dtypes are not those of `own`."""

    def described(state: Mapping[str, Any], key: str) -> str:
        value = state.get(key)
        if isinstance(value, Tensor):
            return f"{value.dtype} of shape {list(value.shape)}"
        return type(value).__name__ if key in state else "absent"

    for key in sorted(own.keys() | other.keys()):
        wanted, found = described(own, key), described(other, key)
        if found != wanted:
            raise StateError(f"its tensor {key!r} is {found}, not {wanted}")

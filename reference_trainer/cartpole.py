"""The task: IsaacGymEnvs' Cartpole, as torch tensors on any device."""

import math

import torch
from torch import Tensor

# The body: `assets/urdf/cartpole.urdf` of IsaacGymEnvs.
CART_MASS = 1.0  # kg
POLE_MASS = 1.0  # kg
POLE_COM = 0.47  # m from the hinge to the pole's centre of mass
POLE_INERTIA = POLE_MASS / 12.0 * (0.06**2 + 1.0**2)  # kg m^2, a 0.06 x 1.0 m box about its centre
MAX_POLE_VELOCITY = 8.0  # rad/s
GRAVITY = 9.81  # m/s^2

# The task: `cfg/task/Cartpole.yaml` and `tasks/cartpole.py` of IsaacGymEnvs.
MAX_FORCE = 400.0  # N for an action of 1
STEP = 0.0166  # s
SUBSTEPS = 2
MAX_OBSERVATION = 5.0
TRACK_LIMIT = 3.0  # m to either side
ANGLE_LIMIT = math.pi / 2  # rad to either side
FALLEN_REWARD = -2.0
MAX_EPISODE_LENGTH = 500  # steps
START_POSITION = 0.1  # m and rad to either side
START_VELOCITY = 0.25  # m/s and rad/s to either side


def accelerations(angle: Tensor, pole_velocity: Tensor, force: Tensor) -> tuple[Tensor, Tensor]:
    """Return the acceleration of the cart (m/s^2) and of the pole (rad/s^2), shaped like `angle`.

    The equations of motion without friction, for a pole of mass m whose centre of mass is l from
    its hinge and whose inertia about it is I, on a cart of mass M (Barto, Sutton and Anderson
    1983, "Neuronlike adaptive elements that can solve difficult learning control problems", with
    the corrected derivation of Florian 2007, "Correct equations for the dynamics of the cart-pole
    system"); the angle is 0 upright and positive towards positive positions:

        (M + m) x'' + m l cos(angle) angle'' = force + m l sin(angle) angle'^2
        m l cos(angle) x'' + (I + m l^2) angle'' = m g l sin(angle)

    solved for x'' and angle'' by Cramer's rule; the determinant is positive at every angle.

    Args:
        angle: rad, any shape.
        pole_velocity: rad/s, the same shape.
        force: N on the cart, the same shape.
    """
    total_mass = CART_MASS + POLE_MASS
    moment = POLE_MASS * POLE_COM
    hinge_inertia = POLE_INERTIA + POLE_MASS * POLE_COM**2

    sin = torch.sin(angle)
    coupling = moment * torch.cos(angle)
    push = force + moment * sin * pole_velocity.square()
    torque = moment * GRAVITY * sin
    determinant = total_mass * hinge_inertia - coupling.square()
    cart = (hinge_inertia * push - coupling * torque) / determinant
    pole = (total_mass * torque - coupling * push) / determinant
    return cart, pole


def advance(state: Tensor, force: Tensor, dt: float) -> None:
    """Move `state` on by `dt` seconds in place, by one step of semi-implicit Euler.

    Args:
        state: (4, environments): position m, velocity m/s, angle rad, pole velocity rad/s.
        force: (environments,) in N.
        dt: seconds.
    """
    position, velocity, angle, pole_velocity = state.unbind()
    cart, pole = accelerations(angle, pole_velocity, force)
    velocity.add_(cart, alpha=dt)
    pole_velocity.add_(pole, alpha=dt).clamp_(-MAX_POLE_VELOCITY, MAX_POLE_VELOCITY)
    position.add_(velocity, alpha=dt)
    angle.add_(pole_velocity, alpha=dt)


def reward_and_fall(state: Tensor) -> tuple[Tensor, Tensor]:
    """Return the reward of each environment's state and whether it has left its limits.

    `compute_cartpole_reward` of IsaacGymEnvs: upright and slow is worth up to 1, beyond the track's
    end or 90 degrees is worth -2.

    Args:
        state: (4, environments), as for `advance`.

    Returns:
        reward: (environments,), not scaled.
        fallen: (environments,), bool.
    """
    position, velocity, angle, pole_velocity = state.unbind()
    reward = 1.0 - angle.square() - 0.01 * velocity.abs() - 0.005 * pole_velocity.abs()
    fallen = (position.abs() > TRACK_LIMIT) | (angle.abs() > ANGLE_LIMIT)
    return reward.masked_fill_(fallen, FALLEN_REWARD), fallen


class Cartpole:
    """Many cart-poles side by side; one that is done starts anew with the next step.

    An observation is cart position, cart velocity, pole angle and pole velocity, clipped to
    +-5. An action is a force on the cart as a share of 400 N, clipped to [-1, 1]. As in
    IsaacGymEnvs an episode's first reward is that of its starting state, into which the action
    chosen at the end of the episode before leads; an episode that never falls has 500 rewards.

    Args:
        num_envs: how many environments.
        device: where they live.
        generator: draws the starting states; lives on `device`.
    """

    num_observations = 4
    num_actions = 1

    def __init__(self, num_envs: int, device: torch.device, generator: torch.Generator) -> None:
        self.generator = generator
        self.state = torch.zeros(4, num_envs, device=device)
        self.done = torch.ones(num_envs, dtype=torch.bool, device=device)
        self.progress = torch.zeros(num_envs, dtype=torch.int32, device=device)
        self._start = torch.empty_like(self.state)
        spread = [START_POSITION, START_VELOCITY, START_POSITION, START_VELOCITY]
        self._spread = torch.tensor(spread, device=device).unsqueeze(1)

    def _draw_start(self) -> Tensor:
        return self._start.uniform_(-1.0, 1.0, generator=self.generator).mul_(self._spread)

    def _observe(self) -> Tensor:
        return self.state.clamp(-MAX_OBSERVATION, MAX_OBSERVATION).t()

    def reset(self) -> Tensor:
        """Let every environment start anew with the next step; return observations to act on."""
        self.state.copy_(self._draw_start())
        self.done.fill_(True)
        return self._observe()

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Play one action in every environment, without waiting for the device.

        Args:
            action: (environments, 1).

        Returns:
            observation: (environments, 4).
            reward: (environments,), for the state observed.
            done: (environments,), bool: that state is the last of its episode.
            timed_out: (environments,), bool: it is the last only because of the step limit.
        """
        force = action.squeeze(1).clamp(-1.0, 1.0) * MAX_FORCE
        for _ in range(SUBSTEPS):
            advance(self.state, force, STEP / SUBSTEPS)
        self.progress.add_(1).masked_fill_(self.done, 0)
        torch.where(self.done, self._draw_start(), self.state, out=self.state)
        reward, fallen = reward_and_fall(self.state)
        timed_out = (self.progress >= MAX_EPISODE_LENGTH - 1) & ~fallen
        torch.logical_or(fallen, timed_out, out=self.done)
        return self._observe(), reward, self.done, timed_out

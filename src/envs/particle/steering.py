"""How scripted teams move point masses with the five acts. Shape letters: B worlds, A agents."""

import torch
from torch import Tensor

from components.action_selectors import random_legal
from envs.base import EnvSpec, ScriptedPolicy
from envs.particle.physics import DAMPING, DIRECTIONS, TIME_STEP

#: How many steps ahead agents look for where an act takes them, that step included: enough to brake before the target,
#: few enough to correct small errors, as an act at rest takes them further the longer they drift.
AHEAD = 3


def random_team(spec: EnvSpec) -> ScriptedPolicy:
    """Every legal action with the same probability."""
    return lambda seen, generator: random_legal(seen.avail_mask, generator)


def steer(offset: Tensor, velocity: Tensor, acceleration: Tensor | float) -> Tensor:
    """The act by which agents that drift afterwards are nearest to their targets AHEAD steps on, of equals the first.

    Args:
        offset (B, A, 2): from the agent to its target.
        velocity (B, A, 2)
        acceleration (B, A): what an act gives, or one number for all.

    Returns:
        (B, A) int64.
    """
    # `physics.step` with position_first: the old velocity moves the body once, then the new one, which fades
    push = torch.tensor(DIRECTIONS, device=offset.device)
    gain = TIME_STEP * torch.as_tensor(acceleration, device=offset.device)[..., None, None]
    after = (1 - DAMPING) * velocity[..., None, :] + gain * push
    drift = sum((1 - DAMPING) ** step for step in range(AHEAD - 1))
    gap = offset[..., None, :] - TIME_STEP * (velocity[..., None, :] + drift * after)
    return gap.norm(dim=-1).argmin(dim=-1)

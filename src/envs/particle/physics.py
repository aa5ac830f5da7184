"""Physics of the particle environments (Lowe et al., 2017), for many worlds at once.

Shape letters: B worlds, N bodies, M of them that move: the first M; the others stay where they are. The world is the
last axis, which torch works along fastest. Figures of bodies may be the same in all worlds: (N, 1).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

#: Seconds in a step.
TIME_STEP = 0.1
#: The share of its velocity that a body loses in a step.
DAMPING = 0.25
#: Contact pushes with CONTACT_FORCE * depth, where the depth is smoothed over CONTACT_MARGIN.
CONTACT_FORCE = 100.0
CONTACT_MARGIN = 1e-3
#: Where actions push agents: nowhere, left, right, down, up; and by what acceleration, where a task says nothing else.
DIRECTIONS = ((0.0, 0.0), (-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0))
ACCELERATION = 5.0


class Bodies(NamedTuple):
    """What bodies are; all floats."""

    #: (N, B)
    radius: Tensor
    #: (N, B) 1 where the body is there and bumps into others and into walls, else 0
    solid: Tensor
    #: (M, B)
    mass: Tensor
    #: (M, B) the fastest that a body may be; infinite for no limit
    max_speed: Tensor


def step(
    position: Tensor,
    velocity: Tensor,
    force: Tensor,
    bodies: Bodies,
    *,
    half_width: float | None = None,
    position_first: bool = False,
) -> tuple[Tensor, Tensor]:
    """Positions and velocities after one step.

    Bodies of which one lies exactly on another do not push each other: there is no direction to push in. Who is absent
    must have velocity and force 0, and stays where it is.

    Args:
        position (2, N, B): x and y.
        velocity (2, M, B)
        force (2, M, B): what drives the bodies, besides contact.
        bodies: who is there, and what they are like.
        half_width: walls around a square of this half width about the origin; None for none.
        position_first: True moves bodies by their old velocity, as `mpe2` does; False by their new one, as the first
            release of the particle environments does.

    Returns:
        position (2, N, B), velocity (2, M, B): new tensors.
    """
    movers = velocity.shape[1]
    force = force + contact_force(position, bodies, movers)
    if half_width is not None:
        force = force + wall_force(position[:, :movers], bodies.radius[:movers], half_width) * bodies.solid[:movers]
    new_velocity = velocity * (1 - DAMPING) + force * (TIME_STEP / bodies.mass)
    speed = length(new_velocity)
    new_velocity = new_velocity * (bodies.max_speed / speed.clamp(min=1e-12)).clamp(max=1.0)
    moved = position[:, :movers] + TIME_STEP * (velocity if position_first else new_velocity)
    return torch.cat([moved, position[:, movers:]], dim=1), new_velocity


def contact_force(position: Tensor, bodies: Bodies, movers: int) -> Tensor:
    """What touching bodies do to the first `movers` of them: (2, M, B)."""
    x, y = position[:, :movers, None] - position[:, None]  # (M, N, B)
    distance = length((x, y))
    push = _depth(bodies.radius[:movers, None] + bodies.radius - distance)
    # an offset of 0, to itself above all, gives a force of 0 whatever the depth is
    push = push.div_(distance.clamp_(min=1e-12)).mul_(bodies.solid[:movers, None]).mul_(bodies.solid)
    return CONTACT_FORCE * torch.stack([x.mul_(push).sum(dim=1), y.mul_(push).sum(dim=1)])


def wall_force(position: Tensor, radius: Tensor, half_width: float) -> Tensor:
    """What the walls of a square do to bodies at `position (2, M, B)` with `radius (M, B)`: (2, M, B)."""
    room = half_width - radius
    return CONTACT_FORCE * (_depth(-position - room) - _depth(position - room))


def _depth(overlap: Tensor) -> Tensor:
    """How deep bodies are in each other: the overlap, or 0 where it is negative, with a smooth bend between."""
    return F.softplus(overlap, beta=1 / CONTACT_MARGIN)


def length(vector: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    """How long vectors (2, ...) are: (...). `Tensor.norm` along a first axis is far slower on a CPU."""
    return vector[0].square().add_(vector[1].square()).sqrt_()

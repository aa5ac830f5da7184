"""The state of Resource Collection, and its sizes.

Shape letters: B worlds (the last axis), A agent slots, E = A + 8 entities: agents, home, resources, invader. Flags are
floats, 0 or 1: torch compares and multiplies floats several times faster than it makes bools.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from envs.particle.resource_collection.scenarios import COLOURS, RESOURCES

HALF_WIDTH = 0.9
AGENT_RADIUS, HOME_RADIUS, RESOURCE_RADIUS, INVADER_RADIUS = 0.04, 0.08, 0.05, 0.03
#: Entities besides the agents, in this order: one home, the resources, one invader.
OBJECTS = RESOURCES + 2
#: What an agent can touch in a step: home, red, green, blue, invader.
TOUCHES = COLOURS + 2


class World(NamedTuple):
    """Everything that changes in an episode."""

    #: (2, E, B) x and y; 0 for who is absent
    position: Tensor
    #: (2, A, B)
    velocity: Tensor
    #: (4, A, B) efficiency for red, green and blue, speed; 0 for absent agents
    members: Tensor
    #: (E, B)
    present: Tensor
    #: (3, A, B) the colour in an agent's hands
    load: Tensor
    #: (5, A, B) what an agent gained something from in the last step: home, red, green, blue, invader
    touched: Tensor
    #: (B,) int64, the episode's number, from which all its chance follows
    number: Tensor
    #: (B,) bool, whether members are drawn as in training
    training: Tensor
    #: (B,) int64, steps played
    steps: Tensor
    #: (B,) int64, the step in which an absent invader comes back
    invader_back: Tensor
    #: (B,) int64, the step in which a member joins or leaves; -1 for never
    change_at: Tensor
    #: (2, B) int64, the smallest and the largest number of members of a varying team
    bounds: Tensor
    #: (4, B) collected, delivered, invaders caught, invaders that reached home
    figures: Tensor


def radii(slots: int, device: torch.device) -> Tensor:
    """(E, 1) of all bodies."""
    objects = [HOME_RADIUS] + [RESOURCE_RADIUS] * RESOURCES + [INVADER_RADIUS]
    return torch.tensor([AGENT_RADIUS] * slots + objects, device=device)[:, None]


def merge(worlds: World, chosen: Tensor, other: World) -> World:
    """`worlds` with `other` in the places `chosen (W,)`."""
    if len(chosen) == len(worlds.steps):
        return other
    return World(*(old.index_copy(-1, chosen, new) for old, new in zip(worlds, other, strict=True)))


def select(worlds: World, chosen: Tensor) -> World:
    """The worlds `chosen (W,)`."""
    return World(*(value.index_select(-1, chosen) for value in worlds))

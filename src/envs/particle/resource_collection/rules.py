"""The rules of Resource Collection (COPA, section 4.1, and the figures of its authors' code).

Shape letters: B worlds (the last axis), W of them, A agent slots, E = A + 8 entities, R = 6 resources.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from envs.particle.chance import uniform
from envs.particle.resource_collection.scenarios import (
    CHANGE,
    CHANGE_AFTER,
    COLOURS,
    LEAVER,
    RESOURCES,
    RETURN,
    START_RADIUS,
    invader_entrance,
    on_circle,
)
from envs.particle.resource_collection.world import World

#: Bodies touch where the distance of their centres is at most the sum of their radii and this.
TOUCH = 0.01
REWARD_COLLECT, REWARD_DELIVER = 10.0, 1.0
REWARD_INVADER = 4.0
INVADER_STEP = 0.05
#: Steps until the next invader, both included.
RETURN_AFTER = (1, 10)


class Events(NamedTuple):
    """What happened in a step; flags are floats."""

    #: (A, R, B) agent a took resource r
    taken: Tensor
    #: (A, B) agents that brought something home
    delivered: Tensor
    #: (A, B) agents that caught the invader
    caught: Tensor
    #: (B,) the invader reached the home
    lost: Tensor


def find_events(world: World, radius: Tensor) -> Events:
    """Who touches what: at most one event for each agent, in the order invader, resource, home.

    What several agents touch belongs to the first of them in the order of the slots; of several resources an agent
    takes the first. An invader that touches the home cannot be caught any more.

    Args:
        world: after the bodies have moved.
        radius (E, 1): of the bodies.
    """
    slots = world.velocity.shape[1]
    (x, y), objects = world.position, world.present[slots:]
    squared = (x[:slots, None] - x[slots:]).square_().add_((y[:slots, None] - y[slots:]).square_())  # (A, objects, B)
    reach = radius[:slots, None] + radius[slots:] + TOUCH
    touch = squared.le_(reach.square()).mul_(objects).mul_(world.present[:slots, None])
    squared = (x[slots] - x[-1]).square_() + (y[slots] - y[-1]).square_()
    lost = squared.le_((radius[slots] + radius[-1] + TOUCH).square()) * objects[-1]
    caught = _first(touch[:, -1]) * (1 - lost)

    loaded = world.load.sum(dim=0)
    free = objects[1:-1]
    hands = (1 - loaded) * (1 - caught)
    taken = []
    for agent in range(slots):
        taken.append(_first(touch[agent, 1:-1] * free * hands[agent]))
        free = free - taken[-1]
    delivered = touch[:, 0] * loaded * (1 - caught)
    return Events(torch.stack(taken), delivered, caught, lost)


def _first(flags: Tensor) -> Tensor:
    """`flags` with only the first 1 along the first axis kept."""
    return flags * (2 - flags.cumsum(dim=0)).clamp_(min=0)


def apply_events(world: World, events: Events) -> tuple[World, Tensor]:
    """The world after `events`, and the team's reward (B,). Steps have been counted before."""
    # resources have the colours red, green and blue in turn
    colour = events.taken.unflatten(1, (RESOURCES // COLOURS, COLOURS)).sum(dim=1).transpose(0, 1)  # (3, A, B)
    caught, delivered = events.caught.sum(dim=0), events.delivered.sum(dim=0)
    reward = REWARD_COLLECT * (colour * world.members[:3]).sum(dim=(0, 1))
    reward = reward + REWARD_DELIVER * delivered + REWARD_INVADER * (caught - events.lost)

    present = world.present.clone()
    slots = world.velocity.shape[1]
    gone = caught + events.lost
    present[slots + 1 : -1] -= events.taken.sum(dim=0)
    present[-1] -= gone
    happened = torch.stack([colour.sum(dim=(0, 1)), delivered, caught, events.lost])
    world = world._replace(
        present=present,
        load=world.load * (1 - events.delivered) + colour,
        touched=torch.cat([events.delivered[None], colour, events.caught[None]]),
        figures=world.figures + happened,
    )
    if bool(gone.any()):
        chosen = gone.nonzero()[:, 0]
        wait = _between(uniform(world.number[chosen], RETURN, world.steps[chosen], 1)[0], RETURN_AFTER)
        back = world.steps[chosen] + wait
        world = world._replace(invader_back=world.invader_back.index_copy(0, chosen, back))
    return world, reward


def move_invader(world: World) -> World:
    """An invader takes a step towards the centre; one that is due appears on the border."""
    invader, here = world.position[:, -1], world.present[-1]
    length = invader.square().sum(dim=0).sqrt_().clamp_(min=INVADER_STEP)
    position, present = world.position.clone(), world.present
    position[:, -1] = (invader - invader * (INVADER_STEP / length)) * here
    due = (here == 0) & (world.invader_back == world.steps)
    if bool(due.any()):
        chosen = due.nonzero()[:, 0]
        position[:, -1, chosen] = invader_entrance(world.number[chosen], world.steps[chosen])
        present = present.clone()
        present[-1, chosen] = 1.0
    return world._replace(position=position, present=present)


def change_teams(world: World, fresh: Tensor) -> World:
    """One member joins or leaves: at random, but so that the team stays within its bounds.

    All worlds given are due. Whoever leaves takes along what is in its hands. Whoever joins gets the first free slot
    and starts at a random place next to the home.

    Args:
        world: W worlds.
        fresh (4, A, W): what a member that joins in a slot would be like.
    """
    slots, number, steps = world.velocity.shape[1], world.number, world.steps
    agents = world.present[:slots]
    dice, turn, pause = uniform(number, CHANGE, steps, 3)
    size = agents.sum(dim=0)
    join = ((dice < 0.5) | (size <= world.bounds[0])) & (size < world.bounds[1])
    leaver = (uniform(number, LEAVER, steps, slots) + agents).argmax(dim=0)  # the dice are below 1
    joiner = agents.argmin(dim=0)
    slot = torch.where(join, joiner, leaver)
    changed = torch.nn.functional.one_hot(slot, slots).T.float()  # (A, W)
    joined = changed * join
    kept = 1 - changed
    place = on_circle(turn, START_RADIUS)
    position = world.position.clone()
    position[:, :slots] = position[:, :slots] * kept + place[:, None] * joined
    present = torch.cat([agents * kept + joined, world.present[slots:]])
    return world._replace(
        position=position,
        velocity=world.velocity * kept,
        members=world.members * kept + fresh * joined,
        present=present,
        load=world.load * kept,
        touched=world.touched * kept,
        change_at=steps + _between(pause, CHANGE_AFTER),
    )


def first_change(number: Tensor) -> Tensor:
    """The step (W,) in which a varying team changes for the first time."""
    return _between(uniform(number, CHANGE, torch.zeros_like(number), 3)[2], CHANGE_AFTER)


def _between(drawn: Tensor, bounds: tuple[int, int]) -> Tensor:
    """`drawn`, uniform in [0, 1), as a whole number between both bounds, included."""
    low, high = bounds
    return low + (drawn * (high - low + 1)).long()

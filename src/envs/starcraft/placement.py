"""Where the armies of a battle stand at its beginning."""

import math
from functools import cache

import torch
from torch import Tensor

from envs.starcraft.scenarios import MAP_SIZE

#: Distance between the centres of the two armies, and how far each is moved at random along x and y.
ARMY_DISTANCE = 14.0
JITTER = 1.0
#: Distance between neighbouring places: the diameter of the widest unit that others cannot walk over.
SPACING = 1.25


@cache
def _honeycomb(count: int) -> Tensor:
    """The `count` places nearest to the origin of a triangular grid, (count, 2)."""
    row_height = SPACING * math.sqrt(0.75)
    places = [(SPACING * (column + row / 2), row_height * row) for row in range(-4, 5) for column in range(-6, 7)]
    return torch.tensor(sorted(places, key=lambda p: (round(math.hypot(*p), 6), p))[:count], dtype=torch.float32)


def draws_needed(units: int) -> int:
    """How many uniform numbers `place_armies` turns into one battle of at most so many units a side."""
    return 1 + 2 + 4 + 2 * units


def place_armies(types: Tensor, allies: int, uniform: Tensor) -> Tensor:
    """Positions (2, S, R) for units of `types (S, R)`, in the first `allies` slots those of the team.

    The line of the two army centres is turned by any angle about the centre of the map. The units of an army stand
    close together on a honeycomb, at random on as many of its innermost places as there are units. Each honeycomb is
    turned by an angle of its own, or one army would always have its odd unit in front and the other behind.

    Args:
        uniform (draws, R): `draws_needed` numbers in [0, 1) for each battle; only empty slots may lie beyond the units
            that they are for. So where units stand does not depend on how many slots there are.
    """
    slots, battles = types.shape
    device = types.device
    turns = uniform[:3] * (2 * math.pi)
    jitter = (2 * uniform[3:7].view(2, 2, battles) - 1) * JITTER
    shuffle = uniform[7:].view(2, -1, battles)

    side = torch.tensor([-0.5, 0.5], device=device)[:, None] * ARMY_DISTANCE
    cosine, sine = turns.cos(), turns.sin()
    centres = MAP_SIZE / 2 + side * torch.stack([cosine[0], sine[0]])[:, None] + jitter
    rank = torch.cat([_ranks(shuffle[0], types[:allies]), _ranks(shuffle[1], types[allies:])])
    x, y = _honeycomb(int(rank.max()) + 1).to(device)[rank].unbind(-1)
    side = (torch.arange(slots, device=device) >= allies).long()
    cosine, sine = cosine[1:][side], sine[1:][side]
    offset = torch.stack([x * cosine - y * sine, x * sine + y * cosine])
    return centres[:, side] + offset


def _ranks(shuffle: Tensor, types: Tensor) -> Tensor:
    """Which place, counted from the innermost, each slot (M, R) of one side has: a random order, the absent last."""
    order = shuffle.new_ones(len(types), types.shape[1])
    known = min(len(shuffle), len(types))
    order[:known] = shuffle[:known]
    return (order + (types < 0)).argsort(0).argsort(0)

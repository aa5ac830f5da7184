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


def draws_needed(team_slots: int) -> int:
    """How many uniform numbers `place_armies` turns into one battle."""
    return 1 + 2 + 4 + 2 * team_slots


def place_armies(types: Tensor, uniform: Tensor) -> Tensor:
    """Positions (2, S, R) for units of `types (S, R)`, allies in the first half of the slots.

    The line of the two army centres is turned by any angle about the centre of the map. The units of an army stand
    close together on a honeycomb, at random on as many of its innermost places as there are units. Each honeycomb is
    turned by an angle of its own, or one army would always have its odd unit in front and the other behind.

    Args:
        uniform (draws, R): `draws_needed` numbers in [0, 1) for each battle.
    """
    slots, battles = types.shape
    team, device = slots // 2, types.device
    turns = uniform[:3] * (2 * math.pi)
    jitter = (2 * uniform[3:7].view(2, 2, battles) - 1) * JITTER
    shuffle = uniform[7:].view(2, team, battles)

    side = torch.tensor([-0.5, 0.5], device=device)[:, None] * ARMY_DISTANCE
    cosine, sine = turns.cos(), turns.sin()
    centres = MAP_SIZE / 2 + side * torch.stack([cosine[0], sine[0]])[:, None] + jitter
    # units fill the innermost places: the absent come last in the shuffle
    absent = (types < 0).view(2, team, battles)
    place = _honeycomb(team).to(device)[(shuffle + absent).argsort(1).argsort(1)]
    x, y = place.unbind(-1)
    cosine, sine = cosine[1:, None], sine[1:, None]
    offset = torch.stack([x * cosine - y * sine, x * sine + y * cosine])
    return (centres[:, :, None] + offset).reshape(2, slots, battles)

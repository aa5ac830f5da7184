"""What an episode of Resource Collection begins with and draws: teams, members, places, scenario files.

Shape letters: W episodes, A agent slots, R = 6 resources, K scenarios in a file. The episode is the last axis.
"""

import math
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from envs import teams
from envs.particle.chance import uniform
from utils.errors import UserError

#: variant -> (resources come back at random places, there is an invader)
VARIANTS = {"static": (False, False), "medium": (True, False), "dynamic": (True, True)}
#: Resources, and the colours red, green and blue that they have in turn.
RESOURCES, COLOURS = 6, 3
#: More agents than this have no room around the home.
LARGEST_TEAM = 16
#: The number of agents that a varying team starts with.
VARYING_START = 4
#: Steps between two changes of a varying team, both included.
CHANGE_AFTER = (8, 12)
#: Distance from the centre at which agents start and resources appear; resources at least GAP apart.
START_RADIUS = 0.12
RESOURCE_RADII = (0.4, 0.95)
RESOURCE_GAP = 0.1
#: Coordinates of resources are cut to this, those of a new invader to INVADER_BORDER.
RESOURCE_BORDER = 0.95
INVADER_BORDER = 0.99
#: Candidates for the place of a resource. One in ten is too near to others, so that eight are as good as any number.
CANDIDATES = 8

#: Streams of an episode's random numbers.
MEMBERS, PLACES, INVADER, RETURN, CHANGE, LEAVER = range(6)


class Team(NamedTuple):
    """The members of a team: `low` to `high` for the whole episode, or changing between both where `varying`."""

    low: int
    high: int
    varying: bool = False


def parse_team(team: str, varying: str, key: str = "team") -> Team:
    """Read "5", "2-4" or "varying".

    Args:
        team: the text.
        varying: the range in which a varying team stays, such as "2-6".
        key: the setting that `team` comes from, for the message.

    Raises:
        UserError: it is none of these, or a size is out of bounds.
    """
    if team != "varying":
        return Team(*teams.parse_team(team, 1, LARGEST_TEAM, key, " (nor is it 'varying')"))
    low, high = teams.parse_team(varying, 1, LARGEST_TEAM, "env_args.varying")
    if low == high:
        raise UserError(f"env_args.varying = {varying!r} is not possible; allowed: a range such as 2-6")
    return Team(low, high, True)


def team_sizes(team: Team, number: Tensor) -> Tensor:
    """How many members episodes `number (W,)` start with: the sizes of a range take turns. (W,) int64."""
    if team.varying:
        return torch.full_like(number, min(max(VARYING_START, team.low), team.high))
    return team.low + number % (team.high - team.low + 1)


def draw_members(number: Tensor, step: Tensor, slots: int, training: bool) -> Tensor:
    """Efficiencies for red, green and blue, and the speed, of members that begin at `step (W,)`: (4, A, W).

    Training draws from {0.1, 0.5, 0.9} and {0.3, 0.5, 0.7}, tests uniformly from [0.1, 0.9] and [0.2, 0.8] (COPA,
    section 4.1).
    """
    drawn = uniform(number, MEMBERS, step, 4 * slots).view(slots, 4, -1).transpose(0, 1)
    if training:
        third = (drawn * 3).floor()
        return torch.cat([0.1 + 0.4 * third[:3], 0.3 + 0.2 * third[3:]])
    return torch.cat([0.1 + 0.8 * drawn[:3], 0.2 + 0.6 * drawn[3:]])


def on_circle(turn: Tensor, radius: Tensor | float) -> Tensor:
    """Points (2, ...) at `radius` about the centre, `turn (...)` of a full turn from the x axis."""
    angle = turn * (2 * math.pi)
    return torch.stack([angle.cos(), angle.sin()]) * radius


def starting_circle(size: Tensor, slots: int) -> Tensor:
    """Places of `size (W,)` agents, evenly around the home: (2, A, W)."""
    slot = torch.arange(slots, device=size.device)[:, None]
    return on_circle(slot / size, START_RADIUS)


def invader_entrance(number: Tensor, step: Tensor) -> Tensor:
    """Where on the border an invader appears: (2, W)."""
    return on_circle(uniform(number, INVADER, step, 1)[0], 1.42).clamp(-INVADER_BORDER, INVADER_BORDER)


def place_resources(position: Tensor, missing: Tensor, number: Tensor, step: Tensor) -> Tensor:
    """New random places for missing resources, one after the other and not too near to those that are there.

    Args:
        position (2, R, W): of the others; what it says of missing ones does not count.
        missing (R, W): bool.
        number, step (W,): of the episode.

    Returns:
        (2, R, W), a new tensor.
    """
    position, missing = position.clone(), missing.clone()
    everywhere = torch.arange(len(number), device=number.device)
    order = torch.arange(CANDIDATES, 0, -1, device=number.device)[:, None]
    near, far = RESOURCE_RADII
    while bool(missing.any()):
        # in every episode the first that is missing; 0, which stays, where none is
        index = missing.byte().argmax(dim=0)
        turn, out = uniform(number, PLACES, step * RESOURCES + index, 2 * CANDIDATES).view(2, CANDIDATES, -1)
        candidates = on_circle(turn, near + (far - near) * out).clamp(-RESOURCE_BORDER, RESOURCE_BORDER)
        offset = candidates[:, :, None] - position[:, None]  # (2, candidates, R, W)
        room = (offset[0].square() + offset[1].square()).masked_fill(missing, 4.0).amin(dim=1)
        # the first that is far enough from all others, or else the farthest
        choice = torch.where(room >= RESOURCE_GAP**2, 4.0 + order, room).argmax(dim=0)
        chosen = candidates[:, choice, everywhere]
        position[:, index, everywhere] = torch.where(missing[index, everywhere], chosen, position[:, index, everywhere])
        missing[index, everywhere] = False
    return position


def fixed_places(device: torch.device) -> Tensor:
    """Where the resources of the static variant are: evenly around the home, half way out. (2, R, 1)."""
    turn = torch.arange(RESOURCES, device=device)[:, None] / RESOURCES
    return on_circle(turn, sum(RESOURCE_RADII) / 2)


def write_scenarios(path: str | Path, count: int, slots: int) -> None:
    """Save the members of the first `count` test scenarios, `slots` in each, for `env_args.scenarios=PATH`."""
    number = torch.arange(count)
    np.save(path, draw_members(number, torch.zeros_like(number), slots, training=False).permute(2, 1, 0).numpy())


def read_scenarios(path: str | Path) -> Tensor:
    """The members of K test scenarios: (K, members, 4) float32, each three efficiencies and a speed.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    hint = "a file that write_scenarios in envs/particle/resource_collection/scenarios.py has written"
    try:
        members = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"env_args.scenarios = {str(path)!r}: there is no such file; use a number, or {hint}") from None
    except (OSError, ValueError, EOFError, BadZipFile):
        raise UserError(f"env_args.scenarios = {str(path)!r} cannot be read: use {hint}") from None
    fits = isinstance(members, np.ndarray) and members.ndim == 3 and members.shape[2] == 4 and members.size > 0
    if not fits or members.dtype.kind != "f":
        raise UserError(f"env_args.scenarios = {str(path)!r} holds no numbers (scenarios, members, 4): use {hint}")
    if not ((members >= 0) & (members <= 1)).all() or not (members[..., 3] > 0).all():
        raise UserError(f"env_args.scenarios = {str(path)!r} holds values outside 0 to 1, or speeds of 0: use {hint}")
    return torch.from_numpy(members).float()

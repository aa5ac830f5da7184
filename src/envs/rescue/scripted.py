"""Scripted teams for the Rescue Game. They look at nothing but the time step.

Shape letters: B towns, A robot slots, F fire slots.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from components.action_selectors import random_legal
from envs.base import EnvSpec, ScriptedPolicy, TimeStep
from envs.rescue.town import EAST, NORTH, PUT_OUT, SIDE, SOUTH, WEST


def random_team(spec: EnvSpec) -> ScriptedPolicy:
    """Every legal action with the same probability."""
    return lambda seen, generator: random_legal(seen.avail_mask, generator)


def greedy_team(spec: EnvSpec) -> ScriptedPolicy:
    """The k-th most skilled robot goes to the k-th worst fire and puts it out; robots without a fire wait. Who has
    which fire is settled anew in every step (COPA, table 2). Among equals the lower slot comes first.
    """
    skill, level, position = (spec.feature_slices[name] for name in ("skill", "level", "position"))

    def act(seen: TimeStep, generator: torch.Generator) -> Tensor:
        robots, fires = seen.entities[:, : spec.agents], seen.entities[:, spec.agents :]
        # absent robots have skill 0, absent fires level 0: they come last
        rank = _best_first(robots[:, :, skill.start]).argsort(dim=1)  # (B, A)
        worst = _best_first(fires[:, :, level.start])  # (B, F)
        busy = (rank < seen.entity_mask[:, spec.agents :].sum(dim=1, keepdim=True)) & seen.agent_mask
        target = worst.gather(1, rank.clamp(max=worst.shape[1] - 1))[:, :, None].expand(-1, -1, 2)
        gap = fires[:, :, position].gather(1, target) - robots[:, :, position]
        # whole buildings: rounding must not decide between ways of the same length
        return torch.where(busy, _towards((gap * ((SIDE - 1) / 2)).round()), PUT_OUT)

    return act


def _best_first(value: Tensor) -> Tensor:
    return value.argsort(dim=1, descending=True, stable=True)


def _towards(gap: Tensor) -> Tensor:
    """The move (B, A) along the longer part of `gap (B, A, 2)` (east, north), along the latter between equals; put out
    where there is no gap.
    """
    east, north = gap.unbind(dim=2)
    along = torch.where(east > 0, EAST, WEST)
    across = torch.where(north > 0, NORTH, SOUTH)
    return torch.where(gap.abs().amax(dim=2) == 0, PUT_OUT, torch.where(east.abs() > north.abs(), along, across))


SCRIPTED: dict[str, Callable[[EnvSpec], ScriptedPolicy]] = {"random": random_team, "greedy": greedy_team}

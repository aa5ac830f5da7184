"""Scripted teams for Resource Collection. Shape letters: B worlds, A agents, E entities, R = 6 resources, U actions."""

import torch
from torch import Tensor

from components.action_selectors import random_legal
from envs.base import OWN_MOVE, EnvSpec, ScriptedPolicy, TimeStep
from envs.particle.resource_collection.scenarios import COLOURS, RESOURCES
from envs.particle.resource_collection.world import World


def random_team(spec: EnvSpec) -> ScriptedPolicy:
    """Every legal action with the same probability."""
    return lambda seen, generator: random_legal(seen.avail_mask, generator)


def greedy_team(spec: EnvSpec) -> ScriptedPolicy:
    """The authors' greedy team, see `greedy_moves`. It moves bodies directly, which only the environment can."""

    def act(seen: TimeStep, generator: torch.Generator) -> Tensor:
        return seen.agent_mask.long() * OWN_MOVE

    return act


def greedy_moves(world: World) -> Tensor:
    """How far the greedy team moves its members before a step: (2, A, B).

    The member nearest to an invader chases it. Of the others, whoever has something in its hands goes home, whoever has
    nothing to the nearest resource of the colour that it is best at. A member of speed v moves by
    `delta_x / |delta| * min(v / 20, |delta_x|)` along x, and likewise along y (as `approach` in the authors' code).
    """
    slots = world.velocity.shape[1]
    place, here = world.position[:, :slots], world.present[:slots]
    best = torch.nn.functional.one_hot(world.members[:3].argmax(dim=0), COLOURS).bool()  # (A, B, 3)
    suitable = best.permute(0, 2, 1).repeat(1, RESOURCES // COLOURS, 1)  # (A, R, B)
    resources = world.position[:, None, slots + 1 : -1]
    away = (resources - place[:, :, None]).norm(dim=0).masked_fill(~suitable, torch.inf)
    nearest = away.argmin(dim=1)[None, :, None]  # (1, A, 1, B)
    target = resources.expand(2, slots, -1, -1).gather(2, nearest.expand(2, -1, -1, -1))[:, :, 0]
    home, invader = world.position[:, slots, None], world.position[:, -1, None]
    target = torch.where(world.load.sum(dim=0) > 0, home, target)
    chaser = (invader - place).norm(dim=0).masked_fill(here == 0, torch.inf).argmin(dim=0)
    chases = torch.nn.functional.one_hot(chaser, slots).T.bool() & (world.present[-1] > 0)
    delta = torch.where(chases, invader, target) - place
    amount = torch.minimum(world.members[3] / 20, delta.abs())
    return delta / delta.norm(dim=0).clamp(min=1e-12) * amount * here


SCRIPTED = {"random": random_team, "greedy": greedy_team}

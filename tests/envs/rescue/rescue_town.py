"""Hand-made towns for tests of the Rescue Game."""

import torch

from envs.rescue.env import RescueEnv
from envs.rescue.town import SIDE


def make(num_envs=1, seed=0, test_teams=(), **settings):
    return RescueEnv(RescueEnv.resolve_args(settings, test_teams), num_envs, seed)


def arranged(robots, fires, **settings):
    """A town with robots (column, row, skill) and fires (column, row, level), and its first time step. Nothing new
    catches fire unless `ignition_rate` says so.
    """
    env = make(**{"train_team": str(len(robots)), "ignition_rate": 0.0, **settings})
    env.reset()
    env._level = torch.zeros_like(env._level)
    for slot, (column, row, skill) in enumerate(robots):
        env._robot[0, slot], env._skill[0, slot] = row * SIDE + column, skill
    for slot, (column, row, level) in enumerate(fires):
        env._fire[0, slot], env._level[0, slot] = row * SIDE + column, level
    return env, env._show(torch.zeros(1))


def act(env, *actions):
    """Play one action for each robot."""
    return env.step(torch.tensor([[*actions, *[0] * (env.spec.agents - len(actions))]]))


def places(env, seen):
    """Column and row of every entity of the first town, as whole numbers."""
    position = seen.entities[0, :, env.spec.feature_slices["position"]]
    return ((position + 1) * (SIDE - 1) / 2).round().int().tolist()


def levels(env):
    return env._level[0].tolist()

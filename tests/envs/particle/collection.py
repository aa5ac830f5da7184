"""A hand-made world of Resource Collection, for tests."""

import torch

from envs.particle.resource_collection.encoding import POSITION_UNIT
from envs.particle.resource_collection.env import ResourceCollectionEnv

#: Far from everything: red, green, blue, red, green, blue.
CORNERS = ((0.8, 0.8), (0.8, -0.8), (-0.8, 0.8), (-0.8, -0.8), (0.8, 0.0), (-0.8, 0.0))
#: What `arranged` agents are like: efficiency for red, green, blue; speed.
MEMBER = (0.1, 0.5, 0.9, 0.5)


def make(num_envs=4, seed=0, test_teams=(), **env_args):
    return ResourceCollectionEnv(ResourceCollectionEnv.resolve_args(env_args, test_teams), num_envs, seed)


def arranged(agents, resources=CORNERS, invader=None, loads=(), **env_args):
    """One world with `agents` at these places, all alike; `loads` are colours by slot; no invader for None."""
    env = make(1, train_team=str(len(agents)), **env_args)
    env.reset()
    world, count = env._world, len(agents)
    present = world.present.clone()
    present[-1] = float(invader is not None)
    load = torch.zeros_like(world.load)
    for slot, colour in loads:
        load[colour, slot] = 1
    places = [*agents, (0, 0), *resources, invader or (0, 0)]
    env._world = world._replace(
        position=torch.tensor(places, dtype=torch.float32).T[:, :, None].contiguous(),
        members=torch.tensor(MEMBER)[:, None, None].repeat(1, count, 1),
        present=present,
        load=load,
        invader_back=torch.full_like(world.number, -1),
    )
    return env


def wait(env):
    """One step in which nobody does anything."""
    return env.step(torch.zeros(env.num_envs, env.spec.agents, dtype=torch.int64))


def private(env, seen, name):
    """What the agents of world 0 know of themselves, as lists."""
    columns = {"load": slice(4, 8), "touched": slice(8, 14)}[name]
    return seen.private[0, :, columns].tolist()


def places(seen):
    """Where everybody is, (B, E, 2)."""
    return seen.entities[..., :2] * POSITION_UNIT

"""The tasks of `mpe2`, in the state of one of ours."""

import torch
from mpe2 import simple_reference_v3, simple_speaker_listener_v4, simple_spread_v3


def spread(env, index):
    """`simple_spread` with the agents of world `index` of a `NavigationEnv`."""
    peer = simple_spread_v3.raw_env(N=int(env._team_size()[index]))
    peer.reset(seed=0)
    for slot, agent in enumerate(peer.world.agents):
        agent.size, agent.accel = float(env.radius[slot]), float(env.acceleration[slot])
    place(env, index, peer.world)
    return peer


def speaker_listener(env, index):
    peer = simple_speaker_listener_v4.raw_env()
    peer.reset(seed=0)
    place(env, index, peer.world)
    peer.world.agents[0].goal_b = peer.world.landmarks[env._goal[index, 1]]
    return peer


def reference(env, index):
    peer = simple_reference_v3.raw_env()
    peer.reset(seed=0)
    place(env, index, peer.world)
    for slot, agent in enumerate(peer.world.agents):
        agent.goal_b = peer.world.landmarks[env._goal[index, 1 - slot]]
    return peer


def place(env, index, world):
    """Everybody where it is in world `index`, as fast as there."""
    here = env._present[:, index] > 0
    position = env._position[:, here, index].T.double().numpy()
    velocity = env._velocity[:, here[: env.spec.agents], index].T.double().numpy()
    for body, spot in zip(world.entities, position, strict=True):
        body.state.p_pos = spot.copy()
    for agent, speed in zip(world.agents, velocity, strict=True):
        agent.state.p_vel = speed.copy()


def step(peer, actions):
    """Everybody's action; the mean reward of its agents."""
    for action in actions:
        peer.step(int(action))
    return sum(peer.rewards.values()) / len(peer.rewards)


def positions(peer):
    return torch.tensor([body.state.p_pos.tolist() for body in peer.world.entities])


def velocities(peer):
    return torch.tensor([agent.state.p_vel.tolist() for agent in peer.world.agents])


def crowd(env, generator, side=0.4):
    """Everybody anew, near to each other and on the move."""
    agents = env.spec.agents
    env._position = (torch.rand(env._position.shape, generator=generator) - 0.5) * 2 * side * env._present
    env._velocity = (torch.rand(env._velocity.shape, generator=generator) - 0.5) * 2 * env._present[:agents]

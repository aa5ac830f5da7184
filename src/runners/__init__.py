"""Who hosts the environments. Every host is an EntityEnv, so there is one collection loop: `runners.runner.Runner`."""

from collections.abc import Callable
from typing import Any

import torch

from envs.base import EntityEnv
from envs.hosted import FOREVER, Timeouts
from envs.hosts import WorkerEnv

#: builds the environments: (env_class, args, num_envs, seed, device, timeouts) -> EntityEnv
Host = Callable[..., EntityEnv]


def vector(
    env_class: Host,
    args: Any,
    num_envs: int,
    seed: int,
    device: torch.device | str = "cpu",
    timeouts: Timeouts = FOREVER,
) -> EntityEnv:
    """One batch of environments in this process, which waits for nobody: `timeouts` mean nothing to it."""
    return env_class(args, num_envs=num_envs, seed=seed, device=device)


def parallel(
    env_class: type[EntityEnv],
    args: Any,
    num_envs: int,
    seed: int,
    device: torch.device | str = "cpu",
    timeouts: Timeouts = FOREVER,
) -> EntityEnv:
    """One worker process per environment, for environments that are slow or play one episode at a time."""
    return WorkerEnv(env_class, args, num_envs=num_envs, seed=seed, device=device, timeouts=timeouts)


def ray(
    env_class: type[EntityEnv],
    args: Any,
    num_envs: int,
    seed: int,
    device: torch.device | str = "cpu",
    timeouts: Timeouts = FOREVER,
) -> EntityEnv:
    """An actor of Ray per environment, on the machines of a cluster: the same episodes as with `parallel`."""
    from envs.ray_actors import RayEnv  # late: nobody else needs Ray

    return RayEnv(env_class, args, num_envs=num_envs, seed=seed, device=device, timeouts=timeouts)


def episode(
    env_class: Host,
    args: Any,
    num_envs: int,
    seed: int,
    device: torch.device | str = "cpu",
    timeouts: Timeouts = FOREVER,
) -> EntityEnv:
    """A single environment in this process, whatever `num_envs` says."""
    return vector(env_class, args, 1, seed, device)


#: the key `runner` -> host
REGISTRY: dict[str, Host] = {"vector": vector, "parallel": parallel, "ray": ray, "episode": episode}

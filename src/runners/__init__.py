"""Who hosts the environments. Every host is an EntityEnv, so there is one collection loop: `runners.runner.Runner`."""

from collections.abc import Callable
from typing import Any

import torch

from envs.base import EntityEnv

#: builds the environments: (env_class, args, num_envs, seed, device) -> EntityEnv
Host = Callable[..., EntityEnv]


def vector(env_class: Host, args: Any, num_envs: int, seed: int, device: torch.device | str = "cpu") -> EntityEnv:
    """One batch of environments in this process."""
    return env_class(args, num_envs=num_envs, seed=seed, device=device)


def parallel(
    env_class: type[EntityEnv], args: Any, num_envs: int, seed: int, device: torch.device | str = "cpu"
) -> EntityEnv:
    """One worker process per environment, for environments that are slow or play one episode at a time."""
    from envs.hosts import WorkerEnv

    return WorkerEnv(env_class, args, num_envs=num_envs, seed=seed, device=device)


def episode(env_class: Host, args: Any, num_envs: int, seed: int, device: torch.device | str = "cpu") -> EntityEnv:
    """A single environment in this process, whatever `num_envs` says."""
    return vector(env_class, args, 1, seed, device)


#: the key `runner` -> host
REGISTRY: dict[str, Host] = {"vector": vector, "parallel": parallel, "episode": episode}

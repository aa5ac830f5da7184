"""Environments, by the name that `env` has in the configuration."""

from envs.base import EntityEnv
from envs.rescue.env import RescueEnv
from envs.starcraft.env import StarCraftEnv

REGISTRY: dict[str, type[EntityEnv]] = {
    "rescue": RescueEnv,
    "starcraft": StarCraftEnv,
}

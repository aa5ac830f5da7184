"""Environments, by the name that `env` has in the configuration."""

from envs.base import EntityEnv
from envs.matrix_game.env import MatrixGameEnv
from envs.particle.resource_collection.env import ResourceCollectionEnv
from envs.pettingzoo.env import PettingZooEnv
from envs.rescue.env import RescueEnv
from envs.starcraft.env import StarCraftEnv

REGISTRY: dict[str, type[EntityEnv]] = {
    "matrix_game": MatrixGameEnv,
    "pettingzoo": PettingZooEnv,
    "rescue": RescueEnv,
    "resource_collection": ResourceCollectionEnv,
    "starcraft": StarCraftEnv,
}

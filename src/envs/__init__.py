"""Environments, by the name that `env` has in the configuration."""

from envs.base import EntityEnv
from envs.matrix_game.env import MatrixGameEnv
from envs.particle.navigation import NavigationEnv
from envs.particle.reference import ReferenceEnv
from envs.particle.resource_collection.env import ResourceCollectionEnv
from envs.particle.speaker_listener import SpeakerListenerEnv
from envs.pettingzoo.env import PettingZooEnv
from envs.rescue.env import RescueEnv
from envs.smac.env import SmacEnv
from envs.starcraft.env import StarCraftEnv

REGISTRY: dict[str, type[EntityEnv]] = {
    "matrix_game": MatrixGameEnv,
    "navigation": NavigationEnv,
    "reference": ReferenceEnv,
    "pettingzoo": PettingZooEnv,
    "rescue": RescueEnv,
    "resource_collection": ResourceCollectionEnv,
    "smac": SmacEnv,
    "speaker_listener": SpeakerListenerEnv,
    "starcraft": StarCraftEnv,
}

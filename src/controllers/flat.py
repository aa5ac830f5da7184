"""Decentralised agents on flat observations, for teams in fixed slots."""

from controllers.entity import EntityController
from envs.base import EnvSpec
from modules.agents.flat_agent import FlatAgent
from utils.config import Config


class FlatController(EntityController):
    """As `EntityController`, but agents tell entities by their slots. Smaller teams leave slots empty; larger ones than
    there are slots cannot be played.
    """

    FIXED_SLOTS = True

    @classmethod
    def build(cls, config: Config, spec: EnvSpec) -> "FlatController":
        return cls(FlatAgent(cls.sizes(config, spec)), **cls.ways(config, spec))

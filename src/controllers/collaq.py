"""CollaQ: decentralised agents whose values are what they are worth on their own and what teammates change."""

from typing import Any

import torch
from torch import Tensor

from controllers.entity import EntityController, Prepared, Unroll
from envs.base import EnvSpec
from modules.agents.collaq_agent import CollaqAgent
from utils.config import Config


class CollaqController(EntityController):
    """Acts as `EntityController`; learners are also told what Q_collab says of agents on their own."""

    agent: CollaqAgent
    PIECES = False

    @classmethod
    def build(cls, config: Config, spec: EnvSpec) -> "CollaqController":
        return cls(CollaqAgent(cls.sizes(config, spec), config.alone_view), **cls.ways(config, spec))

    def acts_by(self) -> dict[str, Any]:
        return {**super().acts_by(), "alone_view": self.agent.alone_view}

    def unroll(
        self, data: Prepared, extra_masks: tuple[Tensor, ...] = (), generator: torch.Generator | None = None
    ) -> Unroll:
        """As `EntityController.unroll`, with `collab_alone`."""
        views = self._views(data, extra_masks)
        terms = [self.agent.terms(states, data.agent_mask, None, seen) for states, seen in views]
        return Unroll(tuple(term.value for term in terms), collab_alone=terms[0].collab_alone)

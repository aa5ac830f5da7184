"""MIPI: agents that act by a policy and keep utilities for learning (Wang et al., 2023, section 4.4)."""

import math
from typing import Any

import torch
from torch import Tensor

from components.action_selectors import ActionSelector
from controllers.entity import EntityController, Prepared, Unroll, View
from envs.base import EnvSpec, TimeStep
from modules.agents.heads import Targets
from modules.agents.mipi_agent import MipiAgent
from utils.config import Config


def only_itself(obs_mask: Tensor) -> Tensor:
    """`obs_mask (..., A, E)` without all that is not the agent itself."""
    agents, entities = obs_mask.shape[-2:]
    return obs_mask & torch.eye(agents, entities, dtype=torch.bool, device=obs_mask.device)


class MipiController(EntityController):
    """Actions come from the policy; the utilities are for the learner alone.

    With `alone` the policy's view is the agent itself, always: MIPI's ablation "alpha = infinity".
    """

    agent: MipiAgent

    def __init__(
        self,
        agent: MipiAgent,
        selector: ActionSelector,
        view: View,
        spec: EnvSpec,
        *,
        alone: bool = False,
        memory_steps: int = 0,
    ) -> None:
        super().__init__(agent, selector, view, spec, memory_steps=memory_steps)
        self.alone = alone

    @classmethod
    def build(cls, config: Config, spec: EnvSpec) -> "MipiController":
        return cls(MipiAgent(cls.sizes(config, spec)), **cls.ways(config, spec), alone=math.isinf(config.alpha))

    def acts_by(self) -> dict[str, Any]:
        return {**super().acts_by(), "alpha": "inf" if self.alone else "a number"}

    def _sight(self, timestep: TimeStep, step: Tensor) -> Tensor:
        view = super()._sight(timestep, step)
        return only_itself(view) if self.alone else view

    def _preferences(self, hidden: Tensor, agent_mask: Tensor, strategy: Tensor | None, targets: Targets) -> Tensor:
        logits: Tensor = self.agent.policy(hidden, targets)
        return logits

    def unroll(
        self, data: Prepared, extra_masks: tuple[Tensor, ...] = (), generator: torch.Generator | None = None
    ) -> Unroll:
        """As `EntityController.unroll`, with what the policies are computed from."""
        states, targets = zip(*self._views(data, extra_masks), strict=True)
        q = tuple(self.agent.values(s, data.agent_mask, None, t) for s, t in zip(states, targets, strict=True))
        return Unroll(q, states=torch.stack([s.detach() for s in states]), targets=targets)

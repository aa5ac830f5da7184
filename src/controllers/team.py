"""A centralised expert: the team as one agent that knows everything and chooses a joint action (Lin et al., 2019,
section 4.2).
"""

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from components.action_selectors import ActionSelector
from components.episodes import EpisodeBatch
from components.joint_actions import AllAtOnce, JointActions, OneAtATime
from controllers.base import Basis, ControllerState
from controllers.entity import EntityController, Prepared, View
from envs.base import EnvSpec, TimeStep
from modules.agents.team_agent import TeamAgent
from modules.layers.inputs import Rows
from utils.config import Config
from utils.errors import UserError


class OneView(View):
    """The view of the team as a whole: everything that is present, (..., 1, E)."""

    def apply(self, obs_mask: Tensor, entity_mask: Tensor, step: Tensor) -> Tensor:
        return entity_mask.unsqueeze(-2)


class TeamController(EntityController):
    """As `EntityController` with a team of one agent, which is there while anybody is, and whose actions are the N
    joint ones. For teams in fixed slots, as `FlatController`.
    """

    FIXED_SLOTS = True
    PIECES = False
    #: how the team's actions are numbered
    JOINT_ACTIONS: ClassVar[type[JointActions]]

    def __init__(
        self, agent: TeamAgent, selector: ActionSelector, view: View, spec: EnvSpec, *, memory_steps: int = 0
    ) -> None:
        super().__init__(agent, selector, view, spec, memory_steps=memory_steps)
        self.joint_actions = self.JOINT_ACTIONS(spec.agents, spec.actions)

    @classmethod
    def build(cls, config: Config, spec: EnvSpec) -> "TeamController":
        agent = TeamAgent(cls.sizes(config, spec), cls.JOINT_ACTIONS(spec.agents, spec.actions).count)
        return cls(agent, **cls.ways(config, spec))

    @staticmethod
    def ways(config: Config, spec: EnvSpec) -> dict[str, Any]:
        return {**EntityController.ways(config, spec), "view": OneView("joint")}

    @classmethod
    def check(cls, config: Config) -> None:
        if config.view != "joint":
            raise UserError(f"controller={config.controller} knows all that there is: it needs view=joint")
        if config.mixer != "none":
            raise UserError(f"controller={config.controller} has one value for the whole team: it needs mixer=none")

    def initial_state(self, num_envs: int, agents: int) -> ControllerState:
        return super().initial_state(num_envs, 1)

    def _deciders(self, agent_mask: Tensor) -> Tensor:
        return agent_mask.any(dim=-1, keepdim=True)

    def _select(
        self, values: Tensor, timestep: TimeStep, *, t_env: int, explore: bool, generator: torch.Generator
    ) -> Tensor:
        legal = self.joint_actions.legal(timestep.avail_mask).unsqueeze(-2)
        numbers = self.selector.select(values, legal, t_env=t_env, explore=explore, generator=generator)
        return self.joint_actions.decode(numbers.squeeze(-1), timestep.avail_mask)

    def _explain(
        self,
        told: Rows,
        timestep: TimeStep,
        sight: Tensor,
        values: Tensor,
        before: ControllerState,
        after: ControllerState,
    ) -> Basis | None:
        return None  # the team decides as one: no agent has a view or values of its own

    def prepare(self, batch: EpisodeBatch) -> Prepared:
        """As `EntityController.prepare`. Actions, legal actions and who is present are those of the team of one, for
        whom learners find values; what it reads is the batch as it was.
        """
        data = super().prepare(batch)
        there = self._deciders(batch.agent_mask)
        one = replace(
            batch,
            entity_mask=there,
            avail_mask=self.joint_actions.legal(batch.avail_mask).unsqueeze(-2),
            actions=self.joint_actions.encode(batch.actions, batch.avail_mask[:, :-1]).unsqueeze(-1),
        )
        return data._replace(batch=one, entity_mask=data.pack(there))


class JointController(TeamController):
    """All agents act at once."""

    JOINT_ACTIONS = AllAtOnce


class OneAtATimeController(TeamController):
    """One agent acts, the others idle."""

    JOINT_ACTIONS = OneAtATime

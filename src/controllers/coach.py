"""COPA: players with local views, and a coach that sees everything and sends each of them a strategy now and then."""

from typing import Any

import torch
from torch import Tensor

from components.action_selectors import ActionSelector
from controllers.base import Basis, ControllerState
from controllers.entity import Advice, Broadcast, EntityController, Prepared, Unroll, View
from envs.base import EnvSpec, TimeStep
from modules.agents.entity_agent import EntityAgent
from modules.coach import Coach, CoachSizes
from modules.layers.inputs import Rows, with_private
from utils.config import Config
from utils.masking import full_view


class CoachController(EntityController):
    """Strategies are sent at steps 0, T, 2T, ... and to an agent that joins in between (COPA, section 3).

    With `beta > 0`, in tests, an agent keeps its old strategy when the new one is no further away than `beta`.
    (The printed equation 5 has its two cases the wrong way round: read literally, only unchanged strategies are sent.)
    """

    PIECES = False

    def __init__(
        self,
        agent: EntityAgent,
        coach: Coach,
        selector: ActionSelector,
        view: View,
        spec: EnvSpec,
        *,
        interval: int,
        beta: float = 0.0,
        memory_steps: int = 0,
    ) -> None:
        super().__init__(agent, selector, view, spec, memory_steps=memory_steps)
        self.coach, self.interval, self.beta = coach, interval, beta

    @classmethod
    def build(cls, config: Config, spec: EnvSpec) -> "CoachController":
        sizes = cls.sizes(config, spec, strategy=config.strategy_dim)
        agent, inputs = EntityAgent(sizes), sizes.reader.width + sizes.private
        coach = Coach(CoachSizes(inputs, config.coach_embed_dim, config.attn_heads, config.strategy_dim))
        return cls(agent, coach, **cls.ways(config, spec), interval=config.broadcast_interval, beta=config.beta)

    @property
    def encoding_size(self) -> int:
        return self.coach.embed.out_features

    def acts_by(self) -> dict[str, Any]:
        return {**super().acts_by(), "broadcast_interval": self.interval}

    def initial_state(self, num_envs: int, agents: int) -> ControllerState:
        strategy = torch.zeros(num_envs, agents, self.agent.sizes.strategy, device=self.device)
        return {**super().initial_state(num_envs, agents), "strategy": strategy}

    def _advise(
        self,
        timestep: TimeStep,
        rows: Rows,
        state: ControllerState,
        explore: bool,
        generator: torch.Generator,
    ) -> tuple[Tensor, Advice]:
        agent_mask = timestep.agent_mask
        fresh = agent_mask & ~state["present"]  # everyone at step 0, later whoever joins
        regular = agent_mask & (state["step"] % self.interval == 0).unsqueeze(-1)
        old = state["strategy"]
        if not bool((fresh | regular).any()):
            return old, Advice({"strategy": old}, torch.zeros_like(fresh))
        inputs = with_private(rows.inputs, timestep.private)
        encoding = self.coach.encode(inputs, full_view(timestep.entity_mask, agent_mask.shape[1]))
        gaussian = self.coach.strategies(encoding)
        new = gaussian.sample(generator) if explore else gaussian.mean
        if self.beta > 0 and not explore:  # without a threshold even an unchanged strategy is a message
            regular = regular & ((new - old).norm(dim=-1) > self.beta)
        sent = fresh | regular
        strategy = torch.where(sent.unsqueeze(-1), new, old)
        return strategy, Advice({"strategy": strategy}, sent)

    def _explain(
        self,
        told: Rows,
        timestep: TimeStep,
        sight: Tensor,
        values: Tensor,
        before: ControllerState,
        after: ControllerState,
    ) -> Basis | None:
        basis = super()._explain(told, timestep, sight, values, before, after)
        assert basis is not None
        # whoever has just joined had none: what the slot holds is another's
        old = before["strategy"].masked_fill(~before["present"].unsqueeze(-1), 0.0)
        moved = (after["strategy"] - old).norm(dim=-1).masked_fill(~timestep.agent_mask, 0.0)
        return basis._replace(moved=moved)

    def unroll(
        self, data: Prepared, extra_masks: tuple[Tensor, ...] = (), generator: torch.Generator | None = None
    ) -> Unroll:
        """As `EntityController.unroll`; the batch's sequences begin at broadcast times (episode starts, or pieces
        whose length is a multiple of the interval).
        """
        views = self._views(data, extra_masks)
        broadcast = self._broadcast(data, generator)
        values = (self.agent.values(states, data.agent_mask, broadcast.strategy, seen) for states, seen in views)
        return Unroll(tuple(values), broadcast)

    def _broadcast(self, data: Prepared, generator: torch.Generator | None) -> Broadcast:
        """The coach's words over whole sequences: between two broadcasts the earlier strategy stays in force."""
        steps, agents = data.joined.shape[1:]
        encoding = self.coach.encode(data.state_inputs, full_view(data.entity_mask, agents))
        gaussian = self.coach.strategies(encoding)
        drawn = data.unpack(gaussian.sample(generator))
        step = torch.arange(steps, device=drawn.device).view(1, steps, 1)
        sent = data.batch.agent_mask & ((step % self.interval == 0) | data.joined)
        last_sent = torch.where(sent, step, 0).cummax(dim=1).values
        strategy = data.pack(drawn.gather(1, last_sent.unsqueeze(-1).expand_as(drawn)))
        return Broadcast(encoding, strategy, data.pack(sent), gaussian.mean, gaussian.log_variance)

"""Decentralised agents on entities: the controller of A-QMIX, REFIL, VDN and IQL."""

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from components import action_selectors, schedules
from components.action_selectors import ActionSelector
from components.episodes import EpisodeBatch
from controllers.base import Basis, Controller, ControllerState, Decision
from envs.base import EnvSpec, TimeStep
from modules.agents.entity_agent import AgentSizes, EntityAgent
from modules.agents.heads import Targets
from modules.layers.inputs import Reader, Rows, make_reader, with_private
from modules.layers.recurrence import Streams, make_streams
from utils.config import Config
from utils.masking import full_view, joined

VIEWS = ("local", "full", "periodic", "joint")


class View:
    """What an agent may look at: the environment's `obs_mask` (local), everything present (full), the full view every
    `interval` steps and the local one in between (periodic), or everything present with what each agent alone knows
    of itself (joint): all that there is to know, as for a centralised expert.
    """

    def __init__(self, kind: str = "local", interval: int = 4) -> None:
        if kind not in VIEWS:
            raise ValueError(f"unknown view {kind!r}; known: {', '.join(VIEWS)}")
        self.kind, self.interval = kind, interval

    def apply(self, obs_mask: Tensor, entity_mask: Tensor, step: Tensor) -> Tensor:
        """
        Args:
            obs_mask (..., A, E): the local view.
            entity_mask (..., E): who is present.
            step (...): int64, steps since the episode began, broadcastable to the leading axes.

        Returns:
            (..., A, E)
        """
        if self.kind == "local":
            return obs_mask
        full = full_view(entity_mask, obs_mask.shape[-2])
        if self.kind in ("full", "joint"):
            return full
        return torch.where((step % self.interval == 0)[..., None, None], full, obs_mask)


class Prepared(NamedTuple):
    """A batch of episodes with the network inputs that every pass over it shares.

    Padding is left out from here on: the M rows are the observed steps (0..L of a sequence of length L), sequence
    after sequence.
    """

    batch: EpisodeBatch
    #: (M,) int64, where each row stands in the flattened (B * (T+1)) steps
    rows: Tensor
    #: (M,) bool, rows that are followed by a played step
    acts_mask: Tensor
    #: (S,) int64, which rows those are; numbers, because picking rows by a mask makes a GPU tell the host how many
    acts: Tensor
    #: (S,) int64, the rows that follow the S played steps
    follows: Tensor
    #: (S,) int64, where the played steps stand in the flattened (B * T) steps
    steps: Tensor
    #: what agents read at the M rows
    read: Rows
    #: (M, E, I + P) what coach and mixer read
    state_inputs: Tensor
    #: (M, A, P)
    private: Tensor
    #: (M, E)
    entity_mask: Tensor
    #: (M, A, E) after the view rule
    view_mask: Tensor
    #: (B, T+1, A) where an agent has just joined
    joined: Tensor
    #: the presences of agents, over the flattened (M * A) rows
    streams: Streams

    @property
    def agent_mask(self) -> Tensor:
        """(M, A) which agent slots are in use."""
        return self.entity_mask[:, : self.batch.agents]

    def pack(self, steps: Tensor) -> Tensor:
        """(B, T+1, ...) -> (M, ...)."""
        return steps.flatten(0, 1).index_select(0, self.rows)

    def played(self, steps: Tensor) -> Tensor:
        """(B, T, ...) -> (S, ...)."""
        return steps.flatten(0, 1)[self.steps]

    def unpack(self, rows: Tensor) -> Tensor:
        """(M, ...) -> (B, T+1, ...), zeros at padded steps."""
        batch, steps = self.joined.shape[:2]
        flat = rows.new_zeros(batch * steps, *rows.shape[1:]).index_copy(0, self.rows, rows)
        return flat.view(batch, steps, *rows.shape[1:])


class Broadcast(NamedTuple):
    """What a coach said during a batch of episodes, at the M observed steps."""

    #: (M, A, C)
    encoding: Tensor
    #: (M, A, Z) the strategies in force
    strategy: Tensor
    #: (M, A) bool, where a new strategy was sent
    sent: Tensor
    #: distribution that the sent strategies come from, (M, A, Z) each
    mean: Tensor
    log_variance: Tensor


class Unroll(NamedTuple):
    """The values of whole episodes, at the M observed steps."""

    #: K tensors (M, A, U): the controller's own view first, then one per extra mask
    q: tuple[Tensor, ...]
    broadcast: Broadcast | None = None
    #: (K, M, A, H) the recurrent states behind the values, without gradients, where a learner asks more of them
    states: Tensor | None = None
    #: K: what heads read beside `states`
    targets: tuple[Targets, ...] = ()
    #: (M, A, U) CollaQ: Q_collab(o_alone) under the controller's own view
    collab_alone: Tensor | None = None


class EntityController(nn.Module, Controller):
    """One shared agent network; every agent decides from its own view and memory."""

    #: True: the networks have weights of their own for each slot, so that slots may be neither added nor left out
    FIXED_SLOTS: ClassVar[bool] = False
    #: whether a piece of an episode can be learnt from with `EpisodeBatch.start_memory` alone
    PIECES: ClassVar[bool] = True

    def __init__(
        self, agent: EntityAgent, selector: ActionSelector, view: View, spec: EnvSpec, *, memory_steps: int = 0
    ) -> None:
        """
        Args:
            memory_steps: memories start anew at every multiple of so many steps; 0: never within an episode. Values
                learnt on pieces of episodes mean something for memories as long as a piece only.
        """
        super().__init__()
        self.agent, self.selector, self.view, self.spec = agent, selector, view, spec
        self.reader: Reader = agent.sizes.reader
        self.memory_steps = memory_steps

    @classmethod
    def build(cls, config: Config, spec: EnvSpec) -> "EntityController":
        return cls(EntityAgent(cls.sizes(config, spec)), **cls.ways(config, spec))

    @staticmethod
    def sizes(config: Config, spec: EnvSpec, strategy: int = 0) -> AgentSizes:
        """Widths of the agents; `strategy`: Z."""
        return AgentSizes(
            reader=make_reader(spec, pairs=config.target_values == "pairs"),
            private=spec.private,
            embed=config.attn_embed_dim,
            heads=config.attn_heads,
            hidden=config.rnn_hidden_dim,
            strategy=strategy,
            layers=config.head_layers,
            recurrent=config.recurrent,
            joint=config.view == "joint",
            norm=config.norm == "layer",
        )

    @staticmethod
    def ways(config: Config, spec: EnvSpec) -> dict[str, Any]:
        """What every controller of this family is told beside its networks."""
        decay = schedules.REGISTRY[config.epsilon_decay]
        schedule = decay(config.epsilon_start, config.epsilon_finish, config.epsilon_anneal_time or config.t_max)
        return {
            "selector": action_selectors.REGISTRY[config.action_selector](schedule),
            "view": View(config.view, config.view_interval),
            "spec": spec,
            "memory_steps": config.sequence_length,
        }

    @property
    def encoding_size(self) -> int:
        """Width of a coach's encoding of an agent; 0 where there is no coach."""
        return 0

    @property
    def device(self) -> torch.device:
        """Where the networks live."""
        return next(self.parameters()).device

    def acts_by(self) -> dict[str, Any]:
        """The settings, by their names in the configuration, that decide together with the weights what is chosen, and
        that no weight's shape tells of. Plain values.
        """
        settings = {
            "attn_heads": self.agent.sizes.heads,
            "sequence_length": self.memory_steps,
            "view": self.view.kind,
        }
        return {**settings, "view_interval": self.view.interval} if self.view.kind == "periodic" else settings

    # --- acting ---------------------------------------------------------------------------------------------------

    def initial_state(self, num_envs: int, agents: int) -> ControllerState:
        return {
            "hidden": torch.zeros(num_envs, agents, self.agent.state_size, device=self.device),
            "present": torch.zeros(num_envs, agents, dtype=torch.bool, device=self.device),
            "step": torch.zeros(num_envs, dtype=torch.int64, device=self.device),
        }

    @torch.no_grad()
    def act(
        self,
        timestep: TimeStep,
        last_actions: Tensor,
        state: ControllerState,
        *,
        t_env: int,
        explore: bool,
        generator: torch.Generator,
    ) -> Decision:
        rows = self.reader.read(timestep.entities, timestep.avail_mask, last_actions)
        told = self._told(rows, timestep.private)
        sight = (self._sight(timestep, state["step"]),)
        seen = self.agent.perceive(told, timestep.private, sight)
        agent_mask = self._deciders(timestep.agent_mask)
        begins = agent_mask & ~state["present"]
        if self.memory_steps:
            begins |= (state["step"] % self.memory_steps == 0).unsqueeze(-1)
        hidden = self.agent.remember(seen[0], state["hidden"], begins)
        next_state = {"hidden": hidden, "present": agent_mask, "step": state["step"] + 1}
        strategy, said = self._advise(timestep, rows, state, explore, generator)
        (targets,) = self.agent.targets(told, sight)
        values = self._preferences(hidden, agent_mask, strategy, targets)
        actions = self._select(values, timestep, t_env=t_env, explore=explore, generator=generator)
        next_state |= said.state
        basis = self._explain(told, timestep, sight[0], values, state, next_state) if self.explains else None
        return Decision(actions, next_state, said.sent, basis)

    def _told(self, rows: Rows, private: Tensor) -> Rows:
        """`rows` as the agents read them, `private (..., A, P)`."""
        return rows._replace(inputs=with_private(rows.inputs, private)) if self.agent.sizes.joint else rows

    def _sight(self, timestep: TimeStep, step: Tensor) -> Tensor:
        """Hook: what the agents look at when they act, (B, A, E)."""
        return self.view.apply(timestep.obs_mask, timestep.entity_mask, step)

    def _deciders(self, agent_mask: Tensor) -> Tensor:
        """Hook: who is there to decide, (..., A), from which agents are present."""
        return agent_mask

    def _select(
        self, values: Tensor, timestep: TimeStep, *, t_env: int, explore: bool, generator: torch.Generator
    ) -> Tensor:
        """Hook: the agents' actions (B, A), from `values` of those who decide."""
        return self.selector.select(values, timestep.avail_mask, t_env=t_env, explore=explore, generator=generator)

    def _preferences(self, hidden: Tensor, agent_mask: Tensor, strategy: Tensor | None, targets: Targets) -> Tensor:
        """Hook: what the selector chooses by, (B, A, U): here the values."""
        return self.agent.values(hidden, agent_mask, strategy, targets)

    def _advise(
        self,
        timestep: TimeStep,
        rows: Rows,
        state: ControllerState,
        explore: bool,
        generator: torch.Generator,
    ) -> tuple[Tensor | None, "Advice"]:
        """Hook: the strategies that the values depend on in this step, and what was said."""
        return None, Advice({}, None)

    def _explain(
        self,
        told: Rows,
        timestep: TimeStep,
        sight: Tensor,
        values: Tensor,
        before: ControllerState,
        after: ControllerState,
    ) -> Basis | None:
        """Hook: what a decision came from: `values (B, A, U)` of what was `told`, between the states `before` and
        `after` it.
        """
        attention = self.agent.attended(told, timestep.private, sight)
        return Basis(sight, attention, self.selector.figures(values, timestep.avail_mask))

    # --- learning -------------------------------------------------------------------------------------------------

    def prepare(self, batch: EpisodeBatch) -> Prepared:
        """Compute once what every pass over `batch` reads."""
        filled = batch.filled_mask
        observed = torch.cat([filled[:, :1], filled], dim=1)  # the first observation, and one after every played step
        rows = observed.flatten().nonzero().squeeze(1)
        sequence, step = rows // observed.shape[1], rows % observed.shape[1]
        acts_mask = torch.cat([filled, torch.zeros_like(filled[:, :1])], dim=1).flatten()[rows]
        acts = acts_mask.nonzero().squeeze(1)

        def pack(steps: Tensor) -> Tensor:
            return steps.flatten(0, 1).index_select(0, rows)

        entity_mask, private = pack(batch.entity_mask), pack(batch.private)
        deciders = self._deciders(batch.agent_mask)
        since = step if batch.start_steps is None else step + batch.start_steps[sequence]
        read = self.reader.read(pack(batch.entities), pack(batch.avail_mask), pack(batch.last_actions))
        return Prepared(
            batch=batch,
            rows=rows,
            acts_mask=acts_mask,
            acts=acts,
            follows=acts + 1,
            steps=(rows - sequence)[acts],
            read=self._told(read, private),
            state_inputs=with_private(read.inputs, private),
            private=private,
            entity_mask=entity_mask,
            view_mask=self.view.apply(pack(batch.obs_mask), entity_mask, since),
            joined=joined(deciders),
            streams=self._streams(deciders & observed.unsqueeze(-1), rows, batch.start_memory),
        )

    @staticmethod
    def _streams(present: Tensor, rows: Tensor, memory: Tensor | None) -> Streams:
        """The streams of `present (B, T+1, A)` in terms of the packed `rows (M,)`; `memory (B, A, H)`: what those that
        start with a sequence start from.
        """
        steps, agents = present.shape[1:]
        order, counts, _ = make_streams(present)
        start = None
        if memory is not None and counts:
            first = order[: counts[0]]
            step = first // agents % steps
            start = memory[first // (agents * steps), first % agents].masked_fill((step > 0).unsqueeze(-1), 0.0)
        row_of_step = torch.empty(present.shape[:2].numel(), dtype=torch.int64, device=rows.device)
        row_of_step[rows] = torch.arange(len(rows), device=rows.device)
        return Streams(row_of_step[order // agents] * agents + order % agents, counts, start)

    def unroll(
        self, data: Prepared, extra_masks: tuple[Tensor, ...] = (), generator: torch.Generator | None = None
    ) -> Unroll:
        """Values of every step of a batch, from the memories that its sequences start with, with gradients.

        Args:
            data: from `prepare`.
            extra_masks: further views (M, A, E) of the same entities.
            generator: for what is sampled inside (a coach's strategies).
        """
        views = self._views(data, extra_masks)
        return Unroll(tuple(self.agent.values(states, data.agent_mask, None, seen) for states, seen in views))

    def values_at(self, data: Prepared, which: Tensor) -> Tensor:
        """Values (S, A, U) at the rows `which (S,)`, with gradients; without a memory no others are read."""
        agent = self.agent
        if agent.sizes.recurrent:
            return self.unroll(data).q[0][which]
        read, sight = data.read.at(which), (data.view_mask[which],)
        (seen,) = agent.perceive(read, data.private[which], sight)
        (targets,) = agent.targets(read, sight)
        return agent.values(agent.memory.step(seen, seen), data.agent_mask[which], None, targets)

    def _views(self, data: Prepared, extra_masks: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, Targets]]:
        """Recurrent states (M, A, H) and what heads read beside them, in the controller's view and each extra one."""
        masks = (data.view_mask, *extra_masks)
        states = self.agent.recall(self.agent.perceive(data.read, data.private, masks), data.streams)
        return zip(states.unbind(), self.agent.targets(data.read, masks), strict=True)


class Advice(NamedTuple):
    """What a coach said in one step."""

    #: entries to add to the controller's state
    state: ControllerState
    #: (B, A) bool, or None without a coach
    sent: Tensor | None

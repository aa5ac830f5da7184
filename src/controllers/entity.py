"""Decentralised agents on entities: the controller of A-QMIX, REFIL, VDN and IQL."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from components.action_selectors import EpsilonGreedy
from components.episodes import EpisodeBatch
from controllers.base import Controller, ControllerState, Decision
from envs.base import EnvSpec, TimeStep
from modules.agents.entity_agent import EntityAgent
from modules.layers.inputs import entity_inputs
from utils.masking import full_view, joined

VIEWS = ("local", "full", "periodic")


class View:
    """What an agent may look at: the environment's `obs_mask` (local), everything present (full), or the full view
    every `interval` steps and the local one in between (periodic).
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
        if self.kind == "full":
            return full
        return torch.where((step % self.interval == 0)[..., None, None], full, obs_mask)


class Prepared(NamedTuple):
    """A batch of episodes with the network inputs that every pass over it shares."""

    batch: EpisodeBatch
    #: (B, T+1, E, D + U) what agents read
    inputs: Tensor
    #: (B, T+1, E, D + U + P) what coach and mixer read; the same tensor where P = 0
    state_inputs: Tensor
    #: (B, T+1, A, E) after the view rule
    view_mask: Tensor
    #: (B, T+1, A) where an agent has just joined
    joined: Tensor


class Broadcast(NamedTuple):
    """What a coach said during a batch of episodes."""

    #: (B, T+1, A, C)
    encoding: Tensor
    #: (B, T+1, A, Z) the strategies in force
    strategy: Tensor
    #: (B, T+1, A) bool, where a new strategy was sent
    sent: Tensor
    #: distribution that the sent strategies come from, (B, T+1, A, Z) each
    mean: Tensor
    log_variance: Tensor


class Unroll(NamedTuple):
    """The values of whole episodes."""

    #: K tensors (B, T+1, A, U): the controller's own view first, then one per extra mask
    q: tuple[Tensor, ...]
    broadcast: Broadcast | None = None


class EntityController(nn.Module, Controller):
    """One shared agent network; every agent decides from its own view and memory."""

    def __init__(self, agent: EntityAgent, selector: EpsilonGreedy, view: View, spec: EnvSpec) -> None:
        super().__init__()
        self.agent, self.selector, self.view, self.spec = agent, selector, view, spec

    @property
    def device(self) -> torch.device:
        """Where the networks live."""
        return next(self.parameters()).device

    # --- acting ---------------------------------------------------------------------------------------------------

    def initial_state(self, num_envs: int) -> ControllerState:
        return {
            "hidden": torch.zeros(num_envs, self.spec.agents, self.agent.sizes.hidden, device=self.device),
            "present": torch.zeros(num_envs, self.spec.agents, dtype=torch.bool, device=self.device),
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
        inputs = entity_inputs(timestep.entities, last_actions, self.spec.actions)
        view = self.view.apply(timestep.obs_mask, timestep.entity_mask, state["step"])
        seen = self.agent.perceive(inputs, timestep.private, (view,))
        agent_mask = timestep.agent_mask
        reset = agent_mask & ~state["present"]
        states, hidden = self.agent.remember(seen[0].unsqueeze(1), state["hidden"], reset.unsqueeze(1))
        next_state = {"hidden": hidden, "present": agent_mask, "step": state["step"] + 1}
        strategy, said = self._advise(timestep, last_actions, state, explore, generator)
        values = self.agent.values(states[:, 0], agent_mask, strategy)
        actions = self.selector.select(values, timestep.avail_mask, t_env=t_env, explore=explore, generator=generator)
        return Decision(actions, {**next_state, **said.state}, said.sent)

    def _advise(
        self,
        timestep: TimeStep,
        last_actions: Tensor,
        state: ControllerState,
        explore: bool,
        generator: torch.Generator,
    ) -> tuple[Tensor | None, "Advice"]:
        """Hook: the strategies that the values depend on in this step, and what was said."""
        return None, Advice({}, None)

    # --- learning -------------------------------------------------------------------------------------------------

    def prepare(self, batch: EpisodeBatch) -> Prepared:
        """Compute once what every pass over `batch` reads."""
        last_actions = batch.last_actions
        inputs = entity_inputs(batch.entities, last_actions, self.spec.actions)
        state_inputs = inputs
        if batch.private.shape[-1] > 0:
            state_inputs = entity_inputs(batch.entities, last_actions, self.spec.actions, batch.private)
        step = torch.arange(inputs.shape[1], device=inputs.device)
        view = self.view.apply(batch.obs_mask, batch.entity_mask, step)
        return Prepared(batch, inputs, state_inputs, view, joined(batch.agent_mask))

    def unroll(
        self, data: Prepared, extra_masks: tuple[Tensor, ...] = (), generator: torch.Generator | None = None
    ) -> Unroll:
        """Values of every step of a batch, from a zero state, with gradients.

        Args:
            data: from `prepare`.
            extra_masks: further views (B, T+1, A, E) of the same entities.
            generator: for what is sampled inside (a coach's strategies).
        """
        states = self._memories(data, extra_masks)
        agent_mask = data.batch.agent_mask
        return Unroll(tuple(self.agent.values(s, agent_mask) for s in states))

    def _memories(self, data: Prepared, extra_masks: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Recurrent states (B, T+1, A, H) under the controller's view and under each extra mask."""
        batch, steps, agents = data.joined.shape
        masks = tuple(m.flatten(0, 1) for m in (data.view_mask, *extra_masks))
        seen = self.agent.perceive(data.inputs.flatten(0, 1), data.batch.private.flatten(0, 1), masks)
        views = len(masks)
        hidden = seen.new_zeros(views * batch, agents, seen.shape[-1])
        states, _ = self.agent.remember(
            seen.view(views * batch, steps, agents, -1), hidden, data.joined.repeat(views, 1, 1)
        )
        return states.chunk(views)


class Advice(NamedTuple):
    """What a coach said in one step."""

    #: entries to add to the controller's state
    state: ControllerState
    #: (B, A) bool, or None without a coach
    sent: Tensor | None

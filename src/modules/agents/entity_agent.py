"""The attention agent of A-QMIX, REFIL and COPA's players."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from envs.base import Targets
from modules.agents.heads import ActionHead, Candidates, make_candidates
from modules.layers.attention import EntityAttention
from modules.layers.linear import scaled_linear
from modules.layers.recurrence import StreamGRU, Streams


@dataclass(frozen=True)
class AgentSizes:
    """Widths of an entity agent."""

    #: D + U: an entity's features and, on agent rows, its last action
    inputs: int
    #: P: what the agent alone knows of itself
    private: int
    #: U
    actions: int
    #: width of embedding and attention
    embed: int
    #: N
    heads: int
    #: H
    hidden: int
    #: Z: width of a strategy that the values depend on; 0 for none
    strategy: int = 0
    #: which actions mean whom, for values of pairs; None: every action is an output of its own
    targets: Targets | None = None


class EntityAgent(nn.Module):
    """Entities -> linear, ReLU -> attention over what is seen -> linear, ReLU -> GRU -> values.

    With a strategy (COPA, section 3.2) the values come from (state, strategy).
    """

    def __init__(self, sizes: AgentSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.embed = scaled_linear(sizes.inputs, sizes.embed, relu=True)
        self.attention = EntityAttention(sizes.embed, sizes.embed, sizes.embed, sizes.heads, query_extra=sizes.private)
        # private features pass beside the attention as well: as part of a query they only choose what is looked at
        self.merge = scaled_linear(sizes.embed + sizes.private, sizes.hidden, relu=True)
        self.memory = StreamGRU(sizes.hidden, sizes.hidden)
        self.head = self.make_head()

    def make_head(self) -> ActionHead:
        """A last layer from the state (and the strategy) to one number per action."""
        sizes = self.sizes
        return ActionHead(sizes.hidden, sizes.inputs, sizes.actions, sizes.targets, sizes.strategy)

    @property
    def state_size(self) -> int:
        """Width of what an agent carries from step to step."""
        return self.sizes.hidden

    def perceive(self, inputs: Tensor, private: Tensor, masks: tuple[Tensor, ...]) -> Tensor:
        """What the agents see, without memory: all steps at once, once per mask.

        Args:
            inputs (M, E, D + U): from `entity_inputs`.
            private (M, A, P): private features.
            masks: K bool masks (M, A, E).

        Returns:
            (K, M, A, H)
        """
        seen = self.attention(F.relu(self.embed(inputs)), masks, private)
        if private.shape[-1] > 0:
            seen = torch.cat([seen, private.expand(len(masks), *private.shape)], dim=-1)
        return F.relu(self.merge(seen))

    def remember(self, seen: Tensor, hidden: Tensor, joined: Tensor) -> Tensor:
        """One step of the memory.

        Args:
            seen (B, A, H): from `perceive`, for one view.
            hidden (B, A, H): state before the step.
            joined (B, A): bool, True where an agent has just joined: its state starts at zero.

        Returns:
            (B, A, H)
        """
        return self.memory.step(seen, hidden.masked_fill(joined.unsqueeze(-1), 0.0))

    def recall(self, seen: Tensor, streams: Streams) -> Tensor:
        """The memory's states over whole sequences, each presence of an agent from an empty state.

        Args:
            seen (K, M, A, H): from `perceive`.
            streams: over the flattened (M * A) steps.

        Returns:
            (K, M, A, H), zeros for absent agents
        """
        states: Tensor = self.memory(seen.flatten(1, 2), streams)
        return states.view_as(seen)

    def candidates(self, inputs: Tensor, masks: tuple[Tensor, ...]) -> tuple[Candidates | None, ...]:
        """Whom the agents may target, once per mask; arguments as for `perceive`. None: values are not of pairs."""
        if self.sizes.targets is None:
            return (None,) * len(masks)
        return make_candidates(inputs, masks, self.sizes.targets)

    def values(
        self,
        states: Tensor,
        agent_mask: Tensor,
        strategy: Tensor | None = None,
        candidates: Candidates | None = None,
    ) -> Tensor:
        """Individual values; exactly 0 for absent agents.

        Args:
            states (..., A, H): from `remember`.
            agent_mask (..., A): bool.
            strategy (..., A, Z): only where the agent was built with one.
            candidates: of the view that the states come from.

        Returns:
            (..., A, U)
        """
        if strategy is not None:
            states = torch.cat([states, strategy], dim=-1)
        values: Tensor = self.head(states, candidates)
        return values.masked_fill(~agent_mask.unsqueeze(-1), 0.0)

"""The attention agent of A-QMIX, REFIL and COPA's players."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from modules.agents.heads import ActionHead, HeadSizes, MessageHead, PairHead, SlotHead, Targets
from modules.layers.attention import EntityAttention
from modules.layers.inputs import PairReader, Reader, Rows, SlotReader
from modules.layers.linear import normalised, scaled_linear
from modules.layers.recurrence import NoMemory, StreamGRU, Streams


@dataclass(frozen=True)
class AgentSizes:
    """Widths of an entity agent."""

    #: how it reads entities and names actions: I and W
    reader: Reader
    #: P: what the agent alone knows of itself
    private: int
    #: width of embedding and attention
    embed: int
    #: N
    heads: int
    #: H
    hidden: int
    #: Z: width of a strategy that the values depend on; 0 for none
    strategy: int = 0
    #: from the state to the values: 1 | 2, with a strategy 2 in any case
    layers: int = 1
    #: False: a layer in place of the memory
    recurrent: bool = True
    #: whether rows of agents say what those alone know of themselves
    joint: bool = False
    #: width of an agent's own action, which critics read beside its view
    action: int = 0
    #: whether layers are normalised before their ReLU
    norm: bool = False

    @property
    def own(self) -> int:
        """Width of what the agent reads of itself alone."""
        return self.private + self.action

    @property
    def pair_features(self) -> int:
        """F: those of the reader and, with an action, whom it points at."""
        return self.reader.pair_features + (self.action > 0 and self.reader.pair_features > 0)

    @property
    def inputs(self) -> int:
        """Width of a row as agents read it."""
        return self.reader.width + self.private * self.joint


class EntityAgent(nn.Module):
    """Entities -> linear, ReLU -> attention over what is seen -> linear, ReLU -> GRU -> values.

    With a strategy (COPA, section 3.2) the values come from (state, strategy).
    """

    def __init__(self, sizes: AgentSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.make_senses()
        width = sizes.hidden
        self.memory = StreamGRU(width, width) if sizes.recurrent else NoMemory(width, width, sizes.norm)
        self.head = self.make_head()

    def make_senses(self) -> None:
        """What `perceive` computes with."""
        sizes = self.sizes
        self.embed = scaled_linear(sizes.inputs, sizes.embed, relu=True)
        self.embed_norm = normalised(sizes.embed, sizes.norm)
        self.attention = EntityAttention(
            *(sizes.embed, sizes.embed, sizes.embed, sizes.heads),
            query_extra=sizes.own,
            pair_features=sizes.pair_features,
        )
        # private features pass beside the attention as well: as part of a query they only choose what is looked at
        self.merge = scaled_linear(sizes.embed + sizes.own, sizes.hidden, relu=True)
        self.merge_norm = normalised(sizes.hidden, sizes.norm)

    def make_head(self) -> ActionHead:
        """A last layer from the state (and the strategy) to one number per action."""
        sizes = HeadSizes(self.sizes.hidden, self.sizes.strategy, self.sizes.layers, self.sizes.norm)
        symbols = self.sizes.reader.spec.symbols
        acts = self._act_head(sizes)
        return MessageHead(sizes, symbols, acts) if symbols else acts

    def _act_head(self, sizes: HeadSizes) -> ActionHead:
        reader = self.sizes.reader
        if isinstance(reader, PairReader):
            return PairHead(sizes, reader.acts, inputs=self.sizes.inputs, points=reader.spec.points)
        if isinstance(reader, SlotReader):
            return SlotHead(sizes, reader.acts, basic=reader.spec.basic)
        return ActionHead(sizes, reader.acts)

    @property
    def state_size(self) -> int:
        """Width of what an agent carries from step to step."""
        return self.sizes.hidden

    def perceive(self, rows: Rows, private: Tensor, masks: tuple[Tensor, ...]) -> Tensor:
        """What the agents see, without memory: all steps at once, once per mask.

        Args:
            rows: of M steps, from the reader.
            private (M, A, P): private features.
            masks: K bool masks (M, A, E).

        Returns:
            (K, M, A, H)
        """
        seen = self.attention.attend(self._embedded(rows), masks, private, rows.pairs)
        merged = self.attention.read_out(seen, self.merge, private if private.shape[-1] > 0 else None)
        return torch.relu_(self.merge_norm(merged))

    def _embedded(self, rows: Rows) -> Tensor:
        """What the attention reads, (M, E, embed)."""
        return torch.relu_(self.embed_norm(self.embed(rows.inputs)))

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the heads in `attended`."""
        return tuple(str(head) for head in range(1, self.sizes.heads + 1))

    def attended(self, rows: Rows, private: Tensor, mask: Tensor) -> Tensor | None:
        """How much of each entity is in what `perceive` gives for one `mask`; arguments as there.

        Returns:
            (M, N, A, E), N the heads; None where there is no attention
        """
        return self.attention.weights(self._embedded(rows), mask, private, rows.pairs)

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

    def targets(self, rows: Rows, masks: tuple[Tensor, ...]) -> tuple[Targets, ...]:
        """What heads read beside the states, once per mask; arguments as for `perceive`."""
        return self.head.targets(rows, masks)

    def values(
        self,
        states: Tensor,
        agent_mask: Tensor,
        strategy: Tensor | None = None,
        targets: Targets = None,
    ) -> Tensor:
        """Individual values; exactly 0 for absent agents.

        Args:
            states (..., A, H): from `remember`.
            agent_mask (..., A): bool.
            strategy (..., A, Z): only where the agent was built with one.
            targets: from `targets`, for the view that the states come from.

        Returns:
            (..., A, U)
        """
        if strategy is not None:
            states = torch.cat([states, strategy], dim=-1)
        values: Tensor = self.head(states, targets)
        return values.masked_fill(~agent_mask.unsqueeze(-1), 0.0)

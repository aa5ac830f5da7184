"""CollaQ's agent: what it is worth on its own, and what the others change (Zhang et al., 2020)."""

from typing import NamedTuple

import torch
from torch import Tensor

from modules.agents.entity_agent import AgentSizes, EntityAgent
from modules.agents.heads import Candidates, Targets
from modules.layers.inputs import Rows
from modules.layers.recurrence import Streams

ALONE_VIEWS = ("no_teammates", "self")


class Terms(NamedTuple):
    """The three terms of an individual value, each (..., A, U); 0 for absent agents."""

    #: Q_alone(o_alone)
    alone: Tensor
    #: Q_collab(o)
    collab: Tensor
    #: Q_collab(o_alone)
    collab_alone: Tensor

    @property
    def value(self) -> Tensor:
        """Without teammates in sight the second and the third term cancel."""
        return self.alone + self.collab - self.collab_alone


class CollaqAgent(EntityAgent):
    """`Q_i = Q_alone(o_alone) + Q_collab(o) - Q_collab(o_alone)`: the entity agent itself is Q_alone, `collab` another.

    Q_collab looks at the same entities under two masks, so that its projections are computed once. Each of the three
    terms has a memory of its own: the state of an agent is their concatenation, 3H wide, in the order of `Terms`.
    """

    def __init__(self, sizes: AgentSizes, alone_view: str = "no_teammates") -> None:
        """
        Args:
            sizes: of each of the two networks.
            alone_view: what `o_alone` shows: `no_teammates` (all that `o` shows but other agents) or `self` (the
                agent's own entity).
        """
        if alone_view not in ALONE_VIEWS:
            raise ValueError(f"unknown alone_view {alone_view!r}; known: {', '.join(ALONE_VIEWS)}")
        super().__init__(sizes)
        self.alone_view = alone_view
        self.collab = EntityAgent(sizes)

    @property
    def state_size(self) -> int:
        return 3 * self.sizes.hidden

    def on_its_own(self, mask: Tensor, agents: Tensor | None = None) -> Tensor:
        """The mask of `o_alone`: `mask (..., A, E)` -> (..., A, E); `agents`: as in `Rows`."""
        count, entities = mask.shape[-2:]
        kept = torch.eye(count, entities, dtype=torch.bool, device=mask.device)
        if self.alone_view == "no_teammates":
            others = torch.arange(entities, device=mask.device) >= count if agents is None else ~agents.unsqueeze(-2)
            kept = kept | others
        return mask & kept

    def perceive(self, rows: Rows, private: Tensor, masks: tuple[Tensor, ...]) -> Tensor:
        """As `EntityAgent.perceive`, (K, M, A, 3H)."""
        solitary = tuple(self.on_its_own(mask, rows.agents) for mask in masks)
        alone = super().perceive(rows, private, solitary)
        return torch.cat([alone, *self.collab.perceive(rows, private, (*masks, *solitary)).chunk(2)], dim=-1)

    @property
    def heads(self) -> tuple[str, ...]:
        heads = super().heads
        return (*(f"alone {head}" for head in heads), *(f"team {head}" for head in heads))

    def attended(self, rows: Rows, private: Tensor, mask: Tensor) -> Tensor:
        """As `EntityAgent.attended`: the heads of Q_alone, on its own view, then those of Q_collab on the whole one."""
        alone = self.attention.weights(self._embedded(rows), self.on_its_own(mask, rows.agents), private, rows.pairs)
        team = self.collab.attention.weights(self.collab._embedded(rows), mask, private, rows.pairs)
        return torch.cat([alone, team], dim=1)

    def remember(self, seen: Tensor, hidden: Tensor, joined: Tensor) -> Tensor:
        """As `EntityAgent.remember`: `seen` and `hidden` (B, A, 3H) -> (B, A, 3H)."""
        seen, hidden = self._split(seen), self._split(hidden)
        alone = super().remember(seen[0], hidden[0], joined)
        return torch.cat([alone, *self.collab.remember(seen[1:], hidden[1:], joined)], dim=-1)

    def recall(self, seen: Tensor, streams: Streams) -> Tensor:
        """As `EntityAgent.recall`: `seen (K, M, A, 3H)` -> (K, M, A, 3H)."""
        seen = self._split(seen)
        alone = super().recall(seen[0], streams)
        return torch.cat([alone, *self.collab.recall(seen[1:].flatten(0, 1), streams).chunk(2)], dim=-1)

    def targets(self, rows: Rows, masks: tuple[Tensor, ...]) -> tuple[Targets, ...]:
        """As `EntityAgent.targets`; masks of candidates (2, M, A, E) are those of `o` and of `o_alone`."""
        return super().targets(rows, tuple(torch.stack([mask, self.on_its_own(mask, rows.agents)]) for mask in masks))

    def terms(
        self,
        states: Tensor,
        agent_mask: Tensor,
        strategy: Tensor | None = None,
        targets: Targets = None,
    ) -> Terms:
        """What a value consists of; arguments as for `values`."""
        alone, collab, collab_alone = self._split(states)
        whole = solitary = targets
        if isinstance(targets, Candidates):
            whole, solitary = (targets._replace(mask=mask) for mask in targets.mask)
        return Terms(
            super().values(alone, agent_mask, strategy, solitary),
            self.collab.values(collab, agent_mask, strategy, whole),
            self.collab.values(collab_alone, agent_mask, strategy, solitary),
        )

    def values(
        self,
        states: Tensor,
        agent_mask: Tensor,
        strategy: Tensor | None = None,
        targets: Targets = None,
    ) -> Tensor:
        """As `EntityAgent.values`: `states (..., A, 3H)` -> (..., A, U)."""
        return self.terms(states, agent_mask, strategy, targets).value

    @staticmethod
    def _split(states: Tensor) -> Tensor:
        """(..., 3H) -> (3, ..., H)."""
        return torch.stack(states.chunk(3, dim=-1))

"""From what an agent remembers to the values, or the logits, of its actions."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modules.layers.inputs import PAIR_FEATURES, Rows
from modules.layers.linear import Linear, normalised, scaled_linear

#: Hidden units for a pair of an agent and its target.
PAIR_DIM = 32


class Names(NamedTuple):
    """Which output means which entity."""

    #: (..., E) int64; those of absent entities do not matter
    names: Tensor

    def at(self, rows: Tensor) -> "Names":
        """Those at `rows (M,)`, bool."""
        return Names(self.names[rows])

    def of(self, agents: Tensor) -> "Names":
        """Those of `agents (M, A)`, bool: N groups of one agent, N the number of True entries."""
        return Names(self.names[agents.nonzero()[:, 0]])


class Candidates(NamedTuple):
    """Whom agents may point at, in one view: the last C of the E entities. I is the width of a row."""

    #: (..., A, I) the agents' own rows
    own: Tensor
    #: (..., C, I) rows of those that some agent may point at
    rows: Tensor
    #: (..., A, E, F) features of pairs
    pairs: Tensor
    #: (..., A, E) bool: the agent sees the entity
    mask: Tensor

    def at(self, rows: Tensor) -> "Candidates":
        """As `Names.at`."""
        return Candidates(*(part[rows] for part in self))

    def of(self, agents: Tensor) -> "Candidates":
        """As `Names.of`."""
        own, pairs, mask = (part[agents].unsqueeze(1) for part in (self.own, self.pairs, self.mask))
        return Candidates(own, self.rows[agents.nonzero()[:, 0]], pairs, mask)


#: What a head reads beside the states; None where every action is an output of its own.
Targets = Names | Candidates | None


@dataclass(frozen=True)
class HeadSizes:
    """What every head is made with."""

    #: H
    state: int
    #: Z: width of a strategy beside the state; 0 for none
    strategy: int = 0
    #: 1 | 2; with a strategy there are two in any case (COPA, section 3.2)
    layers: int = 1
    #: whether the first of two layers is normalised
    norm: bool = False


class ActionHead(nn.Module):
    """One number per action, each an output of its own, from the state (and the strategy)."""

    def __init__(self, sizes: HeadSizes, outputs: int) -> None:
        """`outputs`: how many actions, as the network knows them."""
        super().__init__()
        state, strategy = sizes.state, sizes.strategy
        self.plain: nn.Module = Linear(state, outputs)
        if strategy or sizes.layers > 1:
            norm = [normalised(state, True)] if sizes.norm else []
            self.plain = nn.Sequential(Linear(state + strategy, state), *norm, nn.ReLU(), Linear(state, outputs))

    def targets(self, rows: Rows, masks: tuple[Tensor, ...]) -> tuple[Targets, ...]:
        """What `forward` reads beside the states, in each of several views of the same entities.

        Args:
            rows: what the agents read.
            masks: K bool masks (..., A, E).
        """
        return (None,) * len(masks)

    def forward(self, states: Tensor, targets: Targets = None) -> Tensor:
        """
        Args:
            states (..., A, H [+ Z]): what the agents remember, and their strategies.
            targets: from `targets`, for the view that the states come from.

        Returns:
            (..., A, U)
        """
        plain: Tensor = self.plain(states)
        return plain


class SlotHead(ActionHead):
    """The papers' way: each name has an output; entity e gets that of its name. Every agent has targets on one side
    only, so that both sides share the outputs.
    """

    def __init__(self, sizes: HeadSizes, outputs: int, *, basic: int) -> None:
        super().__init__(sizes, outputs)
        self.basic = basic

    def targets(self, rows: Rows, masks: tuple[Tensor, ...]) -> tuple[Targets, ...]:
        assert rows.names is not None
        return (Names(rows.names.clamp(min=0)),) * len(masks)

    def forward(self, states: Tensor, targets: Targets = None) -> Tensor:
        assert isinstance(targets, Names)
        plain: Tensor = self.plain(states)
        names = targets.names.unsqueeze(-2).expand(*plain.shape[:-1], -1)
        return torch.cat([plain[..., : self.basic], plain[..., self.basic :].gather(-1, names)], dim=-1)


class PairHead(ActionHead):
    """The basic actions are outputs; actions that point share one, what it is worth to target anybody, to which is
    added what the agent's state, its own row, the row of the very entity and the features of the pair make of each
    other; for an entity that is not seen, nothing.

    So what is learnt of one target holds for all, nothing has to be packed through the attention to say which is which,
    and any number of entities will do. (The idea is that of action semantics: Wang et al., ICLR 2020.)
    """

    def __init__(self, sizes: HeadSizes, outputs: int, *, inputs: int, points: str) -> None:
        """
        Args:
            inputs: I, width of an entity's row.
            points: whom actions point at, as in `EnvSpec.points`.
        """
        super().__init__(sizes, outputs)
        self.points = points
        self.pair_state = scaled_linear(sizes.state + sizes.strategy, PAIR_DIM, relu=True)
        self.pair_own = scaled_linear(inputs, PAIR_DIM, relu=True, bias=False)
        self.pair_target = scaled_linear(inputs, PAIR_DIM, relu=True, bias=False)
        self.pair_features = scaled_linear(PAIR_FEATURES, PAIR_DIM, relu=True, bias=False)
        self.pair_out = Linear(PAIR_DIM, 1, bias=False)

    def targets(self, rows: Rows, masks: tuple[Tensor, ...]) -> tuple[Targets, ...]:
        assert rows.pairs is not None
        agents = masks[0].shape[-2]
        first = agents if self.points == "others" else 0
        own, entities = rows.inputs[..., :agents, :], rows.inputs[..., first:, :]
        return tuple(Candidates(own, entities, rows.pairs, mask) for mask in masks)

    def forward(self, states: Tensor, targets: Targets = None) -> Tensor:
        assert isinstance(targets, Candidates)
        plain: Tensor = self.plain(states)
        left_out = targets.mask.shape[-1] - targets.rows.shape[-2]  # slots that nobody points at
        own = self.pair_state(states) + self.pair_own(targets.own)
        # in place: these are by far the largest tensors, (..., A, C, PAIR_DIM)
        pairs = self.pair_features(targets.pairs[..., left_out:, :])
        pairs = pairs.add_(own.unsqueeze(-2)).add_(self.pair_target(targets.rows).unsqueeze(-3)).relu_()
        worth = self.pair_out(pairs).squeeze(-1).masked_fill(~targets.mask[..., left_out:], 0.0)
        return torch.cat([plain[..., :-1], plain[..., -1:] + F.pad(worth, (left_out, 0))], dim=-1)


class MessageHead(ActionHead):
    """Acts and symbols have outputs apart, and an action is worth the sum of both: the best pair is the best act with
    the best symbol, and a policy with these logits draws one independently of the other (where all pairs are legal).
    """

    def __init__(self, sizes: HeadSizes, symbols: int, acts: ActionHead) -> None:
        """`acts`: the head of the acts alone."""
        super().__init__(sizes, symbols)
        self.acts = acts

    def targets(self, rows: Rows, masks: tuple[Tensor, ...]) -> tuple[Targets, ...]:
        return self.acts.targets(rows, masks)

    def forward(self, states: Tensor, targets: Targets = None) -> Tensor:
        acts, symbols = self.acts(states, targets), self.plain(states)
        return (acts.unsqueeze(-1) + symbols.unsqueeze(-2)).flatten(-2)

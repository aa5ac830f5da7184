"""From what an agent remembers to the values, or the logits, of its actions."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from envs.base import Targets
from modules.layers.linear import scaled_linear

#: Hidden units for a pair of an agent and its target.
PAIR_DIM = 32


class Candidates(NamedTuple):
    """Whom agents may target, in one view. I is the width of an entity's row as networks read it."""

    #: (..., A, I) the agents' own rows
    own: Tensor
    #: (..., C, I) rows of the entities that some agent may target
    rows: Tensor
    #: (..., C, T) which target action means whom, 0 or 1
    names: Tensor
    #: (..., A, C) bool: seen, and on the side that the agent targets
    mask: Tensor

    def at(self, rows: Tensor) -> "Candidates":
        """Those at `rows (M,)`, bool."""
        return Candidates(*(part[rows] for part in self))

    def of(self, agents: Tensor) -> "Candidates":
        """Those of `agents (M, A)`, bool: N groups of one agent, N the number of True entries."""
        group = agents.nonzero()[:, 0]
        own, mask = self.own[agents].unsqueeze(-2), self.mask[agents].unsqueeze(-2)
        return Candidates(own, self.rows[group], self.names[group], mask)


def make_candidates(inputs: Tensor, masks: tuple[Tensor, ...], targets: Targets) -> tuple[Candidates, ...]:
    """Whom the agents may target, in each of several views of the same entities.

    Args:
        inputs (..., E, I): from `entity_inputs`.
        masks: K bool masks (..., A, E).
        targets: which actions mean whom.
    """
    agents = masks[0].shape[-2]
    own, others = inputs[..., :agents, :], inputs[..., agents:, :]
    if not targets.helpers:  # nobody targets a teammate
        return tuple(Candidates(own, others, others[..., targets.others], mask[..., agents:]) for mask in masks)
    names = inputs[..., targets.agents] + inputs[..., targets.others]  # each entity has a name of one kind
    helps = (inputs[..., :agents, list(targets.helpers)] == 1).any(dim=-1, keepdim=True)
    teammate = torch.arange(inputs.shape[-2], device=inputs.device) < agents
    return tuple(Candidates(own, inputs, names, mask & (helps == teammate)) for mask in masks)


class ActionHead(nn.Module):
    """One number per action, from an agent's state.

    Without `targets` every action is an output of its own. With them, the actions that target an entity share one
    output, what it is worth to target anybody, to which is added what the agent's state, its own row and the row of
    the very entity make of each other; for an entity that is not seen, nothing. So what is learnt of one target holds
    for all, and nothing has to be packed through the attention to say which is which. (The idea is that of action
    semantics: Wang et al., ICLR 2020.)

    With a strategy (COPA, section 3.2) outputs come from two layers over (state, strategy).
    """

    def __init__(self, state: int, inputs: int, actions: int, targets: Targets | None, strategy: int = 0) -> None:
        """
        Args:
            state: H.
            inputs: I, width of an entity's row.
            actions: U.
            targets: which actions mean whom; None: each has an output of its own.
            strategy: Z.
        """
        super().__init__()
        self.targets = targets
        outputs = actions if targets is None else targets.first + 1
        self.plain: nn.Module = nn.Linear(state, outputs)
        if strategy:
            self.plain = nn.Sequential(nn.Linear(state + strategy, state), nn.ReLU(), nn.Linear(state, outputs))
        if targets is not None:
            self.pair_state = scaled_linear(state + strategy, PAIR_DIM, relu=True)
            self.pair_own = scaled_linear(inputs, PAIR_DIM, relu=True, bias=False)
            self.pair_target = scaled_linear(inputs, PAIR_DIM, relu=True, bias=False)
            self.pair_out = nn.Linear(PAIR_DIM, 1, bias=False)

    def forward(self, states: Tensor, candidates: Candidates | None = None) -> Tensor:
        """
        Args:
            states (..., A, H [+ Z]): what the agents remember, and their strategies.
            candidates: whom they may target; needed where the head was built with `targets`.

        Returns:
            (..., A, U)
        """
        plain: Tensor = self.plain(states)
        if self.targets is None:
            return plain
        assert candidates is not None  # without them there would be one value for all targets, and nobody would notice
        own = self.pair_state(states) + self.pair_own(candidates.own)
        pairs = F.relu(own.unsqueeze(-2) + self.pair_target(candidates.rows).unsqueeze(-3))
        worth = self.pair_out(pairs).squeeze(-1).masked_fill(~candidates.mask, 0.0)
        return torch.cat([plain[..., :-1], plain[..., -1:] + worth @ candidates.names.to(worth.dtype)], dim=-1)

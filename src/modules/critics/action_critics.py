"""Critics of actions: what a state, or an agent's view, is worth with the actions that are taken there."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modules.agents.entity_agent import EntityAgent
from modules.critics.entity_critic import CriticSizes, TeamValue
from modules.layers.inputs import PairReader, Rows
from modules.layers.linear import scaled_linear
from modules.layers.slots import SlotLinear


class Situation(NamedTuple):
    """What is to be judged, at S steps."""

    #: what the agents read
    read: Rows
    #: (S, A, P)
    private: Tensor
    #: (S, E, I + P) what is known of the state
    state_inputs: Tensor
    #: (S, E)
    entity_mask: Tensor
    #: (S, A, E) what each agent sees
    view_mask: Tensor


class ActionCode(nn.Module):
    """Actions as critics read them. They are distributions over U, so that gradients pass through."""

    def __init__(self, agent: EntityAgent, fixed_slots: bool) -> None:
        """`fixed_slots`: an act that points is known by the slot that it points at, and not as agents know it."""
        super().__init__()
        self.reader, self.fixed_slots = agent.sizes.reader, fixed_slots

    @property
    def width(self) -> int:
        """W' of an agent's action."""
        spec = self.reader.spec
        return spec.actions if self.fixed_slots else self.reader.acts * max(spec.symbols, 1)

    def forward(self, actions: Tensor, read: Rows) -> tuple[Tensor, Tensor | None]:
        """`actions (S, A, U)`, zeros for absent agents -> (S, A, W'), and (S, A, E, F) what agents and entities are to
        each other, where that tells at whom actions point.
        """
        if self.fixed_slots:
            return actions, None
        code = self.reader.shares(actions, read.names)
        if not isinstance(self.reader, PairReader):
            return code, None
        assert read.pairs is not None
        return code, torch.cat([read.pairs, self.reader.target_shares(actions).unsqueeze(-1)], dim=-1)


class LocalCritic(nn.Module):
    """Q(o, u) of each agent, by a network like its own that reads its action as well: two hidden layers, no memory."""

    def __init__(self, agent: EntityAgent, fixed_slots: bool) -> None:
        super().__init__()
        self.code = ActionCode(agent, fixed_slots)
        self.trunk = type(agent)(replace(agent.sizes, recurrent=False, strategy=0, action=self.code.width))
        self.trunk.head = nn.Linear(agent.sizes.hidden, 1)  # type: ignore[assignment]

    def forward(self, at: Situation, actions: Tensor) -> Tensor:
        """`actions (S, A, U)` -> (S, A), 0 for absent agents."""
        code, pairs = self.code(actions, at.read)
        own = torch.cat([at.private, code], dim=-1)
        (seen,) = self.trunk.perceive(at.read._replace(pairs=pairs), own, (at.view_mask,))
        worth: Tensor = self.trunk.head(self.trunk.memory.step(seen, seen)).squeeze(-1)
        return worth.masked_fill(~at.entity_mask[:, : worth.shape[1]], 0.0)


class CentralCritic(nn.Module):
    """Q(s, u) of the team, over entities: teams of any size."""

    def __init__(self, agent: EntityAgent, fixed_slots: bool = False) -> None:
        super().__init__()
        self.code = ActionCode(agent, fixed_slots)
        sizes = agent.sizes
        pairs = sizes.reader.pair_features
        self.value = self._value(agent, sizes.reader.width + sizes.private + self.code.width, pairs and pairs + 1)

    def _value(self, agent: EntityAgent, inputs: int, pair_features: int) -> nn.Module:
        """A network from rows of the width `inputs` to a number for the team."""
        return TeamValue(CriticSizes(inputs, agent.sizes.embed, agent.sizes.heads, pair_features))

    def forward(self, at: Situation, actions: Tensor) -> Tensor:
        """`actions (S, A, U)` -> (S,)."""
        code, pairs = self.code(actions, at.read)
        others = at.entity_mask.shape[1] - code.shape[1]
        rows = torch.cat([at.state_inputs, F.pad(code, (0, 0, 0, others))], dim=-1)
        if pairs is not None:
            pairs = F.pad(pairs, (0, 0, 0, 0, 0, others))
        worth: Tensor = self.value(rows, at.entity_mask, pairs)
        return worth


class SlotCritic(CentralCritic):
    """Q(s, u) of the team, with all that is known laid end to end in fixed slots: two hidden layers."""

    def __init__(self, agent: EntityAgent) -> None:
        super().__init__(agent, fixed_slots=True)

    def _value(self, agent: EntityAgent, inputs: int, pair_features: int) -> nn.Module:
        return SlotValue(agent.sizes.reader.spec.entities, inputs, agent.sizes.hidden)


class SlotValue(nn.Module):
    """Rows in fixed slots -> two hidden layers -> a number; absent entities are zeros."""

    def __init__(self, slots: int, inputs: int, hidden: int) -> None:
        super().__init__()
        self.read = SlotLinear(slots, inputs, hidden)
        self.hidden, self.final = scaled_linear(hidden, hidden, relu=True), nn.Linear(hidden, 1)

    def forward(self, rows: Tensor, entity_mask: Tensor, pairs: Tensor | None = None) -> Tensor:
        """As `TeamValue.forward`; there are no pair features."""
        read = F.relu(self.read(rows, entity_mask[None, :, None])[0, :, 0])
        worth: Tensor = self.final(F.relu(self.hidden(read))).squeeze(-1)
        return worth


def make_critic(kind: str, agent: EntityAgent, fixed_slots: bool) -> nn.Module:
    """`kind`: central | local, for agents like `agent` (only its sizes matter)."""
    if kind == "local":
        return LocalCritic(agent, fixed_slots)
    return SlotCritic(agent) if fixed_slots else CentralCritic(agent)

"""The agent of QMIX, VDN and IQL as they were published: all that it sees laid end to end, in fixed slots."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modules.agents.entity_agent import EntityAgent
from modules.layers.inputs import Rows
from modules.layers.linear import normalised, scaled_linear
from modules.layers.slots import SlotLinear


class FlatAgent(EntityAgent):
    """Observation, own private features and own number -> linear, ReLU -> GRU -> values (Rashid et al., 2018).

    Without a memory: a network of two hidden layers (Lowe et al., 2017). Unseen entities are zeros. The agents share
    the network, and know by their number (one-hot) which of the slots is theirs.
    """

    def make_senses(self) -> None:
        sizes, spec = self.sizes, self.sizes.reader.spec
        self.entities = SlotLinear(spec.entities, sizes.inputs, sizes.hidden)
        self.own = scaled_linear(sizes.own, sizes.hidden, relu=True, bias=False) if sizes.own else None
        self.norm = normalised(sizes.hidden, sizes.norm)
        self.number = nn.Parameter(nn.init.uniform_(self.entities.weight.new_empty(spec.agents, sizes.hidden), -1, 1))

    def perceive(self, rows: Rows, private: Tensor, masks: tuple[Tensor, ...]) -> Tensor:
        seen: Tensor = torch.stack([self.entities(rows.inputs, mask) for mask in masks]) + self.number
        if self.own is not None:
            seen = seen + self.own(private)
        return F.relu(self.norm(seen))

    @property
    def heads(self) -> tuple[str, ...]:
        return ()

    def attended(self, rows: Rows, private: Tensor, mask: Tensor) -> Tensor | None:
        return None

"""The network of a team that decides as one: all that there is laid end to end, in fixed slots."""

import torch
from torch import Tensor
from torch.nn import functional as F

from modules.agents.entity_agent import AgentSizes, EntityAgent
from modules.agents.heads import ActionHead, HeadSizes
from modules.layers.inputs import Rows
from modules.layers.linear import normalised
from modules.layers.slots import SlotLinear


class TeamAgent(EntityAgent):
    """All rows -> linear, ReLU -> GRU -> a value of each joint action; without a memory a network of two hidden layers
    (Lin et al., 2019, appendices E.3 and E.4). To the methods of `EntityAgent` it is a team of one, A = 1 and U = N,
    and what agents alone know of themselves it reads in their rows.
    """

    def __init__(self, sizes: AgentSizes, joint_actions: int) -> None:
        """`joint_actions`: N."""
        self.joint_actions = joint_actions
        super().__init__(sizes)

    def make_senses(self) -> None:
        self.entities = SlotLinear(self.sizes.reader.spec.entities, self.sizes.inputs, self.sizes.hidden)
        self.norm = normalised(self.sizes.hidden, self.sizes.norm)

    def make_head(self) -> ActionHead:
        return ActionHead(
            HeadSizes(self.sizes.hidden, layers=self.sizes.layers, norm=self.sizes.norm), self.joint_actions
        )

    def perceive(self, rows: Rows, private: Tensor, masks: tuple[Tensor, ...]) -> Tensor:
        """As `EntityAgent.perceive`; `masks`: K of (M, 1, E), who is present; the result is (K, M, 1, H)."""
        return F.relu(self.norm(self.entities(rows.inputs, torch.stack(masks))))

    @property
    def heads(self) -> tuple[str, ...]:
        return ()

    def attended(self, rows: Rows, private: Tensor, mask: Tensor) -> Tensor | None:
        return None

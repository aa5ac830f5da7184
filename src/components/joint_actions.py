"""What a whole team does in one step as one number. Shape letters: A agent slots, U actions, N joint actions."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from utils.errors import UserError
from utils.masking import lowest_legal


class JointActions(ABC):
    """Joint actions 0..N-1 of a team in fixed slots, and which actions of the agents each one stands for.

    What a number stands for may depend on what is legal; two legal numbers never stand for the same.
    """

    def __init__(self, agents: int, actions: int) -> None:
        """`agents`: A; `actions`: U."""
        self.agents, self.actions = agents, actions

    @property
    @abstractmethod
    def count(self) -> int:
        """N."""

    @abstractmethod
    def legal(self, avail_mask: Tensor) -> Tensor:
        """Where every agent's part is legal: `avail_mask (..., A, U)` -> bool (..., N)."""

    @abstractmethod
    def encode(self, actions: Tensor, avail_mask: Tensor) -> Tensor:
        """`actions (..., A)`, legal by `avail_mask (..., A, U)` and so that a number stands for them -> int64 (...)."""

    @abstractmethod
    def decode(self, numbers: Tensor, avail_mask: Tensor) -> Tensor:
        """`numbers (...)`, legal by `avail_mask (..., A, U)` -> actions (..., A), int64."""


class AllAtOnce(JointActions):
    """Every combination of the agents' actions, N = U^A: the digits of a number to base U, the first slot's first."""

    #: the largest N that is not refused
    LIMIT: ClassVar[int] = 4096

    def __init__(self, agents: int, actions: int) -> None:
        """
        Raises:
            UserError: there are more than `LIMIT` combinations.
        """
        super().__init__(agents, actions)
        if self.count > self.LIMIT:
            raise UserError(
                f"controller=joint: {agents} agents with {actions} actions each have {self.count:,} joint actions, "
                f"more than {self.LIMIT:,}: take --config=one_at_a_time ({OneAtATime(agents, actions).count:,}) or "
                "--config=vdn"
            )

    @property
    def count(self) -> int:
        return int(self.actions**self.agents)

    def legal(self, avail_mask: Tensor) -> Tensor:
        first, *others = avail_mask.unbind(dim=-2)
        for other in others:
            first = (first.unsqueeze(-1) & other.unsqueeze(-2)).flatten(-2)
        return first

    def encode(self, actions: Tensor, avail_mask: Tensor) -> Tensor:
        return (actions * self._powers(actions)).sum(dim=-1)

    def decode(self, numbers: Tensor, avail_mask: Tensor) -> Tensor:
        return numbers.unsqueeze(-1).div(self._powers(numbers), rounding_mode="floor") % self.actions

    def _powers(self, like: Tensor) -> Tensor:
        return self.actions ** torch.arange(self.agents - 1, -1, -1, device=like.device)


class OneAtATime(JointActions):
    """Everybody idles (0), or one agent does something else while the others idle: N = 1 + A (U - 1).

    To idle is to take the lowest action that is legal: 0 where agents may always do nothing, "stop" for the living in
    battles. Number `1 + a (U - 1) + u - 1` has agent `a` take action `u`; it is illegal where that would be to idle.
    """

    @property
    def count(self) -> int:
        return 1 + self.agents * (self.actions - 1)

    def legal(self, avail_mask: Tensor) -> Tensor:
        codes = torch.arange(self.actions, device=avail_mask.device)
        moves = avail_mask & (codes != lowest_legal(avail_mask).unsqueeze(-1))
        moves = moves[..., 1:].flatten(-2)  # 0 is the lowest where it is legal
        return torch.cat([moves.new_ones(*moves.shape[:-1], 1), moves], dim=-1)

    def encode(self, actions: Tensor, avail_mask: Tensor) -> Tensor:
        moves = actions != lowest_legal(avail_mask)
        codes = 1 + torch.arange(self.agents, device=actions.device) * (self.actions - 1) + actions - 1
        return (codes * moves).amax(dim=-1)

    def decode(self, numbers: Tensor, avail_mask: Tensor) -> Tensor:
        slots = torch.arange(self.agents, device=numbers.device)
        action = numbers.unsqueeze(-1) - slots * (self.actions - 1)  # of the one whose turn it is, 1..U-1
        moves = (action > 0) & (action < self.actions)
        return torch.where(moves, action, lowest_legal(avail_mask))

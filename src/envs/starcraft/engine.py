"""What a battle engine is: it moves the units of a batch of battles, and knows nothing of agents or rewards.

Shape letters: B battles, S unit slots, the first A of them allies, the others enemies. **The battle is the
last axis here**, so that pair matrices `(S, S, B)` are summed over units in long contiguous rows; `encoding.py` turns
everything round once per step.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

from torch import Tensor

#: Game loops that one call of `advance` plays.
LOOPS_PER_STEP = 8


class Order(IntEnum):
    """What an allied unit is told to do during the next step."""

    STOP = 0
    MOVE = 1
    ATTACK = 2
    HEAL = 3


class Orders(NamedTuple):
    """One order for each allied unit; what is said to the dead and the absent is ignored."""

    #: (A, B) int64 `Order`
    kind: Tensor
    #: (2, A, B) where MOVE leads
    point: Tensor
    #: (A, B) int64 unit slot that ATTACK or HEAL is aimed at
    target: Tensor


class Units(NamedTuple):
    """All units of all battles. Values of absent and dead units are zero, but their position means nothing."""

    #: (S, B) int64 index into the scenario's unit types, -1 where the slot is empty
    type: Tensor
    #: (S, 1) int64 0 ally, 1 enemy
    owner: Tensor
    #: (2, S, B) x and y on the map, y towards north
    position: Tensor
    #: (S, B)
    health: Tensor
    #: (S, B)
    shield: Tensor
    #: (S, B)
    energy: Tensor
    #: (S, B) seconds until the weapon is ready
    cooldown: Tensor
    #: (S, B) bool
    alive: Tensor


class BattleEngine(ABC):
    """Plays battles between the team's units, which follow orders to the letter, and an enemy that the engine leads."""

    #: (B,) bool which battles broke down in the last step: they cannot be played on, and nothing of what was played
    #: of them counts; `spawn` begins others. None: that cannot happen
    lost: Tensor | None = None

    @abstractmethod
    def spawn(self, battles: Tensor, types: Tensor, position: Tensor) -> Units:
        """Begin new battles and return the units of all battles, old and new.

        Args:
            battles (R,): int64, which battles begin anew.
            types (S, R): int64 unit types, -1 for an empty slot.
            position (2, S, R): where the units stand. The enemy attacks towards the centre of the allied units.
        """

    @abstractmethod
    def advance(self, orders: Orders, battle_mask: Tensor) -> Units:
        """Play `LOOPS_PER_STEP` game loops where `battle_mask (B,)` is True; the other battles stand still, and so do
        those that are `lost`.
        """

    def targets(self, battle: int) -> dict[int, int]:
        """Whom each enemy went for in the last step of `battle`, slot -> slot; empty where the engine does not tell."""
        return {}

    def running(self) -> dict[str, Tensor]:
        """The battles as they stand, for `resume`, on the CPU."""
        raise NotImplementedError(f"{type(self).__name__} cannot save battles")

    def resume(self, state: Mapping[str, Tensor]) -> Units:
        """Go on with the battles that `running` saved, and return their units."""
        raise NotImplementedError(f"{type(self).__name__} cannot go on with saved battles")

    @property
    def restarts(self) -> int | None:
        """How often what moves the units was started anew after a breakdown; None: nothing that could break down."""
        return None

    def close(self) -> None:
        """Give back games and processes; idempotent."""

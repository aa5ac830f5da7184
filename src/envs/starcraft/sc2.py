"""StarCraft II itself as a battle engine: each battle has a game of its own, and all games move at the same time."""

from array import array
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import chain

import torch
from torch import Tensor

from envs.starcraft.battlefield import FIGURES, Battlefield
from envs.starcraft.engine import BattleEngine, Orders, Units
from envs.starcraft.game import together
from envs.starcraft.scenarios import LOOPS_PER_SECOND, UnitType
from utils.seeding import derive_seed


class Sc2Engine(BattleEngine):
    """`num_battles` battles of up to `team_slots` units against up to `enemy_slots` in StarCraft II."""

    def __init__(
        self,
        num_battles: int,
        team_slots: int,
        enemy_slots: int,
        units: Sequence[UnitType],
        seed: int,
        timeout: float,
        replay_folder: str = "",
    ) -> None:
        """
        Args:
            seed: of the games' own chance.
            timeout: seconds within which a game has to start, and to answer.
            replay_folder: where `close` leaves the games' own replays; "": nowhere.
        """
        slots, names = team_slots + enemy_slots, [unit.name for unit in units]
        self.fields = [
            Battlefield(team_slots, slots, names, derive_seed(seed, "battle", i), timeout, replay_folder)
            for i in range(num_battles)
        ]
        self.lost = torch.zeros(num_battles, dtype=torch.bool)
        self._owners = (torch.arange(slots) >= team_slots).long()[:, None]
        self._type = torch.full((slots, num_battles), -1, dtype=torch.int64)

    @property
    def restarts(self) -> int | None:
        return sum(field.restarts for field in self.fields)

    def spawn(self, battles: Tensor, types: Tensor, position: Tensor) -> Units:
        columns = zip(battles.tolist(), types.T.tolist(), position.permute(2, 1, 0).tolist(), strict=True)
        together(self.fields[i].begin(kinds, places) for i, kinds, places in columns)
        self._type = self._type.index_copy(1, battles, types)
        return self._units()

    def advance(self, orders: Orders, battle_mask: Tensor) -> Units:
        playing = battle_mask.nonzero()[:, 0].tolist()
        columns = list(
            zip(orders.kind.T.tolist(), orders.point.permute(2, 1, 0).tolist(), orders.target.T.tolist(), strict=True)
        )
        faults = together(self.fields[i].play(*columns[i]) for i in playing)
        self.lost = torch.zeros_like(battle_mask)
        for number, fault in faults.items():
            self.lost[playing[number]] = True
            self.fields[playing[number]].recover(fault)
        return self._units()

    def close(self) -> None:
        with ExitStack() as stack:  # each is closed, whatever becomes of the others
            for field in self.fields:
                stack.callback(field.close)

    def _units(self) -> Units:
        # torch takes several times as long for lists
        numbers = array("f", chain.from_iterable(figures for field in self.fields for figures in field.units))
        rows = torch.frombuffer(numbers, dtype=torch.float32).view(len(self.fields), -1, FIGURES)
        rows = rows.permute(2, 1, 0).contiguous()
        return Units(
            type=self._type,
            owner=self._owners,
            position=rows[:2],
            health=rows[2],
            shield=rows[3],
            energy=rows[4],
            cooldown=rows[5] / LOOPS_PER_SECOND,
            alive=rows[6] > 0,
        )

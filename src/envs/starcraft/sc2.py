"""StarCraft II itself as a battle engine, with the set-up of REFIL's public code: debug commands place the units on an
empty map, and the team's are of passive types that do nothing they were not told to.

One engine plays one battle at a time: B is 1 here. What goes wrong with the game loses the battle in progress, and
another game is started for the next one.
"""

import math
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from s2clientprotocol import common_pb2, debug_pb2, error_pb2, raw_pb2
from torch import Tensor

from envs.starcraft.engine import LOOPS_PER_STEP, BattleEngine, Order, Orders, Units
from envs.starcraft.game import Game, GameFault
from envs.starcraft.scenarios import LOOPS_PER_SECOND, MAP_SIZE, UnitTable, UnitType
from utils.errors import RunFailed
from utils.seeding import derive_seed

#: The game's numbers of unit types: of those that fight by themselves, and of the map's passive ones.
AGGRESSIVE = {"marine": 48, "marauder": 51, "medivac": 54, "stalker": 74, "zealot": 73, "colossus": 4}
PASSIVE = {"marine": 1939, "marauder": 1938, "medivac": 1940, "stalker": 1941, "zealot": 1942, "colossus": 1936}
TERRAN = ("marine", "marauder", "medivac")
#: The game's numbers of orders.
ABILITIES = {Order.STOP: 4, Order.MOVE: 16, Order.ATTACK: 23, Order.HEAL: 386}
ALLY, ENEMY = 1, 2
#: How often the game may need so many loops until units have appeared, or are gone, before that counts as never.
WAITS, LOOPS_PER_WAIT = 100, 2
#: Games that may go wrong one after the other, without a battle that was played to its end in between.
RETRIES = 5
#: Seconds before the next game is started, after the first, second, ... of them.
PAUSES = (0.0, 1.0, 2.0, 4.0, 8.0)


def patience(timeout: float) -> float:
    """Seconds that starting games anew may take until it is given up; `timeout`: of a request, and of a start."""
    return RETRIES * 2 * timeout + sum(PAUSES)


class Sc2Engine(BattleEngine):
    """A battle of up to `team_slots` units against up to `enemy_slots` in StarCraft II."""

    def __init__(
        self,
        team_slots: int,
        enemy_slots: int,
        units: Sequence[UnitType],
        seed: int,
        timeout: float,
        replay_folder: str = "",
    ) -> None:
        """
        Args:
            seed: of the game's own chance.
            timeout: seconds within which a game has to start, and to answer.
            replay_folder: where `close` leaves the game's own replay; "": nowhere.
        """
        self.table = UnitTable(units)
        self._team, self._slots = team_slots, team_slots + enemy_slots
        self._owners = (torch.arange(self._slots) >= self._team).long()[:, None]
        self._seed, self._timeout, self._replay_folder = seed, timeout, replay_folder
        names = [unit.name for unit in units]
        self._numbers = {ALLY: [PASSIVE[name] for name in names], ENEMY: [AGGRESSIVE[name] for name in names]}
        self._race = common_pb2.Terran if names[0] in TERRAN else common_pb2.Protoss
        self._game: Game | None = None
        self._launches = 0
        #: games that went wrong one after the other
        self._faults = 0
        self._in_order = True
        self._leads_enemy = False
        #: slot -> the game's tag of its unit; slots are not reused within a battle
        self._tags: dict[int, int] = {}
        #: what is added to a position in our field to have it on the game's map (x, y), and where that map ends
        self._shift: Any = np.zeros(2, dtype=np.float32)
        self._corners = ((0.0, 0.0), (MAP_SIZE, MAP_SIZE))
        self._units = self._read([], torch.full((self._slots, 1), -1, dtype=torch.int64))

    @property
    def restarts(self) -> int | None:
        return max(self._launches - 1, 0)

    def spawn(self, battles: Tensor, types: Tensor, position: Tensor) -> Units:
        if len(battles) == 0:
            return self._units
        if not bool((types >= 0).any()):
            self._units = self._read([], types)
            return self._units
        if self._in_order:
            self._faults = 0
        while True:
            try:
                if self._game is None:
                    self._launch()
                assert self._game is not None
                self._units = self._begin(self._game, types, position)
                self._in_order = True
                return self._units
            except GameFault as fault:
                self._recover(fault)

    def advance(self, orders: Orders, battle_mask: Tensor) -> Units:
        if bool(battle_mask.any()):
            game = self._game
            assert game is not None
            try:
                commands = self._commands(orders)
                results, seen = game.play(commands, LOOPS_PER_STEP)
                _check(commands, results)
                self._units = self._read(seen, self._units.type)
            except GameFault as fault:
                self._recover(fault)
                raise
        return self._units

    def close(self) -> None:
        game, self._game = self._game, None
        if game is None:
            return
        try:
            if self._replay_folder:
                self._save_replay(game)
        finally:
            game.close()

    def _save_replay(self, game: Game) -> None:
        folder = Path(self._replay_folder)
        with suppress(GameFault):  # whoever closes in the middle of a request gets none
            replay = game.save_replay()
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{self._seed}-{self._launches}.SC2Replay").write_bytes(replay)

    # --- the game as a process ----------------------------------------------------------------------------------------

    def _launch(self) -> None:
        self._launches += 1
        if self._faults:
            time.sleep(PAUSES[self._faults - 1])
        chance = derive_seed(self._seed, "game", self._launches) % 2**31
        self._game = game = Game(self._race, chance, self._timeout)
        self._leads_enemy = False
        info = game.info()
        width = np.array([info.map_size.x, info.map_size.y], dtype=np.float32)
        self._shift = width / 2 - MAP_SIZE / 2
        area = info.playable_area
        self._corners = ((area.p0.x, area.p0.y), (area.p1.x, area.p1.y))

    def _recover(self, fault: GameFault) -> None:
        """End a game that went wrong.

        Raises:
            RunFailed: too many did.
        """
        if self._game is not None:
            self._game.close(kill=True)
        self._game, self._in_order = None, False
        self._faults += 1
        if self._faults > RETRIES:
            raise RunFailed(
                f"StarCraft II went wrong {self._faults} times in a row, the last time at {fault}; docs/starcraft.md "
                "has known troubles and their remedies"
            )

    # --- a new battle -------------------------------------------------------------------------------------------------

    def _begin(self, game: Game, types: Tensor, position: Tensor) -> Units:
        self._clear(game)
        kinds = types[:, 0].tolist()
        places = (position[..., 0].T.numpy() + self._shift).tolist()
        present = [slot for slot, kind in enumerate(kinds) if kind >= 0]
        commands = []
        for slot in present:
            owner = self._owner(slot)
            unit = debug_pb2.DebugCreateUnit(unit_type=self._numbers[owner][kinds[slot]], owner=owner, quantity=1)
            unit.pos.x, unit.pos.y = places[slot]
            commands.append(debug_pb2.DebugCommand(create_unit=unit))
        game.debug(commands)
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for slot in present:
            groups[self._owner(slot), self._numbers[self._owner(slot)][kinds[slot]]].append(slot)
        self._tags, seen = self._await(game, groups, places)
        self._send_enemies(game, [places[slot] for slot in present if slot < self._team])
        return self._read(seen, types)

    def _owner(self, slot: int) -> int:
        return ALLY if slot < self._team else ENEMY

    def _clear(self, game: Game) -> None:
        """Remove whoever is left of the last battle."""
        units = game.units()
        if units:
            killed = debug_pb2.DebugKillUnit(tag=[unit.tag for unit in units])
            game.debug([debug_pb2.DebugCommand(kill_unit=killed)])
        for _ in range(WAITS):
            if not units:
                return
            game.step(LOOPS_PER_WAIT)
            units = game.units()
        raise GameFault(f"debug: {len(units)} units that were to be removed are still there")

    def _await(
        self, game: Game, groups: dict[tuple[int, int], list[int]], places: Sequence[Sequence[float]]
    ) -> tuple[dict[int, int], Sequence[Any]]:
        """Wait for the units of `groups` (owner and type -> slots) to appear; returns their tags by slot, and them."""
        for _ in range(WAITS):
            game.step(LOOPS_PER_WAIT)
            seen = game.units()
            found: dict[tuple[int, int], list[Any]] = defaultdict(list)
            for unit in seen:
                found[unit.owner, unit.unit_type].append(unit)
            if {key: len(units) for key, units in found.items()} == {key: len(slots) for key, slots in groups.items()}:
                tags: dict[int, int] = {}
                for key, slots in groups.items():
                    tags.update(_nearest(slots, places, found[key]))
                return tags, seen
        unknown = sorted({number for _, number in groups} - game.unit_types())
        reason = f": the game knows no unit types {unknown} on this map" if unknown else ""
        raise GameFault(f"debug: units that were to be placed do not appear{reason}")

    def _send_enemies(self, game: Game, team: Sequence[Sequence[float]]) -> None:
        """Let the enemy attack towards where the team stands."""
        if not self._leads_enemy:
            # once in a game: the same command again would give the control back
            game.debug([debug_pb2.DebugCommand(game_state=debug_pb2.control_enemy)])
            self._leads_enemy = True
        tags = [tag for slot, tag in self._tags.items() if slot >= self._team]
        order = raw_pb2.ActionRawUnitCommand(ability_id=ABILITIES[Order.ATTACK], unit_tags=tags)
        order.target_world_space_pos.x = math.fsum(x for x, _ in team) / len(team)
        order.target_world_space_pos.y = math.fsum(y for _, y in team) / len(team)
        (result,) = game.act([order])
        if result != error_pb2.Success:
            raise GameFault(f"action: the game refuses to send the enemy ({error_pb2.ActionResult.Name(result)})")

    # --- a step -------------------------------------------------------------------------------------------------------

    def _commands(self, orders: Orders) -> list[Any]:
        alive = self._units.alive[:, 0].tolist()
        kinds, targets = orders.kind[:, 0].tolist(), orders.target[:, 0].tolist()
        points = (orders.point[..., 0].T.numpy() + self._shift).tolist()
        (left, low), (right, high) = self._corners
        commands = []
        for slot, tag in self._tags.items():
            if slot >= self._team or not alive[slot]:
                continue
            kind = Order(kinds[slot])
            command = raw_pb2.ActionRawUnitCommand(ability_id=ABILITIES[kind], unit_tags=[tag])
            if kind == Order.MOVE:
                x, y = points[slot]
                command.target_world_space_pos.x = min(max(x, left), right)
                command.target_world_space_pos.y = min(max(y, low), high)
            elif kind != Order.STOP:
                command.target_unit_tag = self._tags[targets[slot]]
            commands.append(command)
        return commands

    def _read(self, seen: Sequence[Any], types: Tensor) -> Units:
        """The units of the battle in our slots; whoever is not `seen` is dead."""
        slots = {tag: slot for slot, tag in self._tags.items()}
        (east, north), nothing = self._shift.tolist(), [0.0] * 7
        # x, y, health, shield, energy, cooldown in game loops, alive
        figures = [nothing] * self._slots
        for unit in seen:
            slot, place = slots.get(unit.tag), unit.pos
            if slot is not None and unit.health > 0:
                gauges = (unit.health, unit.shield, unit.energy, unit.weapon_cooldown)
                figures[slot] = [place.x - east, place.y - north, *gauges, 1.0]
        rows = torch.tensor(figures).T.contiguous()[..., None]
        return Units(
            type=types.clone(),
            owner=self._owners,
            position=rows[:2],
            health=rows[2],
            shield=rows[3],
            energy=rows[4],
            cooldown=rows[5] / LOOPS_PER_SECOND,
            alive=rows[6] > 0,
        )


def _check(commands: Sequence[Any], results: Sequence[int]) -> None:
    """
    Raises:
        GameFault: the game has refused an order.
    """
    for command, result in zip(commands, results, strict=True):
        # a Medivac may be told to heal who needs nothing, or without energy; the game is free to refuse that
        if result != error_pb2.Success and command.ability_id != ABILITIES[Order.HEAL]:
            name = error_pb2.ActionResult.Name(result)
            raise GameFault(f"action: the game refuses the order {command.ability_id} ({name})")


def _nearest(slots: Sequence[int], places: Sequence[Sequence[float]], units: Sequence[Any]) -> dict[int, int]:
    """Which unit of one type stands for which slot: those nearest to each other first. The game may push units aside
    when they appear, and does not say which command made which.
    """
    pairs = sorted(
        (math.dist(places[slot], (unit.pos.x, unit.pos.y)), slot, unit.tag) for slot in slots for unit in units
    )
    tags: dict[int, int] = {}
    for _, slot, tag in pairs:
        if slot not in tags and tag not in tags.values():
            tags[slot] = tag
    return dict(sorted(tags.items()))

"""One game of StarCraft II and the battle in it, with the set-up of REFIL's public code: debug commands place the units
on an empty map, and the team's are of passive types that do nothing they were not told to.

What goes wrong with the game loses the battle in progress, and another game is started for the next one.
"""

import math
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from s2clientprotocol import common_pb2, debug_pb2, error_pb2, raw_pb2

from envs.starcraft.engine import LOOPS_PER_STEP, Order
from envs.starcraft.game import Dialogue, Game, GameFault
from envs.starcraft.scenarios import MAP_SIZE
from utils.errors import RunFailed
from utils.seeding import derive_seed

#: The game's numbers of unit types: of those that fight by themselves, and of the map's passive ones.
AGGRESSIVE = {"marine": 48, "marauder": 51, "medivac": 54, "stalker": 74, "zealot": 73, "colossus": 4}
PASSIVE = {"marine": 1939, "marauder": 1938, "medivac": 1940, "stalker": 1941, "zealot": 1942, "colossus": 1936}
TERRAN = ("marine", "marauder", "medivac")
#: The game's numbers of orders.
ABILITIES: dict[int, int] = {Order.STOP: 4, Order.MOVE: 16, Order.ATTACK: 23, Order.HEAL: 386}
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


#: A unit as the game tells of it: x, y, health, shield, energy, cooldown in game loops, and whether it is alive.
FIGURES = 7
NOTHING = (0.0,) * FIGURES
Point = tuple[float, float]


class Battlefield:
    """A battle of up to `team` units against those in the slots that follow."""

    def __init__(
        self, team: int, slots: int, names: Sequence[str], seed: int, timeout: float, replay_folder: str
    ) -> None:
        """
        Args:
            names: of the unit types, in the order in which battles number them.
            seed: of the game's own chance.
            timeout: seconds within which a game has to start, and to answer.
            replay_folder: where `close` leaves the game's own replay; "": nowhere.
        """
        self._team, self._slots = team, slots
        self._seed, self._timeout, self._replay_folder = seed, timeout, replay_folder
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
        self._shift = (0.0, 0.0)
        self._corners = ((0.0, 0.0), (MAP_SIZE, MAP_SIZE))
        #: the units by slot, `FIGURES` of each in our field; whoever is not there is `NOTHING`
        self.units: list[tuple[float, ...]] = [NOTHING] * slots

    @property
    def restarts(self) -> int:
        return max(self._launches - 1, 0)

    def begin(self, kinds: Sequence[int], places: Sequence[Point]) -> Dialogue[None]:
        """Begin a new battle, in a new game if need be: what stands in each slot (-1: nobody), and where."""
        if max(kinds) < 0:
            self._tags, self.units = {}, [NOTHING] * self._slots
            return
        if self._in_order:
            self._faults = 0
        while True:
            try:
                if self._game is None:
                    yield from self._launch()
                assert self._game is not None
                east, north = self._shift
                yield from self._place(self._game, kinds, [(x + east, y + north) for x, y in places])
                self._in_order = True
                return
            except GameFault as fault:
                self.recover(fault)

    def play(self, kinds: Sequence[int], points: Sequence[Point], targets: Sequence[int]) -> Dialogue[None]:
        """A step: one order for each of the team.

        Raises:
            GameFault: the battle cannot be played on.
        """
        assert self._game is not None
        commands = self._commands(kinds, points, targets)
        results, seen = yield from self._game.play(commands, LOOPS_PER_STEP)
        _check(commands, results)
        self._read(seen)

    def close(self) -> None:
        game, self._game = self._game, None
        if game is None:
            return
        try:
            if self._replay_folder and self._leads_enemy:  # a battle has begun
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

    def _launch(self) -> Dialogue[None]:
        self._launches += 1
        if self._faults:
            time.sleep(PAUSES[self._faults - 1])
        chance = derive_seed(self._seed, "game", self._launches) % 2**31
        self._leads_enemy = False
        self._game = Game(self._timeout)
        info = yield from self._game.begin(self._race, chance)
        self._shift = (info.map_size.x - MAP_SIZE) / 2, (info.map_size.y - MAP_SIZE) / 2
        area = info.playable_area
        self._corners = ((area.p0.x, area.p0.y), (area.p1.x, area.p1.y))

    def recover(self, fault: GameFault) -> None:
        """End a game that went wrong; the next battle begins in another one.

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

    def _place(self, game: Game, kinds: Sequence[int], places: Sequence[Point]) -> Dialogue[None]:
        """Let the units appear at `places` on the game's map."""
        yield from self._clear(game)
        present = [slot for slot, kind in enumerate(kinds) if kind >= 0]
        commands = []
        for slot in present:
            owner = self._owner(slot)
            unit = debug_pb2.DebugCreateUnit(unit_type=self._numbers[owner][kinds[slot]], owner=owner, quantity=1)
            unit.pos.x, unit.pos.y = places[slot]
            commands.append(debug_pb2.DebugCommand(create_unit=unit))
        yield from game.debug(commands)
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for slot in present:
            groups[self._owner(slot), self._numbers[self._owner(slot)][kinds[slot]]].append(slot)
        self._tags, seen = yield from self._await(game, groups, places)
        yield from self._send_enemies(game, [places[slot] for slot in present if slot < self._team])
        self._read(seen)

    def _owner(self, slot: int) -> int:
        return ALLY if slot < self._team else ENEMY

    def _clear(self, game: Game) -> Dialogue[None]:
        """Remove whoever is left of the last battle."""
        units = yield from game.units()
        if units:
            killed = debug_pb2.DebugKillUnit(tag=[unit.tag for unit in units])
            yield from game.debug([debug_pb2.DebugCommand(kill_unit=killed)])
        for _ in range(WAITS):
            if not units:
                return
            yield from game.step(LOOPS_PER_WAIT)
            units = yield from game.units()
        raise GameFault(f"debug: {len(units)} units that were to be removed are still there")

    def _await(
        self, game: Game, groups: dict[tuple[int, int], list[int]], places: Sequence[Point]
    ) -> Dialogue[tuple[dict[int, int], Sequence[Any]]]:
        """Wait for the units of `groups` (owner and type -> slots) to appear; returns their tags by slot, and them."""
        for _ in range(WAITS):
            yield from game.step(LOOPS_PER_WAIT)
            seen = yield from game.units()
            found: dict[tuple[int, int], list[Any]] = defaultdict(list)
            for unit in seen:
                found[unit.owner, unit.unit_type].append(unit)
            if {key: len(units) for key, units in found.items()} == {key: len(slots) for key, slots in groups.items()}:
                tags: dict[int, int] = {}
                for key, slots in groups.items():
                    tags.update(_nearest(slots, places, found[key]))
                return tags, seen
        known = yield from game.unit_types()
        unknown = sorted({number for _, number in groups} - known)
        reason = f": the game knows no unit types {unknown} on this map" if unknown else ""
        raise GameFault(f"debug: units that were to be placed do not appear{reason}")

    def _send_enemies(self, game: Game, team: Sequence[Point]) -> Dialogue[None]:
        """Let the enemy attack towards where the team stands."""
        if not self._leads_enemy:
            # once in a game: the same command again would give the control back
            yield from game.debug([debug_pb2.DebugCommand(game_state=debug_pb2.control_enemy)])
            self._leads_enemy = True
        tags = [tag for slot, tag in self._tags.items() if slot >= self._team]
        order = raw_pb2.ActionRawUnitCommand(ability_id=ABILITIES[Order.ATTACK], unit_tags=tags)
        order.target_world_space_pos.x = math.fsum(x for x, _ in team) / len(team)
        order.target_world_space_pos.y = math.fsum(y for _, y in team) / len(team)
        (result,) = yield from game.act([order])
        if result != error_pb2.Success:
            raise GameFault(f"action: the game refuses to send the enemy ({error_pb2.ActionResult.Name(result)})")

    # --- a step -------------------------------------------------------------------------------------------------------

    def _commands(self, kinds: Sequence[int], points: Sequence[Point], targets: Sequence[int]) -> list[Any]:
        (left, low), (right, high) = self._corners
        east, north = self._shift
        commands = []
        for slot, tag in self._tags.items():
            if slot >= self._team or self.units[slot] is NOTHING:
                continue
            kind = kinds[slot]
            command = raw_pb2.ActionRawUnitCommand(ability_id=ABILITIES[kind], unit_tags=[tag])
            if kind == Order.MOVE:
                x, y = points[slot]
                command.target_world_space_pos.x = min(max(x + east, left), right)
                command.target_world_space_pos.y = min(max(y + north, low), high)
            elif kind != Order.STOP:
                command.target_unit_tag = self._tags[targets[slot]]
            commands.append(command)
        return commands

    def _read(self, seen: Sequence[Any]) -> None:
        """Note the units of the battle; whoever is not `seen` is dead."""
        slots = {tag: slot for slot, tag in self._tags.items()}
        east, north = self._shift
        self.units = units = [NOTHING] * self._slots
        for unit in seen:
            slot, place = slots.get(unit.tag), unit.pos
            if slot is not None and unit.health > 0:
                gauges = (unit.health, unit.shield, unit.energy, unit.weapon_cooldown)
                units[slot] = (place.x - east, place.y - north, *gauges, 1.0)


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


def _nearest(slots: Sequence[int], places: Sequence[Point], units: Sequence[Any]) -> dict[int, int]:
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

"""The battlefield of the stand-in: units with tags on a flat map of 32 x 32, moved by the embedded engine."""

import itertools
import math
import os

import torch

from envs.starcraft.engine import LOOPS_PER_STEP, Order, Orders
from envs.starcraft.engine import Units as Moved
from envs.starcraft.scenarios import LOOPS_PER_SECOND, UNITS
from envs.starcraft.skirmish import SkirmishEngine
from sc2_standin.numbers import (
    ATTACK,
    CANT_TARGET_AIR,
    ENEMY,
    ERROR,
    HEAL,
    KINDS,
    MOVE,
    NOT_SUPPORTED,
    SMAC_ARMIES,
    STOP,
    SUCCESS,
    Unit,
)

torch.set_num_threads(1)


#: Whether units take orders and do nothing.
STILL = bool(os.environ.get("SC2_STANDIN_STILL"))
#: Orders that units of the team understand, by the game's numbers.
ORDERS = {STOP: Order.STOP, MOVE: Order.MOVE, ATTACK: Order.ATTACK, HEAL: Order.HEAL}


class Field:
    """A game in progress. What debug commands ask for happens in the next step."""

    def __init__(self, map_name: str) -> None:
        self._loop = 0
        self._units: dict[int, Unit] = {}
        #: tag -> (order, point, tag of the target); units do nothing else
        self._orders: dict[int, tuple[Order, tuple[float, float], int]] = {}
        self._smac = SMAC_ARMIES.get(map_name)
        self._tags = itertools.count(1 << 32)
        self._born: list[Unit] = []
        self._doomed: set[int] = set()
        self._engine: SkirmishEngine | None = None
        self._slots: list[int] = []
        self._loops_left = 0

    def create(self, kind: int, owner: int, x: float, y: float, quantity: int) -> None:
        figures = UNITS[KINDS[kind]]
        for i in range(quantity):
            state = (figures.health, figures.shield, figures.start_energy)
            full = (figures.health, figures.shield, figures.energy)
            # the first at the point, the others around it in a spiral: where there is room
            way, angle = 1.25 * math.sqrt(i), 2.4 * i
            place = (x + way * math.cos(angle), y + way * math.sin(angle))
            self._born.append(Unit(next(self._tags), kind, owner, *place, *state, *full, figures.radius))

    def kill(self, tags: list[int]) -> None:
        self._doomed.update(tags)

    def order(self, ability: int, tag: int, point: tuple[float, float] | None, target: int) -> int:
        """Give an order to one unit; returns what the game says of it."""
        unit, other = self._units.get(tag), self._units.get(target)
        if unit is None or ability not in ORDERS:
            return NOT_SUPPORTED
        if unit.owner == ENEMY:  # whom the engine leads to the team's first place by itself, which is where it is sent
            return SUCCESS if ability == ATTACK and point else ERROR
        if ability in (ATTACK, HEAL):
            if other is None:
                return ERROR
            able, aim = UNITS[KINDS[unit.unit_type]], UNITS[KINDS[other.unit_type]]
            heals = ability == HEAL
            if heals != (able.heal > 0) or heals == (other.owner == ENEMY) or (heals and not aim.biological):
                return ERROR
            if aim.flies and not (heals or able.hits_air):
                return CANT_TARGET_AIR
        elif ability == MOVE and point is None:
            return ERROR
        self._orders[tag] = (ORDERS[ability], point or (0.0, 0.0), target)
        return SUCCESS

    @torch.inference_mode()
    def step(self, loops: int) -> tuple[int, list[Unit]]:
        """Play so many game loops; returns how many were played in all, and the living units."""
        self._loop += loops
        for tag in self._doomed & self._units.keys():
            del self._units[tag]
            if self._engine is not None and tag in self._slots:
                self._engine._vitals[0, self._slots.index(tag)] = 0.0
                self._engine._alive[self._slots.index(tag)] = 0.0
                self._engine._bury()
        self._doomed.clear()
        if self._smac and not self._units and not self._born:
            for owner, army in enumerate(self._smac, 1):
                for row, kind in enumerate(army):
                    self.create(kind, owner, 9.0 + 14.0 * (owner - 1), 16.0 + 1.25 * (row - len(army) / 2), 1)
        if self._born:
            self._begin()
        elif self._engine is not None and self._units:
            self._loops_left += loops
            while self._loops_left >= LOOPS_PER_STEP:
                self._loops_left -= LOOPS_PER_STEP
                if not STILL:
                    self._advance(self._engine)
        return self._loop, list(self._units.values())

    def _begin(self) -> None:
        if self._units:
            raise NotImplementedError("the stand-in places units on an empty field only")
        born = sorted(self._born, key=lambda unit: unit.owner)  # stable: in the order of creation
        self._born, self._loops_left = [], 0
        self._units = {unit.tag: unit for unit in born}
        self._slots = [unit.tag for unit in born]
        self._orders = {}
        team = sum(unit.owner == 1 for unit in born)
        present = {KINDS[unit.unit_type] for unit in born}
        names = [name for name in UNITS if name in present]
        self._engine = SkirmishEngine(1, team, len(born) - team, [UNITS[name] for name in names])
        types = torch.tensor([[names.index(KINDS[unit.unit_type])] for unit in born])
        place = torch.tensor([[unit.x for unit in born], [unit.y for unit in born]])[:, :, None]
        self._take(self._engine.spawn(torch.tensor([0]), types, place))

    def _advance(self, engine: SkirmishEngine) -> None:
        slots = {tag: slot for slot, tag in enumerate(self._slots)}
        kinds, places, targets = [], [], []
        for tag in self._slots[: engine.team_slots]:
            order, where, whom = self._orders.get(tag, (Order.STOP, (0.0, 0.0), 0))
            if order in (Order.ATTACK, Order.HEAL) and whom not in self._units:
                order = Order.STOP
            kinds.append(int(order))
            places.append(where)
            targets.append(slots[whom] if order >= Order.ATTACK else 0)
        kind, target = torch.tensor([kinds, targets])[..., None]
        point = torch.tensor(places).T[..., None]
        self._take(engine.advance(Orders(kind, point, target), torch.tensor([True])))

    def _take(self, units: Moved) -> None:
        """Take over what the engine says of the living, and forget the dead."""
        gauges = torch.stack([units.health, units.shield, units.energy, units.cooldown * LOOPS_PER_SECOND])[..., 0]
        figures = torch.cat([units.position[..., 0], gauges]).T.tolist()
        for tag, alive, row in zip(self._slots, units.alive[:, 0].tolist(), figures, strict=True):
            if not alive:
                self._units.pop(tag, None)
            elif tag in self._units:
                unit = self._units[tag]
                unit.x, unit.y, unit.health, unit.shield, unit.energy, unit.weapon_cooldown = row

"""Unit figures and armies of the team battles. Shape letters: K unit types of a scenario, M unit slots of one side."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache

import torch
from torch import Tensor

from envs import teams

#: Game loops per second of "Faster" time, the time base of every figure below.
LOOPS_PER_SECOND = 22.4
#: Side of the square map.
MAP_SIZE = 32.0
#: Most units that a side may have.
LARGEST_TEAM = 16


@dataclass(frozen=True)
class UnitType:
    """The figures of one unit type: "Faster" seconds, StarCraft distances, damage per hit. Flags are 0 or 1."""

    name: str
    letter: str
    health: float
    shield: float
    armour: float
    cooldown: float
    range: float
    speed: float
    radius: float
    damage: float = 0.0
    hits: float = 1.0
    bonus_light: float = 0.0
    bonus_armoured: float = 0.0
    #: hits everything on a line this wide through the target, across the line of fire; 0: only the target
    splash: float = 0.0
    heal: float = 0.0
    energy: float = 0.0
    start_energy: float = 0.0
    light: float = 0.0
    armoured: float = 0.0
    biological: float = 0.0
    flies: float = 0.0
    hits_air: float = 0.0
    #: units collide within their layer only: 0 ground, 1 walks over ground units, 2 air
    layer: float = 0.0


UNITS: dict[str, UnitType] = {
    unit.name: unit
    for unit in (
        UnitType("marine", "M", 45, 0, 0, 0.61, 5, 3.15, 0.375, damage=6, light=1, biological=1, hits_air=1),
        UnitType(
            "marauder", "R", 125, 0, 1, 1.07, 6, 3.15, 0.5625, damage=10, bonus_armoured=10, armoured=1, biological=1
        ),
        UnitType(
            "medivac",
            "V",
            150,
            0,
            1,
            0,
            4,
            3.5,
            0.75,
            heal=12.6,
            energy=200,
            start_energy=50,
            armoured=1,
            flies=1,
            layer=2,
        ),
        UnitType("stalker", "S", 80, 80, 1, 1.34, 6, 4.13, 0.625, damage=13, bonus_armoured=5, armoured=1, hits_air=1),
        UnitType("zealot", "Z", 100, 50, 1, 0.86, 0.1, 3.15, 0.5, damage=8, hits=2, light=1, biological=1),
        UnitType(
            "colossus",
            "C",
            200,
            150,
            1,
            1.07,
            7,
            3.15,
            1.0,
            damage=10,
            hits=2,
            bonus_light=5,
            splash=2.8,
            armoured=1,
            layer=1,
        ),
    )
}

#: The figures that become rows of `UnitTable.values`.
FIGURES = tuple(field.name for field in fields(UnitType) if field.name not in ("name", "letter"))


class UnitTable:
    """The figures of some unit types as one tensor, to be looked up by type index; -1 (nobody) gives zeros."""

    def __init__(self, units: Sequence[UnitType], device: torch.device | str = "cpu") -> None:
        self.units = tuple(units)
        rows = [[float(getattr(unit, name)) for unit in units] + [0.0] for name in FIGURES]
        #: (figures, K + 1); the last column is nobody, which is where index -1 leads
        self.values = torch.tensor(rows, dtype=torch.float32, device=device)

    def __getitem__(self, name: str) -> Tensor:
        """(K + 1,) one figure of every type."""
        return self.values[FIGURES.index(name)]

    def lookup(self, types: Tensor) -> dict[str, Tensor]:
        """Every figure of `types` (any shape, int64, -1 for nobody), each in the shape of `types`."""
        found = self.values[:, types]
        return {name: found[row] for row, name in enumerate(FIGURES)}


@dataclass(frozen=True)
class Scenario:
    """Which armies a scenario draws from. A side has `base` units in any mix, then up to `extra_max` of `extra`;
    or, where `fixed` is set, always the same army.
    """

    name: str
    base: tuple[str, ...]
    extra: str = ""
    extra_max: int = 0
    base_min: int = 1
    fixed: tuple[int, ...] = ()
    largest: int = LARGEST_TEAM

    @property
    def unit_names(self) -> tuple[str, ...]:
        return (*self.base, self.extra) if self.extra else self.base

    @property
    def sizes(self) -> tuple[int, int]:
        """Smallest and largest team that the scenario knows."""
        return (sum(self.fixed), sum(self.fixed)) if self.fixed else (self.base_min, self.largest)

    def armies(self, smallest: int, largest: int) -> list[tuple[int, ...]]:
        """Every army of `smallest` to `largest` units (all units counted): one count per unit type."""
        if self.fixed:
            return [self.fixed]
        return [
            (*mix, extra) if self.extra else mix
            for size in range(smallest, largest + 1)
            for extra in range(self.extra_max + 1)
            if size - extra >= self.base_min
            for mix in _mixes(size - extra, len(self.base))
        ]


def _mixes(total: int, kinds: int) -> list[tuple[int, ...]]:
    """Every way to write `total` as an ordered sum of `kinds` counts."""
    if kinds == 1:
        return [(total,)]
    return [(first, *rest) for first in range(total + 1) for rest in _mixes(total - first, kinds - 1)]


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("sz", ("stalker", "zealot")),
        Scenario("csz", ("stalker", "zealot"), "colossus", extra_max=2, base_min=3),
        Scenario("mmm", ("marine", "marauder"), "medivac", extra_max=2, base_min=3),
        Scenario("3s5z", ("stalker", "zealot"), fixed=(3, 5)),
        Scenario("3m", ("marine",), fixed=(3,)),
    )
}


def parse_team(team: str | int, scenario: Scenario, key: str = "team") -> tuple[int, int]:
    """Read a team such as "3-5" or "8" as its smallest and largest size.

    Raises:
        UserError: it is no such text, or the scenario has no armies of that size; `key` names the setting.
    """
    return teams.parse_team(team, *scenario.sizes, key, f" in scenario {scenario.name!r}")


@cache
def army_table(scenario_name: str, smallest: int, largest: int, slots: int) -> Tensor:
    """Every possible army as unit types (armies, M), sorted by type, -1 in the unused slots behind them."""
    scenario = SCENARIOS[scenario_name]
    rows = []
    for counts in scenario.armies(smallest, largest):
        units = [kind for kind, count in enumerate(counts) for _ in range(count)]
        rows.append(units + [-1] * (slots - len(units)))
    return torch.tensor(rows, dtype=torch.int64)

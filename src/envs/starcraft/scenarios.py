"""Unit figures and armies of the team battles. Shape letters: K unit types of a scenario, M unit slots of one side, B
battles.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache

import torch
from torch import Tensor

from envs import teams
from utils.errors import UserError

#: Game loops per second of "Faster" time, the time base of every figure below.
LOOPS_PER_SECOND = 22.4
#: Side of the square map.
MAP_SIZE = 32.0
#: Most units that a side may have.
LARGEST_TEAM = 32
#: Random numbers are drawn for so many units of a side, or for as many as the largest army has if that is more and a
#: power of 2: which battles are drawn does not depend on slots.
DRAWN_UNITS = 8


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


@dataclass(frozen=True)
class Sides:
    """Which armies meet: sizes of the team, and how its enemies are drawn."""

    smallest: int
    largest: int
    #: smallest and largest army of enemies, drawn by itself; None: the team's own units, and `more` of any base type
    enemies: tuple[int, int] | None = None
    more: int = 0

    @property
    def most_enemies(self) -> int:
        return self.enemies[1] if self.enemies else self.largest + self.more


def parse_team(team: str | int, scenario: Scenario, enemy_team: str = "same", key: str = "team") -> Sides:
    """Read a team such as "3-5", "8", or, with its enemies, "8v9" or "8v+1".

    Args:
        enemy_team: the enemies of a team that names none: "same" (the very same units), "+1" (and one more of any base
            type), or sizes such as "8" or "5-8" (any army of such a size).
        key: the setting that `team` comes from, for the message.

    Raises:
        UserError: it is no such text, or the scenario has no armies of that size; `key` names the setting.
    """
    own, versus, enemies = str(team).strip().partition("v")
    where = f" in scenario {scenario.name!r}"
    smallest, largest = teams.parse_team(own, *scenario.sizes, key, where)
    enemies, key = (enemies.strip(), key) if versus else (str(enemy_team).strip(), "env_args.enemy_team")
    if enemies == "same":
        return Sides(smallest, largest)
    if re.fullmatch(r"\+\d+", enemies):
        if largest + int(enemies) > LARGEST_TEAM:
            raise UserError(f"{key} = {str(team)!r}: {largest + int(enemies)} enemies are more than {LARGEST_TEAM}")
        return Sides(smallest, largest, more=int(enemies))
    key = f"{key} = {str(team)!r}: enemies" if versus else key
    return Sides(smallest, largest, teams.parse_team(enemies, *scenario.sizes, key, where))


def enemy_armies(scenario: Scenario, sides: Sides) -> list[tuple[int, ...]]:
    """Every army of enemies that `sides` can draw: one count per unit type."""
    if sides.enemies:
        return scenario.armies(*sides.enemies)
    nobody = (0,) * (len(scenario.unit_names) - len(scenario.base))
    return [
        tuple(map(sum, zip(army, (*more, *nobody), strict=True)))
        for army in scenario.armies(sides.smallest, sides.largest)
        for more in _mixes(sides.more, len(scenario.base))
    ]


def measure_army(scenario: Scenario, sides: Sides) -> tuple[int, ...]:
    """The army of enemies, one count per unit type, by which REFIL's public code scales the rewards of all battles.

    Of those with the most unit types the largest, and of these the first in its list: the one with the most `extra`
    units, then with the most units of the first type. That is not the army worth most: for `sz` 3-5, 4 Stalkers and 1
    Zealot (1,040 points with kills and win) though 5 Stalkers make 1,050.
    """
    base = len(scenario.base)

    def rank(army: tuple[int, ...]) -> tuple[int, int, tuple[int, ...], tuple[int, ...]]:
        return sum(count > 0 for count in army), sum(army), army[base:], army

    return max(enemy_armies(scenario, sides), key=rank)


def drawn_units(scenario: Scenario, sides: Sides) -> int:
    """For how many units of a side numbers are drawn."""
    needed = max(sides.largest, sides.most_enemies)
    if scenario.fixed and needed == sum(scenario.fixed):
        return needed
    return max(DRAWN_UNITS, 1 << (needed - 1).bit_length())


@cache
def army_table(scenario_name: str, smallest: int, largest: int) -> Tensor:
    """Every possible army as unit types (armies, largest), sorted by type, -1 behind them."""
    scenario = SCENARIOS[scenario_name]
    rows = []
    for counts in scenario.armies(smallest, largest):
        units = [kind for kind, count in enumerate(counts) for _ in range(count)]
        rows.append(units + [-1] * (largest - len(units)))
    return torch.tensor(rows, dtype=torch.int64)


def draw_armies(scenario: Scenario, sides: Sides, battles: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Unit types of both sides for B battles, sorted by type, -1 behind them: (units, B) each."""
    device = generator.device

    def one_of(table: Tensor) -> Tensor:
        which = torch.randint(len(table), (battles,), generator=generator, device=device)
        return table.to(device)[which].T

    allies = one_of(army_table(scenario.name, sides.smallest, sides.largest))
    if sides.enemies:
        return allies, one_of(army_table(scenario.name, *sides.enemies))
    if not sides.more:
        return allies, allies
    more = torch.randint(len(scenario.base), (sides.more, battles), generator=generator, device=device)
    enemies = torch.cat([allies, more])
    nobody = len(scenario.unit_names)
    enemies = torch.where(enemies < 0, nobody, enemies).sort(0).values
    return allies, torch.where(enemies == nobody, -1, enemies)


def draw_tags(uniform: Tensor, slots: int, tags: int) -> Tensor:
    """Tags (slots, R) of the units of one side: different numbers below `tags`, each as likely as any.

    `uniform (drawn, R)`: independent numbers in [0, 1), for as many units as there may be; slots beyond have tag 0.
    """
    drawn = len(uniform)
    order = uniform[: min(drawn, tags)].argsort(0)
    if tags > drawn:  # spread them: a random shift lets every tag occur
        shift = uniform.sum(0) % 1
        order = ((order + shift) * (tags / drawn)).long().clamp(max=tags - 1)
    found = order.new_zeros(slots, uniform.shape[1])
    known = min(slots, len(order))
    found[:known] = order[:known]
    return found

"""How a battle looks."""

from collections.abc import Mapping

from envs.scene import Arena, Body, Gauge, Look, Scene
from envs.starcraft.encoding import SIGHT_RANGE
from envs.starcraft.engine import Units
from envs.starcraft.scenarios import MAP_SIZE, UnitTable, UnitType

SHAPES = {
    "marine": "disc",
    "marauder": "hexagon",
    "medivac": "cross",
    "stalker": "diamond",
    "zealot": "triangle",
    "colossus": "square",
}
SIDES = ("team", "enemy")
FIELD = Arena(0.0, 0.0, MAP_SIZE, MAP_SIZE, grid=4.0)
#: What units show, and how.
GAUGES = {"health": "bar", "shield": "bar", "energy": "bar", "cooldown": "arc"}


def make_scene(units: Units, table: UnitTable, battle: int, aims: Mapping[int, int]) -> Scene:
    """Battle `battle`, in which the enemies went for `aims`."""
    alive, kinds = units.alive[:, battle].tolist(), units.type[:, battle].tolist()
    x, y = units.position[:, :, battle].tolist()
    levels = {name: getattr(units, name)[:, battle].tolist() for name in GAUGES}
    bodies = {}
    for slot, living in enumerate(alive):
        if living:
            look = _look(table.units[kinds[slot]], int(units.owner[slot]))
            shown = tuple(levels[gauge.name][slot] for gauge in look.gauges)
            bodies[slot] = Body(look, x[slot], y[slot], shown)
    return Scene(FIELD, bodies, aims)


def _look(unit: UnitType, side: int) -> Look:
    full = {name: getattr(unit, name) for name in GAUGES}
    gauges = tuple(Gauge(name, full[name], form) for name, form in GAUGES.items() if full[name])
    return Look(unit.name, SIDES[side], SHAPES[unit.name], unit.radius, unit.letter, gauges=gauges, sight=SIGHT_RANGE)

"""How a game of SMAC looks."""

from typing import Any

from envs.scene import Arena, Body, Gauge, Look, Scene

#: Shapes of the types of a side, by turns, and of all units the size: the package's observations tell no more of them.
SHAPES, RADIUS = ("triangle", "diamond", "square", "hexagon", "disc"), 0.6


def make_scene(game: Any) -> Scene:
    """The units of `game` as the package has them: the agents, then the enemies. The dead have no body."""
    units = [(game.agents[a], "team") for a in range(game.n_agents)]
    units += [(game.enemies[e], "enemy") for e in range(game.n_enemies)]
    bodies = {}
    for slot, (unit, side) in enumerate(units):
        if unit.health > 0:
            kind = game.get_unit_type_id(unit, side == "team") if game.unit_type_bits else 0
            full = {"health": unit.health_max, "shield": unit.shield_max}
            gauges = tuple(Gauge(name, most) for name, most in full.items() if most)
            look = Look(f"type {kind}", side, SHAPES[kind % len(SHAPES)], RADIUS, str(kind), gauges=gauges)
            levels = tuple(getattr(unit, gauge.name) for gauge in gauges)
            bodies[slot] = Body(look, unit.pos.x, unit.pos.y, levels)
    return Scene(Arena(0.0, 0.0, game.map_x, game.map_y, grid=4.0), bodies)

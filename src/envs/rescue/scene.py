"""How a town looks: a cell is a building, and its centre has whole coordinates, column and row."""

from collections.abc import Mapping, Sequence

from envs.rescue.town import SIDE
from envs.scene import Arena, Body, Gauge, Look, Scene

TOWN = Arena(-0.5, -0.5, SIDE - 0.5, SIDE - 0.5, grid=1.0)
ROBOT = Look("robot", "team", "disc", 0.15, gauges=(Gauge("skill", 1.0, "fill"),))
FIRE = Look("fire", "enemy", "flame", 0.42, gauges=(Gauge("level", 1.0, "fill"),))
#: So many robots stand side by side at a building, this far apart, the first one in its upper left corner.
ABREAST, APART = 3, 0.32


def make_scene(agents: int, robots: Mapping[int, Sequence[float]], fires: Mapping[int, Sequence[float]]) -> Scene:
    """A town with `agents` slots of robots; `robots` and `fires`: slot among their kind -> building, skill or level."""
    bodies: dict[int, Body] = {}
    met: dict[int, int] = {}
    for slot, (building, skill) in robots.items():
        row, column = divmod(int(building), SIDE)
        rank = met[int(building)] = met.get(int(building), -1) + 1
        right, down = rank % ABREAST - 1, rank // ABREAST - 1
        bodies[slot] = Body(ROBOT, column + APART * right, row - APART * down, (skill,))
    for slot, (building, level) in fires.items():
        row, column = divmod(int(building), SIDE)
        bodies[agents + slot] = Body(FIRE, column, row, (level,))
    return Scene(TOWN, bodies)

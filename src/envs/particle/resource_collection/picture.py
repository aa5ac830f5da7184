"""Pictures of Resource Collection: smooth shapes on a numpy array."""

from collections.abc import Collection

import numpy as np

from envs.particle.resource_collection.scenarios import COLOURS, RESOURCES
from envs.particle.resource_collection.world import (
    AGENT_RADIUS,
    HALF_WIDTH,
    HOME_RADIUS,
    INVADER_RADIUS,
    RESOURCE_RADIUS,
    World,
)

PIXELS = 600
#: What is shown reaches a little into the walls, where resources may lie.
SHOWN = 1.02
SCALE = PIXELS / (2 * SHOWN)
FLOOR, WALL, EDGE = (24, 28, 32), (40, 45, 51), (66, 73, 81)
GEMS = ((235, 84, 76), (92, 200, 104), (84, 140, 246))
HOME, INVADER, SIGHT, RIM, MARK = (226, 221, 208), (178, 92, 240), (150, 170, 190), (238, 238, 238), (255, 202, 64)

Colour = tuple[float, float, float]


class _Canvas:
    """Shapes are given by signed distances to their edges, in pixels: negative inside."""

    def __init__(self) -> None:
        self.image = np.empty((PIXELS, PIXELS, 3), dtype=np.float32)
        self.image[:] = FLOOR
        rows, columns = np.mgrid[:PIXELS, :PIXELS].astype(np.float32)
        self.x, self.y = (columns + 0.5) / SCALE - SHOWN, SHOWN - (rows + 0.5) / SCALE

    def paint(self, distance: np.ndarray, colour: Colour, opacity: float = 1.0) -> None:
        cover = np.clip(0.5 - distance, 0, 1)[:, :, None] * opacity
        self.image += cover * (np.array(colour, dtype=np.float32) - self.image)

    def disc(self, place: np.ndarray, radius: float) -> np.ndarray:
        away: np.ndarray = np.hypot(self.x - place[0], self.y - place[1])
        return (away - radius) * SCALE

    def diamond(self, place: np.ndarray, radius: float) -> np.ndarray:
        away: np.ndarray = np.abs(self.x - place[0]) + np.abs(self.y - place[1])
        return (away - radius) * (SCALE / 2**0.5)

    def outside(self, half_width: float) -> np.ndarray:
        return (half_width - np.maximum(np.abs(self.x), np.abs(self.y))) * SCALE


def draw(world: World, index: int, sight: float, marked: Collection[int] = ()) -> np.ndarray:
    """World `index` as uint8 (PIXELS, PIXELS, 3), up is up.

    Agents are discs with red, green and blue by their three efficiencies and a faint disc for what they see; resources
    are diamonds, also in the hands of whoever carries them; the home is a ring in the middle, the invader a star.

    Args:
        world: B worlds.
        index: which of them.
        sight: how far agents see.
        marked: slots of agents to put a golden ring around.
    """
    canvas = _Canvas()
    position = world.position[:, :, index].cpu().numpy().T
    present = world.present[:, index].cpu().numpy() > 0
    efficiency = world.members[:3, :, index].cpu().numpy().T
    load = world.load[:, :, index].cpu().numpy().T
    slots = len(efficiency)
    agents = [slot for slot in range(slots) if present[slot]]

    wall = canvas.outside(HALF_WIDTH)
    canvas.paint(wall, WALL)
    canvas.paint(np.abs(wall) - 1, EDGE)
    for slot in agents:
        canvas.paint(canvas.disc(position[slot], sight), SIGHT, 0.09)
        canvas.paint(np.abs(canvas.disc(position[slot], sight)) - 0.4, SIGHT, 0.35)
    home = canvas.disc(position[slots], HOME_RADIUS)
    canvas.paint(home, HOME, 0.22)
    canvas.paint(np.abs(home + 2) - 2, HOME)
    for resource in range(RESOURCES):
        if present[slots + 1 + resource]:
            _gem(canvas, position[slots + 1 + resource], RESOURCE_RADIUS, GEMS[resource % COLOURS])
    for slot in agents:
        body = canvas.disc(position[slot], AGENT_RADIUS)
        red, green, blue = 25 + 230 * efficiency[slot]
        canvas.paint(body, (red, green, blue))
        canvas.paint(np.abs(body + 0.8) - 0.9, RIM)
        for colour in np.flatnonzero(load[slot]):
            _gem(canvas, position[slot], 0.55 * AGENT_RADIUS, GEMS[colour])
        if slot in marked:
            canvas.paint(np.abs(body - 5) - 1.6, MARK)
    if present[-1]:
        _star(canvas, position[-1])
    return canvas.image.round().astype(np.uint8)


def _gem(canvas: _Canvas, place: np.ndarray, radius: float, colour: Colour) -> None:
    shape = canvas.diamond(place, radius)
    canvas.paint(shape, colour)
    canvas.paint(canvas.diamond(place + radius * np.array([-0.12, 0.2]), 0.45 * radius), (255, 255, 255), 0.3)
    canvas.paint(np.abs(shape + 0.6) - 0.7, FLOOR, 0.8)


def _star(canvas: _Canvas, place: np.ndarray) -> None:
    """A disc with eight points."""
    angle = np.arctan2(canvas.y - place[1], canvas.x - place[0])
    shape = canvas.disc(place, INVADER_RADIUS) - 0.25 * INVADER_RADIUS * SCALE * np.cos(8 * angle)
    canvas.paint(shape, INVADER)
    canvas.paint(np.abs(shape + 0.6) - 0.7, RIM)
    canvas.paint(canvas.disc(place, 0.3 * INVADER_RADIUS), FLOOR)

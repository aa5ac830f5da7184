"""Pictures of Resource Collection."""

from collections.abc import Collection

import numpy as np

from envs.particle.canvas import FLOOR, MARK, RIM, Canvas, Colour
from envs.particle.resource_collection.scenarios import COLOURS, RESOURCES
from envs.particle.resource_collection.world import (
    AGENT_RADIUS,
    HALF_WIDTH,
    HOME_RADIUS,
    INVADER_RADIUS,
    RESOURCE_RADIUS,
    World,
)

#: What is shown reaches a little into the walls, where resources may lie.
SHOWN = 1.02
WALL, EDGE = (40, 45, 51), (66, 73, 81)
GEMS = ((235, 84, 76), (92, 200, 104), (84, 140, 246))
HOME, INVADER, SIGHT = (226, 221, 208), (178, 92, 240), (150, 170, 190)


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
    canvas = Canvas(SHOWN)
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
    return canvas.pixels()


def _gem(canvas: Canvas, place: np.ndarray, radius: float, colour: Colour) -> None:
    shape = canvas.diamond(place, radius)
    canvas.paint(shape, colour)
    canvas.paint(canvas.diamond(place + radius * np.array([-0.12, 0.2]), 0.45 * radius), (255, 255, 255), 0.3)
    canvas.paint(np.abs(shape + 0.6) - 0.7, FLOOR, 0.8)


def _star(canvas: Canvas, place: np.ndarray) -> None:
    """A disc with eight points."""
    angle = np.arctan2(canvas.y - place[1], canvas.x - place[0])
    shape = canvas.disc(place, INVADER_RADIUS) - 0.25 * INVADER_RADIUS * canvas.scale * np.cos(8 * angle)
    canvas.paint(shape, INVADER)
    canvas.paint(np.abs(shape + 0.6) - 0.7, RIM)
    canvas.paint(canvas.disc(place, 0.3 * INVADER_RADIUS), FLOOR)

"""Pictures of a town: a small rasteriser on numpy arrays."""

from collections.abc import Collection

import numpy as np

from envs.rescue.town import SIDE

CELL = 48
#: Between a building and the middle of the street around it, in pixels.
STREET = 3
STREETS, BUILDING, WINDOW = (20, 23, 27), (46, 53, 60), (68, 79, 89)
#: A building on fire, from level 0 to level 1.
MILD, WORST = np.array([196, 150, 62]), np.array([176, 22, 18])
FLAME, CORE = (255, 122, 26), (255, 214, 92)
ROBOT, SKILL, RIM = (24, 60, 110), (92, 176, 255), (245, 245, 245)
MARK = (255, 206, 64)
RADIUS = 7
#: So many robots stand side by side at a building, each on so many pixels, in as many rows.
ABREAST = 3
SPACE = (CELL - 2 * STREET) / ABREAST


def draw(
    robots: np.ndarray, skills: np.ndarray, fires: np.ndarray, levels: np.ndarray, marked: Collection[int] = ()
) -> np.ndarray:
    """The town as uint8 (SIDE * CELL, SIDE * CELL, 3), north up.

    A building on fire goes from amber to red, and its flame grows, with the level. Robots are discs, filled from below
    as high as their skill.

    Args:
        robots, skills (n,): where the robots are, and their skills.
        fires, levels (m,): where it burns, and the levels.
        marked: which of the n robots have a golden ring.
    """
    image = np.empty((SIDE * CELL, SIDE * CELL, 3), dtype=np.uint8)
    image[:] = STREETS
    y, x = np.mgrid[:CELL, :CELL]
    wall = (np.minimum(x, y) >= STREET) & (np.maximum(x, y) < CELL - STREET)
    window = wall & (np.abs(x % 12 - 5.5) < 2) & (np.abs(y % 12 - 5.5) < 3)
    for building in range(SIDE * SIDE):
        cell = _cell(image, building)
        cell[wall], cell[window] = BUILDING, WINDOW
    for building, level in zip(fires, levels, strict=True):
        cell = _cell(image, building)
        cell[wall] = (1 - level) * MILD + level * WORST
        height = 16 + 24 * level
        cell[_flame(x, y, height)], cell[_flame(x, y, height / 2)] = FLAME, CORE
    met: dict[int, int] = {}
    for robot, (building, skill) in enumerate(zip(robots, skills, strict=True)):
        before = met.get(building, 0)  # robots drawn at this building before
        right = x + 0.5 - STREET - SPACE * (before % ABREAST + 0.5)
        down = y + 0.5 - STREET - SPACE * (before // ABREAST + 0.5)
        away, cell = np.hypot(right, down), _cell(image, building)
        cell[away <= RADIUS] = ROBOT
        cell[(away <= RADIUS) & (down >= RADIUS * (1 - 2 * skill))] = SKILL
        cell[np.abs(away - RADIUS) < 0.8] = RIM
        if robot in marked:
            cell[np.abs(away - RADIUS - 2) < 1] = MARK
        met[building] = before + 1
    return image


def _cell(image: np.ndarray, building: int) -> np.ndarray:
    """The part of `image` that shows `building`."""
    row, column = divmod(int(building), SIDE)
    top = (SIDE - 1 - row) * CELL
    return image[top : top + CELL, column * CELL : (column + 1) * CELL]


def _flame(x: np.ndarray, y: np.ndarray, height: float) -> np.ndarray:
    """Which pixels belong to a flame that stands on the ground: a drop, widest at a third of its height."""
    up = (CELL - STREET - 2 - y) / height  # 0 at the foot, 1 at the tip
    inside = up.clip(0, 1)
    width = 0.9 * height * np.sqrt(inside) * (1 - inside)
    return (up >= 0) & (up <= 1) & (np.abs(x + 0.5 - CELL / 2) <= width)

"""Pictures of a battle: a small rasteriser on numpy arrays."""

from collections.abc import Collection

import numpy as np

from envs.starcraft.engine import Units
from envs.starcraft.scenarios import MAP_SIZE, UnitTable

PIXELS = 480
SCALE = PIXELS / MAP_SIZE
BACKGROUND = (24, 28, 32)
GRID = (34, 39, 44)
SIDES = ((72, 149, 239), (239, 92, 80))
RIM, MARK = (240, 240, 240), (255, 206, 64)
HEALTH, SHIELD, EMPTY = (96, 211, 106), (140, 190, 255), (70, 24, 24)
#: Height of a health bar, and its distance from the unit, in pixels.
BAR, BAR_GAP = 3, 3
#: 3 x 5 pixel letters, one row of three bits after the other.
LETTERS = {
    "C": "111100100100111",
    "M": "101111111101101",
    "R": "110101110101101",
    "S": "111100111001111",
    "V": "101101101101010",
    "Z": "111001010100111",
}


def draw(units: Units, table: UnitTable, index: int, marked: Collection[int] = ()) -> np.ndarray:
    """Battle `index` as uint8 (PIXELS, PIXELS, 3), north up: discs by side, bars for health and shield, a golden ring
    around the units in the slots `marked`.
    """
    image = np.empty((PIXELS, PIXELS, 3), dtype=np.uint8)
    image[:] = BACKGROUND
    step = round(4 * SCALE)
    image[::step], image[:, ::step] = GRID, GRID
    rows, columns = np.mgrid[:PIXELS, :PIXELS]
    alive = units.alive[:, index].cpu().numpy()
    kinds = units.type[:, index].cpu().numpy()
    x, y = units.position[:, :, index].cpu().numpy() * SCALE
    health, shield = units.health[:, index].cpu().numpy(), units.shield[:, index].cpu().numpy()
    # who walks over others or flies is drawn on top
    order = sorted(np.flatnonzero(alive), key=lambda slot: table.units[kinds[slot]].layer)
    for slot in order:
        unit = table.units[kinds[slot]]
        column, row, radius = x[slot], PIXELS - 1 - y[slot], unit.radius * SCALE
        away = np.hypot(rows - row, columns - column)
        image[away <= radius] = SIDES[int(units.owner[slot])]
        image[np.abs(away - radius) < 0.8] = RIM
        if slot in marked:
            image[np.abs(away - radius - 3) < 1] = MARK
        _letter(image, unit.letter, row, column)
        top, left, width = int(row - radius) - BAR_GAP - BAR, int(column - radius), int(2 * radius)
        _bar(image, top, left, width, health[slot] / unit.health, HEALTH)
        if unit.shield:
            _bar(image, top - BAR - 1, left, width, shield[slot] / unit.shield, SHIELD)
    return image


def _bar(image: np.ndarray, top: int, left: int, width: int, share: float, colour: tuple[int, int, int]) -> None:
    bottom, top, left = max(top + BAR, 0), max(top, 0), max(left, 0)
    image[top:bottom, left : left + width] = EMPTY
    image[top:bottom, left : left + round(width * float(share))] = colour


def _letter(image: np.ndarray, letter: str, row: float, column: float) -> None:
    bits = np.array([bit == "1" for bit in LETTERS[letter]]).reshape(5, 3)
    top, left = int(row) - 2, int(column) - 1
    rows, columns = np.nonzero(bits)
    rows, columns = rows + top, columns + left
    inside = (rows >= 0) & (rows < PIXELS) & (columns >= 0) & (columns < PIXELS)
    image[rows[inside], columns[inside]] = RIM

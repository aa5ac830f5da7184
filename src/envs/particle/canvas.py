"""Smooth shapes on a numpy array, for pictures of particle tasks."""

import numpy as np

PIXELS = 600
FLOOR, RIM, MARK = (24, 28, 32), (238, 238, 238), (255, 202, 64)

Colour = tuple[float, float, float]


class Canvas:
    """A square about the origin, up is up. Shapes are given by signed distances to their edges, in pixels: negative
    inside.
    """

    def __init__(self, shown: float) -> None:
        """`shown`: half of the side, in units of the plane."""
        self.scale = PIXELS / (2 * shown)
        self.image = np.empty((PIXELS, PIXELS, 3), dtype=np.float32)
        self.image[:] = FLOOR
        rows, columns = np.mgrid[:PIXELS, :PIXELS].astype(np.float32)
        self.x, self.y = (columns + 0.5) / self.scale - shown, shown - (rows + 0.5) / self.scale

    def paint(self, distance: np.ndarray, colour: Colour, opacity: float = 1.0) -> None:
        cover = np.clip(0.5 - distance, 0, 1)[:, :, None] * opacity
        self.image += cover * (np.array(colour, dtype=np.float32) - self.image)

    def disc(self, place: np.ndarray, radius: float) -> np.ndarray:
        away: np.ndarray = np.hypot(self.x - place[0], self.y - place[1])
        return (away - radius) * self.scale

    def diamond(self, place: np.ndarray, radius: float) -> np.ndarray:
        away: np.ndarray = np.abs(self.x - place[0]) + np.abs(self.y - place[1])
        return (away - radius) * (self.scale / 2**0.5)

    def outside(self, half_width: float) -> np.ndarray:
        return (half_width - np.maximum(np.abs(self.x), np.abs(self.y))) * self.scale

    def pixels(self) -> np.ndarray:
        """uint8 (PIXELS, PIXELS, 3)."""
        return self.image.round().astype(np.uint8)

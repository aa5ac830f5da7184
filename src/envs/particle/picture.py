"""Pictures of the open plane: agents are discs, landmarks squares on their tips."""

from collections.abc import Collection

import numpy as np

from envs.particle.canvas import FLOOR, MARK, RIM, Canvas

#: Half of the side that is shown; whoever drifts further is out of the picture.
SHOWN = 1.3
LANDMARK_RADIUS = 0.07


def draw(
    position: np.ndarray, present: np.ndarray, radius: np.ndarray, colours: np.ndarray, marked: Collection[int] = ()
) -> np.ndarray:
    """One world as uint8 (PIXELS, PIXELS, 3), up is up.

    Args:
        position (E, 2): agents first.
        present (E,): bool.
        radius (A,): of the agents.
        colours (E, 3): from 0 to 1.
        marked: slots of agents to put a golden ring around.
    """
    canvas = Canvas(SHOWN)
    for slot in np.flatnonzero(present[len(radius) :]) + len(radius):
        shape = canvas.diamond(position[slot], LANDMARK_RADIUS)
        canvas.paint(shape, tuple(255 * colours[slot]))
        canvas.paint(np.abs(shape + 0.6) - 0.7, FLOOR, 0.8)
    for slot in np.flatnonzero(present[: len(radius)]):
        body = canvas.disc(position[slot], radius[slot])
        canvas.paint(body, tuple(255 * colours[slot]), 0.7)
        canvas.paint(np.abs(body + 0.8) - 0.9, RIM)
        if slot in marked:
            canvas.paint(np.abs(body - 5) - 1.6, MARK)
    return canvas.pixels()

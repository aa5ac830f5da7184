"""Curves of several runs, brought to the same places."""

from collections.abc import Sequence

import numpy as np


def align(
    curves: Sequence[tuple[np.ndarray, np.ndarray]], most: int | None = None
) -> tuple[np.ndarray, np.ndarray] | None:
    """The values (N, P) of `curves` at the places (P,) of any of them, from where all have begun to where the first one
    ends; between two points a curve is a straight line. None where there is no such place.

    Args:
        curves: places, ascending, and values of each, (P,); none of them empty.
        most: of more places, so many that are equally far from each other.
    """
    if not curves:
        return None
    first, last = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    places = np.unique(np.concatenate([x for x, _ in curves]))
    places = places[(first <= places) & (places <= last)]
    if not places.size:
        return None
    if most is not None and places.size > most:
        places = np.linspace(places[0], places[-1], most)
    return places, np.stack([np.interp(places, x, y) for x, y in curves])

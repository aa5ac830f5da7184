"""What a test says, in numbers that fit into a JSON file."""

from collections.abc import Mapping

from torch import Tensor


def summarise(figures: Mapping[str, Tensor]) -> dict[str, dict[str, float | int]]:
    """Mean, standard deviation and number of each figure's episodes.

    `figures`: name -> (episodes,). The deviation is that of a sample (ddof = 1), 0.0 for a single episode; divide it
    by the root of `n` for the standard error of the mean.
    """
    summary: dict[str, dict[str, float | int]] = {}
    for name, value in figures.items():
        value = value.double()
        n = value.numel()
        std = float(value.std(correction=1)) if n > 1 else 0.0
        summary[name] = {"mean": float(value.mean()), "std": std, "n": n}
    return summary

"""What few runs say of a method: interquartile mean, performance profile, probability of improvement, each with the
95 % interval of a stratified bootstrap (Agarwal et al., 2021, "Deep Reinforcement Learning at the Edge of the
Statistical Precipice", section 4).

Letters: N runs, of all tasks together; P points, such as steps of a curve; R resamplings. `strata` are the numbers of
runs of each task, in the order in which their runs stand. Every function draws from the same seed: the same runs have
the same intervals.
"""

from collections.abc import Sequence

import numpy as np

#: Times that runs are drawn anew: for a score or a profile, and for each point of a curve.
RESAMPLINGS, RESAMPLINGS_OF_CURVES = 20_000, 2_000
#: Of the runs in order, at each end: what the interquartile mean leaves out, rounded down to whole runs.
_CUT = 0.25
#: Fewer runs than these are all in the middle half.
FEW = 4
_LEVELS = (0.025, 0.975)

#: bounds of a 95 % interval, each of the shape of what it is of
Interval = tuple[np.ndarray, np.ndarray]


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """The mean of the middle half of the runs, (N, P) -> (P,); of fewer than four runs, the mean."""
    return _trimmed_means(scores, np.ones((1, len(scores))))[0]


def interquartile_interval(
    scores: np.ndarray, strata: Sequence[int], resamplings: int = RESAMPLINGS
) -> Interval | None:
    """The interval of the interquartile mean of `scores` (N, P); None where no task has two runs."""
    counts = _resample(strata, resamplings)
    return None if counts is None else _bounds(_trimmed_means(scores, counts))


def profile(scores: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The share of runs whose score in `scores` (N,) is above each of `levels` (P,)."""
    return (scores[:, None] > levels).mean(axis=0)


def profile_interval(scores: np.ndarray, levels: np.ndarray, strata: Sequence[int]) -> Interval | None:
    """The interval of `profile`; None where no task has two runs."""
    counts = _resample(strata, RESAMPLINGS)
    return None if counts is None else _bounds(counts @ (scores[:, None] > levels) / len(scores))


def probability_of_improvement(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """How often a run of ours is better, that is greater, than one of theirs: mean over tasks, and an equal one counts
    half (the Mann-Whitney statistic).

    Args:
        ours, theirs: per task, the scores (N,) of all runs.
    """
    return float(np.mean([_wins(x, y).mean() for x, y in zip(ours, theirs, strict=True)]))


def improvement_interval(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> tuple[float, float] | None:
    """The interval of `probability_of_improvement`, both sides drawn anew; None where one has no task with two runs."""
    random = np.random.default_rng(0)
    if max(map(len, ours)) < 2 or max(map(len, theirs)) < 2:
        return None
    of_tasks = []
    for x, y in zip(ours, theirs, strict=True):
        mine, other = (_draw(len(side), random, RESAMPLINGS) for side in (x, y))
        of_tasks.append(((mine @ _wins(x, y)) * other).sum(axis=1) / (len(x) * len(y)))
    low, high = np.quantile(np.mean(of_tasks, axis=0), _LEVELS)
    return float(low), float(high)


def _wins(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of every pair: 1 where the one of `x` is greater, 1/2 where both are equal, else 0."""
    return (x[:, None] > y) + 0.5 * (x[:, None] == y)


def _resample(strata: Sequence[int], resamplings: int) -> np.ndarray | None:
    """How often each run is drawn, (R, N), when each task's runs are drawn anew among themselves."""
    if max(strata) < 2:
        return None
    random = np.random.default_rng(0)
    return np.concatenate([_draw(number, random, resamplings) for number in strata], axis=1)


def _draw(number: int, random: np.random.Generator, resamplings: int) -> np.ndarray:
    return random.multinomial(number, np.full(number, 1 / number), size=resamplings).astype(float)


def _trimmed_means(scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The interquartile means (R, P) of `scores` (N, P), of which `counts` (R, N) says how often each is there."""
    number = len(scores)
    low, high = int(_CUT * number), number - int(_CUT * number)
    means = np.empty((len(counts), scores.shape[1]))
    for point, column in enumerate(scores.T):
        order = np.argsort(column, kind="stable")
        sorted_counts = counts[:, order]
        upto = np.cumsum(sorted_counts, axis=1)
        kept = np.minimum(upto, high) - np.maximum(upto - sorted_counts, low)  # copies within the middle half
        means[:, point] = np.maximum(kept, 0) @ column[order] / (high - low)
    return means


def _bounds(drawn: np.ndarray) -> Interval:
    low, high = np.quantile(drawn, _LEVELS, axis=0)
    return low, high

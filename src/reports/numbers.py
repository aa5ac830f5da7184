"""What a report shows of a panel, as numbers: bands of curves, scores, profiles, comparisons of two methods."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from reports.groups import Method, Panel, trained_with
from reports.sources import COMMUNICATION
from reports.statistics import (
    RESAMPLINGS_OF_CURVES,
    Interval,
    improvement_interval,
    interquartile_interval,
    interquartile_mean,
    probability_of_improvement,
    profile,
    profile_interval,
)
from reports.trainings import Line, Training
from utils.curves import align

#: Points of a band, and of a profile, at most.
_POINTS = 200


@dataclass(frozen=True, eq=False)
class Band:
    """A middle and its 95 % interval (None: of one run) at places x, (P,) each; of `number` runs."""

    x: np.ndarray
    middle: np.ndarray
    interval: Interval | None
    number: int


@dataclass(frozen=True)
class Score:
    """The interquartile mean of `number` runs, and its 95 % interval (None: of one run)."""

    middle: float
    interval: tuple[float, float] | None
    number: int


@dataclass(frozen=True)
class Column:
    """A column of the matrix of scores."""

    task: str
    team: str
    metric: str


@cache
def band(panel: Panel, method: Method, axis: str) -> Band | None:
    """The curves of a method's trainings laid over each other; None where one of them has none against `axis`."""
    curves = []
    for task, trainings in method.counted.items():
        for training in trainings:
            curve = along(training.line(panel.metrics[task]), axis)
            if curve is None:
                return None
            curves.append(curve)
    found = align(curves, _POINTS)
    if found is None:
        return None
    x, values = found
    interval = interquartile_interval(values, method.strata, RESAMPLINGS_OF_CURVES)
    return Band(x, interquartile_mean(values), interval, len(values))


def along(line: Line | None, axis: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Places on `axis` and values of a curve, where both are known; None where they never are."""
    if line is None:
        return None
    x: np.ndarray = getattr(line, axis)
    known = ~np.isnan(x)
    return (x[known], line.values[known]) if known.any() else None


def columns(panel: Panel) -> list[Column]:
    """The columns of the matrix of scores: each task's teams, or the one metric that is shown."""
    found = []
    for task, metric in panel.metrics.items():
        teams = panel.teams(task)
        found += [Column(task, team, panel.metric(task, team)) for team in teams] or [Column(task, "", metric)]
    return found


def score(method: Method, column: Column) -> Score | None:
    """A method's last values of a column's metric; None where it has none."""
    finals = _finals(method.counted.get(column.task, ()), column.metric)
    return _summary(finals, [len(finals)]) if finals.size else None


def is_trained(method: Method, column: Column) -> bool:
    """Whether all of a method's trainings have met the column's teams."""
    found = method.counted.get(column.task, ())
    return not method.scripted and bool(found) and all(trained_with(training.run, column.team) for training in found)


def total(panel: Panel, method: Method) -> Score:
    """A method's last values of the metric that is shown, of all tasks."""
    return _summary(np.concatenate(_by_task(panel, method)), method.strata)


@cache
def levels(panel: Panel) -> np.ndarray:
    """The scores at which profiles are looked at."""
    every = np.concatenate([scores for method in panel.learners for scores in _by_task(panel, method)])
    return np.linspace(every.min(), every.max(), _POINTS)


@cache
def profile_of(panel: Panel, method: Method) -> Band:
    """The share of a method's trainings whose last value is above each of `levels`."""
    scores, at = np.concatenate(_by_task(panel, method)), levels(panel)
    return Band(at, profile(scores, at), profile_interval(scores, at, method.strata), len(scores))


@cache
def improvement(panel: Panel, ours: Method, theirs: Method) -> Score | None:
    """How probably a training of `ours` is better than one of `theirs`, on the tasks that both have."""
    tasks = [task for task in ours.counted if task in theirs.counted]
    if not tasks:
        return None
    sign = 1.0 if panel.higher_is_better else -1.0
    sides = [[sign * _finals(of.counted[task], panel.metrics[task]) for task in tasks] for of in (ours, theirs)]
    number = sum(map(len, sides[0]))
    return Score(probability_of_improvement(*sides), improvement_interval(*sides), number)


def communication(panel: Panel, method: Method) -> Iterator[tuple[Training, float, float]]:
    """Of each training or test that counts and has a coach: how often it is heard, and the score."""
    for task, trainings in method.counted.items():
        if not (teams := panel.teams(task)):
            continue
        shown = next(team for team in teams if panel.metric(task, team) == panel.metrics[task])
        for training in trainings:
            sent, value = (
                training.final(name) for name in (panel.metric(task, shown, COMMUNICATION), panel.metrics[task])
            )
            if sent is not None and value is not None:
                yield training, sent, value


def _by_task(panel: Panel, method: Method) -> list[np.ndarray]:
    return [_finals(found, panel.metrics[task]) for task, found in method.counted.items()]


def _finals(trainings: Sequence[Training], metric: str) -> np.ndarray:
    found = (training.final(metric) for training in trainings)
    return np.array([value for value in found if value is not None], dtype=float)


def _summary(scores: np.ndarray, strata: Sequence[int]) -> Score:
    interval = interquartile_interval(scores[:, None], strata)
    bounds = None if interval is None else (float(interval[0][0]), float(interval[1][0]))
    return Score(float(interquartile_mean(scores[:, None])[0]), bounds, len(scores))

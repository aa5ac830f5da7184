"""Runs that continue each other as one training, and its curves against steps, hours and updates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import PurePath
from typing import Any

import numpy as np

from reports.sources import UPDATES, Run, Tell
from utils.logging import parse_metric_name

#: What curves are drawn against, and how the axis is called.
AXES: Mapping[str, str] = {"steps": "environment steps", "hours": "hours", "updates": "updates"}


@dataclass(frozen=True, eq=False)
class Link:
    """A run of a training, and the environment steps at which it began."""

    run: Run
    start: float


@dataclass(frozen=True, eq=False)
class Line:
    """A metric of a training, (P,) each. Updates are NaN where nobody knows them."""

    steps: np.ndarray
    values: np.ndarray
    hours: np.ndarray
    updates: np.ndarray


@dataclass(frozen=True, eq=False)
class Training:
    """What was trained with one seed, in one run or in several that continue each other; or one test."""

    links: tuple[Link, ...]
    #: of a test, what was tested: a training's latest run, or where its models are
    model: str = ""

    @property
    def run(self) -> Run:
        """The latest of its runs, which tells how it ended."""
        return self.links[-1].run

    @property
    def config(self) -> Mapping[str, Any]:
        """The latest run's settings."""
        return self.run.config

    @property
    def seed(self) -> object:
        """As the settings have it."""
        return self.config.get("seed")

    @property
    def updates(self) -> int | None:
        """Made in all, as far as is known."""
        recorded, saved = self._counted("")
        return max((int(known[1, -1]) for known in (recorded, saved) if known.size), default=None)

    @property
    def _ends(self) -> tuple[float, ...]:
        """Up to which step each run counts: what came after the checkpoint that the next one began with is lost."""
        return (*(link.start for link in self.links[1:]), np.inf)

    @cache  # noqa: B019 a program reads its trainings once
    def line(self, metric: str) -> Line | None:
        """The curve of `metric`; None where none was recorded."""
        parts, spent = [np.empty((3, 0))], 0.0
        for link, end in zip(self.links, self._ends, strict=True):
            curves = link.run.curves
            began = link.run.began
            if began is None:
                began = min((float(curve.times[0]) for curve in curves.values() if len(curve.times)), default=0.0)
            if metric in curves:
                steps, values, times = (column[curves[metric].steps <= end] for column in curves[metric])
                parts.append(np.stack([steps, values, (times - began + spent) / 3600]))
            spent += _reached(link.run, end, began) - began
        steps, values, hours = np.concatenate(parts, axis=1)[:, ::-1]
        if not steps.size:
            return None
        steps, last = np.unique(steps, return_index=True)  # a run may test once more what the one before has tested
        return Line(steps, values[last], hours[last], self._updates_at(steps, metric))

    def final(self, metric: str) -> float | None:
        """The last value of `metric`."""
        line = self.line(metric)
        return None if line is None else float(line.values[-1])

    def _updates_at(self, steps: np.ndarray, metric: str) -> np.ndarray:
        test = parse_metric_name(metric)
        recorded, saved = self._counted(test.part if test else "")
        # checkpoints before its first test are of what came before: of the expert that taught
        known = recorded if recorded.size else saved[:, saved[0] > steps[0]]
        if not known.size:
            return np.full(len(steps), np.nan)
        if steps[0] < known[0, 0] and not self.links[0].run.config.get("checkpoint_path"):  # it began with none
            known = np.concatenate([[[steps[0]], [0.0]], known], axis=1)
        return np.interp(steps, known[0], known[1], left=np.nan, right=np.nan)

    def _counted(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps and updates, (2, P), as they were recorded, and as the checkpoints tell."""
        recorded: dict[float, float] = {}
        saved: dict[float, float] = {}
        for link, end in zip(self.links, self._ends, strict=True):
            curve = link.run.curves.get(part + UPDATES)
            if curve is not None:
                recorded |= {s: n for s, n in zip(curve.steps.tolist(), curve.values.tolist(), strict=True) if s <= end}
            saved |= {s: n for s, n in link.run.saved if s <= end and not part}
        first, second = (np.array(sorted(found.items()), dtype=float).reshape(-1, 2).T for found in (recorded, saved))
        return first, second


def _reached(run: Run, step: float, began: float) -> float:
    """When a run that began at `began` was at `step`, or at its last figure where that came first."""
    steps = np.concatenate([*(curve.steps for curve in run.curves.values()), [run.step]])
    times = np.concatenate([*(curve.times for curve in run.curves.values()), [run.last or began]])
    order = np.lexsort((times, steps))
    return float(np.interp(step, steps[order], times[order]))


def join(runs: Sequence[Run], left_out: Tell) -> tuple[list[Training], dict[str, str]]:
    """Trainings and tests of `runs`, and of each run that another one continues the latter: id -> id.

    A run that is there twice, as in a copy of its record, counts once: the one that is further, or at its own place.
    """
    kept: dict[str, Run] = {}
    for run in runs:
        known = kept.get(run.uuid)
        if known is None:
            kept[run.uuid or f"{run.place} {run.id}"] = run
            continue
        other, twin = sorted(
            (run, known), key=lambda one: (one.step, one.place == one.config.get("local_results_path"))
        )
        kept[run.uuid] = twin
        left_out(other.id, f"is the same run as {twin.id}")
    found = list(kept.values())
    numbered = {(run.place, run.number): run for run in found}
    before: dict[str, Link] = {}
    for run in found:
        source = _source(run)
        link = None if run.tests or run.last is None or source is None else _predecessor(run, source, numbered)
        if link is not None:
            before[run.id] = link
    followed = {link.run.id: follower for follower, link in before.items()}
    chains, owner = [], {}
    for run in found:
        if run.id in followed:
            continue
        links = [Link(run, 0.0)]
        while (link := before.get(links[0].run.id)) is not None and link.run.id not in [
            known.run.id for known in links
        ]:
            links[0] = Link(links[0].run, link.start)
            links.insert(0, Link(link.run, 0.0))
        chains.append(tuple(links))
        owner.update({(known.run.place, known.run.number): run.id for known in links})
    return [Training(chain, _model(chain[-1].run, owner)) for chain in chains], followed


@dataclass(frozen=True)
class _Source:
    """The checkpoint that a run began with: its run's number, where that is its own, and the step (0: the newest)."""

    place: str
    number: str
    step: float


def _source(run: Run) -> _Source | None:
    """What a run's `checkpoint_path` names; None for nothing, and for what is no place of checkpoints."""
    path = PurePath(str(run.config.get("checkpoint_path") or ""))
    step = float(run.config.get("load_step") or 0)
    if path.parent.name.isdecimal() and path.name.isdecimal():
        step, path = float(path.name), path.parent
    if path.parent.name != "models":
        return None
    place = str(path.parents[1])
    # its own folder may have been moved since
    return _Source(run.place if place == run.config.get("local_results_path") else place, path.name, step)


def _predecessor(run: Run, source: _Source, numbered: Mapping[tuple[str, str], Run]) -> Link | None:
    """The run whose checkpoint `run` began with, and its step, or else that of the newest one that can have been it;
    None where there is none among them.
    """
    found = numbered.get((source.place, source.number))
    if found is None or (found.place == run.place and _rank(found) >= _rank(run)):  # numbers rise
        return None
    first = min((float(curve.steps[0]) for curve in run.curves.values() if curve.steps.size), default=float(run.step))
    return Link(found, source.step or max((at for at, _ in found.saved if at <= first), default=first))


def _model(run: Run, owner: Mapping[tuple[str, str], str]) -> str:
    source = _source(run) if run.tests else None
    if source is None:
        return str(run.config.get("checkpoint_path") or "") if run.tests else ""
    return owner.get((source.place, source.number), f"{source.place} {source.number}")


def _rank(run: Run) -> tuple[int, str]:
    """Numbers count; others may have named a run in a database."""
    return (int(run.number), "") if run.number.isdecimal() else (0, run.number)

"""The numbers of a report for other programs: CSV, and the JSON of marl-eval."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from reports.groups import Panel
from reports.numbers import Band, band, columns, improvement, is_trained, profile_of, score
from reports.sources import Run
from reports.trainings import AXES, Training
from utils.logging import parse_metric_name
from utils.records import parameters, revision

RUNS_HEAD = (
    "run", "method", "task", "seed", "status", "counts", "steps", "steps_per_second", "updates", "revision", "backend",
    "device", "parameters",
)  # fmt: skip


def runs_table(
    trainings: Sequence[Training], runs: Sequence[Run], followed: dict[str, str], panels: Sequence[Panel]
) -> list[list[object]]:
    """A line for each run, as `RUNS_HEAD` names its cells; "" for what is not known."""
    verdicts: dict[str, tuple[str, str]] = {}
    for panel in panels:
        for method in panel.methods:
            verdicts |= {training.run.id: (method.label, "yes") for training in method.trainings}
            verdicts |= {training.run.id: (method.label, f"no: {reason}") for training, reason in method.uncounted}
    latest = {training.run.id: training for training in trainings}
    starts = {link.run.id: link.start for training in trainings for link in training.links}
    lines: list[list[object]] = []
    for run in runs:
        name = str(run.config["name"])
        follower = followed.get(run.id)
        elsewhere = f"in {follower}, which continues it" if follower else "no: it is there twice"
        label, counts = verdicts.get(run.id, (name, elsewhere))
        kind = "test of " * (run.tests and name != "scripted")
        training = latest.get(run.id)
        updates = training.updates if training is not None and not run.tests else None
        rate = _rate(run, starts.get(run.id))
        lines.append(
            [run.id, kind + label, run.task, run.config.get("seed", ""), run.status, counts, run.step]
            + ["" if rate is None else round(rate, 1), "" if updates is None else updates, revision(run.facts)]
            + [run.facts.get("backend") or "", run.facts.get("device") or "", parameters(run.facts) or ""]
        )
    return lines


def _rate(run: Run, start: float | None) -> float | None:
    """Environment steps a second since `start`, tests included; None for a test, and where it is not known."""
    if start is None or run.tests or run.began is None or run.last is None or run.last <= run.began:
        return None
    return (run.step - start) / (run.last - run.began)


def write_runs(path: Path, lines: Iterable[Sequence[object]]) -> None:
    """Write `runs_table` as CSV."""
    _write(path, RUNS_HEAD, lines)


def write_curves(path: Path, panels: Sequence[Panel]) -> None:
    """Every point of every band."""
    lines: list[list[object]] = []
    for panel in panels:
        for method in panel.learners:
            for axis in AXES:
                found = band(panel, method, axis)
                if found is None:
                    continue
                for at, (x, middle) in enumerate(zip(found.x, found.middle, strict=True)):
                    where = [panel.title, method.label, axis, _short(x), _short(middle)]
                    lines.append([*where, *_interval(found, at), found.number])
    _write(path, ("panel", "method", "axis", "x", "interquartile_mean", "ci95_low", "ci95_high", "trainings"), lines)


def write_scores(path: Path, panels: Sequence[Panel]) -> None:
    """The matrix of scores, a line for each cell."""
    lines: list[list[object]] = []
    for panel in panels:
        for method in panel.methods:
            for column in columns(panel):
                found = score(method, column)
                if found is not None:
                    low, high = found.interval or ("", "")
                    what = [column.metric, found.middle, low, high, found.number, is_trained(method, column)]
                    lines.append([panel.title, method.label, method.tests, column.task, column.team, *what])
    head = ("panel", "method", "tested_apart", "task", "team", "metric", "interquartile_mean", "ci95_low", "ci95_high")
    _write(path, (*head, "runs", "trained_with"), lines)


def write_profiles(path: Path, panels: Sequence[Panel]) -> None:
    """The performance profiles, a line for each level."""
    lines: list[list[object]] = []
    for panel in panels:
        for method in panel.learners:
            found = profile_of(panel, method)
            for at, (level, share) in enumerate(zip(found.x, found.middle, strict=True)):
                lines.append([panel.title, method.label, _short(level), _short(share), *_interval(found, at)])
    _write(path, ("panel", "method", "score", "share_above", "ci95_low", "ci95_high"), lines)


def write_improvements(path: Path, panels: Sequence[Panel]) -> None:
    """How probably one method is better than another, a line for each pair."""
    lines: list[list[object]] = []
    for panel in panels:
        for ours in panel.learners:
            for theirs in panel.learners:
                found = improvement(panel, ours, theirs) if ours is not theirs else None
                if found is not None:
                    lines.append([panel.title, ours.label, theirs.label, found.middle, *(found.interval or ("", ""))])
    _write(path, ("panel", "method", "than", "probability_of_improvement", "ci95_low", "ci95_high"), lines)


def write_marl_eval(path: Path, panels: Sequence[Panel]) -> None:
    """The raw data that marl-eval reads (its README, "Data Structure for Raw Experiment data"), of what counts:
    environment -> task -> algorithm -> run -> step. Each list has one element, the mean over the test's episodes.
    """
    data: dict[str, dict[str, dict[str, dict[str, dict[str, object]]]]] = {}
    for panel in panels:
        for method in panel.learners:
            for task, trainings in method.counted.items():
                for training in trainings:
                    line = training.line(panel.metrics[task])
                    assert line is not None
                    test = parse_metric_name(panel.metrics[task])
                    figure = test.figure if test else panel.metrics[task]
                    run: dict[str, object] = {
                        f"step_{number}": {"step_count": int(step), figure: [float(value)]}
                        for number, (step, value) in enumerate(zip(line.steps, line.values, strict=True))
                    }
                    run["absolute_metrics"] = {figure: [float(line.values[-1])]}
                    tasks = data.setdefault(str(training.config["env"]), {})
                    # marl-eval takes names apart at commas
                    of_method = tasks.setdefault(task, {}).setdefault(method.label.replace(",", ";"), {})
                    of_method[_free(f"seed_{training.seed}", of_method)] = run
    path.write_text(json.dumps(data) + "\n", encoding="utf-8")


def _free(name: str, taken: dict[str, dict[str, object]]) -> str:
    """`name`, or where that is taken, as by other settings of the same seed, with a number."""
    number = 1
    while (found := name if number == 1 else f"{name}_{number}") in taken:
        number += 1
    return found


def _interval(found: Band, at: int) -> list[str]:
    """The bounds at a point; "" twice for a single run."""
    return ["", ""] if found.interval is None else [_short(bound[at]) for bound in found.interval]


def _short(value: float) -> str:
    return f"{value:.6g}"


def _write(path: Path, head: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(lines)

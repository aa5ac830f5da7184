"""Learning curves: the tests in the course of a training, as its runs recorded them."""

import csv
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from studies.stored import recorded_runs
from utils.curves import align
from utils.logging import METRICS_FILE
from utils.records import read_json

#: (environment steps, value) of each test, in order
Curve = Sequence[tuple[int, float]]


def read_curves(folder: Path, names: Collection[str]) -> dict[str, Curve]:
    """The curves of the metrics `names` over the runs in `folder` that continue each other, a cell's with one seed.

    What an earlier run did after the checkpoint that a later one continues has led to nothing, and is left out.
    """
    found: dict[str, dict[int, float]] = {name: {} for name in names}
    for run in recorded_runs(folder):
        entries = list(_entries(run / METRICS_FILE))
        if not entries:  # it ended before it began, and the next one starts from the same checkpoint
            continue
        source = read_json(run / "config.json").get("checkpoint_path")
        start = int(Path(source).name) if source else -1
        for name, points in found.items():
            kept = {step: value for step, value in points.items() if step <= start}
            found[name] = kept | {entry["step"]: entry["value"] for entry in entries if entry["name"] == name}
    return {name: sorted(points.items()) for name, points in found.items()}


def _entries(path: Path) -> Iterator[dict]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            yield json.loads(line)
        except ValueError:
            print(f"{path}: line {number} cannot be read: left out of the curves", flush=True)


@dataclass(frozen=True)
class Band:
    """Curves of several seeds laid over each other; all sequences have one item per step."""

    steps: Sequence[int]
    middle: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def lay_over(curves: Sequence[Curve], middle: Callable[[np.ndarray], np.ndarray]) -> Band | None:
    """The middle, least and greatest of `curves`, from where all have begun to where the first one ends, at every step
    of any of them; between two tests a curve is a straight line. None where there is no such step.

    Args:
        curves: one per seed, none of them empty.
        middle: of values (seeds, steps), along the first axis.
    """
    found = align([(columns[0], columns[1]) for columns in (np.array(curve, dtype=float).T for curve in curves)])
    if found is None:
        return None
    steps, values = found
    return Band(
        steps.astype(int).tolist(), middle(values).tolist(), values.min(axis=0).tolist(), values.max(axis=0).tolist()
    )


def steps_until(curve: Curve, level: float, rising: bool) -> float:
    """Steps of the first test that reaches `level`, from below if `rising`; infinite where none does."""
    return next((step for step, value in curve if (value >= level if rising else value <= level)), float("inf"))


#: (folder of a cell and seed below the results, metric) -> curve
Curves = Mapping[tuple[str, str], Curve]


def write_curves(path: Path, curves: Curves) -> None:
    """Write `curves` as CSV, a line for every test."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["model", "metric", "step", "value"])
        for (place, name), curve in curves.items():
            writer.writerows([place, name, step, f"{value:.6g}"] for step, value in curve)


def read_written(path: Path) -> Curves:
    """What `write_curves` wrote, to six digits."""
    found = defaultdict(list)
    with open(path, newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            found[line["model"], line["metric"]].append((int(line["step"]), float(line["value"])))
    return dict(found)

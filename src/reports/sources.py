"""Runs as a report reads them, from the files of a folder of results. What cannot be read is said, and left out."""

import json
import math
import os
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from runs import find_records, moment_of, printable, record_id, task_of
from utils.checkpoints import MANIFEST
from utils.logging import METRICS_FILE, parse_metric_name
from utils.records import RUN_FILE, read_json, status_of

#: How a line of metrics begins, up to the name: others are parsed only to see whether they are whole.
_NAME = b'{"name": "'
UPDATES = "updates"
COMMUNICATION = "comm_frequency"
#: Figures of which the first that a task has is shown, unless another metric is named.
FIGURES = ("battle_won", "return")
#: tells of something left out: what, why
Tell = Callable[[str, str], None]


class Points(NamedTuple):
    """What was recorded of one metric, (P,) each: environment steps, ascending; finite values; seconds since 1970."""

    steps: np.ndarray
    values: np.ndarray
    times: np.ndarray


@dataclass(eq=False)
class Run:
    """One record."""

    #: the folder it lies in below the results, or the database, and its number there
    id: str
    #: where its number is its own: the folder of results that it was recorded in
    place: str
    number: str
    status: str
    config: Mapping[str, Any]
    facts: Mapping[str, Any]
    #: what it is known by, copies of its record too; "" in those of earlier versions
    uuid: str = ""
    #: seconds since 1970; None: not known
    began: float | None = None
    #: its last figure: environment steps, and when
    step: int = 0
    last: float | None = None
    curves: dict[str, Points] = field(default_factory=dict)
    #: (steps, updates) of its checkpoints
    saved: list[tuple[int, int]] = field(default_factory=list)

    @property
    def task(self) -> str:
        """As `--env-config` named it."""
        return task_of(self.facts, self.config)

    @property
    def tests(self) -> bool:
        """Whether it only tests."""
        return bool(self.config.get("evaluate"))


@dataclass(frozen=True)
class Wanted:
    """Which metrics are read: one, its test's other teams, communication, updates; else battles won and returns."""

    metric: str = ""

    def __call__(self, name: str) -> bool:
        """Whether the metric `name` is."""
        if name in (self.metric, UPDATES):
            return True
        mine, test = parse_metric_name(self.metric), parse_metric_name(name)
        if test is None:
            return mine is not None and name == mine.part + UPDATES
        if mine is not None:
            return (test.part, test.episodes) == (mine.part, mine.episodes) and test.figure in (
                mine.figure,
                COMMUNICATION,
            )
        return not test.part and test.figure in (COMMUNICATION, *(() if self.metric else FIGURES))


def read_folder(folder: Path, wanted: Wanted, names: set[str], left_out: Tell) -> list[Run]:
    """The runs below `folder`; `names` is added what metrics they have."""

    def unreadable(error: OSError) -> None:
        left_out(str(error.filename), f"cannot be read ({error.strerror})")

    found = []
    one = folder.name.isdecimal() and folder.parent.name == "sacred"
    records = [folder] if one else find_records(folder, unreadable)
    for place in dict.fromkeys(record.parent for record in records if not one):
        for entry in sorted(os.listdir(place)):
            if not (entry.isdecimal() and (place / entry).is_dir()) and not entry.startswith(("_", ".")):
                left_out(str(place / entry), "is no record of a run")
    for record in records:
        if not record.is_dir():
            continue
        try:
            run = read_record(record, record_id(record, folder.parent if one else folder), wanted, names, left_out)
        except OSError as error:
            left_out(str(error.filename or record), f"cannot be read ({error.strerror})")
            continue
        if run is not None:
            found.append(run)
    return found


def read_record(record: Path, name: str, wanted: Wanted, names: set[str], left_out: Tell) -> Run | None:
    """The run of the folder `record`, to be called `name`; None where it is none of ours, which was told."""
    config, told = read_json(record / "config.json"), read_json(record / RUN_FILE)
    if not config:
        left_out(str(record), "config.json is missing or cannot be read")
        return None
    if not told:
        left_out(str(record), f"{RUN_FILE} is missing or cannot be read")
        return None
    if is_foreign(config):
        left_out(str(record), "is no run of Muster (its settings have no name and env)")
        return None
    place = record.parents[1]
    meta = told.get("meta")
    run = Run(
        id=printable(name),
        place=str(place),
        number=record.name,
        status=status_of(record),
        config=clean(config),
        facts=clean(read_json(record / "info.json")),
        uuid=str(meta.get("uuid") or "") if isinstance(meta, dict) else "",
        began=moment(told.get("start_time")),
    )
    _read_metrics(record / METRICS_FILE, run, wanted, names, left_out)
    run.saved = _saved_updates(place / "models" / record.name)
    return run


def is_foreign(config: Mapping[str, Any]) -> bool:
    """Whether settings are not those of a run of ours."""
    return not (isinstance(config.get("name"), str) and isinstance(config.get("env"), str))


def clean(content: Any) -> Any:
    """`content`, as JSON has it, with text that pictures and tables can hold."""
    if isinstance(content, Mapping):
        return {printable(str(key)): clean(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [clean(value) for value in content]
    return printable(content) if isinstance(content, str) else content


def moment(said: Any) -> float | None:
    """Seconds since 1970 of a moment as sacred writes it; None for what is none."""
    try:
        return moment_of(said)
    except (TypeError, ValueError, OverflowError):
        return None


def take_curves(run: Run, columns: Mapping[str, Sequence[Sequence[float]]], left_out: Tell) -> None:
    """Give `run` its curves: name -> steps, values, times as they were recorded. Of several points of one step the last
    one counts; what is not finite is left out, and told.
    """
    for name, column in columns.items():
        step, value, time = (np.asarray(numbers, dtype=float) for numbers in column)
        finite = np.isfinite(value) & np.isfinite(step) & np.isfinite(time)
        if not finite.all():
            left_out(f"{run.id}: {name}", f"{np.count_nonzero(~finite)} values that are not finite")
        step, value, time = step[finite], value[finite], time[finite]
        kept, last = np.unique(step[::-1], return_index=True)
        run.curves[name] = Points(kept, value[::-1][last], time[::-1][last])


def _read_metrics(path: Path, run: Run, wanted: Wanted, names: set[str], left_out: Tell) -> None:
    """Give `run` its curves and its last step."""
    columns: dict[str, tuple[array, array, array]] = {}
    take: dict[bytes, bool] = {}
    broken, last = 0, b""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            name = line[len(_NAME) : line.find(b'"', len(_NAME))] if line.startswith(_NAME) else b""
            if name not in take:
                text = name.decode(errors="replace")
                names.update([text] * bool(text))
                take[name] = not name or wanted(text)
            if not take[name] and line.endswith(b"}\n"):
                last = line
                continue
            point = _point(line)
            if point is None:
                broken += line.endswith(b"\n")  # what has no end is being written, or was when the run was killed
                continue
            last = line
            if take[name] and (name or wanted(point[0])):
                column = columns.setdefault(point[0], (array("d"), array("d"), array("d")))
                for numbers, number in zip(column, point[1:], strict=True):
                    numbers.append(number)
    if broken:
        left_out(str(path), f"{broken} lines that cannot be read")
    take_curves(run, columns, left_out)
    end = _point(last)
    if end is not None:
        run.step, run.last = end[1], end[3]


def _point(line: bytes) -> tuple[str, int, float, float] | None:
    """A line of metrics; None for one that is none."""
    try:
        point = json.loads(line)
        found = printable(str(point["name"])), int(point["step"]), float(point["value"]), float(point["time"])
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None
    return found if math.isfinite(found[3]) else None


def _saved_updates(models: Path) -> list[tuple[int, int]]:
    found = []
    for manifest in models.glob(f"*/{MANIFEST}"):
        count = read_json(manifest).get("updates")
        if manifest.parent.name.isdecimal() and isinstance(count, int):
            found.append((int(manifest.parent.name), count))
    return sorted(found)

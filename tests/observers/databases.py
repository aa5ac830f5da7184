"""What a test of recording in a database has at hand: short runs, and the comparison of a database with files."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import main as command
from observers.documents import moment_of


def carry_out(results: Path, *words: str) -> int:
    """A run with the stand-in for the experiment (fixture `experiment`); its exit code."""
    return command.main([f"local_results_path={results}", *words])


def records_of(results: Path) -> list[Path]:
    """The records in `results`."""
    return sorted((results / "sacred").iterdir(), key=lambda folder: int(folder.name))


def figures(count: int, names: int = 3) -> Callable[[Any], None]:
    """Records `count` figures of each of `names` metrics."""

    def tell(recorder: Any) -> None:
        for step in range(count):
            for name in range(names):
                recorder.scalar(f"figure{name}", step / 7 + name, step)

    return tell


def differences(database: Any, results: Path) -> list[str]:
    """What `database` has otherwise than the records in `results`, or beside them; computed from both sides alone."""
    faults = []
    runs = list(database.runs.find({}))
    metrics = list(database.metrics.find({}))
    for folder in records_of(results):
        record = json.loads((folder / "run.json").read_text())
        mine = [run for run in runs if run["meta"]["uuid"] == record["meta"]["uuid"]]
        if len(mine) != 1:
            faults.append(f"{folder}: {len(mine)} documents")
            continue
        (run,) = mine
        runs.remove(run)
        info = json.loads((folder / "info.json").read_text())
        expected = {
            "status": record["status"],
            "result": record.get("result"),
            "config": json.loads((folder / "config.json").read_text()),
            "start_time": milliseconds(record["start_time"]),
            "stop_time": milliseconds(record.get("stop_time")),
            "fail_trace": record.get("fail_trace"),
            "info": {**info, "run": folder.name},
        }
        refs = run["info"].pop("metrics")
        for key in ("start_time", "stop_time"):
            run[key] = run[key] and milliseconds(run[key].isoformat()) if key in run else None
        for key, value in expected.items():
            if json.dumps(run.get(key), sort_keys=True) != json.dumps(value, sort_keys=True):
                faults.append(f"{folder}: {key} is {run.get(key)!r}, not {value!r}")
        curves: dict[str, list[tuple[int, float, int]]] = {}
        for line in (folder / "metrics.jsonl").read_text().splitlines():
            point = json.loads(line)
            when = round(point["time"] * 1000)
            curves.setdefault(point["name"], []).append((point["step"], point["value"], when))
        theirs = [metric for metric in metrics if metric["run_id"] == run["_id"]]
        metrics = [metric for metric in metrics if metric["run_id"] != run["_id"]]
        if [(metric["name"], str(metric["_id"])) for metric in theirs] != [(ref["name"], ref["id"]) for ref in refs]:
            faults.append(f"{folder}: the run refers to {refs}")
        found = {}
        for metric in theirs:
            times = [milliseconds(moment.isoformat()) for moment in metric["timestamps"]]
            found[metric["name"]] = list(zip(metric["steps"], metric["values"], times, strict=True))
        if len(found) != len(theirs):
            faults.append(f"{folder}: a metric has two documents")
        if str(found) != str(curves):  # as text: nan is not equal to itself
            faults.append(f"{folder}: metrics are {str(found)[:500]}, not {str(curves)[:500]}")
    faults += [f"a run that no record has: {run}" for run in runs]
    faults += [f"a metric that no record has: {metric}" for metric in metrics]
    return faults


def milliseconds(text: str | None) -> int | None:
    """A time of a record, as MongoDB keeps it."""
    moment = moment_of(text)
    return None if moment is None else math.floor(round(moment.timestamp() * 1e6) / 1000)

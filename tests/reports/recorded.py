"""Records as trainings leave them, for tests of reports."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from reports.groups import Panel, group
from reports.sources import Run, Wanted, read_folder
from reports.trainings import Training, join

WON = "test/3-5/battle_won_mean"
START = datetime(2026, 3, 1, 10, tzinfo=timezone.utc)
#: (environment steps, value); time passes at a step a second
Curve = Sequence[tuple[int, float]]


def write(
    results: Path,
    number: int,
    curves: Mapping[str, Curve],
    *,
    status: str = "COMPLETED",
    task: str = "sc2_sz",
    start: int = 0,
    seconds: float = 1.0,
    facts: Mapping[str, object] | None = None,
    **config: Any,
) -> Path:
    """The record `number` in `results`.

    Args:
        start: the step at which the run begins, at the same time as every other.
        seconds: that a step takes.
        config: settings that differ from those of a training of REFIL.
    """
    record = results / "sacred" / str(number)
    record.mkdir(parents=True)
    own = {"name": "refil", "seed": number, "env": "starcraft", "env_args": {"train_team": "3-5"}, "evaluate": False}
    contents = {
        "config.json": {**own, "checkpoint_path": "", "local_results_path": str(results), **config},
        "run.json": {"status": status, "start_time": START.isoformat()},
        "info.json": {"arguments": [f"--env-config={task}"], "device": "cpu", **(facts or {})},
    }
    for name, content in contents.items():
        (record / name).write_text(json.dumps(content))
    lines = sorted((step, name, value) for name, points in curves.items() for step, value in points)
    (record / "metrics.jsonl").write_text(
        "".join(
            json.dumps({"name": n, "step": s, "value": v, "time": round(START.timestamp() + (s - start) * seconds, 3)})
            + "\n"
            for s, n, v in lines
        )
    )
    return record


def straight(last: float, end: int = 100, name: str = WON) -> dict[str, Curve]:
    """A metric that rises from 0 to `last` in `end` steps."""
    return {name: [(0, 0.0), (end // 2, last / 2), (end, last)]}


def write_two_methods(results: Path) -> None:
    """Three trainings each of REFIL (0.2, 0.4, 0.6 on 3-5 units) and of COPA (0.1 more), which has a coach; one that
    failed; a scripted team.
    """
    eight = "test/8/battle_won_mean"
    for seed, last in enumerate([0.2, 0.4, 0.6]):
        curves = {**straight(last), **straight(last / 2, name=eight), "updates": [(0, 0), (100, 40)]}
        write(results, seed + 1, curves, seed=seed, facts={"parameters": {"total": 1234}, "backend": "skirmish"})
        sent = {"test/3-5/comm_frequency": [(100, 0.1 * seed)], "test/8/comm_frequency": [(100, 0.5)]}
        coached = {**straight(last + 0.1), **straight(last, name=eight), "updates": [(0, 0), (100, 40)], **sent}
        write(results, seed + 11, coached, seed=seed, name="copa")
    write(results, 20, straight(1.0), status="FAILED", seed=9)
    write(results, 21, {WON: [(0, 0.38)]}, name="scripted", policy="focus_fire", evaluate=True)


def read(results: Path, metric: str = "") -> tuple[list[Run], list[str]]:
    """The runs in `results`, and what was left out."""
    told: list[str] = []
    runs = read_folder(results, Wanted(metric), set(), lambda what, why: told.append(f"{Path(what).name}: {why}"))
    return runs, told


def trainings(results: Path, metric: str = "") -> list[Training]:
    """The trainings in `results`, of which nothing is left out."""
    runs, told = read(results, metric)
    found, _ = join(runs, lambda what, why: told.append(what))
    assert told == []
    return found


def panels(results: Path, keys: str = "config,env", metric: str = "") -> list[Panel]:
    """The panels of the runs in `results`."""
    found = trainings(results, metric)
    return group(found, keys.split(","), metric, {name for training in found for name in training.run.curves})

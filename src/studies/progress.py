"""Where the trainings and tests of a study or of the evidence queue stand, by their checkpoints and records: no network
is loaded, and nobody who is at work there is disturbed.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.declaration import Cell, Entry
from studies.stored import checkpoints, fingerprint, latest_run, recorded_runs, updates
from utils.records import RUN_FILE, read_json, status_of

FINISHED, RUNNING, WAITING = "finished", "running", "waiting"
#: What the latest run of a training or of a test says of a cell that is not finished; the first that holds counts.
_STATES = {"RUNNING": RUNNING, "DIED": "died", "FAILED": "failed"}


@dataclass(frozen=True)
class Standing:
    """How far a cell is with one seed; or a scripted team, which has no steps."""

    #: where its runs lie below the results
    place: str
    #: environment steps of its newest checkpoint, and those to train for
    steps: int
    t_max: int
    #: made until that checkpoint; None: it does not say
    updates: int | None
    #: running, finished, died, failed or waiting; the latter also where it was stopped in order
    state: str
    #: who runs it, and on which host; None: nobody, or the record does not say
    process: int | None
    host: str | None
    #: the record of its latest training, and how many there are
    run: Path | None
    tries: int

    def __str__(self) -> str:
        made = "" if self.updates is None else f"{self.updates:,} updates, "
        learnt = f"{self.steps:,} of {self.t_max:,} steps, {made}" if self.t_max else ""
        return f"{self.place}: {learnt}{self.state}" + f" in process {self.process}" * (self.process is not None)


def standings(entry: Entry, results: Path) -> list[Standing]:
    """How far the cells of an entry are below `results`, in the order of work."""
    return [_standing(entry, results, cell, seed) for cell, seed in entry.study.jobs(entry.seeds)]


def _standing(entry: Entry, results: Path, cell: Cell, seed: int | None) -> Standing:
    folder = results / cell.place(seed)
    t_max = entry.t_max if cell.learns else 0
    newest = next(iter(checkpoints(folder)), None)
    steps = int(newest.name) if newest else 0
    tested = newest and fingerprint(newest)  # None is a scripted team's
    tests = [folder / "tests" / row.tests for row in entry.study.rows_of(cell)]
    trainings = recorded_runs(folder)
    latest = {status_of(run): run for run in [*trainings[-1:], *filter(None, map(latest_run, tests))]}
    facts: dict[str, Any] = {}
    if "RUNNING" in latest:
        meta = read_json(latest["RUNNING"] / RUN_FILE).get("meta") or {}
        facts = meta.get("process") or {}
    done = steps >= t_max and all(read_json(test / "test.json").get("checkpoint", "") == tested for test in tests)
    state = next((word for status, word in _STATES.items() if status in latest), WAITING)
    if done and "RUNNING" not in latest:
        state = FINISHED
    return Standing(
        place=cell.place(seed),
        steps=steps,
        t_max=t_max,
        updates=updates(newest) if newest else 0,
        state=state,
        process=facts.get("pid"),
        host=facts.get("host"),
        run=trainings[-1] if trainings else None,
        tries=len(trainings),
    )


def summary(found: Iterable[Standing]) -> str:
    """The sums in a line; what several entries share counts once."""
    each = {standing.place: standing for standing in found}.values()
    states = Counter(standing.state for standing in each)
    counts = ", ".join(f"{states[state]} {state}" for state in (FINISHED, *_STATES.values(), WAITING))
    steps, t_max = sum(standing.steps for standing in each), sum(standing.t_max for standing in each)
    made = sum(standing.updates or 0 for standing in each)
    return f"{len(each)} in all: {counts}; {steps:,} of {t_max:,} steps, {made:,} updates"

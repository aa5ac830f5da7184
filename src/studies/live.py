"""Where the cells of a study stand, as it is carried out: a table with a progress bar on a terminal, else lines."""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

from studies.clusters.base import Job
from studies.progress import FINISHED, RUNNING, WAITING, Standing, standings, summary
from utils.logging import METRICS_FILE, describe, parse_metric_name

#: Seconds between two looks at the disk, on a terminal and elsewhere, and between two sums where nothing happens.
REDRAW, LOOK, SUM = 1.0, 2.0, 60.0


@dataclass
class Trail:
    """What a run's metrics say so far; each call of `read` goes on where the last one ended."""

    path: Path
    first: tuple[int, float] | None = None
    last: tuple[int, float] = (0, 0.0)
    #: team -> figure -> mean, of the last test
    _test: dict[str, dict[str, dict[str, float | int]]] = field(default_factory=dict)
    _tested_at: int = -1
    _place: int = 0

    def read(self) -> None:
        """Take what was added."""
        data = b""
        with suppress(OSError), open(self.path, "rb") as file:
            file.seek(self._place)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._place += len(whole)
        for line in whole.splitlines():
            with suppress(ValueError, KeyError, TypeError):
                self._take(json.loads(line))

    def _take(self, entry: Mapping[str, Any]) -> None:
        step, at, name = int(entry["step"]), float(entry["time"]), parse_metric_name(entry["name"])
        self.first = self.first or (step, at)
        self.last = max(self.last, (step, at))
        if name is None:
            return
        if step > self._tested_at:
            self._test, self._tested_at = {}, step
        self._test.setdefault(name.team, {})[name.figure] = {"mean": float(entry["value"])}

    @property
    def rate(self) -> float | None:
        """Steps per second since the run began; None: not known yet."""
        if self.first is None or self.last[1] <= self.first[1]:
            return None
        return (self.last[0] - self.first[0]) / (self.last[1] - self.first[1])

    @property
    def test(self) -> str:
        """The last test that is complete, in a few words."""
        return describe({team: figures for team, figures in self._test.items() if "return" in figures})


class View:
    """Shows jobs; use it in a `with` statement, which gives the terminal back.

    Args:
        jobs: what is shown.
        results: where they leave their runs.
        stream: the terminal, or whatever takes the place of one.
    """

    def __init__(self, jobs: Sequence[Job], results: Path, stream: TextIO | None = None) -> None:
        self._jobs, self._results = jobs, results
        self._stream: TextIO | None = stream or sys.stdout
        self._trails: dict[Path, Trail] = {}
        self._told: dict[str, tuple[str, int]] = {}
        self._looked = self._summed = float("-inf")
        self._live: Any = None

    def __enter__(self) -> "View":
        if self._stream is not None and self._stream.isatty() and find_spec("rich") is not None:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(file=self._stream), auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._tell(self._look())  # what ended since the last look too
        with self._heard():
            if self._live is not None:
                self._live.stop()

    def note(self, text: str) -> None:
        """Say a line."""
        with self._heard():
            if self._live is not None:
                self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
            elif self._stream is not None:
                print(text, file=self._stream, flush=True)

    def _draw(self, found: Sequence[Standing]) -> None:
        table = self._table(found)
        with self._heard():
            self._live.update(table, refresh=True)

    @contextmanager
    def _heard(self) -> Iterator[None]:
        """Go on where nobody reads any more: a pipe or a terminal was closed."""
        try:
            yield
        except OSError:
            self._live = self._stream = None

    def show(self) -> None:
        """Look at the disk, where it is time, and show what has changed."""
        now = time.monotonic()
        if now < self._looked + (LOOK if self._live is None else REDRAW):
            return
        self._looked = now
        found = self._look()
        self._tell(found)
        if self._live is None and now >= self._summed + SUM:
            self._summed = now
            self.note(summary(found))

    def _tell(self, found: Sequence[Standing]) -> None:
        """Draw the table anew, or say in lines what has changed."""
        if self._live is not None:
            self._draw(found)
            return
        for standing in found:
            if standing.state != WAITING and self._told.get(standing.place) != (standing.state, standing.tries):
                self._told[standing.place] = standing.state, standing.tries
                self.note(" ".join([str(standing), *_place_of(standing)]))

    def _look(self) -> list[Standing]:
        found = [standing for job in self._jobs for standing in standings(job.entry, self._results)]
        for standing in found:
            if standing.run is not None:
                self._trails.setdefault(standing.run, Trail(standing.run / METRICS_FILE)).read()
        return found

    def _table(self, found: Sequence[Standing]) -> Any:
        from rich.console import Group
        from rich.markup import escape
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
        from rich.table import Table

        order = {RUNNING: 0, FINISHED: 2}
        rows = sorted(found, key=lambda standing: order.get(standing.state, 1))
        room = max(self._live.console.size.height - 6, 1)  # head, rules, a line for the rest, the bar
        table = Table("cell", "state", box=None)
        for title in ("steps", "steps/s"):
            table.add_column(title, justify="right", no_wrap=True)
        for title in ("last test", "where"):
            table.add_column(title, no_wrap=True)
        table.add_column("tries", justify="right", no_wrap=True)
        for standing in rows[:room]:
            trail = self._trails.get(standing.run) if standing.run is not None else None
            table.add_row(*map(escape, cells_of(standing, trail)))
        rest = [f"and {len(rows) - room} more"] * (len(rows) > room)
        finished = sum(standing.state == FINISHED for standing in found)
        label = TextColumn(f"{finished} of {len(found)} finished")
        bar = Progress(label, BarColumn(None), TaskProgressColumn(), expand=True)
        total = sum(standing.t_max for standing in found)
        done = sum(min(self._steps(standing), standing.t_max) for standing in found)
        bar.add_task("", total=max(total, 1), completed=done if total else 1)
        return Group(table, *rest, bar)

    def _steps(self, standing: Standing) -> int:
        trail = self._trails.get(standing.run) if standing.run is not None else None
        return steps_of(standing, trail)


def steps_of(standing: Standing, trail: Trail | None) -> int:
    """Environment steps that a cell was trained for, by its newest checkpoint or what it has recorded since."""
    return max(standing.steps, trail.last[0] if trail is not None else 0)


def cells_of(standing: Standing, trail: Trail | None) -> list[str]:
    """The line of the table: cell, state, steps, steps per second, last test, where it runs, tries."""
    running = standing.state == RUNNING
    rate = trail.rate if trail is not None and running else None
    return [
        standing.place,
        standing.state,
        f"{steps_of(standing, trail):,} of {standing.t_max:,}" if standing.t_max else "",
        "" if rate is None else f"{rate:,.0f}",
        trail.test if trail is not None else "",
        f"{standing.host} {standing.process}" if running else "",
        str(standing.tries) if standing.t_max else "",
    ]


def _place_of(standing: Standing) -> list[str]:
    host = [f"on {standing.host}"] if standing.host and standing.state == RUNNING else []
    return host + [f"(try {standing.tries})"] * (standing.tries > 1)

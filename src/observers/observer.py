"""The interface of everything that a run is followed by, beside the metrics' own file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.config import Config


@dataclass(frozen=True)
class Run:
    """What an observer follows."""

    #: its record, `<local_results_path>/sacred/<id>`, with its files `config.json` and `run.json`
    folder: Path
    #: its name there and in `<local_results_path>/models`
    run_id: str
    config: Config


class Fault(Exception):
    """Why an observer gives up, in a line that tells a user enough."""


class Observer:
    """Is told what happens in one run: `begin`, then any number of the others, then `end`. What it has no use for it
    leaves as it is here.

    One that the user adds may raise whatever it likes, and take its time: it works apart (`observers.apart`), and is
    dropped with one warning. The run's own record in files is told directly, and what the disk refuses ends the run.
    """

    #: what warnings call it
    name: str
    #: what a warning advises a user whom it has left; a whole sentence, or ""
    remedy = ""
    #: seconds between two ticks
    interval = 10.0
    #: seconds that it has at the end of the run for what is left to do
    grace = 5.0
    #: shows the user a line, soon; `observers.apart` sets it
    say: Callable[[str], None]

    def begin(self, run: Run) -> None:
        """The run's folder is there, and nothing has happened yet."""

    def scalar(self, name: str, value: float, step: int) -> None:
        """One figure (which may be nan or infinite) of the environment step `step`; it stands in `metrics.jsonl`."""

    def facts(self, facts: Mapping[str, Any]) -> None:
        """What is true of the whole run (versions, device, sizes), fit for JSON; they are in `info.json` by then."""

    def tick(self) -> None:
        """Every `interval` seconds or so, between the others: time to flush, or to give a sign of life."""

    def end(self, status: str) -> None:
        """The run is over and its files are complete. `status` is COMPLETED, FAILED or INTERRUPTED; RUNNING where the
        disk refused even that.
        """

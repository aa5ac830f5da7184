"""What carries out the cells of a study, each in a worker process of its own."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from studies.declaration import Entry
from studies.workers import Orders
from utils.errors import UserError

#: Instead of the exit code of a worker that is gone with its machine.
GONE = -1


@dataclass(frozen=True)
class Job:
    """A cell with a seed, to be trained and tested; or a scripted team."""

    #: where its runs lie below the results
    place: str
    entry: Entry
    #: CPU threads that its settings ask for; 0: they do not say
    threads: int


class End(NamedTuple):
    """How a job ended."""

    job: Job
    #: its worker's exit code, or GONE
    code: int
    #: what the cluster says of that
    why: str = ""


@dataclass(frozen=True)
class Site:
    """Where files are."""

    #: of all studies
    results: Path
    #: this study's: what is known of its workers
    folder: Path

    def orders(self, job: Job) -> Orders:
        """What the worker of `job` is told."""
        return Orders([job.entry], self.results)

    def log(self, job: Job) -> Path:
        """What the worker of `job` says."""
        return self.results / job.place / "worker.log"


@dataclass(frozen=True)
class Share:
    """What the jobs may have."""

    #: how many run at a time
    jobs: int
    #: GPUs of each, also a part of one; None: it is not said
    gpus: float | None


class Cluster(ABC):
    """Starts jobs and tells how they ended. Use it in a `with` statement, which leaves none of them behind."""

    #: jobs that were started and have not ended, by their places
    active: dict[str, Job]

    @property
    @abstractmethod
    def room(self) -> int:
        """So many more jobs are taken at present."""

    def adopt(self, jobs: Sequence[Job]) -> None:
        """Take over those of `jobs` that an earlier driver has started and that outlived it: they are active then."""

    @abstractmethod
    def start(self, jobs: Sequence[Job]) -> None:
        """Start `jobs`, at most `room`, or put them into its queue."""

    @abstractmethod
    def ended(self) -> list[End]:
        """The jobs that have ended since the last call."""

    @abstractmethod
    def stop(self) -> None:
        """Ask all jobs to save and to end."""

    @abstractmethod
    def close(self) -> None:
        """End what is left."""

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def need(package: str) -> None:
    """
    Raises:
        UserError: an optional package is not there.
    """
    if find_spec(package) is None:
        raise UserError(
            f"--on {package.replace('submitit', 'slurm')} needs {package}, which is not installed: "
            "./run.sh python -m pip install -r requirements-cluster.txt"
        )

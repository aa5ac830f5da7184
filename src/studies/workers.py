"""Worker processes: each carries out what it is told with the studies' own engine, and ends with whoever started it."""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from studies.declaration import Entry

#: Where the program is that a worker runs.
SRC = Path(__file__).resolve().parents[1]

#: Exit codes of a worker that came to its end, besides 0: a training or a test failed; some is another process's.
FAILED, BUSY = 3, 4
ENDS = (0, FAILED, BUSY)


@dataclass(frozen=True)
class Orders:
    """What a worker is told."""

    entries: Sequence[Entry]
    results: Path
    #: how far it steps back behind other processes, 0 to 19
    nice: int = 0


class Worker:
    """A process that runs `studies/worker.py`; signals to this one do not reach it."""

    def __init__(self, orders: Orders, log: Path, threads: int, gpus: str | None = None, src: Path = SRC) -> None:
        """
        Args:
            log: what it says is added there.
            threads: that it computes with, where a run's own setting does not say.
            gpus: those that it sees, as in CUDA_VISIBLE_DEVICES; None: all that this process sees.
            src: the program's folder.
        """
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log_start = log.stat().st_size if log.exists() else 0
        devices: Mapping[str, str] = {} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus}
        with open(log, "ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "studies.worker"],
                cwd=src,
                env={**os.environ, "OMP_NUM_THREADS": str(threads), **devices},
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                start_new_session=True,  # a terminal's signals are for this process alone, which hands them on
            )
        with suppress(BrokenPipeError):  # it has ended already
            pickle.dump(orders, self._input)
            self._input.flush()

    @property
    def _input(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    def failures(self) -> list[str]:
        """The lines in which it has told what failed."""
        said = self.log.read_bytes()[self._log_start :].decode(errors="replace")
        return [line for line in said.splitlines() if line.startswith("failed: ")]

    def poll(self) -> int | None:
        """Its exit code; None: it is at work."""
        return self.process.poll()

    def has_ended(self) -> bool:
        """As `poll`, but also right in a signal's handler, which may have cut into a `poll`; says no exit code."""
        with suppress(ChildProcessError):  # `poll` has collected it
            return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return True

    def stop(self) -> None:
        """Ask it to end its round and save."""
        self.process.terminate()

    def kill(self) -> None:
        """End it where it stands."""
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)

    def hang_up(self) -> None:
        """Let it find itself alone: it saves and ends within seconds, or without."""
        with suppress(BrokenPipeError):
            self._input.close()


def dismiss(workers: Iterable[Worker]) -> None:
    """Leave none of `workers`."""
    left = list(workers)
    for worker in left:
        worker.hang_up()
    for worker in left:
        worker.process.wait()

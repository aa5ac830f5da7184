"""A worker of a study or of the evidence queue: a process that goes through entries with the studies' own engine.

`studies/workers.py` starts it as `python -m studies.worker`, tells it on its standard input, pickled, what to do, and
holds the other end for as long as it lives. Signals are its parent's, which hands them on.
"""

import os
import pickle
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from studies.declaration import Entry
from studies.engine import Engine
from studies.workers import BUSY, FAILED, Orders
from utils.errors import UserError
from utils.interrupt import StopSignal, end_with, last_words

#: Seconds that a worker whose parent is gone gets to end its round and save, and then to close its records.
GRACE = 5.0


def work(entries: Sequence[Entry], results: Path, stop: StopSignal) -> int:
    """Do what is not done yet of `entries`; what other processes were at is looked at once more after all the rest.

    What fails is told in a line that begins with `failed:`, and is a gap.

    Returns:
        The worker's exit code: 0, BUSY where others were still at something in the end, else FAILED.

    Raises:
        Interrupted: it is to stop.
    """
    waiting, failed = list(entries), False
    for _ in range(2):
        now, waiting = waiting, []
        for entry in now:
            print(entry.title, flush=True)
            engine = Engine(entry.study, entry.seeds, results, stop, entry.overrides, entry.t_max)
            try:
                engine.run()
            except UserError as error:
                print(f"failed: {entry.title}: {' '.join(str(error).split())}", flush=True)
                failed = True
            failed = failed or bool(engine.failed)
            if engine.busy:
                waiting.append(entry)
    return BUSY if waiting else FAILED if failed else 0


def main() -> int:
    """The life of a worker; returns its exit code."""
    # what a batch system warns a whole job with; the worker's parent answers it
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    with StopSignal(final=True) as stop:
        end_with(sys.stdin.fileno(), GRACE, [_stop, _stop])
        try:
            orders: Orders = pickle.load(sys.stdin.buffer)
            os.nice(orders.nice)
            return work(orders.entries, orders.results, stop)
        except KeyboardInterrupt:
            last_words("stopped")
            return stop.exit_code


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())

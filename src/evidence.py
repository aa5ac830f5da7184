"""The evidence queue: start or continue its trainings in worker processes, and tell where each one stands.
`python src/evidence.py --help` explains the words; what there is to do stands in studies/queue.py.

Exit codes: 0 the queue is complete, 1 something is not finished, or another queue is at these results, 2 the user can
correct something, 129, 130 or 143 it was stopped; the same command continues it.
"""

import shlex
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from studies.declaration import Entry
from studies.progress import FINISHED, Standing, standings, summary
from studies.queue import QUEUE
from studies.workers import ENDS, Orders, Worker, dismiss
from utils.command_line import Parser
from utils.errors import UserError
from utils.interrupt import Interrupted, StopSignal, last_words
from utils.locks import Busy, locked
from utils.paths import read_path
from utils.records import make_writable
from utils.version import ROOT

#: Seconds between two looks at the workers.
TICK = 0.2


def main(argv: Sequence[str], queue: Sequence[Entry] = QUEUE, final: bool = False) -> int:
    """Carry out `queue` as `argv` (without the program's name) asks for and return the exit code."""
    with StopSignal(final) as stop:
        try:
            options = _parser().parse_args(argv)
            if options.workers < 1:
                raise UserError(f"--workers {options.workers}: must be at least 1")
            if options.status:
                _tell(queue, options.results)
                for entry in queue:
                    words = shlex.join(entry.table_words(options.results))
                    print(f"\nthe table of {entry.title} as it stands:\n    ./run.sh python src/study.py {words}")
                return 0
            make_writable([options.results], f"--results {options.results}")
            with locked(options.results / "workers"):
                return _carry_out(queue, options.results, options.workers, stop)
        except UserError as error:
            last_words("error: " + " ".join(str(error).split()))
            return 2
        except Busy as other:
            last_words(
                f"error: a queue is at work in {options.results} already, {other}: --status tells where it stands"
            )
            return 1
        except KeyboardInterrupt:
            last_words("the queue was stopped; the same command continues it")
            return stop.exit_code


def _carry_out(queue: Sequence[Entry], results: Path, number: int, stop: StopSignal) -> int:
    _tell(queue, results)
    logs = [results / "workers" / f"{i}.log" for i in range(1, number + 1)]
    print("at work; what the workers say:", *logs, flush=True)
    orders = Orders(queue, results, nice=19)
    workers: list[Worker] = []
    try:
        for log in logs:
            workers.append(Worker(orders, log, threads=1))
        _wait(workers, stop)
    finally:
        dismiss(workers)
    if stop.requested:
        raise Interrupted
    found = _tell(queue, results)
    failures = (line for worker in workers for line in worker.failures())
    for line in dict.fromkeys(failures):  # each worker tries what failed
        print(line, file=sys.stderr)
    return 0 if all(standing.state == FINISHED for standing in found) else 1


def _tell(queue: Sequence[Entry], results: Path) -> list[Standing]:
    """Print where each cell stands, and the sums."""
    found = []
    for entry in queue:
        for standing in standings(entry, results):
            print(entry.study.name, standing)
            found.append(standing)
    print(summary(found), flush=True)
    return found


def _wait(workers: Sequence[Worker], stop: StopSignal) -> None:
    """Wait until all workers have ended; the first signal to stop is handed on to them.

    Raises:
        Interrupted: a second one came.
    """
    left, asked = list(workers), False
    while left:
        time.sleep(TICK)
        if stop.requested and not asked:
            asked = True
            for worker in left:
                worker.stop()
        for worker in left:
            if worker.poll() not in (None, *ENDS) and not asked:
                code = worker.process.returncode
                print(f"a worker ended with exit code {code}, its log: {worker.log}", file=sys.stderr, flush=True)
        left = [worker for worker in left if worker.process.returncode is None]


def _parser() -> Parser:
    parser = Parser(
        prog="./run.sh queue",
        description="Start or continue the trainings of studies/queue.py in worker processes, until all are finished.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--results",
        type=partial(read_path, "--results"),
        metavar="DIR",
        default=ROOT / "results" / "queue",
        help="default: results/queue",
    )
    parser.add_argument("--workers", type=int, metavar="N", default=2, help="processes, of a thread each; default: 2")
    parser.add_argument("--status", action="store_true", help="only tell where each training stands, and stop")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], final=True))

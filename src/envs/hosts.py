"""Many single environments in worker processes, behind the interface of one batch.

Messages: the parent sends a pickled `(command, value)`; a worker answers as `envs.worker` says. That the parent's end
of the pipe is closed means that the worker's time is over, whether the parent closed it or died.

Signals are the parent's alone, also those that a terminal or a scheduler sends to every process of a run: it ends its
round with the workers and saves. So workers have a session of their own, and no signal but SIGKILL ends one before its
time is over.
"""

import multiprocessing
import multiprocessing.process
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from envs.base import EntityEnv
from envs.hosted import FOREVER, HostedEnv, Timeouts, WorkerError
from envs.worker import Worker
from utils.interrupt import STOP_SIGNALS, end_with
from utils.temporary import marked_folder


class WorkerEnv(HostedEnv):
    """`num_envs` environments of one class, each with a process of its own."""

    TOGETHER = True
    #: seconds that a busy worker gets to end its step, and again to close its environment
    GRACE = 5.0

    def __init__(
        self,
        env_class: type[EntityEnv],
        args: Any,
        num_envs: int,
        seed: int,
        device: torch.device | str = "cpu",
        timeouts: Timeouts = FOREVER,
    ) -> None:
        """
        Args:
            env_class: built in every worker as `env_class(args, num_envs=1, seed=..., device="cpu")`.
            args: its resolved settings; both must be picklable.
            num_envs: number of workers.
            seed: worker i gets `derive_seed(seed, "worker", i)`.
            device: where time steps are handed out.
            timeouts: when a worker that does not answer is given up.

        Raises:
            UserError: an environment cannot be built for a reason that the user can put right.
            RunFailed: for one that it can tell itself, as in any later call.
            EnvironmentFailed: it cannot be built for any other reason.
            WorkerError: its worker died or hangs.
        """
        super().__init__(num_envs, seed, device, timeouts)
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._pipes: list[Connection] = []
        # also runs when nobody called `close`: at the exit multiprocessing would wait for a hanging worker for ever
        self._end = util.Finalize(self, _end, args=(self._processes, self._pipes, self.GRACE), exitpriority=1)
        context = _context()
        try:
            for i, worker_seed in enumerate(self._seeds(seed)):
                ours, theirs = context.Pipe()
                self._pipes.append(ours)
                words = (theirs, env_class, args, worker_seed, self.GRACE, dict(os.environ))
                process = context.Process(target=_work, args=words, name=f"env-{i}", daemon=True)
                self._processes.append(process)
                process.start()
                theirs.close()
        except BaseException:
            self.close()
            raise
        self._meet()

    @property
    def pids(self) -> list[int | None]:
        """The workers' process ids."""
        return [process.pid for process in self._processes]

    def close(self) -> None:
        """End the workers, within seconds: those that still run after `GRACE` are killed. Idempotent."""
        self._end()

    # --- how commands get there and answers back ------------------------------------------------------------------

    @property
    def _active(self) -> bool:
        return self._end.still_active()

    def _send(self, i: int, command: str, value: Any) -> None:
        if command == "start":  # which it says by itself
            return
        try:
            self._pipes[i].send_bytes(pickle.dumps((command, value), protocol=pickle.HIGHEST_PROTOCOL))
        except OSError:
            raise self._died(i, command) from None

    def _ready(self, workers: Collection[int], seconds: float) -> Collection[int]:
        handles: dict[Any, int] = {self._pipes[i]: i for i in workers}
        handles.update({self._processes[i].sentinel: i for i in workers})
        return {handles[handle] for handle in wait(list(handles), seconds)}

    def _take(self, i: int) -> bytes:
        pipe = self._pipes[i]
        try:
            if not pipe.poll():  # only the sentinel was ready: it died without a word
                raise EOFError
            return pipe.recv_bytes()
        except (EOFError, OSError):
            raise self._died(i, self._asked[i][0]) from None

    def _died(self, i: int, command: str) -> WorkerError:
        """Which worker ended, and how."""
        process = self._processes[i]
        process.join(self.GRACE)  # its pipe closes a moment before its exit code is known
        message = f"{self._name(i)} died with exit code {process.exitcode} during {command}"
        if process.exitcode == -signal.SIGKILL:
            message += "; where memory ran out and the system killed it, a smaller batch_size_run needs less"
        return WorkerError(message)

    def _hang(self, workers: Collection[int], limit: float) -> None:
        """Say which worker does not answer; of several that do not, the first."""
        command, _ = self._asked[min(workers)]
        others = f", nor from {len(workers) - 1} more" if len(workers) > 1 else ""
        setting = "worker_start_timeout" if command == "start" else "worker_step_timeout"
        raise WorkerError(
            f"{self._name(min(workers))} hangs: no answer for {limit:g} s during {command}{others}; "
            f"if the environment is only slow, set a longer {setting}"
        )

    def _name(self, i: int) -> str:
        return f"worker {i} (pid {self._processes[i].pid})"


def _end(processes: Sequence[multiprocessing.process.BaseProcess], pipes: Iterable[Connection], grace: float) -> None:
    """Let the workers go, and kill those that do not."""
    for pipe in pipes:
        pipe.close()
    started = [process for process in processes if process.pid is not None]
    _join(started, grace + 1.0)
    for process in started:
        if process.is_alive():
            process.kill()  # reaches a stopped one too, which `terminate` does not
    _join(started, 1.0)


def _context() -> Any:
    """How workers start: never as a copy of this process, whose threads and GPU state a fork cannot carry over."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch"])  # imported once for all workers, instead of once in each
    marked_folder()
    # What is started while signals are blocked never hears them: Ctrl-C would end the server while it imports.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        resource_tracker.ensure_running()  # else the server's start does it, and unblocks SIGINT and SIGTERM
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _join(processes: Iterable[multiprocessing.process.BaseProcess], seconds: float) -> None:
    """Wait for all, `seconds` in total."""
    end = time.monotonic() + seconds
    for process in processes:
        process.join(max(end - time.monotonic(), 0.0))


class _ParentGone(Exception):
    """Nobody reads the answers any more."""


def _work(pipe: Connection, env_class: Any, args: Any, seed: int, grace: float, environment: Mapping[str, str]) -> None:
    """The life of a worker: build the environment, answer until the parent closes the pipe or is gone."""
    os.setsid()
    os.environ.clear()  # what it has is the fork server's, from when the first worker was started
    os.environ.update(environment)
    over = threading.Event()
    for signum in STOP_SIGNALS:  # handlers, not SIG_IGN: a program that the environment starts would inherit that
        signal.signal(signum, lambda *_: sys.exit(1) if over.is_set() else None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    end_with(pipe.fileno(), grace, [_nothing, partial(_leave_step, over)])
    worker: Worker | None = None
    try:
        worker = Worker(env_class, args, seed)
        _send(pipe, worker.answer("start", None))
        while not worker.failure:
            _send(pipe, worker.answer(*_receive(pipe)))
    except _ParentGone:
        pass
    finally:
        if worker is not None:
            worker.close()


def _send(pipe: Connection, answer: bytes) -> None:
    try:
        pipe.send_bytes(answer)
    except OSError:
        raise _ParentGone from None


def _receive(pipe: Connection) -> tuple[str, Any]:
    try:
        message = pipe.recv_bytes()
    except (EOFError, OSError):
        raise _ParentGone from None
    command, value = pickle.loads(message)
    return command, value


def _nothing() -> None:
    """An idle worker finds out by itself that its time is over, closes the environment and ends."""


def _leave_step(over: threading.Event) -> None:
    """A busy one leaves its step, and does the same."""
    over.set()
    os.kill(os.getpid(), signal.SIGTERM)

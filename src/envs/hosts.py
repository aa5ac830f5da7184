"""Many single environments in worker processes, behind the interface of one batch.

Messages: the parent sends a pickled `(command, value)`; a worker answers with one byte that says what follows, then a
time step as one fixed-size record, any other value pickled, or the text of what went wrong. That the parent's end of
the pipe is closed means that the worker's time is over, whether the parent closed it or died.

Signals are the parent's alone, also those that a terminal or a scheduler sends to every process of a run: it ends its
round with the workers and saves. So workers have a session of their own, and no signal but SIGKILL ends one before its
time is over.
"""

import math
import multiprocessing
import multiprocessing.process
import os
import pickle
import shutil
import signal
import stat
import sys
import threading
import time
import traceback
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.base import EntityEnv, EnvSpec, TimeStep
from envs.scene import Scene
from utils.errors import RunFailed, UserError
from utils.interrupt import end_with
from utils.locks import Busy, locked
from utils.seeding import derive_seed

#: The first byte of an answer.
SEEN, VALUE, USER_ERROR, GIVEN_UP, FAILURE = b"s", b"v", b"u", b"g", b"f"

#: The number of restarts of an environment in which nothing could be started anew.
NONE = -1

#: The fields of a TimeStep that are tensors; `info` is one more, its columns in the order of `spec.info_names`.
FIELDS = tuple(name for name in TimeStep._fields if name != "info")


#: The signals that ask a whole run to stop.
STOP_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)

#: Silence is counted in pieces of so many seconds.
TICK = 1.0

#: What tells multiprocessing's temporary folders of this program from those of others.
MARK = "muster"


class WorkerError(RunFailed):
    """A worker process died or hangs. All workers are closed by then."""


class EnvironmentFailed(RuntimeError):
    """An environment raised what nobody expected; the message ends in its traceback. All workers are closed by then."""


@dataclass(frozen=True)
class Timeouts:
    """Seconds without an answer from any worker after which those that are waited for count as hanging."""

    #: while the environments are built
    start: float = math.inf
    #: in every later call, a step or a reset for instance
    step: float = math.inf


FOREVER = Timeouts()


class WorkerEnv(EntityEnv):
    """`num_envs` environments of one class, each with a process and a random stream of its own.

    Environments whose episode is over are not stepped: they stay as they ended, and the others do not wait for them.
    """

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
        super().__init__(num_envs, seed, device)
        self.timeouts = timeouts
        self._failure: BaseException | None = None
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
            specs = self._collect(range(num_envs), "start")
        except BaseException:
            self.close()
            raise
        self.spec: EnvSpec = specs[0]
        self._rows = np.zeros(num_envs, dtype=_record(self.spec))
        self._rows["restarts"] = NONE

    @property
    def pids(self) -> list[int | None]:
        """The workers' process ids."""
        return [process.pid for process in self._processes]

    @property
    def restarts(self) -> int | None:
        counts = self._rows["restarts"]
        return int(counts.sum()) if (counts != NONE).all() else None

    def _seeds(self, seed: int) -> list[int]:
        return [derive_seed(seed, "worker", i) for i in range(self.num_envs)]

    def _reset(self, env_mask: Tensor, team: str | None) -> TimeStep:
        self._exchange("reset", dict.fromkeys(env_mask.nonzero().flatten().tolist(), team))
        return self._timestep()

    def _step(self, actions: Tensor) -> TimeStep:
        rows = self._rows
        running = np.flatnonzero(~(rows["terminated"] | rows["truncated"])).tolist()
        rows["reward"] = 0.0
        chosen = actions.cpu().numpy()
        self._exchange("step", {i: chosen[i].tobytes() for i in running})
        return self._timestep()

    def seed(self, seed: int) -> None:
        self._exchange("seed", dict(enumerate(self._seeds(seed))))

    def state_dict(self) -> dict[str, Any]:
        states = self._exchange("state_dict", dict.fromkeys(range(self.num_envs)))
        return {"workers": [states[i] for i in range(self.num_envs)]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        states = state["workers"]
        if len(states) != self.num_envs:
            raise ValueError(f"the state of {len(states)} workers does not fit {self.num_envs}")
        self._exchange("load_state_dict", dict(enumerate(states)))

    def render(self, index: int = 0, marked: Collection[int] = ()) -> np.ndarray:
        wanted = {range(self.num_envs)[index]: tuple(marked)}
        image: np.ndarray = self._exchange("render", wanted)[index % self.num_envs]
        return image

    def scene(self, index: int = 0) -> Scene | None:
        scene: Scene | None = self._exchange("scene", {range(self.num_envs)[index]: None})[index % self.num_envs]
        return scene

    def close(self) -> None:
        """End the workers, within seconds: those that still run after `GRACE` are killed. Idempotent."""
        self._end()

    def _exchange(self, command: str, values: Mapping[int, Any]) -> dict[int, Any]:
        """Send `(command, value)` to the workers named, all before the first answer is awaited; return the answers.

        A call that does not get to its end, be it for Ctrl-C, leaves answers behind that would be taken for those of
        the next call: it closes the workers, and later calls end as it did.
        """
        if not self._end.still_active():
            raise self._failure or WorkerError("the workers are closed")
        try:
            for i, value in values.items():
                try:
                    self._pipes[i].send_bytes(pickle.dumps((command, value), protocol=pickle.HIGHEST_PROTOCOL))
                except OSError:
                    raise self._died(i, command) from None
            return self._collect(values, command)
        except BaseException as error:
            self._failure = error
            self.close()
            raise

    def _collect(self, workers: Iterable[int], command: str) -> dict[int, Any]:
        """Wait until all `workers` have answered; time steps go straight to their rows."""
        answers: dict[int, Any] = {}
        waiting = set(workers)
        limit = self.timeouts.start if command == "start" else self.timeouts.step
        tick, silence = min(TICK, limit), 0.0
        while waiting:
            handles: dict[Any, int] = {self._pipes[i]: i for i in waiting}
            handles.update({self._processes[i].sentinel: i for i in waiting})
            ready = {handles[handle] for handle in wait(list(handles), tick)}
            # not by the clock: a run that was stopped by Ctrl-Z and goes on has waited for nobody in the meantime
            silence = 0.0 if ready else silence + tick
            if silence >= limit:
                raise self._hangs(waiting, command, limit)
            for i in ready:
                answers[i] = self._receive(i, command)
                waiting.remove(i)
        return answers

    def _receive(self, i: int, command: str) -> Any:
        pipe = self._pipes[i]
        try:
            if not pipe.poll():  # only the sentinel was ready: it died without a word
                raise EOFError
            answer = pipe.recv_bytes()
        except (EOFError, OSError):
            raise self._died(i, command) from None
        kind = answer[:1]
        if kind == SEEN:
            self._rows[i] = np.frombuffer(answer, dtype=self._rows.dtype, offset=1)[0]
            return None
        if kind == VALUE:
            return pickle.loads(answer[1:])
        text = answer[1:].decode()
        if kind == USER_ERROR:
            raise UserError(text)
        if kind == GIVEN_UP:
            raise RunFailed(f"{self._name(i)}: {text}")
        raise EnvironmentFailed(f"{self._name(i)} failed during {command}:\n{text}")

    def _died(self, i: int, command: str) -> WorkerError:
        """Which worker ended, and how."""
        process = self._processes[i]
        process.join(self.GRACE)  # its pipe closes a moment before its exit code is known
        message = f"{self._name(i)} died with exit code {process.exitcode} during {command}"
        if process.exitcode == -signal.SIGKILL:
            message += "; where memory ran out and the system killed it, a smaller batch_size_run needs less"
        return WorkerError(message)

    def _hangs(self, silent: Collection[int], command: str, limit: float) -> WorkerError:
        """Which worker does not answer; of several that do not, the first."""
        others = f", nor from {len(silent) - 1} more" if len(silent) > 1 else ""
        setting = "worker_start_timeout" if command == "start" else "worker_step_timeout"
        return WorkerError(
            f"{self._name(min(silent))} hangs: no answer for {limit:g} s during {command}{others}; "
            f"if the environment is only slow, set a longer {setting}"
        )

    def _name(self, i: int) -> str:
        return f"worker {i} (pid {self._processes[i].pid})"

    def _timestep(self) -> TimeStep:
        # copies: the rows are overwritten by the next step
        def tensor(name: str) -> Tensor:
            return torch.from_numpy(self._rows[name].copy()).to(self.device)

        info = tensor("info")
        self.lost = None if self.restarts is None else tensor("lost")
        return TimeStep(
            **{name: tensor(name) for name in FIELDS},
            info={name: info[:, column].contiguous() for column, name in enumerate(self.spec.info_names)},
        )


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
    _mark_temporary_folder()
    # What is started while signals are blocked never hears them: Ctrl-C would end the server while it imports.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        resource_tracker.ensure_running()  # else the server's start does it, and unblocks SIGINT and SIGTERM
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


#: What is held for as long as this process lives: the lock of its mark.
_HELD = ExitStack()


def _mark_temporary_folder() -> None:
    """Mark the folder of multiprocessing's sockets as this program's, and clear away those of killed processes.

    The mark is locked before it has its name, and until this process is gone. On a file system without locks there are
    no marks, and nothing is cleared.
    """
    folder = Path(util.get_temp_dir())  # multiprocessing removes it when the process ends in order
    if not (folder / MARK).exists():
        with suppress(OSError):
            _HELD.enter_context(locked(folder / "new"))
            (folder / "new").rename(folder / MARK)
        _clear_away_dead(folder.parent)


def _clear_away_dead(temporary: Path) -> None:
    """Remove the marked folders of this user in `temporary` whose processes are gone: whose locks can be had."""
    for mark in temporary.glob(f"pymp-*/{MARK}"):
        with suppress(OSError, Busy):
            status = mark.parent.lstat()
            if status.st_uid == os.geteuid() and stat.S_ISDIR(status.st_mode):
                with locked(mark):
                    shutil.rmtree(mark.parent, ignore_errors=True)


def _record(spec: EnvSpec) -> np.dtype:
    """One environment's time step as a fixed-size record."""
    a, e = spec.agents, spec.entities
    return np.dtype(
        [
            ("entities", np.float32, (e, spec.features)),
            ("private", np.float32, (a, spec.private)),
            ("entity_mask", np.bool_, (e,)),
            ("obs_mask", np.bool_, (a, e)),
            ("avail_mask", np.bool_, (a, spec.actions)),
            ("reward", np.float32),
            ("terminated", np.bool_),
            ("truncated", np.bool_),
            ("info", np.float32, (len(spec.info_names),)),
            ("lost", np.bool_),
            ("restarts", np.int64),
        ]
    )


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
    torch.set_num_threads(1)
    env: EntityEnv | None = None
    try:
        env = env_class(args, num_envs=1, seed=seed, device="cpu")
        assert env is not None
        _send(pipe, VALUE + pickle.dumps(env.spec))
        dtype = _record(env.spec)
        while True:
            command, value = _receive(pipe)
            _send(pipe, _answer(env, command, value, dtype))
    except _ParentGone:
        pass
    except UserError as error:
        _last_word(pipe, USER_ERROR + str(error).encode())
    except RunFailed as error:
        _last_word(pipe, GIVEN_UP + str(error).encode())
    except Exception:
        _last_word(pipe, FAILURE + traceback.format_exc().encode())
    finally:
        if env is not None:
            env.close()


def _answer(env: EntityEnv, command: str, value: Any, dtype: np.dtype) -> bytes:
    if command == "step":
        return _packed(env, env.step(torch.frombuffer(bytearray(value), dtype=torch.int64)[None]), dtype)
    if command == "reset":
        return _packed(env, env.reset(team=value), dtype)
    if command == "seed":
        env.seed(value)
        return VALUE + pickle.dumps(None)
    if command == "state_dict":
        return VALUE + pickle.dumps(env.state_dict())
    if command == "load_state_dict":
        env.load_state_dict(value)
        return VALUE + pickle.dumps(None)
    if command == "render":
        return VALUE + pickle.dumps(env.render(0, value))
    if command == "scene":
        return VALUE + pickle.dumps(env.scene(0))
    raise ValueError(f"unknown command {command!r}")


def _packed(env: EntityEnv, seen: TimeStep, dtype: np.dtype) -> bytes:
    row = np.zeros(1, dtype=dtype)
    row["restarts"] = NONE if env.restarts is None else env.restarts
    row["lost"] = False if env.lost is None else env.lost.numpy()
    for name in FIELDS:
        row[name] = getattr(seen, name).numpy()
    for column, name in enumerate(env.spec.info_names):
        row["info"][:, column] = seen.info[name].numpy()
    return SEEN + row.tobytes()


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


def _last_word(pipe: Connection, answer: bytes) -> None:
    with suppress(OSError):
        pipe.send_bytes(answer)


def _nothing() -> None:
    """An idle worker finds out by itself that its time is over, closes the environment and ends."""


def _leave_step(over: threading.Event) -> None:
    """A busy one leaves its step, and does the same."""
    over.set()
    os.kill(os.getpid(), signal.SIGTERM)

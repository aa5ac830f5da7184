"""Many single environments in worker processes, behind the interface of one batch.

Messages: the parent sends a pickled `(command, value)`; a worker answers with one byte that says what follows, then a
time step as one fixed-size record, any other value pickled, or the text of what went wrong.
"""

import multiprocessing
import multiprocessing.process
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.base import EntityEnv, EnvSpec, TimeStep
from utils.errors import UserError
from utils.seeding import derive_seed

#: The first byte of an answer.
SEEN, VALUE, USER_ERROR, FAILURE = b"s", b"v", b"u", b"f"

#: The fields of a TimeStep that are tensors; `info` is one more, its columns in the order of `spec.info_names`.
FIELDS = tuple(name for name in TimeStep._fields if name != "info")


class WorkerError(RuntimeError):
    """A worker process died or failed. All workers are closed by then."""


class WorkerEnv(EntityEnv):
    """`num_envs` environments of one class, each with a process and a random stream of its own.

    Environments whose episode is over are not stepped: they stay as they ended, and the others do not wait for them.
    """

    #: seconds that workers get to close their environments before they are terminated
    GRACE = 5.0

    def __init__(
        self,
        env_class: type[EntityEnv],
        args: Any,
        num_envs: int,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        """
        Args:
            env_class: built in every worker as `env_class(args, num_envs=1, seed=..., device="cpu")`.
            args: its resolved settings; both must be picklable.
            num_envs: number of workers.
            seed: worker i gets `derive_seed(seed, "worker", i)`.
            device: where time steps are handed out.

        Raises:
            UserError: an environment cannot be built for a reason that the user can put right.
            WorkerError: it cannot be built for any other reason.
        """
        super().__init__(num_envs, seed, device)
        self._closed = False
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._pipes: list[Connection] = []
        self._owed: set[int] = set()  # workers that have not answered yet
        context = _context()
        try:
            for i, worker_seed in enumerate(self._seeds(seed)):
                ours, theirs = context.Pipe()
                self._pipes.append(ours)
                # a daemon ends with its parent, also where nobody called `close`
                process = context.Process(
                    target=_work, args=(theirs, env_class, args, worker_seed, self.GRACE), name=f"env-{i}", daemon=True
                )
                self._processes.append(process)
                process.start()
                theirs.close()
                self._owed.add(i)
        except BaseException:
            self.close()
            raise
        specs = self._collect(range(num_envs), "start")
        self.spec: EnvSpec = specs[0]
        self._rows = np.zeros(num_envs, dtype=_record(self.spec))

    @property
    def pids(self) -> list[int | None]:
        """The workers' process ids."""
        return [process.pid for process in self._processes]

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

    def close(self) -> None:
        """End the workers: they are asked, after `GRACE` seconds terminated, at last killed. Idempotent."""
        if self._closed:
            return
        self._closed = True
        for pipe in self._pipes:
            with suppress(OSError):  # it may be gone already
                pipe.send_bytes(pickle.dumps(("close", None)))
            pipe.close()
        started = [process for process in self._processes if process.pid is not None]
        _join(started, self.GRACE)
        for end in ("terminate", "kill"):
            for process in started:
                if process.is_alive():
                    getattr(process, end)()
            _join(started, 1.0)

    def _exchange(self, command: str, values: Mapping[int, Any]) -> dict[int, Any]:
        """Send `(command, value)` to the workers named, all before the first answer is awaited; return the answers."""
        if self._closed:
            raise WorkerError("the workers are closed")
        # an exchange that Ctrl-C interrupted left answers behind, which belong to nothing now
        self._collect(list(self._owed), "an interrupted call")
        for i, value in values.items():
            try:
                self._pipes[i].send_bytes(pickle.dumps((command, value), protocol=pickle.HIGHEST_PROTOCOL))
            except OSError:
                raise self._died(i, command) from None
            self._owed.add(i)
        return self._collect(values, command)

    def _collect(self, workers: Iterable[int], command: str) -> dict[int, Any]:
        """Wait until all `workers` have answered; time steps go straight to their rows."""
        answers: dict[int, Any] = {}
        waiting = set(workers)
        while waiting:
            handles: dict[Any, int] = {self._pipes[i]: i for i in waiting}
            handles.update({self._processes[i].sentinel: i for i in waiting})
            for i in {handles[handle] for handle in wait(list(handles))}:
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
        self._owed.discard(i)
        kind = answer[:1]
        if kind == SEEN:
            self._rows[i] = np.frombuffer(answer, dtype=self._rows.dtype, offset=1)[0]
            return None
        if kind == VALUE:
            return pickle.loads(answer[1:])
        text = answer[1:].decode()
        name = f"worker {i} (pid {self._processes[i].pid})"
        self.close()
        if kind == USER_ERROR:
            raise UserError(text)
        raise WorkerError(f"{name} failed during {command}:\n{text}")

    def _died(self, i: int, command: str) -> WorkerError:
        """Close everything and say which worker ended, and how."""
        process = self._processes[i]
        process.join(self.GRACE)  # its pipe closes a moment before its exit code is known
        name = f"worker {i} (pid {process.pid}) died with exit code {process.exitcode} during {command}"
        self.close()
        return WorkerError(name)

    def _timestep(self) -> TimeStep:
        # copies: the rows are overwritten by the next step
        def tensor(name: str) -> Tensor:
            return torch.from_numpy(self._rows[name].copy()).to(self.device)

        info = tensor("info")
        return TimeStep(
            **{name: tensor(name) for name in FIELDS},
            info={name: info[:, column].contiguous() for column, name in enumerate(self.spec.info_names)},
        )


def _context() -> Any:
    """How workers start: never as a copy of this process, whose threads and GPU state a fork cannot carry over."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["torch"])  # imported once for all workers, instead of once in each
        return context
    return multiprocessing.get_context("spawn")


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
        ]
    )


def _join(processes: Iterable[multiprocessing.process.BaseProcess], seconds: float) -> None:
    """Wait for all, `seconds` in total."""
    end = time.monotonic() + seconds
    for process in processes:
        process.join(max(end - time.monotonic(), 0.0))


class _ParentGone(Exception):
    """Nobody reads the answers any more."""


def _work(pipe: Connection, env_class: Any, args: Any, seed: int, grace: float) -> None:
    """The life of a worker: build the environment, answer until the parent says "close" or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the environment is closed on the way out
    threading.Thread(target=_end_with_parent, args=(grace,), daemon=True).start()
    torch.set_num_threads(1)
    env: EntityEnv | None = None
    try:
        env = env_class(args, num_envs=1, seed=seed, device="cpu")
        assert env is not None
        _send(pipe, VALUE + pickle.dumps(env.spec))
        dtype = _record(env.spec)
        while True:
            command, value = _receive(pipe)
            if command == "close":
                break
            _send(pipe, _answer(env, command, value, dtype))
    except _ParentGone:
        pass
    except UserError as error:
        _last_word(pipe, USER_ERROR + str(error).encode())
    except Exception:
        _last_word(pipe, FAILURE + traceback.format_exc().encode())
    finally:
        if env is not None:
            env.close()


def _answer(env: EntityEnv, command: str, value: Any, dtype: np.dtype) -> bytes:
    if command == "step":
        return _packed(env.step(torch.frombuffer(bytearray(value), dtype=torch.int64)[None]), env.spec, dtype)
    if command == "reset":
        return _packed(env.reset(team=value), env.spec, dtype)
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
    raise ValueError(f"unknown command {command!r}")


def _packed(seen: TimeStep, spec: EnvSpec, dtype: np.dtype) -> bytes:
    row = np.zeros(1, dtype=dtype)
    for name in FIELDS:
        row[name] = getattr(seen, name).numpy()
    for column, name in enumerate(spec.info_names):
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


def _end_with_parent(grace: float) -> None:
    """End this process soon after its parent, even in the middle of a step that never returns."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    wait([parent.sentinel])
    time.sleep(grace)  # an idle main thread sees its pipe close, closes the environment and ends
    os.kill(os.getpid(), signal.SIGTERM)  # a busy one leaves its step and does the same
    time.sleep(grace)
    os._exit(1)

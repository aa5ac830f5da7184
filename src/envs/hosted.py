"""Many single environments that live elsewhere, behind the interface of one batch. How commands get there and answers
back is the subclass's: worker processes (`envs.hosts`), actors on a cluster (`envs.ray_actors`).
"""

import math
import pickle
import time
from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from envs.base import EntityEnv, EnvSpec, TimeStep
from envs.scene import Scene
from envs.worker import FIELDS, GIVEN_UP, NONE, SEEN, USER_ERROR, VALUE, record
from utils.errors import RunFailed, UserError
from utils.seeding import derive_seed

#: Silence is counted in pieces of so many seconds.
TICK = 1.0

#: The commands that are answered by a time step.
SHOWS = ("reset", "step")


class WorkerError(RunFailed):
    """A worker died or hangs. All workers are closed by then."""


class EnvironmentFailed(RuntimeError):
    """An environment raised what nobody expected; the message ends in its traceback. All workers are closed by then."""


@dataclass(frozen=True)
class Timeouts:
    """Seconds without an answer after which those that are waited for count as hanging."""

    #: while the environments are built
    start: float = math.inf
    #: in every later call, a step or a reset for instance
    step: float = math.inf


FOREVER = Timeouts()


class HostedEnv(EntityEnv):
    """`num_envs` environments of one class, each with a worker and a random stream of its own.

    Environments whose episode is over are not stepped: they stay as they ended, and the others do not wait for them.

    `reset` and `step` wait for all. Whoever does not want to sends `begin` and `act` to some, and gets those that have
    answered from `arrivals`, as they come.
    """

    #: whether an answer from any worker shows that the others only want for a processor
    TOGETHER: ClassVar[bool]

    def __init__(self, num_envs: int, seed: int, device: torch.device | str, timeouts: Timeouts) -> None:
        """Subclasses start their workers next and call `_meet` then."""
        super().__init__(num_envs, seed, device)
        self.timeouts = timeouts
        self._failure: BaseException | None = None
        #: what each worker is asked for
        self._asked: dict[int, tuple[str, Any]] = {}
        #: seconds that it has been waited for
        self._silence: dict[int, float] = {}
        #: whose answers to `begin` and `act` came while another was waited for
        self._early: set[int] = set()
        #: how often others have taken over what `begin` began
        self.resets = 0

    # --- how commands get there and answers back ------------------------------------------------------------------

    @property
    @abstractmethod
    def _active(self) -> bool:
        """Whether there are workers (still)."""

    @abstractmethod
    def _send(self, i: int, command: str, value: Any) -> None:
        """Send a command to worker `i`, which has answered the one before."""

    @abstractmethod
    def _ready(self, workers: Collection[int], seconds: float) -> Collection[int]:
        """Which of `workers`, who all have been asked, have something to `_take`: at the latest after so many seconds,
        and before that as soon as any of them has.
        """

    @abstractmethod
    def _take(self, i: int) -> bytes | None:
        """The answer of a worker that is ready; None: it is asked again.

        Raises:
            WorkerError: it is dead.
        """

    @abstractmethod
    def _hang(self, workers: Collection[int], limit: float) -> None:
        """These have not answered for `limit` seconds."""

    @abstractmethod
    def _name(self, i: int) -> str:
        """Who worker `i` is, for messages."""

    # --- the interface of one batch -------------------------------------------------------------------------------

    def _meet(self) -> None:
        """Wait until the environments are built."""
        specs = self._exchange("start", dict.fromkeys(range(self.num_envs)))
        self.spec: EnvSpec = specs[0]
        self._rows = np.zeros(self.num_envs, dtype=record(self.spec))
        self._rows["restarts"] = NONE

    @property
    def restarts(self) -> int | None:
        counts = self._rows["restarts"]
        return int(counts.sum()) if (counts != NONE).all() else None

    def _seeds(self, seed: int) -> list[int]:
        return [derive_seed(seed, "worker", i) for i in range(self.num_envs)]

    def _reset(self, env_mask: Tensor, team: str | None) -> TimeStep:
        self.resets += 1
        self._exchange("reset", dict.fromkeys(env_mask.nonzero().flatten().tolist(), team))
        return self.seen()

    def _step(self, actions: Tensor) -> TimeStep:
        rows = self._rows
        running = np.flatnonzero(~(rows["terminated"] | rows["truncated"])).tolist()
        rows["reward"] = 0.0
        chosen = actions.cpu().numpy()
        self._exchange("step", {i: chosen[i].tobytes() for i in running})
        return self.seen()

    def seed(self, seed: int) -> None:
        self._exchange("seed", dict(enumerate(self._seeds(seed))))

    def state_dict(self) -> dict[str, Any]:
        states = self._exchange("state_dict", dict.fromkeys(range(self.num_envs)))
        return {"workers": [states[i] for i in range(self.num_envs)]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        states = state["workers"]
        if len(states) != self.num_envs:
            raise ValueError(f"the state of {len(states)} workers does not fit {self.num_envs}")
        self.resets += 1
        self._exchange("load_state_dict", dict(enumerate(states)))

    def render(self, index: int = 0, marked: Collection[int] = ()) -> np.ndarray:
        wanted = {range(self.num_envs)[index]: tuple(marked)}
        image: np.ndarray = self._exchange("render", wanted)[index % self.num_envs]
        return image

    def scene(self, index: int = 0) -> Scene | None:
        scene: Scene | None = self._exchange("scene", {range(self.num_envs)[index]: None})[index % self.num_envs]
        return scene

    def seen(self) -> TimeStep:
        """What every environment showed last."""

        # copies: the rows are overwritten by the next step
        def tensor(name: str) -> Tensor:
            return torch.from_numpy(self._rows[name].copy()).to(self.device)

        info = tensor("info")
        self.lost = None if self.restarts is None else tensor("lost")
        return TimeStep(
            **{name: tensor(name) for name in FIELDS},
            info={name: info[:, column].contiguous() for column, name in enumerate(self.spec.info_names)},
        )

    # --- without waiting for all ----------------------------------------------------------------------------------

    def begin(self, rows: Tensor) -> None:
        """Begin new episodes in the environments `rows (R,)`, which have nothing outstanding."""
        self._ask("reset", dict.fromkeys(rows.tolist()))

    def act(self, rows: Tensor, actions: Tensor) -> None:
        """Play `actions (R, A)` in the environments `rows (R,)`, which have nothing outstanding and whose episodes go
        on.
        """
        chosen = actions.cpu().numpy()
        self._ask("step", {i: chosen[number].tobytes() for number, i in enumerate(rows.tolist())})

    def arrivals(self) -> Tensor:
        """Wait until one of those asked by `begin` and `act` has answered; the numbers (R,) of all that have, in
        ascending order. `seen` shows what.
        """
        with self._open():
            while not self._early:
                self._hear(list(self._asked))
        rows, self._early = sorted(self._early), set()
        return torch.tensor(rows, device=self.device)

    # --- commands and answers -------------------------------------------------------------------------------------

    def _exchange(self, command: str, values: Mapping[int, Any]) -> dict[int, Any]:
        """Send `(command, value)` to the workers named, all before the first answer is awaited; return the answers."""
        with self._open():
            while outstanding := [i for i in values if i in self._asked]:
                self._hear(outstanding)
        self._ask(command, values)
        answers: dict[int, Any] = {}
        with self._open():
            while outstanding := [i for i in values if i not in answers]:
                answers |= self._hear(outstanding)
        if command in SHOWS:
            self._early -= answers.keys()
        return answers

    def _ask(self, command: str, values: Mapping[int, Any]) -> None:
        with self._open():
            for i, value in values.items():
                self._asked[i], self._silence[i] = (command, value), 0.0
                self._send(i, command, value)

    def _hear(self, workers: Collection[int]) -> dict[int, Any]:
        """Answers of `workers`, at least one or none for a tick; time steps go to their rows."""
        limits = {i: self._limit(i) for i in workers}
        tick = min(TICK, *limits.values())
        begun = time.monotonic()
        ready = self._ready(workers, tick)
        # no longer than it was waited: a run that was stopped by Ctrl-Z and goes on has waited for nobody meanwhile
        waited = min(time.monotonic() - begun, tick)
        answers: dict[int, Any] = {}
        for i in ready:
            answer = self._take(i)
            if answer is not None:
                command, _ = self._asked.pop(i)
                answers[i] = self._read(i, command, answer)
                if command in SHOWS:
                    self._early.add(i)
        silent = [i for i in workers if i not in ready]
        for i in silent:
            self._silence[i] = 0.0 if ready and self.TOGETHER else self._silence[i] + waited
        overdue = [i for i in silent if self._silence[i] >= 0.99 * limits[i]]  # ticks may end a moment early
        if overdue:
            self._hang(overdue, limits[overdue[0]])
        return answers

    def _limit(self, i: int) -> float:
        return self.timeouts.start if self._asked[i][0] == "start" else self.timeouts.step

    def _read(self, i: int, command: str, answer: bytes) -> Any:
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

    def _open(self) -> "_Call":
        return _Call(self)


class _Call:
    """A call that does not get to its end, be it for Ctrl-C, leaves answers behind that would be taken for those of the
    next call: it closes the workers, and later calls end as it did.
    """

    def __init__(self, env: HostedEnv) -> None:
        self._env = env

    def __enter__(self) -> None:
        if not self._env._active:
            raise self._env._failure or WorkerError("the workers are closed")

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None:
            self._env._failure = error
            self._env.close()

"""Many single environments on the machines of a Ray cluster, behind the interface of one batch.

An actor that dies, with its machine or by itself, is started anew by Ray, and costs the episode that it was playing:
that one is `lost`, and drawn and played again. So whoever sends a command says which life of the actor it is meant for,
and where in its random stream a new life begins: an answer that begins or ends an episode brings that along.
"""

import math
import os
import pickle
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from envs.base import EntityEnv
from envs.hosted import FOREVER, HostedEnv, Timeouts, WorkerError
from envs.worker import NONE, SEEN, Worker
from utils.errors import RunFailed, one_line
from utils.ray_shared import Connection

#: In place of an answer: the episode that a step was meant for ended with the life before.
ANEW = b"n"
BORN_ANEW = "it was started anew"


class RayEnv(HostedEnv):
    """`num_envs` environments of one class, each an actor of Ray."""

    TOGETHER = False  # they have cores of their own
    #: seconds that the actors get to close their environments
    GRACE = 5.0
    #: deaths in a row, without an episode that was played to its end, after which an environment is given up
    DEATHS = 5
    #: seconds between two attempts to reach an actor that is being started anew
    PAUSE = 0.5

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
            env_class, args, num_envs, seed, device: as for `envs.hosts.WorkerEnv`, whose episodes they have.
            timeouts: when an actor that does not answer is killed and started anew.

        Raises:
            UserError: there is no Ray or no cluster, or an environment cannot be built for a reason that the user can
                put right.
            RunFailed: for one that it can tell itself, as in any later call.
            EnvironmentFailed: it cannot be built for any other reason.
            WorkerError: its actor does not start, or dies again and again.
        """
        super().__init__(num_envs, seed, device, timeouts)
        #: which life of each actor is spoken to; "": one that is to take up `_origins`
        self._lives = [""] * num_envs
        #: the states, pickled, from which their episodes were drawn, or the next ones will be
        self._origins: list[bytes | None] = [None] * num_envs
        #: deaths, of all actors
        self._deaths = np.zeros(num_envs, dtype=np.int64)
        self._in_a_row = np.zeros(num_envs, dtype=np.int64)
        #: games that earlier lives started anew
        self._earlier = np.zeros(num_envs, dtype=np.int64)
        self._answers: dict[int, Any] = {}
        #: those that have come
        self._messages: dict[int, bytes] = {}
        #: when an actor that is not there yet is asked again
        self._again: dict[int, float] = {}
        self._connection = Connection("runner=ray")
        self._ray = self._connection.ray
        self._actors: list[Any] = []
        options = {
            "num_cpus": 0 if self._connection.local else 1,
            "max_restarts": -1,
            "scheduling_strategy": "SPREAD",
            "enable_task_events": False,  # a third of what a message costs
        }
        try:
            actor = self._ray.remote(_Actor).options(**options)
            self._actors += [actor.remote(env_class, args, worker_seed) for worker_seed in self._seeds(seed)]
        except BaseException:
            self.close()
            raise
        self._meet()

    @property
    def restarts(self) -> int:
        """Of games and of actors."""
        return int((self._deaths + self._earlier + self._rows["restarts"].clip(min=0)).sum())

    def close(self) -> None:
        """End the actors: those that are still busy after `GRACE` are killed. Idempotent."""
        actors, self._actors = self._actors, []
        with suppress(self._ray.exceptions.RayError):  # of a Ray that is gone itself
            goodbyes = [actor.close.remote() for actor in actors]
            if goodbyes:
                self._ray.wait(goodbyes, num_returns=len(goodbyes), timeout=self.GRACE)
            for actor in actors:
                self._ray.kill(actor)
        self._connection.close()

    # --- how commands get there and answers back ------------------------------------------------------------------

    @property
    def _active(self) -> bool:
        return bool(self._actors)

    def _send(self, i: int, command: str, value: Any) -> None:
        if not self._lives[i]:  # greeted first, until it is there
            command, value = "start", None
        origin = None if command == "step" else self._origins[i]
        message = pickle.dumps((self._lives[i], origin, command, value), protocol=pickle.HIGHEST_PROTOCOL)
        self._answers[i] = self._actors[i].answer.remote(message)

    def _ready(self, workers: Collection[int], seconds: float, every: bool) -> Collection[int]:
        now = time.monotonic()
        for i in [i for i in workers if self._again.get(i, math.inf) <= now]:
            del self._again[i]
            self._send(i, *self._asked[i])
        answers = {self._answers[i]: i for i in workers if i in self._answers}
        if len(answers) < len(workers):
            seconds = min(seconds, self.PAUSE)
        if not answers:
            time.sleep(seconds)
            return []
        refs = list(answers)
        if not every:
            self._ray.wait(refs, timeout=seconds)
        ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=seconds if every else 0)
        with suppress(self._ray.exceptions.RayError):  # of one of them, which `_take` looks for
            self._messages.update(zip((answers[ref] for ref in ready), self._ray.get(ready), strict=True))
        return [answers[answer] for answer in ready]

    def _take(self, i: int) -> bytes | None:
        command, value = self._asked[i]
        errors = self._ray.exceptions
        answer = self._answers.pop(i)
        try:
            message = self._messages.pop(i) if i in self._messages else self._ray.get(answer)
        except errors.ActorDiedError as error:  # for good: not even its code can be imported, for instance
            raise WorkerError(f"{self._name(i)} died during {command}: {_gist(error)}") from None
        except errors.RayTaskError:
            raise
        except errors.RayError as error:
            return self._fell(i, error)
        life, answer, origin = pickle.loads(message)
        if answer == ANEW:
            return self._fell(i, BORN_ANEW)
        if not self._lives[i]:
            self._lives[i] = life
            if command != "start":
                self._send(i, command, value)
                return None
        elif life != self._lives[i]:  # it died while nobody asked for anything
            self._count_death(i, BORN_ANEW)
            self._lives[i] = life
            if command != "reset":
                self._rows[i] = self._lost(i)
        if origin is not None:
            self._origins[i] = origin
        return bytes(answer)

    def _fell(self, i: int, reason: Exception | str) -> bytes | None:
        """What is made of a call that actor `i` did not survive, or that came before it lives again."""
        command, _ = self._asked[i]
        if command in ("render", "scene"):  # of an episode that is gone
            raise WorkerError(f"{self._name(i)} died during {command}: {_gist(reason)}")
        if self._lives[i]:
            self._count_death(i, reason)
            self._lives[i], self._silence[i] = "", 0.0
        if command == "step":
            return SEEN + self._lost(i).tobytes()
        self._again[i] = time.monotonic() + self.PAUSE
        return None

    def _count_death(self, i: int, reason: Exception | str) -> None:
        self._deaths[i] += 1
        self._in_a_row[i] += 1
        self._earlier[i] += max(self._rows[i]["restarts"], 0)
        self._rows[i]["restarts"] = NONE
        if self._in_a_row[i] > self.DEATHS:
            raise RunFailed(
                f"{self._name(i)} died {self._in_a_row[i]} times in a row without playing an episode to its end: "
                f"{_gist(reason)}"
            )

    def _lost(self, i: int) -> np.ndarray:
        """Environment `i` as it stood, its episode cut short."""
        row: np.ndarray = self._rows[i].copy()
        if not (row["terminated"] or row["truncated"]):
            row["truncated"] = row["lost"] = True
        row["reward"] = 0.0
        return row

    def _read(self, i: int, command: str, answer: bytes) -> Any:
        value = super()._read(i, command, answer)
        if command == "step":
            row = self._rows[i]
            if (row["terminated"] or row["truncated"]) and not row["lost"]:
                self._in_a_row[i] = 0
        return value

    def _limit(self, i: int) -> float:
        if self._lives[i]:
            return self.timeouts.step
        return self.timeouts.start + (0.0 if self._asked[i][0] == "start" else self.timeouts.step)

    def _hang(self, workers: Collection[int], limit: float) -> None:
        """Kill them, so that they are started anew."""
        for i in workers:
            if self._asked[i][0] == "start":
                cpus = self._ray.cluster_resources().get("CPU", 0)
                places = "" if self._connection.local else f"the cluster has {cpus:g} CPUs and each takes one; "
                raise WorkerError(
                    f"{self._name(i)} hangs: no answer for {limit:g} s during start; {places}lower batch_size_run, or "
                    "set a longer worker_start_timeout"
                )
            self._count_death(i, f"no answer for {limit:g} s; if it is only slow, set a longer worker_step_timeout")
            self._lives[i], self._silence[i] = "", 0.0
            self._ray.kill(self._actors[i], no_restart=False)

    def _name(self, i: int) -> str:
        return f"worker {i}" + (f" ({self._lives[i].partition('/')[0]})" if self._lives[i] else "")


def _gist(reason: Exception | str) -> str:
    """Of what Ray says in many lines; a traceback's last line is what went wrong."""
    lines = str(reason).strip().splitlines()
    return one_line(lines[-1] if "Traceback" in str(reason) else " ".join(lines))


class _Actor:
    """A worker that may die, and live again."""

    def __init__(self, env_class: Any, args: Any, seed: int) -> None:
        import ray

        self._life = f"pid {os.getpid()} on {ray.util.get_node_ip_address()}/{os.urandom(8).hex()}"
        self._worker = Worker(env_class, args, seed)

    def answer(self, message: bytes) -> bytes:
        """What `_answer` says to what `message` holds; Ray carries nothing as fast as bytes."""
        return pickle.dumps(self._answer(*pickle.loads(message)), protocol=pickle.HIGHEST_PROTOCOL)

    def _answer(self, life: str, origin: bytes | None, command: str, value: Any) -> tuple[str, bytes, bytes | None]:
        """This life, the worker's answer, and the state that the next life begins with, where that changes.

        Args:
            life: of which the command is asked.
            origin: the state to begin with, if it is another.
            command, value: as for `Worker.answer`.
        """
        if life != self._life:
            if command == "step":
                return self._life, ANEW, None
            if origin is not None:
                self._worker.answer("load_state_dict", pickle.loads(origin))
        before = self._state() if command == "reset" else None
        answer = self._worker.answer(command, value)
        if command in ("seed", "load_state_dict") or (command == "step" and self._worker.over):
            before = self._state()
        return self._life, answer, before

    def close(self) -> None:
        """End the environment."""
        self._worker.close()

    def _state(self) -> bytes:
        return self._worker.answer("state_dict", None)[1:]

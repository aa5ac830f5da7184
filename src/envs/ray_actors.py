"""Many single environments on the machines of a Ray cluster, behind the interface of one batch.

Ray places actors and gives a new life to those that die, with their machine or by themselves. Commands and answers go
through a connection that every life makes once: through Ray a message costs a millisecond more.

A death costs the episode that was being played: that one is `lost`, and drawn and played again. An answer that begins
or ends an episode brings along where in the random stream that is, and there a new life begins.
"""

import math
import os
import pickle
import time
from collections.abc import Collection
from contextlib import suppress
from itertools import count
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from typing import Any

import numpy as np
import torch

from envs.base import EntityEnv
from envs.hosted import FOREVER, TICK, HostedEnv, Timeouts, WorkerError
from envs.worker import NONE, SEEN, Worker
from utils.doors import Address, Door, knock
from utils.errors import RunFailed, UserError, one_line
from utils.ray_shared import Connection

BROKEN = "its connection broke"


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
        #: connections to those that live
        self._pipes: dict[int, Pipe] = {}
        #: where their lives are led
        self._names = [""] * num_envs
        #: Ray's view of their lives: each one is a call, which ends with it
        self._calls: dict[int, Any] = {}
        #: number of a call -> the actor that is to connect
        self._expected: dict[int, int] = {}
        self._numbers = count()
        #: when an actor that does not live is called (again)
        self._due: dict[int, float] = {}
        #: given up by us, and why
        self._dropped: dict[int, str] = {}
        #: when Ray was asked last who has died
        self._looked = 0.0
        #: the states, pickled, from which their episodes were drawn, or the next ones will be
        self._origins: list[bytes | None] = [None] * num_envs
        #: deaths, of all actors
        self._deaths = np.zeros(num_envs, dtype=np.int64)
        self._in_a_row = np.zeros(num_envs, dtype=np.int64)
        #: games that earlier lives started anew
        self._earlier = np.zeros(num_envs, dtype=np.int64)
        self._connection = Connection("runner=ray")
        self._ray = self._connection.ray
        self._actors: list[Any] = []
        host = self._ray.util.get_node_ip_address()
        try:
            self._door = Door(host)
        except OSError as error:
            self._connection.close()
            raise UserError(f"runner=ray: cannot listen at {host}, this machine's address in Ray ({error})") from None
        options = {
            "num_cpus": 0 if self._connection.local else 1,
            "max_restarts": -1,
            "scheduling_strategy": "SPREAD",
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
        self._door.close()
        for pipe in self._pipes.values():
            pipe.close()
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
        if i in self._pipes:
            self._tell(i)
        else:  # told as soon as it lives
            self._due.setdefault(i, 0.0)

    def _tell(self, i: int, origin: bytes | None = None) -> None:
        message = pickle.dumps((origin, *self._asked[i]), protocol=pickle.HIGHEST_PROTOCOL)
        try:
            self._pipes[i].send_bytes(message)
        except OSError:  # it is dead, or has half a message and waits for the rest
            self._dropped[i] = BROKEN

    def _ready(self, workers: Collection[int], seconds: float) -> Collection[int]:
        now = time.monotonic()
        self._call([i for i in workers if self._due.get(i, math.inf) <= now])
        pipes = {self._pipes[i]: i for i in workers if i in self._pipes}
        coming = len(pipes) < len(workers)
        door = self._door.fileno()
        heard = wait([*pipes, door], min(seconds, self.PAUSE)) if coming else wait(list(pipes), seconds)
        if door in heard:
            self._admit()
        ready = {pipes[pipe] for pipe in heard if isinstance(pipe, Pipe)}
        if coming or now >= self._looked + TICK:
            self._looked = now
            ready |= self._ended(workers)
        return ready

    def _call(self, actors: Collection[int]) -> None:
        for i in actors:
            del self._due[i]
            number = next(self._numbers)
            self._expected[number] = i
            self._calls[i] = self._actors[i].live.remote(self._door.address, number)

    def _admit(self) -> None:
        visitor = self._door.admit()
        if visitor is None:
            return
        i = self._expected.pop(visitor.number, None)
        if i is None:  # it was called again meanwhile
            visitor.connection.close()
            return
        self._pipes[i], self._names[i], self._silence[i] = visitor.connection, visitor.name, 0.0
        self._tell(i, self._origins[i])

    def _ended(self, workers: Collection[int]) -> set[int]:
        """Those of these whose lives have ended, whether or not their connections show it."""
        calls = {self._calls[i]: i for i in workers if i in self._calls}
        ended, _ = self._ray.wait(list(calls), num_returns=len(calls), timeout=0) if calls else ([], [])
        return {calls[call] for call in ended} | self._dropped.keys() & set(workers)

    def _take(self, i: int) -> bytes | None:
        if i in self._pipes and i not in self._dropped:
            with suppress(EOFError, OSError):
                if self._pipes[i].poll():
                    answer, origin = pickle.loads(self._pipes[i].recv_bytes())
                    if origin is not None:
                        self._origins[i] = origin
                    return bytes(answer)
        return self._fell(i, self._dropped.pop(i, "") or self._why(i))

    def _why(self, i: int) -> Exception | str:
        """How the life of actor `i` ended.

        Raises:
            WorkerError: for good.
        """
        errors = self._ray.exceptions
        try:
            self._ray.get(self._calls[i], timeout=0)
        except errors.ActorDiedError as error:  # not even its code can be imported, for instance
            raise WorkerError(f"{self._name(i)} died during {self._asked[i][0]}: {_gist(error)}") from None
        except errors.GetTimeoutError:  # Ray has not noticed yet
            return BROKEN
        except errors.RayTaskError:
            raise
        except errors.RayError as error:
            return error
        return BROKEN

    def _fell(self, i: int, reason: Exception | str) -> bytes | None:
        """What is made of the command that actor `i` does not live to answer; it is to live again."""
        command, _ = self._asked[i]
        if command in ("render", "scene"):  # of an episode that is gone
            raise WorkerError(f"{self._name(i)} died during {command}: {_gist(reason)}")
        self._expected = {number: actor for number, actor in self._expected.items() if actor != i}
        self._calls.pop(i, None)
        self._due[i] = time.monotonic() + self.PAUSE
        if i not in self._pipes:  # it had not begun
            return None
        self._pipes.pop(i).close()
        self._count_death(i, reason)
        self._names[i], self._silence[i] = "", 0.0
        if command == "step":
            return SEEN + self._lost(i).tobytes()
        if command not in ("start", "reset"):
            self._rows[i] = self._lost(i)
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
        if i in self._pipes:
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
            self._silence[i] = 0.0
            reason = f"no answer for {limit:g} s; if it is only slow, set a longer worker_step_timeout"
            if i in self._pipes:
                self._dropped[i] = reason
            else:
                self._count_death(i, reason)
            self._ray.kill(self._actors[i], no_restart=False)

    def _name(self, i: int) -> str:
        return f"worker {i}" + (f" ({self._names[i]})" if self._names[i] else "")


def _gist(reason: Exception | str) -> str:
    """Of what Ray says in many lines; a traceback's last line is what went wrong."""
    lines = str(reason).strip().splitlines()
    return one_line(lines[-1] if "Traceback" in str(reason) else " ".join(lines))


class _Actor:
    """A worker that may die, and live again."""

    #: seconds that a connection may take
    PATIENCE = 10.0

    def __init__(self, env_class: Any, args: Any, seed: int) -> None:
        import ray

        self._name = f"pid {os.getpid()} on {ray.util.get_node_ip_address()}"
        self._worker = Worker(env_class, args, seed)

    def live(self, address: Address, number: int) -> None:
        """Answer who is at `address`, where this actor comes as `number`, for as long as the connection holds."""
        with suppress(EOFError, OSError), knock(address, number, self._name, self.PATIENCE) as pipe:
            while True:
                origin, command, value = pickle.loads(pipe.recv_bytes())
                if origin is not None:
                    self._worker.answer("load_state_dict", pickle.loads(origin))
                pipe.send_bytes(pickle.dumps(self._answer(command, value), protocol=pickle.HIGHEST_PROTOCOL))

    def _answer(self, command: str, value: Any) -> tuple[bytes, bytes | None]:
        """The worker's answer, and the state that another life would begin with, where that changes."""
        before = self._state() if command == "reset" else None
        answer = self._worker.answer(command, value)
        if command in ("start", "seed", "load_state_dict") or (command == "step" and self._worker.over):
            before = self._state()
        return answer, before

    def close(self) -> None:
        """End the environment."""
        self._worker.close()

    def _state(self) -> bytes:
        return self._worker.answer("state_dict", None)[1:]

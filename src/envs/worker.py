"""What plays elsewhere: an environment of one, and its answers to commands, whoever carries them.

An answer is one byte that says what follows, then a time step as one fixed-size record, any other value pickled, or the
text of what went wrong.
"""

import pickle
import traceback
from typing import Any

import numpy as np
import torch

from envs.base import EntityEnv, EnvSpec, TimeStep
from utils.errors import RunFailed, UserError

#: The first byte of an answer.
SEEN, VALUE, USER_ERROR, GIVEN_UP, FAILURE = b"s", b"v", b"u", b"g", b"f"

#: The number of restarts of an environment in which nothing could be started anew.
NONE = -1

#: The fields of a TimeStep that are tensors; `info` is one more, its columns in the order of `spec.info_names`.
FIELDS = tuple(name for name in TimeStep._fields if name != "info")


def record(spec: EnvSpec) -> np.dtype:
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


class Worker:
    """An environment that answers: a mistake of its own, too, and that is its last answer."""

    def __init__(self, env_class: Any, args: Any, seed: int) -> None:
        """Builds `env_class(args, num_envs=1, seed=seed, device="cpu")`; whether it could is the answer to "start"."""
        torch.set_num_threads(1)
        self.env: EntityEnv | None = None
        #: whether the episode has ended
        self.over = False
        #: what went wrong; nothing more can be asked for then
        self.failure = b""
        try:
            self.env = env_class(args, num_envs=1, seed=seed, device="cpu")
            assert self.env is not None
            self._dtype = record(self.env.spec)
        except Exception as error:
            self.failure = _last_words(error)

    def answer(self, command: str, value: Any) -> bytes:
        """The answer to a command of `_carry_out`."""
        if not self.failure:
            try:
                assert self.env is not None
                return self._carry_out(self.env, command, value)
            except Exception as error:
                self.failure = _last_words(error)
        return self.failure

    def close(self) -> None:
        """End the environment."""
        if self.env is not None:
            self.env.close()

    def _carry_out(self, env: EntityEnv, command: str, value: Any) -> bytes:
        if command == "step":
            return self._packed(env, env.step(torch.frombuffer(bytearray(value), dtype=torch.int64)[None]))
        if command == "reset":
            return self._packed(env, env.reset(team=value))
        if command == "start":
            return VALUE + pickle.dumps(env.spec)
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

    def _packed(self, env: EntityEnv, seen: TimeStep) -> bytes:
        row = np.zeros(1, dtype=self._dtype)
        row["restarts"] = NONE if env.restarts is None else env.restarts
        row["lost"] = False if env.lost is None else env.lost.numpy()
        for name in FIELDS:
            row[name] = getattr(seen, name).numpy()
        for column, name in enumerate(env.spec.info_names):
            row["info"][:, column] = seen.info[name].numpy()
        self.over = bool(seen.done[0])
        return SEEN + row.tobytes()


def _last_words(error: Exception) -> bytes:
    """Of an exception that is being handled."""
    if isinstance(error, UserError):
        return USER_ERROR + str(error).encode()
    if isinstance(error, RunFailed):
        return GIVEN_UP + str(error).encode()
    return FAILURE + traceback.format_exc().encode()

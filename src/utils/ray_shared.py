"""One connection to Ray for all that want it in this process."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from utils.errors import UserError
from utils.interrupt import STOP_SIGNALS
from utils.ray_connection import connect
from utils.temporary import marked_folder

#: A socket's path has 107 characters at most, of which Ray takes 68 for what lies below its folder.
LONGEST = 107 - 68


class Connection:
    """To Ray, for as long as anybody holds one."""

    _holders = 0
    #: whether it was made here, and not by whoever started this process
    _ours = False

    def __init__(self, setting: str) -> None:
        """As `connect`."""
        #: whether Ray is of this process alone
        self.local = os.environ.get("RAY_ADDRESS", "") in ("", "local")
        ray = sys.modules.get("ray")
        if ray is None or not ray.is_initialized():
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns of what is to come
            os.environ.setdefault("RAY_prestart_worker_first_driver", "0")  # of tasks, which there are none of
            with _deaf(), _files_with_ours() if self.local else nullcontext():
                ray = connect(setting)
            Connection._ours = True
        self.ray: Any = ray
        Connection._holders += 1
        self._held = True

    def close(self) -> None:
        """Let go of it: the last one ends it, and what was started with it on this machine. Idempotent."""
        if not self._held:
            return
        self._held = False
        Connection._holders -= 1
        if not Connection._holders and Connection._ours:
            Connection._ours = False
            self.ray.shutdown()


@contextmanager
def _deaf() -> Iterator[None]:
    """What is started meanwhile never hears what a terminal or a scheduler sends to all processes of a run."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _files_with_ours() -> Iterator[None]:
    """The files of a Ray that is started meanwhile lie where they are cleared away.

    Raises:
        UserError: that place is too deep for its sockets.
    """
    before = os.environ.get("RAY_TMPDIR")
    folder = before or str(marked_folder())
    if len(folder) > LONGEST:
        raise UserError(f"the path {folder} is too long for Ray's sockets: set RAY_TMPDIR to a short one, such as /tmp")
    os.environ["RAY_TMPDIR"] = folder
    try:
        yield
    finally:
        del os.environ["RAY_TMPDIR"]
        if before is not None:
            os.environ["RAY_TMPDIR"] = before

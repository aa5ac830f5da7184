"""Stopping a run from outside: the first signal asks, the second one insists."""

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """The run was stopped by a signal. A KeyboardInterrupt, so that no `except Exception` on the way swallows it and
    the run is recorded as INTERRUPTED, not as FAILED.
    """


class GivenUp(Exception):
    """A test ended between two steps, because the run was asked to stop: it has no result."""


class StopSignal:
    """Listens for SIGINT and SIGTERM between `__enter__` and `__exit__`.

    The first signal only sets `requested`: the training loop sees it after its round, and a test, which is then given
    up, before its next step; training saves a checkpoint and raises `Interrupted`. The second signal raises
    `Interrupted` where the program stands. Later ones are ignored, so that the run's record can still be closed in
    order.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        #: True once somebody asked the run to stop.
        self.requested = False
        #: The first signal that came, or None.
        self.signum: int | None = None
        self._count = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignal":
        # Python only lets the main thread install handlers; elsewhere `requested` can still be set by hand
        if threading.current_thread() is threading.main_thread():
            for signum in self.SIGNALS:
                self._previous[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous.clear()

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that ended by the signal: 130 after SIGINT, 143 after SIGTERM."""
        return 128 + (self.signum if self.signum is not None else signal.SIGINT)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        self.requested = True
        self._count += 1
        if self.signum is None:
            self.signum = signum
        if self._count == 1:
            with contextlib.suppress(OSError):
                # not print: the handler may have cut into another write to the same stream
                os.write(2, b"\nstopping after this round; a second signal stops at once\n")
        elif self._count == 2:
            raise Interrupted

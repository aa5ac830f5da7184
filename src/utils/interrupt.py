"""Stopping a run from outside: the first signal asks, the second one insists; no process outlives who started it."""

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from types import FrameType
from typing import Any

#: The signals that ask a whole run to stop, which a terminal or a scheduler sends to all of its processes.
STOP_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """The run was stopped by a signal. A KeyboardInterrupt, so that no `except Exception` on the way swallows it and
    the run is recorded as INTERRUPTED, not as FAILED.
    """


class GivenUp(Exception):
    """A test ended between two steps, because the run was asked to stop: it has no result."""


class StopSignal:
    """Listens for SIGINT, SIGTERM and SIGHUP between `__enter__` and `__exit__`.

    The first signal only sets `requested`: the training loop sees it after its round, and a test, which is then given
    up, before its next step; training saves a checkpoint and raises `Interrupted`. The second signal raises
    `Interrupted` where the program stands. Later ones are ignored, so that the run's record can still be closed in
    order. SIGHUP never insists: a terminal that is closed sends several.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self, final: bool = False, quiet: bool = False) -> None:
        """
        Args:
            final: the program ends with this.
            quiet: another one says that it stops.
        """
        self._final, self._quiet = final, quiet
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
                if signum == signal.SIGHUP and signal.getsignal(signum) == signal.SIG_IGN:
                    continue  # nohup: the run is meant to outlive its terminal
                self._previous[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        for signum, handler in self._previous.items():
            # a late signal to a run that was stopped must not end it by itself now, with another exit code
            signal.signal(signum, signal.SIG_IGN if self._final and self.requested else handler)
        self._previous.clear()

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that ended by the signal: 130 after SIGINT, 143 after SIGTERM, 129 after
        SIGHUP.
        """
        return 128 + (self.signum if self.signum is not None else signal.SIGINT)

    def join(self, signums: Iterable[int | None]) -> None:
        """Stop for the signals `signums` that others have had (None: no signal) as for one of one's own."""
        self.requested = True
        self.signum = next((signum for signum in (self.signum, *signums) if signum is not None), None)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.requested and signum == signal.SIGHUP:
            return
        self.requested = True
        self._count += 1
        if self.signum is None:
            self.signum = signum
        if self._count == 1 and not self._quiet:
            with contextlib.suppress(OSError):
                # not print: the handler may have cut into another write to the same stream
                os.write(2, b"\nstopping after this round; a second signal stops at once\n")
        elif self._count == 2:
            raise Interrupted


def end_with(pipe: int, grace: float, pleas: Sequence[Callable[[], None]]) -> None:
    """Watch `pipe` from now on: soon after its other end is closed, this process has ended, even in the middle of
    something that never returns. The parent holds that end, and closes it by dying, too, in whatever way.

    Args:
        pipe: its file descriptor, of a pipe's reading end or of a connection.
        grace: seconds that each plea has to be heard.
        pleas: called in turn; a process that none of them ends is ended without being asked.
    """

    def watch() -> None:
        hangup = select.poll()
        hangup.register(pipe, 0)  # nothing but the other end's closing
        hangup.poll()
        for plea in pleas:
            plea()
            time.sleep(grace)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def last_words(text: str) -> None:
    """Print the line that a run ends in on stderr, where anybody is left to read it.

    A terminal that was closed, or a pipe that nobody reads, must change neither how the run ends nor, when the
    interpreter writes what such a stream still holds, its exit code.
    """
    for stream, words in ((sys.stdout, ""), (sys.stderr, text + "\n")):
        try:
            stream.write(words)
            stream.flush()
        except OSError:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())

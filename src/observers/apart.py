"""The fault policy for observers that the user adds: they work apart, and one that fails or lags behind is dropped."""

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from observers.observer import Fault, Observer, Run
from utils.errors import one_line
from utils.records import status_of
from utils.secrets import without_passwords

#: Figures and facts that may wait for an observer. One that is further behind is dropped: a curve that ends is seen to
#: be incomplete, one with gaps is not.
BOUND = 10_000


class Apart:
    """An observer in a thread of its own: what it is told waits in a queue, and telling takes no time.

    It is dropped with one warning when it raises, when `bound` things wait for it, and when it is not done `grace`
    seconds after the end of the run. Warnings, and what the observer says, are shown by whoever tells, so that no two
    threads write to the terminal.
    """

    def __init__(self, observer: Observer, warn: Callable[[str], None], bound: int = BOUND) -> None:
        self._observer, self._warn = observer, warn
        self._waiting: queue.Queue[Callable[[], None]] = queue.Queue(bound)
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        observer.say = self._said.put
        self._reason: str | None = None
        self._dropped = False
        # a daemon: one that hangs must not keep the program from ending
        self._thread = threading.Thread(target=self._work, name=f"observer {observer.name}", daemon=True)

    def begin(self, run: Run) -> None:
        """Start; `run` is what to follow."""
        self._folder = run.folder
        self._tell(partial(self._observer.begin, run))
        self._thread.start()

    def scalar(self, name: str, value: float, step: int) -> None:
        """As the observer's."""
        self._tell(partial(self._observer.scalar, name, value, step))

    def facts(self, facts: Mapping[str, Any]) -> None:
        """As the observer's."""
        self._tell(partial(self._observer.facts, facts))

    def end(self, status: str) -> None:
        """Tell the end; `join` waits for it."""
        self._tell(partial(self._end, status))

    def join(self) -> None:
        """Wait until everything was heard, but no longer than the observer's grace."""
        if not self._dropped:
            self._thread.join(self._observer.grace)
            self._show()
            if self._thread.is_alive():
                self._drop(f"it was not done {self._observer.grace:g} seconds after the end")
            elif self._reason is not None:
                self._drop(self._reason)

    def _tell(self, call: Callable[[], None]) -> None:
        if self._dropped:
            return
        self._show()
        if self._reason is not None:
            self._drop(self._reason)
            return
        try:
            self._waiting.put_nowait(call)
        except queue.Full:
            self._drop(f"it is {self._waiting.maxsize:,} figures behind")

    def _show(self) -> None:
        while not self._said.empty():
            self._warn(without_passwords(self._said.get()))

    def _drop(self, reason: str) -> None:
        self._dropped = True
        went_on = f"the run does without, and its record in {self._folder} is whole"
        self._warn(f"warning: {self._observer.name} was dropped, {reason}; {went_on}. {self._observer.remedy}".rstrip())

    def _end(self, status: str) -> None:
        self._observer.end(status)
        raise _Done

    def _work(self) -> None:
        due = time.monotonic() + self._observer.interval
        try:
            while not self._dropped:
                try:
                    call = self._waiting.get(timeout=max(due - time.monotonic(), 0.0))
                except queue.Empty:
                    call = None
                if call is not None:
                    call()
                if time.monotonic() >= due:
                    self._observer.tick()
                    due = time.monotonic() + self._observer.interval
        except _Done:
            pass
        except BaseException as error:  # SystemExit too: it is nobody's here
            # first without passwords, then short: half an address would not be known for one
            kind = "" if isinstance(error, Fault) else f"{type(error).__name__}: "
            self._reason = kind + one_line(without_passwords(str(error)))


class _Done(Exception):
    """The observer has heard of the end."""


class Followers:
    """All observers that the user adds to a run.

    Args:
        observers: none of them begun.
        warn: shows a line; called in the thread that tells.
    """

    def __init__(self, observers: Sequence[Observer], warn: Callable[[str], None]) -> None:
        self._all = [Apart(observer, warn) for observer in observers]
        self._run: Run | None = None

    def begin(self, run: Run) -> None:
        """Start them all."""
        self._run = run
        for each in self._all:
            each.begin(run)

    def scalar(self, name: str, value: float, step: int) -> None:
        """Tell all of them."""
        for each in self._all:
            each.scalar(name, value, step)

    def facts(self, facts: Mapping[str, Any]) -> None:
        """Tell all of them."""
        for each in self._all:
            each.facts(facts)

    def end(self) -> None:
        """Tell all of them how the run ended, by what its record says, and wait for them; without a run nothing."""
        if self._run is not None:
            status = status_of(self._run.folder)
            for each in self._all:
                each.end(status)
            for each in self._all:
                each.join()

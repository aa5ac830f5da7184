"""A folder that one process works in at a time."""

import contextlib
import fcntl
import os
import platform
from collections.abc import Iterator
from pathlib import Path


class Busy(Exception):
    """Another process is at it; the message names it."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder`, which is made where it is missing, for the time of a `with` statement.

    The kernel frees the lock when its process ends in whatever way; the file `lock` stays, and says nothing by itself.

    Raises:
        Busy: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Busy(file.read().strip() or "another process") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield

"""Temporary files of this process, which nobody has to clear away: a later one does, when it was killed."""

import os
import shutil
import stat
from contextlib import ExitStack, suppress
from multiprocessing import util
from pathlib import Path

from utils.locks import Busy, locked

#: What tells multiprocessing's temporary folders of this program from those of others.
MARK = "muster"

#: What is held for as long as this process lives: the lock of its mark.
_HELD = ExitStack()


def marked_folder() -> Path:
    """The folder of multiprocessing's sockets, which it removes when the process ends in order: marked as this
    program's, and those of killed processes cleared away.

    The mark is locked before it has its name, and until this process is gone. On a file system without locks there are
    no marks, and nothing is cleared.
    """
    folder = Path(util.get_temp_dir())
    if not (folder / MARK).exists():
        with suppress(OSError):
            _HELD.enter_context(locked(folder / "new"))
            (folder / "new").rename(folder / MARK)
        clear_away_dead(folder.parent)
    return folder


def clear_away_dead(temporary: Path) -> None:
    """Remove the marked folders of this user in `temporary` whose processes are gone: whose locks can be had."""
    for mark in temporary.glob(f"pymp-*/{MARK}"):
        with suppress(OSError, Busy):
            status = mark.parent.lstat()
            if status.st_uid == os.geteuid() and stat.S_ISDIR(status.st_mode):
                with locked(mark):
                    shutil.rmtree(mark.parent, ignore_errors=True)

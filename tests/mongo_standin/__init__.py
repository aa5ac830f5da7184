"""A stand-in for MongoDB: a program that speaks the database's protocol on a socket and keeps what it is told.

`Mongo(folder)` starts it, as a process of its own, and whoever connects to its `url` - pymongo, sacred's observer,
Omniboard - gets a server of version 7 that stands alone: commands, queries, updates and aggregation as far as runs and
those who look at them need; what it does not know it refuses, as MongoDB refuses what it does not know. Data are in the
folder: a server that was killed comes back with all that it had answered for. `faults.py` says what can go wrong.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from urllib.parse import quote_plus

from mongo_standin.faults import Fault, write

__all__ = ["Fault", "Mongo"]

_TESTS = Path(__file__).resolve().parents[1]


class Mongo:
    """A server on this machine, for the time of a `with` statement or until `kill`.

    Args:
        folder: where its data lie; made if it is not there.
        password: what it demands of its one user, `user`; "": nothing.
    """

    def __init__(self, folder: Path, password: str = "", user: str = "muster") -> None:
        self.folder, self.user, self._password = folder, user if password else "", password
        self.port = 0
        self._process: subprocess.Popen[str] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    @property
    def url(self) -> str:
        """How to reach it, with the password."""
        login = f"{self.user}:{quote_plus(self._password)}@" if self.user else ""
        return f"mongodb://{login}127.0.0.1:{self.port}/" + ("?authSource=admin" if self.user else "")

    def start(self) -> None:
        """Let it come up, on the port that it had before, with the data that it had and without its faults."""
        self.plan()
        command = [sys.executable, "-m", "mongo_standin.server", str(self.folder), str(self.port), self.user]
        environment = {**os.environ, "PYTHONPATH": str(_TESTS), "MONGO_STANDIN_PASSWORD": self._password}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Kill it on the spot: connections break, and new ones are refused."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                pipe.close()
            self._process = None

    def hang(self) -> None:
        """Let it stop where it is: connections stay, new ones come about, and nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        # The signal stops one thread after the other, and any of them may still answer: wait for the last.
        os.waitpid(self._process.pid, os.WUNTRACED)

    def go_on(self) -> None:
        """Let it answer again, also what it was asked in the meantime."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def plan(self, *faults: Fault) -> None:
        """Let these faults happen from now on, and no earlier ones."""
        write(self.folder, faults)

    def commands(self) -> Sequence[str]:
        """The names of the commands that it was sent, over all its lives."""
        return (self.folder / "commands").read_text().splitlines()

    def __enter__(self) -> "Mongo":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

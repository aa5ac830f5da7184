"""Fields that are ready at once: a process that has imported the engine makes a copy of itself for every game.

Importing torch takes seconds, and tests start dozens of games. `python -m sc2_standin.engines ADDRESS` serves them all,
until its stdin is closed; a stand-in without such an address imports the engine itself.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any


def open_field(map_name: str) -> Any:
    """A `field.Field`, in this process or in one that is ready."""
    address = os.environ.get("SC2_STANDIN_ENGINES")
    if address:
        return _Elsewhere(address, map_name)
    from sc2_standin.field import Field

    return Field(map_name)


class _Elsewhere:
    """Calls the methods of a field in another process."""

    def __init__(self, address: str, map_name: str) -> None:
        self._pipe = Client(address, "AF_UNIX")
        self._pipe.send(map_name)

    def __getattr__(self, name: str) -> Any:
        def call(*words: Any) -> Any:
            self._pipe.send((name, words))
            value, error = self._pipe.recv()
            if error:
                raise NotImplementedError(error)
            return value

        return call


@contextlib.contextmanager
def serving(address: Path) -> Iterator[str]:
    """The server, for the time of a `with` statement."""
    path = os.pathsep.join(sys.path)
    command = [sys.executable, "-m", "sc2_standin.engines", str(address)]
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdout.readline()
        try:
            yield str(address)
        finally:
            server.stdin.close()


def _serve(pipe: Connection) -> None:
    from sc2_standin.field import Field

    field = Field(pipe.recv())
    while True:
        name, words = pipe.recv()
        try:
            pipe.send((getattr(field, name)(*words), ""))
        except NotImplementedError as error:
            pipe.send((None, str(error)))


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


def main(address: str) -> None:
    import sc2_standin.field  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with Listener(address, "AF_UNIX") as listener:
        print("ready", flush=True)
        threading.Thread(target=_end_with_stdin, daemon=True).start()
        while True:
            pipe = listener.accept()
            if os.fork() == 0:
                with contextlib.suppress(EOFError, OSError):
                    _serve(pipe)
                os._exit(0)
            pipe.close()


if __name__ == "__main__":
    main(sys.argv[1])

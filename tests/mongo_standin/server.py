"""The stand-in as a program: `python -m mongo_standin.server FOLDER PORT [USER]`, the password in its environment.

Says its port in a line once it listens, and ends when its stdin is closed.
"""

import contextlib
import itertools
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from mongo_standin.commands import Commands, Session
from mongo_standin.faults import Plan
from mongo_standin.store import Store
from mongo_standin.wire import Gone, Message, answer, receive

REFUSAL = {"ok": 0.0, "errmsg": "the stand-in was told to fail here", "code": 8, "codeName": "UnknownError"}


class Server:
    """Answers every connection in a thread of its own; commands are carried out one after the other."""

    def __init__(self, folder: Path, user: str, password: str) -> None:
        self._commands = Commands(Store(folder / "data.sqlite"), user, password)
        self._plan = Plan(folder)
        self._log = (folder / "commands").open("a", buffering=1)
        self._turn = threading.Lock()
        self._sessions = itertools.count(1)

    def serve(self, connection: socket.socket) -> None:
        session = Session(next(self._sessions))
        with contextlib.suppress(Gone), connection:
            while True:
                self._carry_out(receive(connection), session, connection)

    def _carry_out(self, message: Message, session: Session, connection: socket.socket) -> None:
        name = next(iter(message.body))
        with self._turn:
            self._log.write(f"{name}\n")
            fault = self._plan.at(name)
            if fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if fault == "drop":
                raise Gone
            reply = None
            if fault == "refuse":
                reply = REFUSAL
            elif fault != "hang":
                reply = self._commands.answer(message.body, session)
            if fault == "kill_after":
                os.kill(os.getpid(), signal.SIGKILL)
            if fault == "drop_after":
                raise Gone
        if reply is None:  # until the client gives up
            while True:
                receive(connection)
        wait = message.body.get("maxAwaitTimeMS") if "topologyVersion" in message.body else None
        while wait is not None:  # a client that watches: nothing changes here, so it hears after its time
            time.sleep(wait / 1000)
            answer(connection, message, reply, more=message.exhaust)
            if not message.exhaust:
                return
        if not message.silent:
            answer(connection, message, reply)


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


def main(folder: str, port: str, user: str = "") -> None:
    server = Server(Path(folder), user, os.environ.get("MONGO_STANDIN_PASSWORD", ""))
    with socket.create_server(("127.0.0.1", int(port))) as listener:
        print(listener.getsockname()[1], flush=True)
        threading.Thread(target=_end_with_stdin, daemon=True).start()
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=server.serve, args=[connection], daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])

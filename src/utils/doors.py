"""Connections between processes of a cluster, for messages that a scheduler would carry too slowly.

One process has a door; whoever is told its address, which includes a secret word, can connect. What is said afterwards
is not encrypted: the network is the cluster's own.
"""

import hmac
import secrets
import socket
import struct
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import NamedTuple

#: What is said first: the word, a number of the sender's choice, its name in UTF-8.
_HELLO = struct.Struct("!32sI96s")


class Address(NamedTuple):
    """Where a door is, and the word that opens it."""

    host: str
    port: int
    word: bytes


class Visitor(NamedTuple):
    """Who came in."""

    number: int
    name: str
    connection: Connection


class Door:
    """Listens at `host` alone, at a port that is free; can be waited for by `multiprocessing.connection.wait`."""

    #: seconds that somebody who knocks has to say the word
    PATIENCE = 1.0
    #: seconds after which a message that does not get on, either way, is an OSError: a machine may vanish in the middle
    STALL = 60

    def __init__(self, host: str) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._server = socket.create_server((host, 0), family=family, backlog=1024)
        self._server.setblocking(False)
        self.address = Address(host, self._server.getsockname()[1], secrets.token_bytes(32))

    def fileno(self) -> int:
        """Of the socket that listens."""
        return self._server.fileno()

    def admit(self) -> Visitor | None:
        """Let in who knocks; None: nobody does any more, or it does not know the word."""
        with suppress(OSError):
            guest, _ = self._server.accept()
            with guest:
                guest.settimeout(self.PATIENCE)
                hello = b""
                while len(hello) < _HELLO.size and (part := guest.recv(_HELLO.size - len(hello))):
                    hello += part
                if len(hello) == _HELLO.size:
                    word, number, name = _HELLO.unpack(hello)
                    if hmac.compare_digest(word, self.address.word):
                        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                            guest.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", self.STALL, 0))
                        return Visitor(number, name.rstrip(b"\0").decode(), _connection(guest))
        return None

    def close(self) -> None:
        """Nobody can come in any more; who is in stays. Idempotent."""
        self._server.close()


def knock(address: Address, number: int, name: str, seconds: float) -> Connection:
    """Connect to a door as `number` and `name`.

    Raises:
        OSError: there is none, or nothing gets there within so many seconds.
    """
    with socket.create_connection((address.host, address.port), seconds) as guest:
        guest.sendall(_HELLO.pack(address.word, number, name.encode()))
        return _connection(guest)


def _connection(guest: socket.socket) -> Connection:
    guest.settimeout(None)
    guest.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else a long message waits for an acknowledgement
    return Connection(guest.detach())

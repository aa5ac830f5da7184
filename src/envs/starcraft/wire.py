"""The game's end of a websocket, once it is connected: whole messages, several in one piece (RFC 6455).

pysc2's client takes several times as long for a message as there is to do, most of it in reading small pieces.
"""

import socket
from collections.abc import Iterable
from functools import lru_cache

from websocket import ABNF, WebSocketConnectionClosedException

FINAL, LONG, LONGER = 0x80, 126, 127


class Wire:
    """`connection` after the handshake; it keeps its time limit."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = b""

    def send(self, messages: Iterable[bytes]) -> None:
        # in one piece, so that the game is woken once
        self._socket.sendall(b"".join(map(_frame, messages)))

    def receive(self) -> bytes:
        """The next message.

        Raises:
            OSError: none came in time.
            WebSocketConnectionClosedException: none will come.
        """
        message = b""
        while True:
            first, size = self._take(2)
            if size >= LONG:
                size = int.from_bytes(self._take(2 if size == LONG else 8), "big")
            piece, kind = self._take(size), first & 0x0F
            if kind == ABNF.OPCODE_CLOSE:
                raise WebSocketConnectionClosedException("it has closed the connection")
            if kind == ABNF.OPCODE_PING:
                self._socket.sendall(_frame(piece, ABNF.OPCODE_PONG))
            elif kind != ABNF.OPCODE_PONG:
                message += piece
                if first & FINAL:
                    return message

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            more = self._socket.recv(1 << 16)
            if not more:
                raise WebSocketConnectionClosedException("the connection is closed")
            self._buffer += more
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken


@lru_cache(maxsize=16)  # two of the three requests of a step are always the same
def _frame(message: bytes, kind: int = ABNF.OPCODE_TEXT) -> bytes:
    """`message` as pysc2 would send it."""
    frame: bytes = ABNF.create_frame(message, kind).format()
    return frame

"""MongoDB's wire protocol: messages of commands (OP_MSG), and the old query (OP_QUERY) with which drivers say hello."""

import itertools
import socket
import struct
from dataclasses import dataclass
from typing import Any

import bson

_HEADER = struct.Struct("<iiii")  # length, number, number that is answered, kind
_OP_REPLY, _OP_QUERY, _OP_MSG = 1, 2004, 2013
_CHECKSUM, _MORE_TO_COME, EXHAUST_ALLOWED = 1, 2, 1 << 16
#: As MongoDB says in its hello, bytes.
MAX_MESSAGE = 48_000_000
_numbers = itertools.count(1)


class Gone(Exception):
    """The other side closed the connection, or says what is no message."""


@dataclass(frozen=True)
class Message:
    """A command, as the client sent it."""

    number: int
    kind: int
    body: dict[str, Any]
    #: the client waits for no answer
    silent: bool
    #: one question, and the server answers again and again
    exhaust: bool


def receive(connection: socket.socket) -> Message:
    length, number, _, kind = _HEADER.unpack(_read(connection, _HEADER.size))
    if not _HEADER.size < length <= MAX_MESSAGE:
        raise Gone
    data = _read(connection, length - _HEADER.size)
    if kind == _OP_QUERY:
        start = data.index(b"\0", 4)
        name, body = data[4:start].decode(), bson.decode(data[start + 9 :])
        return Message(number, kind, {**body, "$db": name.partition(".")[0]}, False, False)
    if kind != _OP_MSG:
        raise Gone
    (flags,) = struct.unpack_from("<I", data)
    end = len(data) - (4 if flags & _CHECKSUM else 0)
    body = _sections(data[4:end])
    return Message(number, kind, body, bool(flags & _MORE_TO_COME), bool(flags & EXHAUST_ALLOWED))


def _sections(data: bytes) -> dict[str, Any]:
    """A command's one document, with the sequences of documents that were sent beside it as its arrays."""
    body: dict[str, Any] = {}
    sequences: dict[str, Any] = {}
    at = 0
    while at < len(data):
        kind, (size,) = data[at], struct.unpack_from("<i", data, at + 1)
        part, at = data[at + 1 : at + 1 + size], at + 1 + size
        if kind == 0:
            body = bson.decode(part)
        elif kind == 1:
            end = part.index(b"\0", 4)
            sequences[part[4:end].decode()] = bson.decode_all(part[end + 1 :])
        else:
            raise Gone
    return {**body, **sequences}


def answer(connection: socket.socket, message: Message, reply: dict[str, Any], more: bool = False) -> None:
    """Answer `message`; `more`: further answers follow without a question."""
    body = bson.encode(reply)
    if message.kind == _OP_QUERY:
        data = struct.pack("<iqii", 8, 0, 0, 1) + body
        kind = _OP_REPLY
    else:
        data = struct.pack("<IB", _MORE_TO_COME if more else 0, 0) + body
        kind = _OP_MSG
    header = _HEADER.pack(_HEADER.size + len(data), next(_numbers), message.number, kind)
    try:
        connection.sendall(header + data)
    except OSError:
        raise Gone from None


def _read(connection: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        try:
            part = connection.recv(min(size, 1 << 20))
        except OSError:
            raise Gone from None
        if not part:
            raise Gone
        parts.append(part)
        size -= len(part)
    return b"".join(parts)

"""The server's side of a websocket, for one client that sends whole messages (RFC 6455)."""

import base64
import hashlib
import socket
import struct

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
BINARY, CLOSE, PING, PONG = 2, 8, 9, 10


class Gone(Exception):
    """The client has closed the connection."""


class Websocket:
    """`connection` after a successful handshake on `path`."""

    def __init__(self, connection: socket.socket, path: str) -> None:
        """
        Raises:
            Gone: the client asked for another path, or for no websocket.
        """
        self._socket = connection
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        head = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        if head[0].split()[1] != path or "sec-websocket-key" not in fields:
            self._socket.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            raise Gone
        digest = hashlib.sha1((fields["sec-websocket-key"] + GUID).encode()).digest()
        answer = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}",
        ]
        self._socket.sendall("\r\n".join([*answer, "", ""]).encode())

    def receive(self) -> bytes:
        """The next message, of text or binary."""
        message = b""
        while True:
            first, second = self._take(2)
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack(">H", self._take(2))
            elif size == 127:
                (size,) = struct.unpack(">Q", self._take(8))
            key = self._take(4) if second & 0x80 else bytes(4)
            payload = _masked(self._take(size), key)
            kind = first & 0x0F
            if kind == CLOSE:
                raise Gone
            if kind == PING:
                self._send(PONG, payload)
            elif kind != PONG:
                message += payload
                if first & 0x80:
                    return message

    def send(self, message: bytes) -> None:
        self._send(BINARY, message)

    def _send(self, kind: int, payload: bytes) -> None:
        size = len(payload)
        if size < 126:
            head = struct.pack(">BB", 0x80 | kind, size)
        elif size < 1 << 16:
            head = struct.pack(">BBH", 0x80 | kind, 126, size)
        else:
            head = struct.pack(">BBQ", 0x80 | kind, 127, size)
        try:
            self._socket.sendall(head + payload)
        except OSError:
            raise Gone from None

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            self._fill()
        head, _, self._buffer = self._buffer.partition(end)
        return head

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _fill(self) -> None:
        try:
            more = self._socket.recv(1 << 16)
        except OSError:
            raise Gone from None
        if not more:
            raise Gone
        self._buffer += more


def _masked(payload: bytes, key: bytes) -> bytes:
    size = len(payload)
    stream = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")

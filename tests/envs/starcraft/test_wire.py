"""Messages of a websocket, byte by byte."""

import socket

import pytest
from websocket import WebSocketConnectionClosedException

from envs.starcraft.wire import Wire


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    ours.settimeout(0.1)
    with ours, theirs:
        yield Wire(ours), theirs


def test_messages_of_all_lengths(ends):
    wire, game = ends
    sizes = 3, 125, 126, 65_535, 65_536
    heads = (
        b"\x82\x03",
        b"\x82\x7d",
        b"\x82\x7e\x00\x7e",
        b"\x82\x7e\xff\xff",
        b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00",
    )
    for size, head in zip(sizes, heads, strict=True):
        game.sendall(head + b"x" * size)
        assert wire.receive() == b"x" * size


def test_several_at_once_and_one_in_pieces(ends):
    """Some of the second has come when the first is read; a ping comes between the pieces of the third."""
    wire, game = ends
    game.sendall(b"\x82\x02ab\x82\x03c")
    assert wire.receive() == b"ab"
    game.sendall(b"de\x02\x01f\x89\x02hi\x8a\x00\x80\x01g")
    assert [wire.receive(), wire.receive()] == [b"cde", b"fg"]
    assert unmasked(game.recv(99)) == (0x8A, b"hi")


def test_what_is_sent(ends):
    wire, game = ends
    wire.send([b"one", b"three"])
    sent = game.recv(99)
    assert unmasked(sent[:9]) == (0x81, b"one")
    assert unmasked(sent[9:]) == (0x81, b"three")


def unmasked(frame):
    """(first byte, what it says); clients have to mask it."""
    assert frame[1] == 0x80 + len(frame) - 6
    return frame[0], bytes(byte ^ frame[2 + i % 4] for i, byte in enumerate(frame[6:]))


@pytest.mark.parametrize("last", [b"\x88\x02\x03\xe8", b"\x82\x05abc"], ids=["closes", "breaks off"])
def test_an_end(ends, last):
    wire, game = ends
    game.sendall(last)
    game.close()
    with pytest.raises(WebSocketConnectionClosedException):
        wire.receive()


def test_silence(ends):
    wire, _ = ends
    with pytest.raises(OSError, match="timed out"):
        wire.receive()

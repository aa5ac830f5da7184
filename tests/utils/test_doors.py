"""Who knows the word comes in, whatever others try."""

import pickle
import socket
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import wait

import pytest

from utils.doors import Door, knock


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    monkeypatch.setattr(Door, "PATIENCE", 0.2)
    door = Door("127.0.0.1")
    yield door
    door.close()


def test_a_guest_and_its_host_talk(door: Door) -> None:
    address = pickle.loads(pickle.dumps(door.address))
    assert wait([door.fileno()], 0) == []
    theirs = knock(address, 7, "pid 3 on höst", 5.0)
    assert wait([door.fileno()], 5.0) == [door.fileno()]
    visitor = door.admit()
    assert visitor is not None
    assert visitor[:2] == (7, "pid 3 on höst")
    assert door.admit() is None
    long = bytes(range(256)) * 4096  # more than the two ends hold in between
    sending = threading.Thread(target=theirs.send_bytes, args=(long,))
    sending.start()
    assert visitor.connection.recv_bytes() == long
    sending.join()
    visitor.connection.send_bytes(b"answer")
    assert theirs.recv_bytes() == b"answer"
    theirs.close()
    with pytest.raises(EOFError):
        visitor.connection.recv_bytes()


def test_nobody_else_comes_in(door: Door) -> None:
    host, port, word = door.address
    for hello in (b"", word, word[:-1] + bytes([word[-1] ^ 1]) + bytes(100)):  # ends early, too early, wrong
        with socket.create_connection((host, port)) as stranger:
            stranger.sendall(hello)
            stranger.shutdown(socket.SHUT_WR)
            assert wait([door.fileno()], 5.0)
            assert door.admit() is None
            assert stranger.recv(1) == b""
    with socket.create_connection((host, port)):  # says nothing, and does not hang up
        begun = time.monotonic()
        assert door.admit() is None
        assert time.monotonic() - begun < 5.0
    with knock(door.address, 0, "", 5.0):
        visitor = door.admit()
        assert visitor is not None
        visitor.connection.close()


def test_a_message_that_stops_in_the_middle_is_an_error(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Door, "STALL", 1)
    with knock(door.address, 0, "", 5.0) as theirs:
        visitor = door.admit()
        assert visitor is not None
        with socket.socket(fileno=theirs.fileno()) as raw:
            raw.sendall(b"\0\0\0\x09half")
            with pytest.raises(OSError, match="unavailable"):
                visitor.connection.recv_bytes()
            raw.detach()


def test_two_doors_have_two_words() -> None:
    one, other = Door("127.0.0.1"), Door("127.0.0.1")
    assert one.address.word != other.address.word
    one.close()
    one.close()
    with pytest.raises(OSError):
        knock(one.address, 0, "", 1.0)
    other.close()

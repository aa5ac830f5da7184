"""The stand-in for MongoDB as one that demands a password, breaks, and comes back."""

import base64
import contextlib
import hashlib
import hmac
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pymongo
import pytest
from mongo_standin import Fault, Mongo, scram
from mongo_standin.values import Refused
from pymongo.errors import AutoReconnect, NetworkTimeout, OperationFailure, ServerSelectionTimeoutError


@pytest.fixture
def server(tmp_path) -> Iterator[Mongo]:
    with Mongo(tmp_path / "mongo") as server:
        yield server


@pytest.fixture
def runs(server) -> Iterator[pymongo.collection.Collection]:
    # one try of each command, so that a command is one command
    words = {"serverSelectionTimeoutMS": 500, "socketTimeoutMS": 500, "retryReads": False}
    with pymongo.MongoClient(server.url, **words) as client:
        yield client.sacred.runs


# --- a password ------------------------------------------------------------------------------------------------------


def ask(url: str) -> int:
    with pymongo.MongoClient(url, serverSelectionTimeoutMS=2000) as client:
        return client.sacred.runs.count_documents({})


def test_only_who_knows_the_password_is_answered(tmp_path):
    with Mongo(tmp_path, password="s3cret:1") as server:
        right = server.url
        assert ":s3cret%3A1@" in right
        assert ask(right) == 0
        for wrong in (
            right.replace("s3cret", "secret"),
            right.replace("muster:", "ann:"),
            right.replace("authSource=admin", "authSource=sacred"),
            right.replace("?", "?authMechanism=SCRAM-SHA-1&"),
        ):
            with pytest.raises(OperationFailure) as error:
                ask(wrong)
            assert error.value.code == 18
        with pytest.raises(OperationFailure) as error:
            ask(f"mongodb://127.0.0.1:{server.port}")
        assert error.value.code == 13
        with pymongo.MongoClient(host="127.0.0.1", port=server.port) as client:
            assert client.admin.command("ping")["ok"] == 1
        command = ["ps", "-ww", "-o", "args=", "-p", str(server._process.pid)]
        words = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert f"mongo_standin.server {server.folder}" in words
        assert "s3cret" not in words


@pytest.mark.parametrize(
    ("password", "nonce", "right"), [("pencil", b"", True), ("pen", b"", False), ("pencil", b"x", False)]
)
def test_a_proof_is_of_the_password_and_of_this_exchange(password, nonce, right):
    exchange = scram.Exchange("ann", "pencil")
    first = exchange.first(b"n,,n=ann,r=abc")
    given = dict(part.split(b"=", 1) for part in first.split(b","))
    assert given[b"r"].startswith(b"abc")
    # the client's side, after RFC 5802, section 3
    salt, rounds = base64.b64decode(given[b"s"]), int(given[b"i"])
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    last = b"c=biws,r=" + given[b"r"] + nonce
    text = b"n=ann,r=abc," + first + b"," + last
    key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(key).digest(), text, "sha256")
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True)))
    if right:
        own = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), text, "sha256")
        assert exchange.final(last + b",p=" + proof) == b"v=" + base64.b64encode(own)
    else:
        with pytest.raises(Refused, match="Authentication failed"):
            exchange.final(last + b",p=" + proof)


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_an_error_at_a_chosen_command(server, runs):
    runs.insert_one({"_id": 1})
    server.plan(Fault("refuse", "insert", at=2))
    runs.insert_one({"_id": 2})
    assert runs.count_documents({}) == 2
    with pytest.raises(OperationFailure) as error:
        runs.insert_one({"_id": 3})
    assert error.value.code == 8
    runs.insert_one({"_id": 4})
    assert [one["_id"] for one in runs.find()] == [1, 2, 4]


def test_a_connection_that_breaks_before_and_after(server, runs):
    server.plan(Fault("drop", "insert", at=1), Fault("drop_after", "insert", at=2))
    for number in (1, 2):
        with pytest.raises(AutoReconnect):
            runs.insert_one({"_id": number})
        _until(lambda: runs.count_documents({}) >= 0)
    assert [one["_id"] for one in runs.find()] == [2]


def test_a_command_of_any_name(server, runs):
    runs.insert_one({"_id": 1})
    server.plan(Fault("drop", at=2))
    assert runs.count_documents({}) == 1
    with pytest.raises(AutoReconnect):
        runs.find_one()
    _until(lambda: runs.find_one() == {"_id": 1})


def test_a_command_that_is_never_answered(server, runs):
    runs.insert_one({"_id": 1})
    server.plan(Fault("hang", "find"))
    with pytest.raises(NetworkTimeout):
        runs.find_one()
    _until(lambda: runs.find_one() == {"_id": 1})
    server.plan(Fault("hang", lasting=True))
    for _ in range(2):
        with pytest.raises((NetworkTimeout, ServerSelectionTimeoutError)):
            runs.find_one()
    server.plan()
    _until(lambda: runs.find_one() == {"_id": 1})


def test_a_server_that_stands_still_and_goes_on(server, runs):
    runs.insert_one({"_id": 1})
    server.hang()
    with pytest.raises((NetworkTimeout, ServerSelectionTimeoutError)):
        runs.insert_one({"_id": 2})
    server.go_on()
    _until(lambda: runs.count_documents({}) >= 1)
    _until(lambda: runs.find_one({"_id": 2}) is not None)  # which it was told before its client gave up


@pytest.mark.parametrize(("kind", "kept"), [("kill", [1]), ("kill_after", [1, 2])])
def test_a_server_that_dies_and_comes_back_with_its_data(server, runs, kind, kept):
    runs.create_index("name", unique=True)
    runs.insert_one({"_id": 1, "name": "a", "steps": [1]})
    runs.update_one({"_id": 1}, {"$push": {"steps": 2}})
    runs.insert_one({"_id": 9, "name": "b"})
    runs.delete_one({"_id": 9})
    server.plan(Fault(kind, "insert"))
    with pytest.raises(AutoReconnect):
        runs.insert_one({"_id": 2, "name": "c", "steps": [1]})
    _until(lambda: not server.running)
    with pytest.raises((AutoReconnect, ServerSelectionTimeoutError)):
        runs.find_one()
    port = server.port
    server.start()
    assert server.port == port
    _until(lambda: [one["_id"] for one in runs.find()] == kept)
    assert runs.find_one({"_id": 1})["steps"] == [1, 2]
    with pytest.raises(pymongo.errors.DuplicateKeyError):
        runs.insert_one({"name": "a"})
    runs.insert_one({"_id": 3, "name": "d"})


def test_a_client_that_says_nonsense_harms_nobody_else(server, runs):
    runs.insert_one({"_id": 1})
    for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b"\x10\0\0\0" + b"\0" * 12, b"\xff" * 64):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(nonsense)
            with contextlib.suppress(OSError):  # closed at once, with what was not read
                connection.shutdown(socket.SHUT_WR)
                assert connection.recv(100) == b""
    assert runs.find_one() == {"_id": 1}


def test_the_commands_are_noted_and_the_server_ends_with_its_parent(tmp_path):
    with Mongo(tmp_path) as server:
        with pymongo.MongoClient(server.url) as client:
            client.sacred.runs.insert_one({})
        assert server.commands().count("insert") == 1
        process = server._process
        process.stdin.close()
        assert process.wait(timeout=60) == 0
        assert Path(tmp_path / "data.sqlite").exists()


def _until(holds) -> None:
    """Wait until a client has found its server again."""
    for _ in range(600):
        try:
            if holds():
                return
        except (AutoReconnect, ServerSelectionTimeoutError):
            pass
        time.sleep(0.05)
    raise AssertionError("not within its time")

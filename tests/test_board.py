"""src/board.py: what it asks of the user, and what it starts Omniboard with. A stand-in for npx notes that."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pymongo
import pytest
from mongo_standin import Mongo

from board import OMNIBOARD, with_database

ROOT = Path(__file__).parents[1]
FAKE_NPX = """\
#!/bin/sh
printf '%s\\n' "$@" >"$FAKE/words"
env >"$FAKE/environment"
exit 7
"""


@pytest.fixture
def npx(tmp_path) -> Path:
    """The folder of an npx, and of what it was called with."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "npx").write_text(FAKE_NPX)
    (folder / "npx").chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Mongo(tmp_path_factory.mktemp("mongo"), password="s3cret") as server:
        with pymongo.MongoClient(server.url) as client:
            client.sacred.runs.insert_many([{"_id": 1}, {"_id": 2}])
        yield server


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


PORT = str(free_port())


def board(*words: str, npx: Path | None = None, **environment: str) -> tuple[int, str, str]:
    own = {name: value for name, value in os.environ.items() if name != "MONGO_URL"}
    path = f"{npx}:/usr/bin:/bin" if npx else "/nowhere"
    done = subprocess.run(
        [sys.executable, ROOT / "src/board.py", *words],
        env={**own, "PATH": path, "FAKE": str(npx), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def test_omniboard_is_told_the_database_and_nobody_else_its_password(npx, server):
    code, out, err = board(
        "--port", PORT, npx=npx, MONGO_URL=server.url, OMNIBOARD_CONFIG="other.js", NODE_OPTIONS="--no-warnings"
    )
    assert (code, err) == (7, "")  # npx's
    assert out.startswith("2 runs in sacred at ")
    assert f"http://localhost:{PORT}" in out
    words = (npx / "words").read_text()
    assert words.splitlines() == [f"--package={OMNIBOARD}", "-c", "exec omniboard"]
    environment = dict(line.split("=", 1) for line in (npx / "environment").read_text().splitlines() if "=" in line)
    assert environment["MONGO_URI"] == f"mongodb://muster:s3cret@127.0.0.1:{server.port}/sacred?authSource=admin"
    assert environment["PORT"] == PORT
    assert environment["NODE_OPTIONS"] == f'--no-warnings --require "{ROOT / "src/utils/localhost.cjs"}"'
    assert not {"MONGO_URL", "OMNIBOARD_CONFIG"} & environment.keys()
    assert "s3cret" not in out + err + words


def test_a_database_of_ones_own_in_an_address_that_is_a_word(npx, server):
    code, out, _ = board(server.url, "--db", "mine", f"--port={PORT}", npx=npx)
    assert (code, out.split(" at ")[0]) == (7, "0 runs in mine")
    environment = (npx / "environment").read_text().splitlines()
    assert f"MONGO_URI=mongodb://muster:s3cret@127.0.0.1:{server.port}/mine?authSource=admin" in environment
    assert f"PORT={PORT}" in environment


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--port", PORT], "which database? Set MONGO_URL"),
        (["postgres://ann:s3cret@localhost/", "--port", PORT], "is no address such as mongodb://HOST:PORT/"),
        (["mongodb://localhost/", "--port", "0"], "--port 0: must be between 1 and 65535"),
        (["mongodb://localhost/", "--port", "{port}"], "cannot be used (Address already in use); name another"),
        (["mongodb://localhost/", "--colour"], "--colour"),
        ([f"mongodb://ann:s3cret@127.0.0.1:{free_port()}/", "--port", PORT], "Connection refused"),
        (["mongodb://ann:s3cret@127.0.0.1:{port}/", "--port", PORT], "Authentication failed"),
    ],
)
def test_what_cannot_be_is_one_line_without_a_password(npx, server, words, says):
    code, out, err = board(*(word.replace("{port}", str(server.port)) for word in words), npx=npx)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert says in err
    assert "s3cret" not in err
    assert not (npx / "words").exists()


def test_without_node_one_line_says_so():
    code, out, err = board("mongodb://localhost/")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "Omniboard needs Node.js, whose program npx is not here" in err


@pytest.mark.parametrize(
    ("url", "opened"),
    [
        ("mongodb://localhost", "mongodb://localhost/runs"),
        ("mongodb://a:1,b:2/?replicaSet=r", "mongodb://a:1,b:2/runs?replicaSet=r"),
        ("mongodb://ann:p%40ss@h/", "mongodb://ann:p%40ss@h/runs?authSource=admin"),
        ("mongodb://ann:pw@h/team", "mongodb://ann:pw@h/runs?authSource=team"),
        ("mongodb://ann:pw@h/team?authSource=x&tls=true", "mongodb://ann:pw@h/runs?authSource=x&tls=true"),
        ("mongodb+srv://ann:pw@h/", "mongodb+srv://ann:pw@h/runs?authSource=admin"),
    ],
)
def test_the_database_in_the_address_is_the_one_to_open(url, opened):
    assert with_database(url, "runs") == opened


@pytest.mark.skipif(not shutil.which("node"), reason="needs Node.js")
@pytest.mark.parametrize("port", ["0", "'0'"])
def test_a_server_that_would_listen_everywhere_listens_here_alone(port):
    listening = f"require('http').createServer().listen({port}, function () {{ console.log(this.address().address); "
    command = ["node", "--require", ROOT / "src/utils/localhost.cjs", "-e", listening + "this.close() })"]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == "127.0.0.1\n"


def test_the_container_has_the_same_version():
    assert OMNIBOARD in (ROOT / "docker/Dockerfile.board").read_text()

"""Omniboard, which shows runs in a browser, on the MongoDB that they are recorded in. `python src/board.py --help`
explains the words.

Exit codes: Omniboard's own, 2 the user can correct something.
"""

import contextlib
import os
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from utils.command_line import Parser
from utils.errors import UserError
from utils.interrupt import last_words

#: The version that was tried out; docker/Dockerfile.board has it too.
OMNIBOARD = "omniboard@2.16.1"
_LOCALHOST = Path(__file__).with_name("utils") / "localhost.cjs"


def main(argv: Sequence[str]) -> int:
    """Become Omniboard as `argv` (without the program's name) asks for, or return the exit code."""
    try:
        options = _parser().parse_args(argv)
        npx = shutil.which("npx")
        if npx is None:
            raise UserError(
                "Omniboard needs Node.js, whose program npx is not here: install Node.js, or use the container "
                "(docs/recording.md)"
            )
        _check_port(options.port)
        try:
            from observers.database import Database, DatabaseFault, find_address, place_of
        except ImportError as error:
            raise UserError(f"this needs pymongo and sacred ({error}): install requirements.txt") from None
        url = find_address("URL", options.url)
        if not url:
            raise UserError("which database? Set MONGO_URL in the environment, or name it: mongodb://HOST:PORT/")
        try:
            with contextlib.closing(Database(url, options.db)) as database, database.faults():
                number = database.runs.estimated_document_count()
        except DatabaseFault as fault:
            raise UserError(f"MongoDB at {place_of(url)}: {fault}") from None
        where = f"http://localhost:{options.port}"
        print(f"{number} runs in {options.db} at {place_of(url)}; {where} shows them, after a minute", flush=True)
        # exec: a signal that npx passes on reaches Omniboard, not a shell in between
        words = ["npx", f"--package={OMNIBOARD}", "-c", "exec omniboard"]
        os.execve(npx, words, environment(os.environ, url, options.db, options.port))
    except UserError as error:
        last_words("error: " + " ".join(str(error).split()))
    return 2


def _check_port(port: int) -> None:
    if not 1 <= port <= 65535:
        raise UserError(f"--port {port}: must be between 1 and 65535")
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:  # Omniboard would take the next one
        raise UserError(f"--port {port}: cannot be used ({os.strerror(error.errno or 0)}); name another") from None


def environment(own: Mapping[str, str], url: str, database: str, port: int) -> dict[str, str]:
    """What tells Omniboard its database and port: not its words, which every user of the machine may read."""
    kept = {name: value for name, value in own.items() if name not in ("MONGO_URL", "OMNIBOARD_CONFIG")}
    preload = f'--require "{_LOCALHOST}"'
    return {
        **kept,
        "MONGO_URI": with_database(url, database),
        "PORT": str(port),
        "NODE_OPTIONS": f"{own.get('NODE_OPTIONS', '')} {preload}".strip(),
        "npm_config_yes": "true",  # npx asks nothing
    }


def with_database(url: str, database: str) -> str:
    """`url` with `database` as the one to open; who logs in is still looked up where `url` says."""
    parts = urlsplit(url)
    named = parts.path.removeprefix("/")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if "@" in parts.netloc and "authSource" not in options:
        options["authSource"] = named or "admin"
    return urlunsplit((parts.scheme, parts.netloc, f"/{quote(database)}", urlencode(options), ""))


def _parser() -> Parser:
    parser = Parser(
        prog="./run.sh board",
        description="Show the runs of a MongoDB in a browser, by Omniboard, which npx (Node.js) fetches the first "
        "time. It listens on this machine alone. The address of the database stands in the environment as MONGO_URL, "
        "where no other user sees its password.",
        allow_abbrev=False,
    )
    parser.add_argument("url", metavar="URL", nargs="?", default="", help="mongodb://HOST:PORT/; default: MONGO_URL")
    parser.add_argument("--db", metavar="NAME", default="sacred", help="the database there; default: sacred")
    parser.add_argument("--port", type=int, default=9000, help="where a browser finds it; default: 9000")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

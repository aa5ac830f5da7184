"""A MongoDB, and what can go wrong with one."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import unquote_plus

import gridfs
import pymongo
from bson import ObjectId
from bson.errors import BSONError
from pymongo.errors import AutoReconnect, ConnectionFailure, ExecutionTimeout, PyMongoError
from pymongo.uri_parser import parse_uri

from observers.observer import Fault
from utils.errors import UserError, one_line
from utils.secrets import without_passwords

#: Seconds until a server that does not answer is given up.
PATIENCE = 2.0
#: the field by which a run is known; that of `run.json` (`meta.uuid`)
IDENTITY = "meta.uuid"


class DatabaseFault(Fault):
    """The database refuses, in one line without a password: a wrong one, no leave to write."""


class Unreachable(DatabaseFault):
    """Nobody answers, or not in time; later somebody may."""


def find_address(setting: str, value: str) -> str:
    """The address in `value`, else in the environment's MONGO_URL; "" for none.

    Raises:
        UserError: it cannot be one; the message does not show it, as it may hold a password.
    """
    if not value:
        setting, value = "MONGO_URL (environment)", os.environ.get("MONGO_URL", "")
    if not value or re.match(r"mongodb\+srv://.", value):  # whether this one can be is asked of a name server
        return value
    try:
        parse_uri(value)
    except (PyMongoError, ValueError) as error:
        raise UserError(f"{setting}: is no address such as mongodb://HOST:PORT/: {reason_of(error)}") from None
    return value


class Database:
    """Runs, their metrics and files in a MongoDB, as sacred lays them out.

    Args:
        url: its address, as `find_address` gives it.
        name: of the database there.
        client: makes a client of an address and settings; pymongo's own but in tests.

    Raises:
        DatabaseFault: the address leads nowhere. That nobody answers is told by what is asked first.
    """

    def __init__(self, url: str, name: str, client: Callable[..., Any] = pymongo.MongoClient) -> None:
        self._secrets = _passwords(url)
        waits = dict.fromkeys(("serverSelectionTimeoutMS", "connectTimeoutMS"), PATIENCE * 1000)
        with self.faults():
            self._client = client(url, **waits, socketTimeoutMS=20_000, appname="muster")
            database = self._client[name]
            self.runs, self.metrics = database["runs"], database["metrics"]
            self.files = gridfs.GridFS(database)

    def prepare(self) -> None:
        """See that no run is recorded twice, whoever does it at the same time; raises what pymongo raises."""
        self.runs.create_index(IDENTITY, unique=True, sparse=True)

    def curves(self, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The metrics with these numbers, as they are kept.

        Raises:
            ValueError: one of `keys` is no number of a metric.
        """
        try:
            ids = [ObjectId(key) for key in keys]
        except BSONError as error:
            raise ValueError(str(error)) from None
        return iter(self.metrics.find({"_id": {"$in": ids}}))

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    @contextlib.contextmanager
    def faults(self, seconds: float | None = None) -> Iterator[None]:
        """Turn what pymongo raises into our faults, and into `Unreachable` what takes longer than `seconds` in all."""
        try:
            with pymongo.timeout(seconds):
                yield
        except (AutoReconnect, ConnectionFailure, ExecutionTimeout) as error:
            raise Unreachable(self._clean(error)) from None
        except PyMongoError as error:
            kind = Unreachable if error.timeout else DatabaseFault
            raise kind(self._clean(error)) from None

    def _clean(self, error: Exception) -> str:
        text = reason_of(error)
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def place_of(url: str) -> str:
    """The hosts in an address, for messages."""
    return without_passwords(url).partition("://")[2].rpartition("@")[2].partition("/")[0]


def reason_of(error: Exception) -> str:
    """What pymongo says, without how it came about."""
    text = without_passwords(str(error))
    return one_line(re.split(r" \(configured timeouts|, full error:|, Timeout: ", text)[0])


def _passwords(url: str) -> list[str]:
    found = re.search(r"://[^:/@]*:(.*)@", url)
    return sorted({found[1], unquote_plus(found[1])} - {""}, key=len, reverse=True) if found else []

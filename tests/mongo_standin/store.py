"""What the stand-in keeps: documents in memory, each written to a file before its command is answered.

A server that is killed comes back with all that it had answered for, as MongoDB with its journal does.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson

from mongo_standin.queries import equalities, matches
from mongo_standin.values import MISSING, Document, Refused, find, order

#: MongoDB's bound of a document, bytes.
MAX_DOCUMENT = 16 * 1024 * 1024
_Key = tuple[Any, ...]


class Store:
    """All databases, in the file `path`."""

    def __init__(self, path: Path) -> None:
        self._file = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._file.execute("PRAGMA synchronous = OFF")  # a process that dies loses nothing; a machine is not meant
        self._file.execute("CREATE TABLE IF NOT EXISTS collections (name TEXT PRIMARY KEY, indexes BLOB)")
        self._file.execute("CREATE TABLE IF NOT EXISTS documents (name TEXT, id BLOB, data BLOB, UNIQUE (name, id))")
        self._collections: dict[str, Collection] = {}
        for name, indexes in self._file.execute("SELECT name, indexes FROM collections"):
            self._collections[name] = Collection(name, self._file, bson.decode(indexes)["indexes"])
        for name, data in self._file.execute("SELECT name, data FROM documents ORDER BY rowid"):
            self._collections[name].load(bson.decode(data))

    @contextlib.contextmanager
    def command(self) -> Iterator[None]:
        """What is written within is written as a whole, even where the command ends with an error."""
        self._file.execute("BEGIN")
        try:
            yield
        finally:
            self._file.execute("COMMIT")

    def names(self) -> list[str]:
        """Of all collections, each with its database's name before it."""
        return sorted(self._collections)

    def collection(self, name: str) -> "Collection":
        """The collection with that full name; one that does not exist is empty."""
        return self._collections.get(name) or Collection(name, self._file, [])

    def make(self, name: str) -> "Collection":
        """The collection with that full name, made where it does not exist."""
        if name not in self._collections:
            self._collections[name] = Collection(name, self._file, [])
            self._collections[name].save_indexes()
        return self._collections[name]

    def drop(self, name: str) -> bool:
        """Forget a collection; returns whether it existed."""
        self._file.execute("DELETE FROM documents WHERE name = ?", [name])
        self._file.execute("DELETE FROM collections WHERE name = ?", [name])
        return self._collections.pop(name, None) is not None


class Collection:
    """The documents of one collection, by their `_id`."""

    def __init__(self, name: str, file: sqlite3.Connection, indexes: list[Document]) -> None:
        self.name, self._file, self.indexes = name, file, indexes
        self._documents: dict[_Key, Document] = {}
        #: field on the top -> value -> the documents that have it; made when a query first asks for a field's value
        self._lookup: dict[str, dict[_Key, dict[_Key, None]]] = {}

    def __len__(self) -> int:
        return len(self._documents)

    def find(self, query: Document) -> Iterator[Document]:
        """The documents that `query` means, in the order in which they came."""
        candidates: Any = self._documents
        for field, value in equalities(query).items():
            if "." not in field and value is not None:
                if field not in self._lookup:
                    self._index(field)
                with_it = self._lookup[field].get(order(value), {})
                candidates = min(candidates, with_it, key=len)
        for key in list(candidates):
            if matches(self._documents[key], query):
                yield self._documents[key]

    def put(self, document: Document, instead_of: Document | None = None) -> bool:
        """Store a new document, or one in place of another; returns whether that changed anything.

        Raises:
            Refused: it is too large, or a unique index has its values already.
        """
        if next(iter(document)) != "_id":  # which stands first in whatever is stored
            document = {"_id": document["_id"], **document}
        key, data = order(document["_id"]), bson.encode(document)
        if instead_of is not None and data == bson.encode(instead_of):
            return False
        if len(data) > MAX_DOCUMENT:
            text = f"BSONObj size: {len(data)} is invalid. Size must be between 0 and {MAX_DOCUMENT}"
            raise Refused(10334, "BSONObjectTooLarge", text)
        self._check_unique(document, instead_of)
        if instead_of is not None:
            self._unlink(key, instead_of)
        self.load(document)
        self._file.execute(
            "INSERT INTO documents VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET data = excluded.data",
            [self.name, bson.encode({"_id": document["_id"]}), data],
        )
        return True

    def remove(self, document: Document) -> None:
        key = order(document["_id"])
        self._unlink(key, document)
        del self._documents[key]
        self._file.execute(
            "DELETE FROM documents WHERE name = ? AND id = ?", [self.name, bson.encode({"_id": document["_id"]})]
        )

    def load(self, document: Document) -> None:
        """Take over a document without a check and without writing it."""
        key = order(document["_id"])
        self._documents[key] = document
        for field, lookup in self._lookup.items():
            for value in _values(document, field):
                lookup.setdefault(value, {})[key] = None

    def add_index(self, index: Document) -> None:
        """Make an index, if it is not there.

        Raises:
            Refused: there is another of its name, or it is unique and the documents are not.
        """
        for other in self.indexes:
            if other["name"] == index["name"]:
                if other != index:
                    text = f"An existing index has the same name as the requested index: {index['name']}"
                    raise Refused(86, "IndexKeySpecsConflict", text)
                return
        self.indexes.append(index)
        try:
            for document in self._documents.values():
                self._check_unique(document, document)
        except Refused:
            self.indexes.remove(index)
            raise
        self.save_indexes()

    def save_indexes(self) -> None:
        data = bson.encode({"indexes": self.indexes})
        self._file.execute("INSERT OR REPLACE INTO collections VALUES (?, ?)", [self.name, data])

    def _index(self, field: str) -> None:
        self._lookup[field] = {}
        for key, document in self._documents.items():
            for value in _values(document, field):
                self._lookup[field].setdefault(value, {})[key] = None

    def _unlink(self, key: _Key, document: Document) -> None:
        for field, lookup in self._lookup.items():
            for value in _values(document, field):
                lookup[value].pop(key, None)

    def _check_unique(self, document: Document, instead_of: Document | None) -> None:
        unique = [{"name": "_id_", "key": {"_id": 1}}, *(index for index in self.indexes if index.get("unique"))]
        for index in unique:
            values = {path: next(iter(find(document, path))) for path in index["key"]}
            if index.get("sparse") and all(value is MISSING for value in values.values()):
                continue
            wanted = {path: {"$eq": None if value is MISSING else value} for path, value in values.items()}
            for other in self.find(wanted):
                if other is not instead_of:
                    pattern, shown = dict(index["key"]), ", ".join(f"{k}: {v!r}" for k, v in values.items())
                    text = f"E11000 duplicate key error collection: {self.name} index: {index['name']} dup key: "
                    shared = {path: None if value is MISSING else value for path, value in values.items()}
                    raise Refused(11000, "DuplicateKey", f"{text}{{ {shown} }}", keyPattern=pattern, keyValue=shared)


def _values(document: Document, field: str) -> list[_Key]:
    """The values of a field by which a query finds a document: an array's own, and its members'."""
    value = document.get(field)
    return [order(value), *map(order, value)] if isinstance(value, list) else [order(value)]

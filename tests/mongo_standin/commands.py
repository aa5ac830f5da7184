"""The commands of a MongoDB server of version 7, standing alone."""

import itertools
import traceback
from collections.abc import Callable, Iterable
from datetime import datetime, timezone

import bson
from bson import Int64, ObjectId

from mongo_standin import pipeline, queries, updates
from mongo_standin.scram import MECHANISM, Exchange, failed
from mongo_standin.store import MAX_DOCUMENT, Collection, Store
from mongo_standin.values import Document, Refused
from mongo_standin.wire import MAX_MESSAGE

VERSION = "7.0.14"
_WIRE_VERSION = 21
_MAX_BATCH = 100_000
#: What a find returns at first unless it says how much.
_FIRST_BATCH = 101
#: What may be said in any command, and changes nothing here: everything is done at once, by one server, and kept.
_ANYWHERE = {
    "$db", "$readPreference", "$clusterTime", "lsid", "comment", "maxTimeMS", "readConcern", "writeConcern", "hint",
    "allowDiskUse", "bypassDocumentValidation",
}  # fmt: skip


class Session:
    """One connection: who speaks through it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.known = False
        self.exchange: Exchange | None = None


class Commands:
    """Carries commands out on a store.

    `user` and `password`: of the one user, who is written down in the database `admin`; without, everybody may do
    everything.
    """

    def __init__(self, store: Store, user: str = "", password: str = "") -> None:
        self._store, self._user, self._password = store, user, password
        self._cursors: dict[int, tuple[str, list[Document]]] = {}
        self._numbers = itertools.count(1_000_001)
        self._process = ObjectId()

    def answer(self, body: Document, session: Session) -> Document:
        name = next(iter(body))
        try:
            method, words = _COMMANDS.get(name, (None, set()))
            if method is None:
                raise Refused(59, "CommandNotFound", f"no such command: '{name}'")
            if self._user and not session.known and name not in _BEFORE_LOGIN:
                raise Refused(13, "Unauthorized", f"Command {name} requires authentication")
            if unknown := body.keys() - words - _ANYWHERE - {name}:
                raise Refused(40415, "Location40415", f"BSON field '{name}.{min(unknown)}' is an unknown field.")
            with self._store.command():
                return {**method(self, body, session), "ok": 1.0}
        except Refused as reason:
            return {"ok": 0.0, "errmsg": str(reason), "code": reason.code, "codeName": reason.name, **reason.more}
        except Exception:  # a fault of the stand-in itself
            traceback.print_exc()
            return {"ok": 0.0, "errmsg": traceback.format_exc(), "code": 1, "codeName": "InternalError"}

    # --- the server and who speaks to it ------------------------------------------------------------------------------

    def _hello(self, body: Document, session: Session) -> Document:
        primary = "isWritablePrimary" if next(iter(body)) == "hello" else "ismaster"
        reply: Document = {"helloOk": True} if body.get("helloOk") else {}
        reply |= {
            primary: True,
            "topologyVersion": {"processId": self._process, "counter": Int64(0)},
            "maxBsonObjectSize": MAX_DOCUMENT,
            "maxMessageSizeBytes": MAX_MESSAGE,
            "maxWriteBatchSize": _MAX_BATCH,
            "localTime": datetime.now(timezone.utc),
            "logicalSessionTimeoutMinutes": 30,
            "connectionId": session.number,
            "minWireVersion": 0,
            "maxWireVersion": _WIRE_VERSION,
            "readOnly": False,
        }
        if "saslSupportedMechs" in body and body["saslSupportedMechs"] == f"admin.{self._user}":
            reply["saslSupportedMechs"] = [MECHANISM]
        if "speculativeAuthenticate" in body and self._user:
            try:
                start = body["speculativeAuthenticate"]
                reply["speculativeAuthenticate"] = self._sasl_start({**start, "$db": start.get("db", "admin")}, session)
            except Refused:  # then the client asks for it in earnest, and is told
                pass
        return reply

    def _sasl_start(self, body: Document, session: Session) -> Document:
        if body["mechanism"] == "SCRAM-SHA-1":  # which a server has, and this user has no secret for
            raise failed()
        if body["mechanism"] != MECHANISM:
            text = f"Received authentication for mechanism {body['mechanism']} which is not enabled"
            raise Refused(334, "MechanismUnavailable", text)
        if body["$db"] != "admin" or not self._user:
            raise failed()
        session.exchange = Exchange(self._user, self._password)
        return {"conversationId": 1, "done": False, "payload": session.exchange.first(body["payload"])}

    def _sasl_continue(self, body: Document, session: Session) -> Document:
        if session.exchange is None:
            raise Refused(17, "ProtocolError", "No SASL session state found")
        if session.known:  # clients that do not skip the empty exchange at the end
            return {"conversationId": 1, "done": True, "payload": b""}
        payload = session.exchange.final(body["payload"])
        session.known = True
        return {"conversationId": 1, "done": True, "payload": payload}

    def _nothing(self, body: Document, session: Session) -> Document:
        return {}

    def _build_info(self, body: Document, session: Session) -> Document:
        numbers = [int(part) for part in VERSION.split(".")]
        return {"version": VERSION, "versionArray": [*numbers, 0], "bits": 64, "maxBsonObjectSize": MAX_DOCUMENT}

    # --- databases and collections ------------------------------------------------------------------------------------

    def _list_databases(self, body: Document, session: Session) -> Document:
        names = sorted({name.partition(".")[0] for name in self._store.names()})
        found = [{"name": name} if body.get("nameOnly") else {"name": name, "empty": False} for name in names]
        return {"databases": [one for one in found if queries.matches(one, body.get("filter", {}))]}

    def _list_collections(self, body: Document, session: Session) -> Document:
        database = body["$db"]
        names = [name.partition(".")[2] for name in self._store.names() if name.startswith(f"{database}.")]
        found = [{"name": name, "type": "collection", "options": {}, "info": {"readOnly": False}} for name in names]
        kept = [one for one in found if queries.matches(one, body.get("filter", {}))]
        return self._cursor(f"{database}.$cmd.listCollections", kept, body.get("cursor", {}).get("batchSize"))

    def _create(self, body: Document, session: Session) -> Document:
        if _full(body) in self._store.names():
            raise Refused(48, "NamespaceExists", f"Collection {_full(body)} already exists.")
        self._store.make(_full(body))
        return {}

    def _drop(self, body: Document, session: Session) -> Document:
        existed = self._store.drop(_full(body))
        return {"ns": _full(body), "nIndexesWas": 1} if existed else {}

    def _drop_database(self, body: Document, session: Session) -> Document:
        for name in self._store.names():
            if name.startswith(f"{body['$db']}."):
                self._store.drop(name)
        return {"dropped": body["$db"]}

    def _create_indexes(self, body: Document, session: Session) -> Document:
        existed = _full(body) in self._store.names()
        collection = self._store.make(_full(body))
        before = len(collection.indexes) + 1
        for index in body["indexes"]:
            if unknown := index.keys() - {"key", "name", "unique", "sparse", "background", "v"}:
                raise Refused(197, "InvalidIndexSpecificationOption", f"the stand-in knows no index's {min(unknown)}")
            if index["key"] != {"_id": 1}:
                collection.add_index(index)
        after = len(collection.indexes) + 1
        return {"numIndexesBefore": before, "numIndexesAfter": after, "createdCollectionAutomatically": not existed}

    def _list_indexes(self, body: Document, session: Session) -> Document:
        if _full(body) not in self._store.names():
            raise Refused(26, "NamespaceNotFound", f"ns does not exist: {_full(body)}")
        known = [{"v": 2, **index} for index in self._store.collection(_full(body)).indexes]
        return self._cursor(_full(body), [{"v": 2, "key": {"_id": 1}, "name": "_id_"}, *known], None)

    # --- writing ------------------------------------------------------------------------------------------------------

    def _insert(self, body: Document, session: Session) -> Document:
        collection = self._store.make(_full(body))

        def insert(document: Document) -> Document:
            collection.put({"_id": ObjectId(), **document})
            return {"n": 1}

        return _each(body["documents"], insert, body)

    def _update(self, body: Document, session: Session) -> Document:
        collection = self._store.make(_full(body))
        return _each(body["updates"], lambda words: self._update_one(collection, words), body)

    def _update_one(self, collection: Collection, words: Document) -> Document:
        if unknown := words.keys() - {"q", "u", "multi", "upsert", "hint"}:
            raise Refused(40415, "Location40415", f"BSON field 'update.updates.{min(unknown)}' is an unknown field.")
        found = list(collection.find(words["q"]))
        if not words.get("multi"):
            found = found[:1]
        if not found and words.get("upsert"):
            new = updates.upserted(words["q"], words["u"])
            collection.put(new)
            return {"n": 1, "nModified": 0, "upserted": new["_id"]}
        changed = sum(collection.put(updates.apply(old, words["u"]), old) for old in found)
        return {"n": len(found), "nModified": changed}

    def _delete(self, body: Document, session: Session) -> Document:
        collection = self._store.collection(_full(body))

        def delete(words: Document) -> Document:
            found = list(collection.find(words["q"]))
            found = found[:1] if words["limit"] else found
            for document in found:
                collection.remove(document)
            return {"n": len(found)}

        return _each(body["deletes"], delete, body)

    def _find_and_modify(self, body: Document, session: Session) -> Document:
        collection = self._store.make(_full(body))
        query, shown = body.get("query", {}), body.get("fields") or {}
        found = queries.sort(collection.find(query), body.get("sort") or {})[:1]
        if body.get("remove"):
            for document in found:
                collection.remove(document)
            value, state = found[0] if found else None, {"n": len(found)}
        elif found:
            new = updates.apply(found[0], body["update"])
            collection.put(new, found[0])
            value, state = new if body.get("new") else found[0], {"n": 1, "updatedExisting": True}
        elif body.get("upsert"):
            new = updates.upserted(query, body["update"])
            collection.put(new)
            value = new if body.get("new") else None
            state = {"n": 1, "updatedExisting": False, "upserted": new["_id"]}
        else:
            value, state = None, {"n": 0, "updatedExisting": False}
        return {"lastErrorObject": state, "value": pipeline.project(value, shown) if value and shown else value}

    # --- reading ------------------------------------------------------------------------------------------------------

    def _find(self, body: Document, session: Session) -> Document:
        found: Iterable[Document] = self._store.collection(_full(body)).find(body.get("filter", {}))
        if body.get("sort"):
            found = queries.sort(found, body["sort"])
        limit = abs(body.get("limit", 0)) or None
        skip = body.get("skip", 0)
        found = itertools.islice(found, skip, None if limit is None else skip + limit)
        # what is found is found now: later writes do not show
        shown = body.get("projection") or {}
        documents = [pipeline.project(one, shown) if shown else one for one in found]
        single = bool(body.get("singleBatch")) or body.get("limit", 0) < 0
        return self._cursor(_full(body), documents, body.get("batchSize"), single)

    def _aggregate(self, body: Document, session: Session) -> Document:
        database, stages = body["$db"], list(body["pipeline"])
        collection = self._store.collection(_full(body))
        if stages and stages[0] == {"$collStats": {"count": {}}}:  # how drivers estimate a number of documents
            stages, documents = stages[1:], [{"ns": _full(body), "count": len(collection)}]
        else:
            query = stages.pop(0)["$match"] if stages and "$match" in stages[0] else {}
            documents = list(collection.find(query))

        def others(name: str) -> list[Document]:
            return list(self._store.collection(f"{database}.{name}").find({}))

        found = pipeline.run(documents, stages, others)
        return self._cursor(_full(body), found, body.get("cursor", {}).get("batchSize"))

    def _count(self, body: Document, session: Session) -> Document:
        number = sum(1 for _ in self._store.collection(_full(body)).find(body.get("query") or {}))
        number = max(0, number - body.get("skip", 0))
        return {"n": min(number, abs(body.get("limit", 0)) or number)}

    def _distinct(self, body: Document, session: Session) -> Document:
        found = self._store.collection(_full(body)).find(body.get("query") or {})
        return {"values": queries.distinct(found, body["key"])}

    # --- cursors ------------------------------------------------------------------------------------------------------

    def _cursor(self, name: str, documents: list[Document], size: int | None, single: bool = False) -> Document:
        batch, rest = _batch(documents, _FIRST_BATCH if size is None else size)
        number = 0
        if rest and not single:
            number = next(self._numbers)
            self._cursors[number] = (name, rest)
        return {"cursor": {"firstBatch": batch, "id": Int64(number), "ns": name}}

    def _get_more(self, body: Document, session: Session) -> Document:
        number = body["getMore"]
        name, documents = self._cursors.get(number, ("", []))
        if name != _full(body, "collection"):
            raise Refused(43, "CursorNotFound", f"cursor id {number} not found")
        batch, rest = _batch(documents, body.get("batchSize") or len(documents))
        if rest:
            self._cursors[number] = (name, rest)
        else:
            del self._cursors[number]
        return {"cursor": {"nextBatch": batch, "id": Int64(number if rest else 0), "ns": name}}

    def _kill_cursors(self, body: Document, session: Session) -> Document:
        killed = [number for number in body["cursors"] if self._cursors.pop(number, None)]
        gone = [number for number in body["cursors"] if number not in killed]
        return {"cursorsKilled": killed, "cursorsNotFound": gone, "cursorsAlive": [], "cursorsUnknown": []}


def _full(body: Document, field: str | None = None) -> str:
    """The full name of the collection that a command names."""
    name = body[field or next(iter(body))]
    if not isinstance(name, str) or not name or "$" in name:
        raise Refused(73, "InvalidNamespace", f"Invalid namespace specified '{body['$db']}.{name}'")
    return f"{body['$db']}.{name}"


def _batch(documents: list[Document], size: int) -> tuple[list[Document], list[Document]]:
    """The next documents of an answer, as many as fit into one, and the rest."""
    total = 0
    for i, document in enumerate(documents[:size]):
        total += len(bson.encode(document))
        if i and total > MAX_DOCUMENT:
            return documents[:i], documents[i:]
    return documents[:size], documents[size:]


def _each(parts: list[Document], do: Callable[[Document], Document], body: Document) -> Document:
    """Do something with each part of a command that writes, and add up what came of it."""
    if not 0 < len(parts) <= _MAX_BATCH:
        raise Refused(16, "InvalidLength", f"Write batch sizes must be between 1 and {_MAX_BATCH}. Got {len(parts)}")
    reply: Document = {"n": 0}
    for i, part in enumerate(parts):
        try:
            done = do(part)
        except Refused as reason:
            error = {"index": i, "code": reason.code, "errmsg": str(reason), **reason.more}
            reply.setdefault("writeErrors", []).append(error)
            if body.get("ordered", True):
                break
            continue
        reply["n"] += done["n"]
        if "nModified" in done:
            reply["nModified"] = reply.get("nModified", 0) + done["nModified"]
        if "upserted" in done:
            reply.setdefault("upserted", []).append({"index": i, "_id": done["upserted"]})
    return reply


_HELLO = {
    "helloOk", "client", "compression", "saslSupportedMechs", "speculativeAuthenticate", "topologyVersion",
    "maxAwaitTimeMS", "loadBalanced", "hostInfo", "backpressure",
}  # fmt: skip
_BEFORE_LOGIN = {"hello", "ismaster", "isMaster", "saslStart", "saslContinue", "buildInfo", "buildinfo", "ping"}
_FIND = {"filter", "sort", "projection", "skip", "limit", "batchSize", "singleBatch"}

#: name -> what carries it out, and what else may be said in it.
_COMMANDS: dict[str, tuple[Callable[[Commands, Document, Session], Document], set[str]]] = {
    "hello": (Commands._hello, _HELLO),
    "ismaster": (Commands._hello, _HELLO),
    "isMaster": (Commands._hello, _HELLO),
    "saslStart": (Commands._sasl_start, {"mechanism", "payload", "autoAuthorize", "options"}),
    "saslContinue": (Commands._sasl_continue, {"conversationId", "payload"}),
    "ping": (Commands._nothing, set()),
    "endSessions": (Commands._nothing, set()),
    "buildInfo": (Commands._build_info, set()),
    "buildinfo": (Commands._build_info, set()),
    "listDatabases": (Commands._list_databases, {"nameOnly", "filter", "authorizedDatabases"}),
    "listCollections": (Commands._list_collections, {"nameOnly", "filter", "cursor", "authorizedCollections"}),
    "create": (Commands._create, set()),
    "drop": (Commands._drop, set()),
    "dropDatabase": (Commands._drop_database, set()),
    "createIndexes": (Commands._create_indexes, {"indexes"}),
    "listIndexes": (Commands._list_indexes, {"cursor"}),
    "insert": (Commands._insert, {"documents", "ordered"}),
    "update": (Commands._update, {"updates", "ordered"}),
    "delete": (Commands._delete, {"deletes", "ordered"}),
    "findAndModify": (Commands._find_and_modify, {"query", "sort", "update", "remove", "new", "upsert", "fields"}),
    "findandmodify": (Commands._find_and_modify, {"query", "sort", "update", "remove", "new", "upsert", "fields"}),
    "find": (Commands._find, _FIND),
    "aggregate": (Commands._aggregate, {"pipeline", "cursor"}),
    "count": (Commands._count, {"query", "limit", "skip"}),
    "distinct": (Commands._distinct, {"key", "query"}),
    "getMore": (Commands._get_more, {"collection", "batchSize"}),
    "killCursors": (Commands._kill_cursors, {"cursors"}),
}

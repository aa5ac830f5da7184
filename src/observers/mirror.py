"""One run in a database, made equal to its files: the documents that sacred's observer would have written.

Nothing is written twice, whoever else is at it (a run that records itself, a second `sync_mongo.py`) and wherever
somebody was killed: a run is known by its uuid, a metric by one made of that and of its name, and points are only
appended to a metric that still has as many as was thought.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bson import ObjectId
from pymongo import InsertOne, UpdateOne
from pymongo.errors import BulkWriteError

from observers.database import Database
from observers.documents import FINAL, Documents, Moved, moment_of
from utils.logging import METRICS_FILE
from utils.records import RUN_FILE, read_json

#: Lines of metrics in one request.
_LINES = 5000
_DUPLICATE = 11000


class Unreadable(Exception):
    """A record has no whole `run.json` and `config.json`: it is just beginning, or damaged."""


class Mirror:
    """The documents of the run whose record is `folder`."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database, self._folder = database, folder
        self._record = self._read(RUN_FILE)
        self._documents = Documents.create_from(database.runs, database.files, metrics_collection=database.metrics)
        self._config = self._read("config.json")
        self._uuid = _identity(self._record, self._config)
        #: whether anything was written
        self.changed = False
        #: bytes of the metrics' file that were read
        self._offset = 0
        #: metric -> its points in the database, and in the lines that were read
        self._there: dict[str, int] = {}
        self._seen: dict[str, int] = {}

    def update(self, beat: datetime | None = None) -> bool:
        """Bring what the files have and the database has not; return whether the run is over, and all of it there.

        Args:
            beat: when the run was last seen alive; None: what its files say.

        Raises:
            Unreadable: the record cannot be read.
            Moved: somebody else writes the same documents.
            PyMongoError: the database does not answer, or refuses.
        """
        # first of all: of a run that says that it is over, all metrics are in their file
        record = self._record = self._read(RUN_FILE)
        if self._documents.run_entry is None:
            self._begin(record)
        new = self._bring_metrics()
        ids = [{"name": name, "id": str(_metric_id(self._uuid, name))} for name in self._seen]
        info = {**read_json(self._folder / "info.json"), "run": self._folder.name, "metrics": ids}
        over = record.get("status") in FINAL
        if over and not new and self._documents.has(record, info):
            return True
        self.changed = True
        self._documents.heartbeat_event(info, "", beat or self._sign_of_life(record), record.get("result"))
        if over:
            self._documents.end(record)
        return over

    def bring_checkpoints(self, models: Path) -> None:
        """Keep the files of all checkpoints in `models`, the run's folder of them, as artifacts."""
        for step in sorted(
            (path for path in models.glob("[0-9]*") if path.name.isdecimal()), key=lambda p: int(p.name)
        ):
            for file in sorted(path for path in step.iterdir() if path.is_file()):
                self._documents.keep(f"{step.name}/{file.name}", file, _hash(f"{self._uuid}/{step.name}/{file.name}"))

    def _read(self, name: str) -> dict[str, Any]:
        content = read_json(self._folder / name)
        if not content:
            raise Unreadable(f"{self._folder / name} is missing or cannot be read")
        return content

    def _begin(self, record: Mapping[str, Any]) -> None:
        process = (record.get("meta") or {}).get("process") or {}
        # without sacred, a record has no experiment and no host
        python = (read_json(self._folder / "info.json").get("versions") or {}).get("python")
        self._documents.started_event(
            ex_info=record.get("experiment")
            or {"name": "muster", "sources": [], "dependencies": [], "repositories": []},
            command=record.get("command") or "execute",
            host_info=record.get("host") or {"hostname": process.get("host"), "python_version": python},
            start_time=moment_of(record.get("start_time")),
            config=self._config,
            meta_info={**(record.get("meta") or {}), "uuid": self._uuid},
            _id=None,
        )

    def _sign_of_life(self, record: Mapping[str, Any]) -> datetime:
        files = [self._folder / name for name in (RUN_FILE, METRICS_FILE)]
        written = max((path.stat().st_mtime for path in files if path.exists()), default=0.0)
        return moment_of(record.get("heartbeat")) or datetime.fromtimestamp(written, timezone.utc)

    # --- metrics --------------------------------------------------------------------------------------------------

    def _bring_metrics(self) -> bool:
        """Append the points that the database lacks; return whether there were any."""
        any_missing = False
        for block in self._read_points():
            missing = self._missing(block)
            if missing:
                any_missing = self.changed = True
                self._append(missing)
        return any_missing

    def _read_points(self) -> Iterator[dict[str, list[dict[str, Any]]]]:
        """New points of the file by metric, so many at a time that memory is bounded."""
        path = self._folder / METRICS_FILE
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._offset)
            more = True
            while more:
                block: dict[str, list[dict[str, Any]]] = {}
                for _ in range(_LINES):
                    line = file.readline()
                    more = line.endswith(b"\n")  # what has no end is being written, or was when its run was killed
                    if not more:
                        break
                    self._offset += len(line)
                    point = _point(line)
                    if point is not None:
                        block.setdefault(point["name"], []).append(point)
                if block:
                    yield block

    def _missing(self, block: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
        self._count(block.keys() - self._there.keys())
        missing = {}
        for name, points in block.items():
            ahead = self._there[name] - self._seen.get(name, 0)
            if ahead < len(points):
                missing[name] = points[max(ahead, 0) :]
            self._seen[name] = self._seen.get(name, 0) + len(points)
        return missing

    def _count(self, names: set[str]) -> None:
        """Find out how many points of the metrics `names` are in the database."""
        self._there.update(dict.fromkeys(names, 0))
        # a new run has none; where a document of it was deleted and its metrics were not, appending finds that out
        if not names or self._documents.new:
            return
        ids = {_metric_id(self._uuid, name): name for name in names}
        counting = {"name": 1, "run_id": 1, "points": {"$size": "$steps"}}
        run_id, others = self._documents.run_entry["_id"], []
        for found in self._database.metrics.aggregate(
            [{"$match": {"_id": {"$in": list(ids)}}}, {"$project": counting}]
        ):
            if found["run_id"] == run_id:
                self._there[ids[found["_id"]]] = found["points"]
            else:  # of a document of this run that somebody has deleted
                others.append(found["_id"])
        if others:
            self._database.metrics.delete_many({"_id": {"$in": others}, "run_id": {"$ne": run_id}})

    def _append(self, missing: Mapping[str, list[dict[str, Any]]]) -> None:
        requests: list[InsertOne | UpdateOne] = []
        updates = 0
        for name, points in missing.items():
            columns = {
                "steps": [point["step"] for point in points],
                "values": [point["value"] for point in points],
                "timestamps": [datetime.fromtimestamp(point["time"], timezone.utc) for point in points],
            }
            key, before = _metric_id(self._uuid, name), self._there[name]
            if before:
                push = {column: {"$each": values} for column, values in columns.items()}
                requests.append(UpdateOne({"_id": key, "steps": {"$size": before}}, {"$push": push}))
                updates += 1
            else:
                run_id = self._documents.run_entry["_id"]
                requests.append(InsertOne({"_id": key, "run_id": run_id, "name": name, **columns}))
            self._there[name] = before + len(points)
        try:
            done = self._database.metrics.bulk_write(requests, ordered=False)
        except BulkWriteError as error:
            if all(fault.get("code") == _DUPLICATE for fault in error.details["writeErrors"]):
                raise Moved from None
            raise
        if done.matched_count != updates:
            raise Moved


def _identity(record: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """What the run is known by; a record of an earlier version has no uuid, and is known by how it began."""
    meta = record.get("meta") or {}
    known = meta.get("uuid")
    if isinstance(known, str) and known:
        return known
    began = [record.get("start_time"), meta.get("process"), config]
    return hashlib.sha256(json.dumps(began, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _hash(text: str) -> str:
    """24 hexadecimal digits, as many as MongoDB's own keys have."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _metric_id(uuid: str, name: str) -> ObjectId:
    return ObjectId(_hash(f"{uuid} {name}"))


def _point(line: bytes) -> dict[str, Any] | None:
    """A line of metrics; None for one that is none, as a damaged disk may leave."""
    try:
        point = json.loads(line.decode())
        return {
            "name": str(point["name"]),
            "step": int(point["step"]),
            "value": float(point["value"]),
            "time": float(point["time"]),
        }
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None

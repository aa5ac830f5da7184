"""The documents of one run, through sacred's own observer."""

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from observers.database import IDENTITY
from observers.sacred_parts import MongoObserver

#: How a record says that its run is over.
FINAL = ("COMPLETED", "FAILED", "INTERRUPTED")


class Moved(Exception):
    """Somebody else has written to this run's documents; a new `Mirror` begins with what is there now."""

    def __str__(self) -> str:
        return "somebody else writes to its documents"


class Documents(MongoObserver):
    """sacred's observer, but that a run has one document however often it is begun, and that faults are told."""

    #: as it is to be
    run_entry: Any
    #: as it was found
    there: dict[str, Any]
    #: whether there was none
    new = False

    def insert(self) -> None:
        identity = {IDENTITY: self.run_entry["meta"]["uuid"]}
        while True:
            there = self.runs.find_one(identity)
            if there is not None:
                self.there = there
                self.run_entry.update(_id=there["_id"], artifacts=there.get("artifacts", []))
                return
            # numbers alone: others may name their runs
            last = self.runs.find_one({"_id": {"$gte": 0}}, {"_id": 1}, sort=[("_id", -1)])
            self.run_entry["_id"] = int(last["_id"]) + 1 if last else 1
            try:
                self.runs.insert_one(self.run_entry)
            except DuplicateKeyError:  # somebody was faster, with another run or with this one
                continue
            self.there, self.new = dict(self.run_entry), True
            return

    def has(self, record: Mapping[str, Any], info: Mapping[str, Any]) -> bool:
        """Whether the document, as it was found, says of the end what the record says."""
        return (
            self.there.get("status") == record["status"]
            and _milliseconds(self.there.get("stop_time")) == _milliseconds(moment_of(record.get("stop_time")))
            and self.there.get("info", {}).get("metrics") == info["metrics"]
        )

    def end(self, record: Mapping[str, Any]) -> None:
        """Write how the run ended."""
        when = moment_of(record.get("stop_time"))
        if record["status"] == "COMPLETED":
            self.completed_event(when, record.get("result"))
        elif record["status"] == "FAILED":
            self.failed_event(when, record.get("fail_trace"))
        else:
            self.interrupted_event(when, record["status"])

    def save(self) -> None:
        chosen = {"_id": self.run_entry["_id"]}
        if self.run_entry["status"] not in FINAL:  # files that are read a moment too early must not undo an end
            chosen["status"] = {"$nin": list(FINAL)}
        self.runs.update_one(chosen, {"$set": self._fields()})

    def final_save(self, attempts: int) -> None:
        # the caller tries again, and where nothing helps the files remain: no pickle beside them
        if self.runs.update_one({"_id": self.run_entry["_id"]}, {"$set": self._fields()}).matched_count == 0:
            raise Moved
        self.there = dict(self.run_entry)

    def _fields(self) -> dict[str, Any]:
        """What is written again and again; artifacts are added one by one."""
        return {key: value for key, value in self.run_entry.items() if key not in ("_id", "artifacts")}

    def save_sources(self, ex_info: Mapping[str, Any]) -> list[Any]:
        return []  # what identifies the code is the git revision

    def keep(self, name: str, file: Path, key: str) -> None:
        """Keep `file` as the artifact `name`, once; `key` is of 24 hexadecimal digits."""
        if any(artifact["name"] == name for artifact in self.run_entry["artifacts"]):
            return
        file_id = ObjectId(key)
        self.fs.delete(file_id)  # what an upload that was cut short has left
        with file.open("rb") as content:
            self.fs.put(content, _id=file_id, filename=f"artifact://{self.runs.name}/{self.run_entry['_id']}/{name}")
        artifact = {"name": name, "file_id": file_id}
        self.run_entry["artifacts"].append(artifact)
        self.runs.update_one(
            {"_id": self.run_entry["_id"], "artifacts.name": {"$ne": name}}, {"$push": {"artifacts": artifact}}
        )


def moment_of(text: Any) -> datetime | None:
    """A time in a record, in UTC; sacred does not say so."""
    try:
        moment = datetime.fromisoformat(text)
    except (ValueError, TypeError):
        return None
    return moment.astimezone(timezone.utc) if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _milliseconds(moment: datetime | None) -> int | None:
    """MongoDB keeps no more, and gives back times without a zone."""
    if moment is None:
        return None
    return int(moment.replace(tzinfo=timezone.utc).timestamp() * 1000)

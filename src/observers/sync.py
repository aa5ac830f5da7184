"""Many runs in a database, made equal to their files one after the other."""

import contextlib
import time
from pathlib import Path

from bson.errors import BSONError

from observers.database import Database, DatabaseFault, Unreachable, find_address, place_of
from observers.documents import Moved
from observers.mirror import Mirror, Unreadable
from runs import find_records
from utils.errors import UserError, one_line
from utils.interrupt import Interrupted, StopSignal, last_words
from utils.logging import METRICS_FILE, Console
from utils.records import RUN_FILE

#: Seconds between two looks at what is watched.
INTERVAL = 10.0
#: times that a run is tried which somebody else brings at the same moment
_TRIES = 3
#: what a record raises whose files are JSON, but not what a run has written, or cannot be opened; others are brought
_DAMAGE = (OSError, BSONError, TypeError, ValueError, AttributeError, LookupError, OverflowError)
#: time and size of a record's files
_Files = tuple[tuple[int, int], ...]


def synchronise(results: Path, url: str, name: str, watch: bool, checkpoints: bool, stop: StopSignal) -> int:
    """Bring the runs below `results` to the database `name` at `url`, or at MONGO_URL where that is "".

    Returns:
        0: the database has all that is there; 1: it has not, and that was told.

    Raises:
        UserError: no address, or one that is none.
        Interrupted: it was stopped, the usual end of watching.
    """
    url = find_address("--url", url)
    if not url:
        raise UserError("which database? Set MONGO_URL in the environment, or give --url mongodb://HOST:PORT/")
    try:
        database = Database(url, name)
        with contextlib.closing(database):
            synchroniser = Synchroniser(database, results, checkpoints, stop)
            whole = synchroniser.pass_through()
            while watch:
                synchroniser.pass_again()
    except DatabaseFault as fault:
        last_words(f"error: MongoDB at {place_of(url)}: {fault}; the same command goes on from here")
        return 1
    return 0 if whole else 1


class Synchroniser:
    """Makes a database equal to the records of a folder, record by record."""

    def __init__(self, database: Database, results: Path, checkpoints: bool, stop: StopSignal) -> None:
        self._database, self._results, self._checkpoints, self._stop = database, results, checkpoints, stop
        #: record -> its files as they were when the database was made equal to them
        self._known: dict[Path, _Files] = {}
        #: record -> why it cannot be brought
        self._left_out: dict[Path, str] = {}
        self._away = False

    def pass_again(self) -> None:
        """After a while, bring what is new; a database that does not answer is asked again later."""
        due = time.monotonic() + INTERVAL
        while time.monotonic() < due:
            if self._stop.requested:
                raise Interrupted
            time.sleep(0.1)
        try:
            self.pass_through()
            self._away = False
        except Unreachable as fault:
            if not self._away:
                print(f"the database does not answer: {fault}; trying again", flush=True)
            self._away = True

    def pass_through(self) -> bool:
        """Bring what is new, and return whether nothing had to be left out."""
        with self._database.faults():
            self._database.prepare()
        records = {record: _files_of(record) for record in find_records(self._results)}
        due = [record for record, files in records.items() if self._known.get(record) != files]
        console, brought, left_out = Console(log_interval=100, unit="runs"), 0, dict(self._left_out)
        with contextlib.closing(console):
            for number, record in enumerate(due):
                if self._stop.requested:
                    raise Interrupted
                self._left_out.pop(record, None)
                try:
                    brought += self._bring(record)
                    self._known[record] = records[record]
                except (Unreadable, Moved, *_DAMAGE) as error:
                    known = isinstance(error, Unreadable | Moved)
                    reason = str(error) if known else f"{type(error).__name__}: {one_line(error)}"
                    self._left_out[record] = reason
                    if left_out.get(record) != reason:  # watching, that is said once
                        console.line(f"left out: {record}: {reason}")
                console.progress(number + 1, len(due), "")
        if due:
            there = len(records) - brought - len(self._left_out)
            missing = f", {len(self._left_out)} left out" if self._left_out else ""
            print(f"{len(records)} runs: {brought} brought, {there} were there already{missing}", flush=True)
        return not self._left_out

    def _bring(self, record: Path) -> bool:
        """Make the database equal to `record`; return whether it was not."""
        for attempt in range(_TRIES):
            try:
                with self._database.faults():
                    mirror = Mirror(self._database, record)
                    mirror.update()
                    if self._checkpoints:
                        mirror.bring_checkpoints(record.parents[1] / "models" / record.name)
                    return mirror.changed
            except Moved:  # it records itself at this moment
                if attempt == _TRIES - 1:
                    raise
        raise AssertionError  # never reached


def _files_of(record: Path) -> _Files:
    """What changes when a run has written something, or saved a checkpoint."""
    places = [record / name for name in (RUN_FILE, "info.json", METRICS_FILE)]
    places.append(record.parents[1] / "models" / record.name)
    found = []
    for place in places:
        try:
            stat = place.stat()
            found.append((stat.st_mtime_ns, stat.st_size))
        except OSError:
            found.append((0, 0))
    return tuple(found)

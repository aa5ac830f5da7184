"""A run in a MongoDB, as it goes on."""

import shlex
from datetime import datetime, timezone
from pathlib import Path

from observers.database import PATIENCE, Database, DatabaseFault, Unreachable, place_of
from observers.documents import Moved
from observers.mirror import Mirror, Unreadable
from observers.observer import Observer, Run

#: Seconds in which an attempt must succeed; what it brought until then stays.
ATTEMPT = PATIENCE + 1.0


class MongoFollower(Observer):
    """Makes the database equal to the run's files every few seconds, so that nothing waits in memory and a database
    that was away for hours has everything soon after.

    While it is away, that is said once, and tried again at each tick.
    """

    def __init__(self, url: str, database: str) -> None:
        """`url` as `find_address` gives it; `database` is a name."""
        self.name = f"MongoDB at {place_of(url)}"
        self._url, self._database_name = url, database
        self._database: Database | None = None
        self._mirror: Mirror | None = None
        self._told = False

    def begin(self, run: Run) -> None:
        self._folder = run.folder
        self._checkpoints: Path | None = None
        results = Path(run.config.local_results_path)
        if run.config.mongo_checkpoints:
            self._checkpoints = results / "models" / run.run_id
            self.grace = 120.0  # files take longer than figures
        else:
            self.grace = 2 * ATTEMPT + 1.0  # one attempt may be on its way
        self.remedy = f"Later, `python src/sync_mongo.py {shlex.quote(str(results))}` brings it there."
        self.tick()

    def tick(self) -> None:
        try:
            self._update()
        except Unreachable as fault:
            if not self._told:
                self.say(f"{self.name} does not answer: {fault}; the run goes on, and tries again")
                self._told = True

    def end(self, status: str) -> None:
        if not self._update():
            raise DatabaseFault("the run's end could not be recorded")

    def _update(self) -> bool:
        """Return whether the run is over, and the database has all of it."""
        try:
            if self._database is None:
                self._database = Database(self._url, self._database_name)
            with self._database.faults(ATTEMPT):
                over = self._bring(self._database)
            if self._checkpoints is not None and self._mirror is not None:
                with self._database.faults():
                    self._mirror.bring_checkpoints(self._checkpoints)
            return over
        except Unreadable:
            return False
        except DatabaseFault:
            self._mirror = None  # who knows what of it has arrived
            raise

    def _bring(self, database: Database) -> bool:
        for _ in range(3):  # beside a `sync_mongo.py` that is at the same run
            try:
                if self._mirror is None:
                    database.prepare()
                    self._mirror = Mirror(database, self._folder)
                return self._mirror.update(datetime.now(timezone.utc))
            except Moved:
                self._mirror = None
        return False

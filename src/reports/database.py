"""Runs as they are read for a report, from a MongoDB in which sacred, or src/sync_mongo.py, has recorded them."""

import contextlib
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from observers.database import Database, DatabaseFault, place_of
from reports.sources import Run, Tell, Wanted, clean, is_foreign, take_curves
from runs import printable
from utils.errors import UserError, one_line
from utils.records import status_told


def read_database(url: str, name: str, wanted: Wanted, names: set[str], left_out: Tell) -> list[Run]:
    """The runs of the database `name` at `url`; `names` is added what metrics they have.

    Raises:
        UserError: it cannot be read.
    """
    found = []
    try:
        with contextlib.closing(Database(url, name)) as database, database.faults():
            for document in database.runs.find({}, sort=[("_id", 1)]):
                where = f"{name}/{document.get('_id')}"
                try:
                    if is_foreign(document["config"]):
                        left_out(where, "is no run of Muster (its settings have no name and env)")
                        continue
                    found.append(_read(database, document, where, wanted, names, left_out))
                except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
                    left_out(where, f"cannot be read ({type(error).__name__}: {one_line(error)})")
    except DatabaseFault as fault:
        raise UserError(f"MongoDB at {place_of(url)}: {fault}") from None
    return found


def _read(
    database: Database, document: Mapping[str, Any], where: str, wanted: Wanted, names: set[str], left_out: Tell
) -> Run:
    info, config = clean(document.get("info") or {}), clean(document["config"])
    run = Run(
        id=printable(where),
        place=str(config.get("local_results_path") or where),
        number=str(info.get("run") or document["_id"]),
        status=status_told(document),
        config=config,
        facts=info,
        uuid=str((document.get("meta") or {}).get("uuid") or ""),
        began=_seconds(document.get("start_time")),
    )
    metrics = {str(metric["id"]): str(metric["name"]) for metric in info.get("metrics") or ()}
    names.update(metrics.values())
    columns = {}
    for metric in database.curves([key for key, metric in metrics.items() if wanted(metric)]):
        times = [moment.replace(tzinfo=timezone.utc).timestamp() for moment in metric["timestamps"]]
        size = min(map(len, (metric["steps"], metric["values"], times)))  # one who writes appends to all three
        columns[printable(metric["name"])] = [column[:size] for column in (metric["steps"], metric["values"], times)]
        run.step = max([run.step, *map(int, metric["steps"])])
        run.last = max([run.last or 0.0, *times])
    take_curves(run, columns, left_out)
    return run


def _seconds(when: datetime | None) -> float | None:
    """Seconds since 1970 of a moment of the database, which is UTC and does not say so."""
    return None if when is None else when.replace(tzinfo=timezone.utc).timestamp()

"""The run's own record in files, as it is kept without sacred, and what both ways of keeping it share.

Unlike what a user adds, it is told directly, and what the disk refuses ends the run.
"""

import shutil
import traceback
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from observers.observer import Observer
from utils import records
from utils.config import Config
from utils.errors import UserError
from utils.records import RUN_FILE, process_facts


class Files(Observer):
    """`config.json`, `run.json` and `info.json` in a new folder of `runs`.

    Raises:
        UserError: they cannot be written.
    """

    def __init__(self, config: Config, runs: Path) -> None:
        self._record: dict[str, Any] = {"status": "RUNNING", "start_time": _now(), "meta": whose_it_is()}
        self._info: dict[str, Any] = {}
        folder = None
        try:
            folder = _next_folder(runs)
            records.write_json(folder / "config.json", config.as_dict())
            records.write_json(folder / RUN_FILE, self._record)
        except OSError as error:
            raise cannot_begin(error, folder) from error
        self.folder = folder

    def facts(self, facts: Mapping[str, Any]) -> None:
        self._info.update(facts)
        records.write_json(self.folder / "info.json", self._info)

    def close(self, result: Any, ended: BaseException | None) -> None:
        """Write how the run ended: with `result`, or by the exception `ended`.

        Raises:
            OSError: the disk refuses.
        """
        if ended is None:
            end = {"status": "COMPLETED", "result": result}
        elif isinstance(ended, KeyboardInterrupt):
            end = {"status": "INTERRUPTED"}
        else:
            trace = "".join(traceback.format_exception(ended)).splitlines()
            end = {"status": "FAILED", "fail_trace": trace}
        self._record |= {**end, "stop_time": _now()}
        records.write_json(self.folder / RUN_FILE, self._record)


def whose_it_is() -> dict[str, Any]:
    """What tells a run from all others, wherever its record is copied, and whether it lives: `meta` in `run.json`."""
    return {"process": process_facts(), "uuid": uuid.uuid4().hex}


def cannot_begin(error: OSError, folder: Path | None) -> UserError:
    """What to tell when the record cannot even be begun; what there is of it in `folder` is removed."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    return UserError(f"the record cannot be begun, {error.filename} cannot be written ({error.strerror})")


def highest_number(runs: Path) -> int:
    """The highest number that a run has in `runs` or beside it in `models`, where a deleted record's is still taken."""
    folders = (folder for folder in (runs, runs.parent / "models") if folder.is_dir())
    return max(
        (int(entry.name) for folder in folders for entry in folder.iterdir() if entry.name.isdecimal()), default=0
    )


def _next_folder(runs: Path) -> Path:
    """Make and return the folder of the next run; its number follows the highest one, as sacred counts."""
    number = highest_number(runs)
    while True:
        number += 1
        try:
            (runs / str(number)).mkdir()
            return runs / str(number)
        except FileExistsError:  # another run was faster
            continue


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")

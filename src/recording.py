"""Carrying out a run with a record of it, through sacred or without: the same files either way, whole at any moment."""

import contextlib
import logging as std_logging
import shutil
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import observers
from observers.apart import Followers
from observers.observer import Run
from utils.config import Config
from utils.errors import RunFailed, UserError
from utils.interrupt import Interrupted, StopSignal
from utils.logging import Console, Recorder
from utils.records import (
    DISK_FAULTS,
    RUN_FILE,
    make_writable,
    process_facts,
    space_in_reserve,
    status_of,
    write_json,
)
from utils.secrets import without_passwords
from utils.version import ROOT, git_revision, versions


@dataclass(frozen=True)
class _Scene:
    """What a run needs beside its record."""

    config: Config
    argv: Sequence[str]
    stop: StopSignal
    console: Console
    followers: Followers


def record(config: Config, argv: Sequence[str], stop: StopSignal) -> None:
    """Carry out the experiment that `config` describes and leave its record.

    Args:
        argv: the command line, for the record.
        stop: asks for an end.

    Raises:
        UserError: a folder cannot be written, or whatever the user can put right in mid-run.
        RunFailed: the run cannot go on, the full disk included.
        Interrupted: it was stopped.
    """
    added = observers.build(config)
    runs = _make_folders(config)
    if stop.requested:
        raise Interrupted
    console = Console(config.log_interval)
    scene = _Scene(config, argv, stop, console, Followers(added, console.line))
    try:
        if find_spec("sacred") is None:
            _run_alone(scene, runs)
        else:
            _run_with_sacred(scene, runs)
    finally:
        scene.followers.end()


def _make_folders(config: Config) -> Path:
    """Make the folders that the run will write to and return the one of the records."""
    results = Path(config.local_results_path)
    folders = [results / "sacred"]
    if config.save_model and not config.evaluate:
        folders.append(results / "models")
    make_writable(folders, f"local_results_path={results}")
    return folders[0]


def _run_with_sacred(scene: _Scene, runs: Path) -> None:
    try:
        from observers.sacred_parts import SETTINGS, Experiment

        observer = _file_observer(runs)
    except ImportError as error:
        raise UserError(f"sacred is installed but does not work ({error}): install requirements.txt") from None

    # What identifies the code is the git revision among the facts; copies of sources would be an incomplete second one.
    SETTINGS.DISCOVER_SOURCES = "none"
    SETTINGS.DISCOVER_DEPENDENCIES = "none"
    SETTINGS.CAPTURE_MODE = "no"  # a captured stream is no terminal: the progress bar would be lost
    SETTINGS.HOST_INFO.INCLUDE_GPU_INFO = False  # asks a driver tool that may hang; the facts name the device
    experiment: Any = Experiment("muster", base_dir=str(ROOT), save_git_info=False)
    experiment.logger = _silent_logger()
    experiment.add_config(scene.config.as_dict())
    experiment.observers.append(observer)

    def execute(_run: Any) -> dict[str, Any]:
        def keep(facts: dict[str, Any]) -> None:
            # a new dict, because sacred's heartbeat thread may be writing the old one
            _run.info = {**_run.info, **facts}
            observer.save_json(_run.info, "info.json")

        def log_scalar(name: str, value: float, step: int) -> None:
            if observer.fault is not None:
                raise observer.fault
            _run.log_scalar(name, value, step)

        return _execute(scene, Path(observer.dir), str(_run._id), log_scalar, keep)

    experiment.main(execute)
    ended: BaseException | None = None
    try:
        experiment.run(meta_info=_meta())
    except BaseException as error:
        ended = error
    _end(scene.config, Path(observer.dir or runs), ended, observer.fault)


def _file_observer(runs: Path) -> Any:
    from observers.sacred_parts import FileStorageObserver, flatten

    class Observer(FileStorageObserver):
        """Writes whole files, and keeps what goes wrong with them: sacred would drop an observer that raises, in
        silence, and go on.
        """

        #: the first error of this record
        fault: Exception | None = None
        #: sacred's heartbeat thread writes, too
        writing = threading.Lock()

        def _maximum_existing_run_id(self) -> int:
            return _highest(runs)

        def save_json(self, obj: Any, filename: str) -> None:
            try:
                with self.writing:
                    write_json(Path(str(self.dir), filename), flatten(obj))
            except Exception as error:
                self.fault = self.fault or error
                raise

        def started_event(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().started_event(*args, **kwargs)
            except OSError as error:
                raise _cannot_begin(error, self.dir and Path(self.dir)) from error

        def completed_event(self, stop_time: Any, result: Any) -> None:
            if self.fault is None:
                super().completed_event(stop_time, result)
            else:
                self.failed_event(stop_time, traceback.format_exception(self.fault))

    return Observer(runs, copy_sources=False)


def _run_alone(scene: _Scene, runs: Path) -> None:
    """Keep the run's record without sacred, in the same files."""
    record: dict[str, Any] = {"status": "RUNNING", "start_time": _now(), "meta": _meta()}
    info: dict[str, Any] = {}
    folder = _begin(scene.config, runs, record)

    def keep(facts: dict[str, Any]) -> None:
        info.update(facts)
        write_json(folder / "info.json", info)

    ended: BaseException | None = None
    try:
        record["result"] = _execute(scene, folder, folder.name, None, keep)
        record["status"] = "COMPLETED"
    except KeyboardInterrupt as error:
        ended = error
        record["status"] = "INTERRUPTED"
    except BaseException as error:
        ended = error
        record["status"] = "FAILED"
        record["fail_trace"] = traceback.format_exc().splitlines()
    record["stop_time"] = _now()
    fault = None
    try:
        write_json(folder / RUN_FILE, record)
    except OSError as error:
        fault = error
    _end(scene.config, folder, ended, fault)


def _begin(config: Config, runs: Path, record: dict[str, Any]) -> Path:
    folder = None
    try:
        folder = _next_folder(runs)
        write_json(folder / "config.json", config.as_dict())
        write_json(folder / RUN_FILE, record)
        return folder
    except OSError as error:
        raise _cannot_begin(error, folder) from error


def _execute(
    scene: _Scene, folder: Path, run_id: str, log_scalar: Callable[[str, float, int], None] | None, keep: Any
) -> dict[str, Any]:
    """Carry the run out; its record is told of everything first, then those that follow it."""
    import run

    config, followers = scene.config, scene.followers

    def on_scalar(name: str, value: float, step: int) -> None:
        if log_scalar is not None:
            log_scalar(name, value, step)
        followers.scalar(name, value, step)

    def on_facts(facts: dict[str, Any]) -> None:
        keep(facts)
        followers.facts(facts)

    with _disk_faults(config, run_id), space_in_reserve(folder):
        recorder = Recorder(folder, run_id, scene.console, on_scalar, on_facts)
        with contextlib.closing(recorder):
            followers.begin(Run(folder, run_id, config))
            words = [without_passwords(word) for word in scene.argv]
            recorder.facts({"versions": versions(), "git": git_revision(), "arguments": words})
            recorder.note(f"run {run_id}: {config.name} on {config.env}, record in {folder}")
            return run.run(config, recorder, scene.stop)


# --- when the disk refuses --------------------------------------------------------------------------------------------


def _cannot_begin(error: OSError, folder: Path | None) -> UserError:
    """What to tell when the record cannot even be begun; what there is of it in `folder` is removed."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    return UserError(f"the record cannot be begun, {error.filename} cannot be written ({error.strerror})")


@contextlib.contextmanager
def _disk_faults(config: Config, run_id: str) -> Iterator[None]:
    """Turn what the disk refuses into the one line that says which file, why, and what is intact."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FAULTS:
            raise
        what = f"{error.filename or 'the record'} cannot be written ({error.strerror})"
        raise RunFailed(f"{what}; {_what_is_intact(config, run_id)}") from error


def _what_is_intact(config: Config, run_id: str) -> str:
    from utils.checkpoints import find_checkpoint  # late, as `run`

    if config.evaluate:
        return "the test is not complete"
    try:
        newest = find_checkpoint(Path(config.local_results_path) / "models" / run_id)
    except UserError:
        return "this run had no checkpoint yet"
    return f"the newest checkpoint, {newest}, is whole: make room and resume from it with checkpoint_path"


def _end(config: Config, folder: Path, ended: BaseException | None, fault: Exception | None) -> None:
    """Raise what a run ended with.

    Args:
        folder: its record.
        ended: the exception that ended it; None: it came to its end.
        fault: the first error in writing its record, which may not have ended it.
    """
    if fault is not None:
        try:
            with _disk_faults(config, folder.name):
                raise ended or fault
        except (UserError, RunFailed, KeyboardInterrupt) as error:
            if status_of(folder) == "RUNNING":
                remark = f"the record in {folder} could not be closed and still says RUNNING"
                raise type(error)(f"{error}; {remark}".removeprefix("; ")) from error
            raise
    if ended is not None:
        raise ended


def _highest(runs: Path) -> int:
    """The highest number that a run has in `runs` or beside it in `models`, where a deleted record's is still taken."""
    folders = (folder for folder in (runs, runs.parent / "models") if folder.is_dir())
    return max(
        (int(entry.name) for folder in folders for entry in folder.iterdir() if entry.name.isdecimal()), default=0
    )


def _next_folder(runs: Path) -> Path:
    """Make and return the folder of the next run; its number follows the highest one, as sacred counts."""
    number = _highest(runs)
    while True:
        number += 1
        try:
            (runs / str(number)).mkdir()
            return runs / str(number)
        except FileExistsError:  # another run was faster
            continue


def _meta() -> dict[str, Any]:
    """What tells this run from all others, wherever its record is copied to, and whether it lives."""
    return {"process": process_facts(), "uuid": uuid.uuid4().hex}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _silent_logger() -> std_logging.Logger:
    logger = std_logging.getLogger("muster.sacred")
    logger.addHandler(std_logging.NullHandler())
    logger.propagate = False
    return logger

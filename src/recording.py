"""Carrying out a run with a record of it, through sacred or without: the same files either way, whole at any moment."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import observers
from observers.apart import Followers
from observers.files import Files
from observers.observer import Observer, Run
from utils import ranks
from utils.config import Config
from utils.errors import RunFailed, UserError
from utils.interrupt import Interrupted, StopSignal
from utils.logging import Console, Recorder, Silence
from utils.records import DISK_FAULTS, make_writable, space_in_reserve, status_of
from utils.secrets import without_passwords
from utils.version import git_revision, versions


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
    if not ranks.first():
        _follow(config, stop)
        return
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


def _follow(config: Config, stop: StopSignal) -> None:
    """Take part in a run whose record another rank keeps."""
    import run

    folder = Path(ranks.told(""))
    with _disk_faults(config, folder.name):
        run.run(config, Silence(folder, folder.name), stop)


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
        from observers.sacred_files import SacredFiles, carry_out

        files = SacredFiles(runs)
    except ImportError as error:
        raise UserError(f"sacred is installed but does not work ({error}): install requirements.txt") from None
    ended: BaseException | None = None
    try:
        carry_out(scene.config, files, lambda record, folder: _execute(scene, record, folder))
    except BaseException as error:
        ended = error
    _end(scene.config, files.folder or runs, ended, files.fault)


def _run_alone(scene: _Scene, runs: Path) -> None:
    """Keep the run's record without sacred, in the same files."""
    files = Files(scene.config, runs)
    result, ended, fault = None, None, None
    try:
        result = _execute(scene, files, files.folder)
    except BaseException as error:
        ended = error
    try:
        files.close(result, ended)
    except OSError as error:
        fault = error
    _end(scene.config, files.folder, ended, fault)


def _execute(scene: _Scene, record: Observer, folder: Path) -> dict[str, Any]:
    """Carry the run out; its record is told of everything first, then those that follow it."""
    import run

    config, followers, run_id = scene.config, scene.followers, folder.name

    def on_scalar(name: str, value: float, step: int) -> None:
        record.scalar(name, value, step)
        followers.scalar(name, value, step)

    def on_facts(facts: dict[str, Any]) -> None:
        record.facts(facts)
        followers.facts(facts)

    with _disk_faults(config, run_id), space_in_reserve(folder):
        recorder = Recorder(folder, run_id, scene.console, on_scalar, on_facts)
        with contextlib.closing(recorder):
            followers.begin(Run(folder, run_id, config))
            words = [without_passwords(word) for word in scene.argv]
            recorder.facts({"versions": versions(), "git": git_revision(), "arguments": words})
            ranks.told(str(folder))
            recorder.note(f"run {run_id}: {config.name} on {config.env}, record in {folder}")
            return run.run(config, recorder, scene.stop)


# --- when the disk refuses --------------------------------------------------------------------------------------------


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

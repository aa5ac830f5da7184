"""The command line: settings -> checks -> a recorded run. `python src/main.py --help` explains the words.

Exit codes: 0 the run is complete, 1 it failed, 2 the user can correct something, 130 or 143 it was stopped.
"""

import json
import logging as std_logging
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from utils.command_line import help_text, parse_command_line
from utils.config import Config, build_config
from utils.errors import RunFailed, UserError
from utils.interrupt import Interrupted, StopSignal
from utils.logging import Console, Recorder
from utils.version import ROOT, git_revision, versions


def main(argv: Sequence[str]) -> int:
    """Run what `argv` (without the program's name) asks for and return the exit code."""
    with StopSignal() as stop:
        try:
            command = parse_command_line(argv)
            if command.help:
                print(help_text())
                return 0
            config = build_config(command)
            if command.print_config:
                print(yaml.safe_dump(config.as_dict(), sort_keys=False), end="")
                return 0
            import run  # late: neither --help nor a misspelt key should wait for the networks' code

            run.check(config)
            runs = _make_runs_folder(config)
            models = Path(config.local_results_path) / "models"
            if stop.requested:
                raise Interrupted
            if find_spec("sacred") is None:
                _run_alone(config, argv, runs, models, stop)
            else:
                _run_with_sacred(config, argv, runs, models, stop)
        except (UserError, RunFailed) as error:
            print("error:", " ".join(str(error).split()), file=sys.stderr)
            return 2 if isinstance(error, UserError) else 1
        except KeyboardInterrupt:
            print(f"stopped by {_signal_name(stop)}", file=sys.stderr)
            return stop.exit_code
    return 0


def _make_runs_folder(config: Config) -> Path:
    runs = Path(config.local_results_path) / "sacred"
    try:
        runs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"local_results_path={config.local_results_path}: cannot be made ({error.strerror})") from None
    return runs


def _run_with_sacred(config: Config, argv: Sequence[str], runs: Path, models: Path, stop: StopSignal) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sacred uses pkg_resources, which warns of its own end
            import sacred
        from sacred.observers import FileStorageObserver
    except ImportError as error:
        raise UserError(f"sacred is installed but does not work ({error}): install requirements.txt") from None

    class Observer(FileStorageObserver):
        def _maximum_existing_run_id(self) -> int:
            return _highest(runs, models)

    # What identifies the code is the git revision among the facts; copies of sources would be an incomplete second one.
    sacred.SETTINGS.DISCOVER_SOURCES = "none"
    sacred.SETTINGS.DISCOVER_DEPENDENCIES = "none"
    sacred.SETTINGS.CAPTURE_MODE = "no"  # a captured stream is no terminal: the progress bar would be lost
    sacred.SETTINGS.HOST_INFO.INCLUDE_GPU_INFO = False  # asks a driver tool that may hang; the facts name the device
    experiment: Any = sacred.Experiment("muster", base_dir=str(ROOT), save_git_info=False)
    experiment.logger = _silent_logger()
    experiment.add_config(config.as_dict())
    observer: Any = Observer(runs, copy_sources=False)
    experiment.observers.append(observer)

    def execute(_run: Any) -> dict[str, Any]:
        def keep(facts: dict[str, Any]) -> None:
            # a new dict, because sacred's heartbeat thread may be writing the old one
            _run.info = {**_run.info, **facts}

        return _execute(config, argv, stop, Path(observer.dir), str(_run._id), _run.log_scalar, keep)

    experiment.main(execute)
    experiment.run()


def _run_alone(config: Config, argv: Sequence[str], runs: Path, models: Path, stop: StopSignal) -> None:
    """Keep the run's record without sacred, in the same files."""
    folder = _next_folder(runs, models)
    record: dict[str, Any] = {"status": "RUNNING", "start_time": _now()}
    info: dict[str, Any] = {}

    def keep(facts: dict[str, Any]) -> None:
        info.update(facts)
        _write_json(folder / "info.json", info)

    _write_json(folder / "config.json", config.as_dict())
    _write_json(folder / "run.json", record)
    try:
        record["result"] = _execute(config, argv, stop, folder, folder.name, None, keep)
        record["status"] = "COMPLETED"
    except KeyboardInterrupt:
        record["status"] = "INTERRUPTED"
        raise
    except BaseException:
        record["status"] = "FAILED"
        record["fail_trace"] = traceback.format_exc().splitlines()
        raise
    finally:
        record["stop_time"] = _now()
        _write_json(folder / "run.json", record)


def _execute(
    config: Config, argv: Sequence[str], stop: StopSignal, folder: Path, run_id: str, on_scalar: Any, on_facts: Any
) -> dict[str, Any]:
    import run

    recorder = Recorder(folder, run_id, Console(config.log_interval), on_scalar, on_facts)
    try:
        recorder.facts({"versions": versions(), "git": git_revision(), "arguments": list(argv)})
        recorder.note(f"run {run_id}: {config.name} on {config.env}, record in {folder}")
        return run.run(config, recorder, stop)
    finally:
        recorder.close()


def _highest(*folders: Path) -> int:
    """The highest number that a run has in any of `folders`; a deleted record's checkpoints keep theirs taken."""
    numbers = (entry.name for folder in folders if folder.is_dir() for entry in folder.iterdir())
    return max((int(name) for name in numbers if name.isdecimal()), default=0)


def _next_folder(runs: Path, models: Path) -> Path:
    """Make and return the folder of the next run; its number follows the highest one, as sacred counts."""
    number = _highest(runs, models)
    while True:
        number += 1
        try:
            (runs / str(number)).mkdir()
            return runs / str(number)
        except FileExistsError:  # another run was faster
            continue


def _write_json(path: Path, content: Any) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2, default=str), encoding="utf-8")
    partial.replace(path)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _silent_logger() -> std_logging.Logger:
    logger = std_logging.getLogger("muster.sacred")
    logger.addHandler(std_logging.NullHandler())
    logger.propagate = False
    return logger


def _signal_name(stop: StopSignal) -> str:
    return signal.Signals(stop.signum).name if stop.signum is not None else "the keyboard"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

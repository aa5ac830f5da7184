"""The run's own record in files, as sacred keeps it."""

import logging
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from observers.files import cannot_begin, highest_number, whose_it_is
from observers.observer import Observer
from observers.sacred_parts import SETTINGS, Experiment, FileStorageObserver, flatten
from utils import records
from utils.config import Config
from utils.version import ROOT


class SacredFiles(FileStorageObserver):
    """Writes whole files, and keeps what goes wrong with them: sacred would drop an observer that raises, in silence,
    and go on.
    """

    def __init__(self, runs: Path) -> None:
        super().__init__(runs, copy_sources=False)
        self._runs = runs
        #: the first error of this record
        self.fault: Exception | None = None
        # sacred's heartbeat thread writes, too
        self._writing = threading.Lock()

    @property
    def folder(self) -> Path | None:
        """The run's; None before it began."""
        return Path(self.dir) if self.dir else None

    def _maximum_existing_run_id(self) -> int:
        return highest_number(self._runs)

    def save_json(self, obj: Any, filename: str) -> None:
        try:
            with self._writing:
                records.write_json(Path(str(self.dir), filename), flatten(obj))
        except Exception as error:
            self.fault = self.fault or error
            raise

    def started_event(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().started_event(*args, **kwargs)
        except OSError as error:
            raise cannot_begin(error, self.folder) from error

    def completed_event(self, stop_time: Any, result: Any) -> None:
        if self.fault is None:
            super().completed_event(stop_time, result)
        else:
            self.failed_event(stop_time, traceback.format_exception(self.fault))


class _SacredRun(Observer):
    """Hands on to sacred what is told; its files follow at its heartbeat, the facts at once."""

    def __init__(self, run: Any, files: SacredFiles) -> None:
        self._run, self._files = run, files

    def scalar(self, name: str, value: float, step: int) -> None:
        if self._files.fault is not None:
            raise self._files.fault
        self._run.log_scalar(name, value, step)

    def facts(self, facts: Mapping[str, Any]) -> None:
        # a new dict, because sacred's heartbeat thread may be writing the old one
        self._run.info = {**self._run.info, **facts}
        self._files.save_json(self._run.info, "info.json")


def carry_out(config: Config, files: SacredFiles, execute: Callable[[Observer, Path], Any]) -> None:
    """Have sacred call `execute` with what to tell and the run's folder, and record it in `files`."""
    # What identifies the code is the git revision among the facts; copies of sources would be an incomplete second one.
    SETTINGS.DISCOVER_SOURCES = "none"
    SETTINGS.DISCOVER_DEPENDENCIES = "none"
    SETTINGS.CAPTURE_MODE = "no"  # a captured stream is no terminal: the progress bar would be lost
    SETTINGS.HOST_INFO.INCLUDE_GPU_INFO = False  # asks a driver tool that may hang; the facts name the device
    experiment: Any = Experiment("muster", base_dir=str(ROOT), save_git_info=False)
    experiment.logger = _silent_logger()
    experiment.add_config(config.as_dict())
    experiment.observers.append(files)

    def main(_run: Any) -> Any:
        assert files.folder is not None
        return execute(_SacredRun(_run, files), files.folder)

    experiment.main(main)
    experiment.run(meta_info=whose_it_is())


def _silent_logger() -> logging.Logger:
    logger = logging.getLogger("muster.sacred")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger

"""Plays the part of the package of this name, for the process that records in Weights & Biases: it takes the words that
are used of the real one's, and notes as lines of JSON in the file WANDB_DOUBLE what it was told.

WANDB_DOUBLE_FAULT names what goes wrong: `network` (only offline runs can begin), `log` (raises), `finish` (hangs).
"""

import json
import os
import time
from pathlib import Path
from typing import Any

_FAULT = os.environ.get("WANDB_DOUBLE_FAULT")


def _note(**what: Any) -> None:
    with open(os.environ["WANDB_DOUBLE"], "a", encoding="utf-8") as file:
        file.write(json.dumps(what) + "\n")


class Settings:
    def __init__(self, *, console: str, silent: bool, disable_git: bool, x_disable_stats: bool, init_timeout: float):
        assert (console, silent) == ("off", True)  # the terminal is the run's
        assert init_timeout > 0


class Config:
    def update(self, d: dict[str, Any], allow_val_change: bool | None = None) -> None:
        _note(config=d)


class Run:
    def __init__(self, folder: Path, mode: str) -> None:
        self.offline, self.disabled = mode != "online", mode == "disabled"
        self.url = "https://wandb.example/me/muster/runs/1" if mode == "online" else None
        self.dir = str(folder / "files")
        self.config = Config()

    def log(self, data: dict[str, Any], step: int | None = None) -> None:
        if _FAULT == "log":
            raise ValueError("no ink\nand no paper")
        _note(log=data, step=step)

    def finish(self, exit_code: int | None = None) -> None:
        _note(finish=exit_code)
        while _FAULT == "finish":
            time.sleep(1)


def init(
    *,
    project: str,
    dir: str,
    name: str,
    group: str,
    tags: list[str],
    job_type: str,
    config: dict[str, Any],
    mode: str,
    settings: Settings,
) -> Run:
    assert isinstance(settings, Settings)
    folder = Path(dir, "wandb", f"{mode}-run")
    folder.mkdir(parents=True)
    _note(init=mode, project=project, dir=dir, name=name, group=group, tags=tags, job_type=job_type, config=config)
    if _FAULT == "network" and mode == "online":
        raise ConnectionError(f"no such host {'x' * 170} https://me:geheim@{'y' * 100}/")  # cut short before the @
    return Run(folder, mode)

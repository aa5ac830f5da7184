"""A study of seconds, as the tests of clusters carry it out: two trainings that resume bit for bit."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import toy_study
from conftest import tiny_overrides

import study

STEPS = 240
PLACES = ("sc2_3m/aqmix/seed0", "sc2_3m/aqmix/seed1")
PATIENCE = 240.0
_TINY = tiny_overrides(save_replay_buffer=True, save_model_interval=16, test_interval=120, log_interval=48)
_SETTINGS = [word for word in _TINY if not word.startswith("t_max=")]
_START = "import sys; sys.path[:0] = sys.argv[1:3]; import study, toy_study; "
_START += "sys.exit(study.main(sys.argv[3:], toy_study.REGISTRY, final=True))"


def words(results: Path, *more: str, settings: tuple[str, ...] = ()) -> list[str]:
    """The command line."""
    return ["single", f"--t-max={STEPS}", f"--results={results}", *more, "with", *_SETTINGS, *settings]


def carry_out(results: Path, *more: str, settings: tuple[str, ...] = ()) -> int:
    """The study in this process."""
    return study.main(words(results, *more, settings=settings), toy_study.REGISTRY)


def start(results: Path, *more: str, **environment: str) -> subprocess.Popen:
    """The study in a process of its own."""
    folders = (Path(study.__file__).parent, Path(toy_study.__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-c", _START, *map(str, folders), *words(results, *more)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def learnt(results: Path) -> tuple[str, list[str]]:
    """The numbers of the table, and what tells the last networks of each training from any other."""
    hashes = []
    for place in PLACES:
        (folder,) = (results / place).glob(f"models/*/{STEPS}")
        hashes.append(json.loads((folder / "manifest.json").read_text())["files"]["learner"]["sha256"])
    return (results / "single" / "table.csv").read_text(encoding="utf-8"), hashes


def newest(results: Path, place: str) -> int:
    """Steps of the newest checkpoint; 0: there is none."""
    return max((int(path.name) for path in (results / place).glob("models/*/[0-9]*")), default=0)


def runs(results: Path, place: str) -> list[tuple[str, int]]:
    """The trainings: status, and the step that each began from."""
    found = []
    for number in range(1, 1 + len(list((results / place / "sacred").glob("[0-9]*")))):
        folder = results / place / "sacred" / str(number)
        source = json.loads((folder / "config.json").read_text())["checkpoint_path"]
        status = json.loads((folder / "run.json").read_text())["status"]
        found.append((status, int(Path(source).name) if source else 0))
    return found


def worker(results: Path, place: str) -> int:
    """The process that trains there."""
    run = max((results / place / "sacred").glob("[0-9]*"), key=lambda path: int(path.name))
    return json.loads((run / "run.json").read_text())["meta"]["process"]["pid"]


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)

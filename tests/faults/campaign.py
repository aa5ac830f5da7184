"""What the tries of the campaign are made of: their number, programs, and what has to hold afterwards."""

import contextlib
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import toy_study
from conftest import tiny_overrides
from test_cli import PATIENCE, Program

import study
from utils.checkpoints import saved_steps, verify_checkpoint

#: Short episodes of 3 Marines; a round is a twentieth of a second.
TASK = ["--config=aqmix", "--env-config=sc2_3m", "env_args.episode_limit=8"]
#: A training without an end, which saves and logs all the time.
ENDLESS = [*TASK, *tiny_overrides(t_max=1_000_000, save_model_interval=48, log_interval=16)]
#: A study that, however often it is stopped, comes to the same figures: what learning depends on is in its checkpoints.
STUDY = ["single", "--t-max=120", "--seeds", "0", "1", "with"]
STUDY += [word for word in tiny_overrides(save_model_interval=16, save_replay_buffer=True) if "t_max" not in word]

# `Program` names the results as main.py wants them
_START_STUDY = """
import sys
sys.path[:0] = sys.argv[1:3]
import study, toy_study
*words, results = sys.argv[3:]
sys.exit(study.main([words[0], "--results=" + results.partition("=")[2], *words[1:]], toy_study.REGISTRY))
"""
_FOLDERS = (str(Path(study.__file__).parent), str(Path(toy_study.__file__).parent))


def tries(fault: str, number: int, always: int = 0) -> Callable:
    """Try a test `number` times, each with a `seed`; the first `always` of them in every run of the tests."""
    params = [pytest.param(seed, marks=pytest.mark.faults(fault, always=seed < always)) for seed in range(number)]
    return pytest.mark.parametrize("seed", params)


def drawn(what: str, seed: int) -> random.Random:
    """Where moments, places and sizes of a try come from."""
    return random.Random(f"{what} {seed}")


def start_study(*more: str, results: Path) -> Program:
    """The toy study in a process of its own."""
    return Program(*STUDY, *more, results=results, command=("-c", _START_STUDY, *_FOLDERS))


def carry_out(*words: str, results: Path) -> tuple[int, str]:
    """Run the command line to its end; its exit code and what it said on stderr."""
    with Program(*words, results=results) as program:
        return program.finish()


def is_one_line(err: str) -> bool:
    return err.startswith("error: ") and err.count("\n") == 1


def runs(results: Path) -> list[Path]:
    """The records of runs, in their order."""
    found = [path for path in (results / "sacred").glob("*") if path.name.isdecimal()]
    return sorted(found, key=lambda path: int(path.name))


def recorded(run: Path, name: str = "run") -> dict:
    return json.loads((run / f"{name}.json").read_text(encoding="utf-8"))


def status(run: Path) -> str:
    return recorded(run)["status"]


def newest(results: Path) -> tuple[Path, int]:
    """The run that has the most steps saved below `results`, and their number."""
    found = [(step, run) for run in (results / "models").glob("[0-9]*") for step in saved_steps(run)]
    step, run = max(found)
    return run, step


def look_at(results: Path) -> None:
    """Whatever happened: every record below `results` can be read, every metric is whole, every checkpoint is sound."""
    for sacred in results.rglob("sacred"):
        for path in sacred.glob("[0-9]*/*.json"):
            json.loads(path.read_text(encoding="utf-8"))
        for path in sacred.glob("[0-9]*/metrics.jsonl"):
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            assert all(line.endswith("\n") and json.loads(line) for line in lines), path
    for models in results.rglob("models"):
        for run in models.glob("[0-9]*"):
            for step in saved_steps(run):
                verify_checkpoint(run / str(step))


def goes_on(results: Path, *more: str) -> None:
    """The training of `ENDLESS` below `results` resumes from its newest checkpoint and comes to an end."""
    run, step = newest(results)
    words = [word for word in ENDLESS if not word.startswith("t_max")]
    code, err = carry_out(*words, *more, f"t_max={step + 40}", f"checkpoint_path={run}", results=results)
    assert (code, err) == (0, "")
    assert status(runs(results)[-1]) == "COMPLETED"
    assert newest(results)[1] >= step + 40
    look_at(results)


def figures(results: Path) -> str:
    """The numbers of the toy study's table."""
    return (results / "single" / "table.csv").read_text(encoding="utf-8")


def descendants(pid: int) -> dict[int, int]:
    """The living processes that `pid` started, directly or not, each with its parent."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it may end while it is looked at
            state, parent = entry.read_text().rpartition(")")[2].split()[:2]
            if state not in "ZX":
                parents[int(entry.parent.name)] = int(parent)
    found: dict[int, int] = {}
    while new := {child: of for child, of in parents.items() if child not in found and of in {pid, *found}}:
        found.update(new)
    return found


def workers(program: Program) -> list[int]:
    """The worker processes of a run: what its fork server started."""
    started = descendants(program.process.pid)
    return sorted(child for child, parent in started.items() if parent != program.process.pid)


def all_end(pids: list[int]) -> None:
    """These processes end before patience does."""
    deadline = time.monotonic() + PATIENCE
    while any(_lives(pid) for pid in pids):
        assert time.monotonic() < deadline, [pid for pid in pids if _lives(pid)]
        time.sleep(0.1)


def _lives(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False

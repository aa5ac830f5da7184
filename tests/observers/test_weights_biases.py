"""Recording in Weights & Biases: by a double of its package, and by the package itself where it is installed."""

import contextlib
import inspect
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import tiny_overrides
from test_cli import PATIENCE

import main
from observers import build, weights_biases
from observers.apart import Apart
from observers.observer import Run
from observers.weights_biases import WeightsAndBiases, describe
from utils.config import load_config
from utils.records import write_json

DOUBLE = Path(__file__).with_name("double")
Notes = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def notes(monkeypatch, tmp_path) -> Notes:
    """The double is there, for the processes that are started too; returns what it has noted."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    file = tmp_path / "notes"
    file.touch()
    monkeypatch.setenv("WANDB_DOUBLE", str(file))
    monkeypatch.setenv("PYTHONPATH", str(DOUBLE))
    monkeypatch.syspath_prepend(str(DOUBLE))
    return lambda: [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture
def run(tmp_path) -> Run:
    folder = tmp_path / "results" / "sacred" / "7"
    folder.mkdir(parents=True)
    write_json(folder / "run.json", {"status": "COMPLETED"})
    return Run(folder, "7", load_config(["--config=refil", "--env-config=sc2_sz", "seed=3"]))


def follow(run: Run, status: str = "COMPLETED") -> list[str]:
    """A run with two figures; returns what the user reads."""
    said: list[str] = []
    apart = Apart(WeightsAndBiases(), said.append)
    apart.begin(run)
    apart.facts({"device": "abacus"})
    apart.scalar("loss", 0.5, 3)
    apart.scalar("loss", math.inf, 4)
    apart.end(status)
    apart.join()
    return said


def test_a_run_is_known_by_its_configuration():
    said = describe(load_config(["--config=refil", "--env-config=sc2_sz", "seed=3", "name=mine", "evaluate=True"]))
    assert said.pop("config")["lr"] == load_config(["--config=refil"]).lr
    assert said == {
        "name": "mine sc2_sz seed 3",
        "group": "mine sc2_sz",
        "tags": ["mine", "sc2_sz", "starcraft"],
        "job_type": "evaluate",
    }
    assert describe(load_config([f"name={'x' * 65}"]))["tags"] == ["x" * 64, "starcraft"]


def test_everything_is_told_in_order(run, notes):
    assert follow(run) == ["Weights & Biases: https://wandb.example/me/muster/runs/1"]
    begun, *rest = notes()
    assert begun == {"init": "online", "project": "muster", "dir": str(run.folder), **describe(run.config)}
    assert rest == [
        {"config": {"facts": {"device": "abacus"}}},
        {"log": {"loss": 0.5}, "step": 3},
        {"log": {"loss": math.inf}, "step": 4},
        {"finish": 0},
    ]


@pytest.mark.parametrize("status", ["FAILED", "INTERRUPTED"])
def test_a_run_that_is_not_complete_has_not_finished(run, notes, status):
    follow(run, status)
    assert notes()[-1] == {"finish": 1}


def test_without_a_network_a_run_stays_here(run, notes, monkeypatch):
    monkeypatch.setenv("WANDB_DOUBLE_FAULT", "network")
    kept = run.folder / "wandb" / "offline-run"
    (said,) = follow(run)
    assert said.startswith("Weights & Biases: offline (no such host xxx")
    assert said.endswith(f"); wandb sync {kept} uploads it")
    assert "https://me:***@y" in said
    assert [note["init"] for note in notes() if "init" in note] == ["online", "offline"]
    assert notes()[-1] == {"finish": 0}
    assert list((run.folder / "wandb").iterdir()) == [kept]  # nothing is left of the first attempt


@pytest.mark.parametrize("mode", ["offline", "disabled", "online"])
def test_what_the_environment_asks_for_is_done_and_nothing_else(run, notes, monkeypatch, mode):
    monkeypatch.setenv("WANDB_MODE", mode)
    monkeypatch.setenv("WANDB_PROJECT", "other")
    monkeypatch.setenv("WANDB_DOUBLE_FAULT", "network")
    (said,) = follow(run)
    assert [(note["init"], note["project"]) for note in notes() if "init" in note] == [(mode, "other")]
    expected = {"offline": ": offline; wandb sync", "disabled": ": disabled by WANDB_MODE", "online": " was dropped, "}
    assert expected[mode] in said
    assert "geheim" not in said


def test_what_goes_wrong_later_is_told_once_and_in_short(run, notes, monkeypatch):
    monkeypatch.setenv("WANDB_DOUBLE_FAULT", "log")
    address, warning = follow(run)
    assert address.startswith("Weights & Biases: https://")
    assert "was dropped, RuntimeError: ValueError: no ink; the run does without" in warning
    assert "paper" not in warning


@pytest.mark.slow
def test_a_server_that_takes_its_time_at_the_end_is_left(run, notes, monkeypatch):
    monkeypatch.setenv("WANDB_DOUBLE_FAULT", "finish")
    observer, said = WeightsAndBiases(), []
    observer.grace = 0.1
    apart = Apart(observer, said.append)
    apart.begin(run)
    while not said:  # until it has begun
        apart.facts({})
        time.sleep(0.05)
    apart.end("COMPLETED")
    apart.join()
    assert "was not done 0.1 seconds after the end" in said[-1]
    process = observer._process
    assert process.stdin is not None
    process.stdin.close()  # as the end of this program would
    assert process.wait(PATIENCE) == 1


def test_nothing_outlives_a_run_that_was_killed(run, notes):
    code = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from observers.observer import Run
from observers.weights_biases import WeightsAndBiases
from utils.config import load_config
observer = WeightsAndBiases()
observer.say = lambda text: None
observer.begin(Run(Path(sys.argv[2]), "7", load_config([])))
print(observer._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    words = [sys.executable, "-c", code, str(Path(main.__file__).parent), str(run.folder)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + PATIENCE
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # its end may come while it is looked at
        while b"weights_biases" in Path(f"/proc/{int(done.stdout)}/cmdline").read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert notes()[-1] == {"finish": 1}


def test_only_where_it_is_asked_for(notes, monkeypatch):
    monkeypatch.delenv("MONGO_URL", raising=False)
    assert build(load_config([])) == []
    assert [type(observer) for observer in build(load_config(["use_wandb=True"]))] == [WeightsAndBiases]


def test_a_missing_package_is_one_line(monkeypatch, results, capsys):
    monkeypatch.setattr(weights_biases, "find_spec", lambda name: None)
    assert main.main(["use_wandb=True", f"local_results_path={results}"]) == 2
    assert capsys.readouterr().err == (
        "error: use_wandb=True needs the package wandb, which is missing: "
        "./run.sh python -m pip install 'wandb>=0.31'\n"
    )
    assert not results.exists()


# --- with the package itself ------------------------------------------------------------------------------------------

KEY = "0123456789abcdef" * 2 + "01234567"


def logged(file: Path) -> Iterator[Any]:
    """The records in a `.wandb` file: a head of 7 bytes, then a LevelDB log of blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, whole = file.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a record in one piece, or the last piece of one
            yield Record.FromString(whole)
            whole = b""


def test_the_double_is_true():
    wandb = pytest.importorskip("wandb")
    assert not Path(wandb.__file__).is_relative_to(DOUBLE)
    words = (DOUBLE / "wandb" / "__init__.py").read_text()
    double: dict[str, Any] = {}
    exec(compile(words, "double", "exec"), double)
    pairs = [
        (double["init"], wandb.init),
        (double["Run"].log, wandb.Run.log),
        (double["Run"].finish, wandb.Run.finish),
        (double["Config"].update, wandb.Config.update),
    ]
    for ours, theirs in pairs:
        assert set(inspect.signature(ours).parameters) <= set(inspect.signature(theirs).parameters)
    settings = set(inspect.signature(double["Settings"]).parameters)
    assert settings <= set(wandb.Settings.model_fields)
    for name in ("offline", "disabled", "url", "dir", "config"):
        assert isinstance(getattr(wandb.Run, name), property)


def test_an_offline_run_holds_what_the_record_holds(results, monkeypatch, capsys):
    pytest.importorskip("wandb")
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    words = ["--config=refil", "--env-config=sc2_3m", *tiny_overrides("refil", use_wandb=True)]
    assert main.main([*words, f"local_results_path={results}"]) == 0
    folder = results / "sacred" / "1"
    assert "warning" not in capsys.readouterr().out
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    expected: dict[int, dict[str, float]] = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        entry = json.loads(line)
        expected.setdefault(entry["step"], {})[entry["name"]] = entry["value"]
    found: dict[int, dict[str, float]] = {}
    ended = None
    for record in logged(file):
        if record.HasField("run"):
            assert (record.run.display_name, record.run.run_group) == ("refil sc2_3m seed 1", "refil sc2_3m")
            assert list(record.run.tags) == ["refil", "sc2_3m", "starcraft"]
        if record.HasField("history"):
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            found[row["_step"]] = {name: value for name, value in row.items() if not name.startswith("_")}
        if record.HasField("exit"):
            ended = record.exit.exit_code
    assert found == expected
    assert ended == 0
    for path in results.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()

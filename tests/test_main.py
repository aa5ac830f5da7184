"""From the command line to a run's record, with and without sacred. A stand-in takes the place of the experiment."""

import ast
import json
import math
import os
import signal
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import main as command
from utils.config import load_config
from utils.errors import RunFailed, UserError
from utils.interrupt import Interrupted

SRC = Path(command.__file__).parent


class StandIn(ModuleType):
    """Plays the part of `run`: records one metric, then does what the test wants."""

    def __init__(self) -> None:
        super().__init__("run")
        self.then = lambda config, recorder, stop: {"score": 1.0}
        self.check = lambda config: None

    def run(self, config, recorder, stop):
        self.run_id = recorder.run_id
        recorder.facts({"device": "abacus"})
        recorder.scalar("loss", math.nan, 3)
        recorder.scalar("loss", 0.25, 4)
        return self.then(config, recorder, stop)


@pytest.fixture
def experiment(monkeypatch) -> StandIn:
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, "run", stand_in)
    return stand_in


@pytest.fixture(params=["with sacred", "without sacred"])
def recorded(request, monkeypatch) -> None:
    """Lets a test run in both ways of keeping the record."""
    if request.param == "without sacred":
        monkeypatch.setattr(command, "find_spec", lambda name: None)


def read(path: Path):
    return json.loads(path.read_text())


def stop_with(signum: int):
    def run(config, recorder, stop):
        os.kill(os.getpid(), signum)
        assert stop.requested
        raise Interrupted

    return run


@pytest.mark.usefixtures("recorded")
def test_a_complete_run(experiment, results, capsys):
    words = ["--config=copa", "with", f"local_results_path={results}", "seed=5"]
    assert command.main(words) == 0
    folder = results / "sacred" / "1"
    assert experiment.run_id == "1"
    record = read(folder / "run.json")
    assert record["status"] == "COMPLETED"
    assert record["result"] == {"score": 1.0}
    assert read(folder / "config.json") == load_config(words).as_dict()
    info = read(folder / "info.json")
    assert info["device"] == "abacus"
    assert {"python", "torch", "numpy", "sacred", "muster"} <= set(info["versions"])
    assert set(info["git"]) == {"commit", "dirty"}
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(entry["name"], entry["step"]) for entry in metrics] == [("loss", 3), ("loss", 4)]
    assert math.isnan(metrics[0]["value"])
    assert metrics[1]["value"] == 0.25
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("run 1:")


def test_sacred_has_the_metrics(experiment, results):
    assert command.main([f"local_results_path={results}"]) == 0
    loss = read(results / "sacred" / "1" / "metrics.json")["loss"]
    assert loss["steps"] == [3, 4]
    assert loss["values"][1] == 0.25


@pytest.mark.usefixtures("recorded")
def test_runs_are_numbered_after_the_highest(experiment, results):
    (results / "sacred" / "7").mkdir(parents=True)
    (results / "sacred" / "_notes").mkdir()
    for expected in ("8", "9"):
        assert command.main([f"local_results_path={results}"]) == 0
        assert experiment.run_id == expected


@pytest.mark.usefixtures("recorded")
def test_a_number_that_only_checkpoints_have_is_taken(experiment, results):
    (results / "models" / "4").mkdir(parents=True)
    (results / "sacred" / "2").mkdir(parents=True)
    assert command.main([f"local_results_path={results}"]) == 0
    assert experiment.run_id == "5"


@pytest.mark.usefixtures("recorded")
def test_a_failure_is_recorded_and_shown(experiment, results):
    def fail(config, recorder, stop):
        raise ZeroDivisionError("by nothing")

    experiment.then = fail
    with pytest.raises(ZeroDivisionError):
        command.main([f"local_results_path={results}"])
    record = read(results / "sacred" / "1" / "run.json")
    assert record["status"] == "FAILED"
    assert "by nothing" in "".join(record["fail_trace"])
    assert "stop_time" in record


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_is_recorded_as_such(experiment, results, capsys, signum, code):
    experiment.then = stop_with(signum)
    assert command.main([f"local_results_path={results}"]) == code
    assert read(results / "sacred" / "1" / "run.json")["status"] == "INTERRUPTED"
    assert capsys.readouterr().err == f"stopped by {signal.Signals(signum).name}\n"


def test_a_second_signal_stops_at_once(experiment, results):
    def ignore_the_first(config, recorder, stop):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the second signal did not stop this")

    experiment.then = ignore_the_first
    assert command.main([f"local_results_path={results}"]) == 143
    assert read(results / "sacred" / "1" / "run.json")["status"] == "INTERRUPTED"


def test_a_signal_before_the_run_leaves_no_record(experiment, results):
    experiment.check = lambda config: os.kill(os.getpid(), signal.SIGINT)
    assert command.main([f"local_results_path={results}"]) == 130
    assert list(results.rglob("run.json")) == []


def refuse(config, *parts):
    raise UserError("no game is installed:\nrun install_sc2.sh")


def test_what_the_user_can_put_right_is_one_line(experiment, results, capsys):
    for words in (["gama=1"], ["--config=cpa"], ["gamma=2"], ["checkpoint_path=nonesuch"]):
        assert command.main([*words, f"local_results_path={results}"]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
    experiment.check = refuse
    assert command.main([f"local_results_path={results}"]) == 2
    assert capsys.readouterr().err == "error: no game is installed: run install_sc2.sh\n"
    assert not results.exists()


@pytest.mark.usefixtures("recorded")
def test_the_same_during_the_run(experiment, results, capsys):
    experiment.then = refuse
    assert command.main([f"local_results_path={results}"]) == 2
    assert capsys.readouterr().err == "error: no game is installed: run install_sc2.sh\n"
    assert read(results / "sacred" / "1" / "run.json")["status"] == "FAILED"


def test_results_cannot_be_written(experiment, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert command.main([f"local_results_path={tmp_path / 'file'}"]) == 2
    assert "local_results_path" in capsys.readouterr().err


def test_help_and_print_config_start_nothing(experiment, results, capsys):
    experiment.then = refuse
    assert command.main(["--help"]) == 0
    page = capsys.readouterr().out
    assert "copa_no_var" in page
    assert "KEY=VALUE" in page
    words = ["--config=copa", f"local_results_path={results}", "test_teams=3-4,5"]
    assert command.main([*words, "--print-config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == load_config(words).as_dict()
    assert not results.exists()


def test_only_the_command_line_knows_sacred():
    for path in SRC.rglob("*.py"):
        modules = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module.partition(".")[0])
        if path.name == "main.py":
            assert "sacred" in modules
        else:
            assert not modules & {"sacred", "pymongo"}, path


@pytest.mark.usefixtures("recorded")
def test_a_run_that_says_why_it_failed_ends_in_that_line(experiment, results, capsys):
    def run(config, recorder, stop):
        raise RunFailed("the loss is\n nan at step 7")

    experiment.then = run
    assert command.main([f"local_results_path={results}"]) == 1
    assert capsys.readouterr().err == "error: the loss is nan at step 7\n"
    record = read(results / "sacred" / "1" / "run.json")
    assert record["status"] == "FAILED"
    assert any("RunFailed" in line for line in record["fail_trace"])

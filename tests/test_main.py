"""From the command line to a run's record, with and without sacred. A stand-in takes the place of the experiment."""

import ast
import errno
import json
import math
import os
import signal
import time
from pathlib import Path

import pytest
import yaml
from conftest import bound_by_permissions

import main as command
import recording
from runs import read_run
from utils import records
from utils.checkpoints import save_checkpoint
from utils.config import load_config
from utils.errors import RunFailed, UserError
from utils.interrupt import Interrupted
from utils.records import process_facts, status_of

SRC = Path(command.__file__).parent


@pytest.fixture(params=["with sacred", "without sacred"])
def recorded(request, monkeypatch) -> None:
    """Lets a test run in both ways of keeping the record."""
    if request.param == "without sacred":
        monkeypatch.setattr(recording, "find_spec", lambda name: None)


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
    listed = read_run(folder, results)
    assert (listed.id, listed.name, listed.seed, listed.status, listed.test) == ("1", "copa", "5", "COMPLETED", "")
    assert listed.steps.startswith("4 of ")
    assert listed.time.startswith("0:")


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


@pytest.mark.parametrize("place", ["", "sacred", "models"])
def test_results_cannot_be_written(experiment, results, capsys, place):
    (results / place).parent.mkdir(exist_ok=True)
    (results / place).touch()
    there = list(results.parent.rglob("*"))
    assert command.main([f"local_results_path={results}"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: local_results_path={results}: {results / place}")
    assert err.count("\n") == 1
    assert list(results.parent.rglob("*")) == there


def test_a_checkpoint_that_may_not_be_read(experiment, results, open_folder, capsys):
    (open_folder / "private").mkdir(mode=0)
    with bound_by_permissions():
        assert command.main([f"checkpoint_path={open_folder / 'private' / '1'}", f"local_results_path={results}"]) == 2
    err = capsys.readouterr().err
    assert err == f"error: checkpoint_path: '{open_folder / 'private' / '1'}' cannot be read (Permission denied)\n"
    assert not results.exists()


def test_what_is_not_written_to_need_not_be_writable(experiment, results):
    results.mkdir()
    (results / "models").touch()
    for words in (["save_model=False"], ["--config=scripted", "evaluate=True"]):
        assert command.main([*words, f"local_results_path={results}"]) == 0


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


def test_only_one_file_knows_sacred_and_only_one_room_knows_databases():
    for path in SRC.rglob("*.py"):
        modules = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module.partition(".")[0])
        assert ("sacred" in modules) == (path.name == "sacred_parts.py"), path
        assert path.parent.name == "observers" or not modules & {"pymongo", "gridfs", "bson"}, path


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


# --- when the disk refuses --------------------------------------------------------------------------------------------


def refuse_to_write(monkeypatch, file: str) -> None:
    """From now on the disk is full for `file`."""
    write_json = records.write_json

    def write(path, content):
        if path.name == file:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write_json(path, content)

    monkeypatch.setattr(records, "write_json", write)


def fill_the_disk(config, recorder, stop):
    raise OSError(errno.ENOSPC, "No space left on device", "models/1/240")


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("saved", [True, False])
def test_a_full_disk_ends_a_run_in_one_line(experiment, results, capsys, saved):
    def run(config, recorder, stop):
        if saved:
            save_checkpoint(results / "models" / "1" / "120", {"learner": {}})
        fill_the_disk(config, recorder, stop)

    experiment.then = run
    assert command.main([f"local_results_path={results}"]) == 1
    intact = f"the newest checkpoint, {results / 'models' / '1' / '120'}, is whole" if saved else "no checkpoint yet"
    err = capsys.readouterr().err
    assert err.startswith("error: models/1/240 cannot be written (No space left on device); ")
    assert intact in err
    assert err.count("\n") == 1
    record = read(results / "sacred" / "1" / "run.json")
    assert record["status"] == "FAILED"
    assert any("in fill_the_disk" in line for line in record["fail_trace"])


@pytest.mark.usefixtures("recorded")
def test_other_errors_of_the_system_are_not_the_disk(experiment, results):
    def run(config, recorder, stop):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

    experiment.then = run
    with pytest.raises(ConnectionRefusedError):
        command.main([f"local_results_path={results}"])


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("file", ["config.json", "run.json"])
def test_a_record_that_cannot_be_begun_is_removed(experiment, results, capsys, monkeypatch, file):
    refuse_to_write(monkeypatch, file)
    assert command.main([f"local_results_path={results}"]) == 2
    err = capsys.readouterr().err
    assert f"{results / 'sacred' / '1' / file} cannot be written (No space left on device)" in err
    assert err.count("\n") == 1
    assert list((results / "sacred").iterdir()) == []


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("then", "code", "told"),
    [
        (None, 1, "error: {record}/run.json cannot be written (No space left on device); this run had no checkpoint "),
        (fill_the_disk, 1, "error: models/1/240 cannot be written (No space left on device); "),
        (refuse, 2, "error: no game is installed: run install_sc2.sh; "),
        (stop_with(signal.SIGTERM), 143, "stopped by SIGTERM; "),
    ],
)
def test_a_record_that_cannot_be_closed_is_told_too(experiment, results, capsys, monkeypatch, then, code, told):
    def run(config, recorder, stop):
        # from now on, and not from the start: run.json is there, and says RUNNING
        refuse_to_write(monkeypatch, "run.json")
        return then(config, recorder, stop) if then else {}

    experiment.then = run
    assert command.main([f"local_results_path={results}"]) == code
    folder = results / "sacred" / "1"
    err = capsys.readouterr().err
    assert err.startswith(told.format(record=folder))
    assert err.endswith(f"the record in {folder} could not be closed and still says RUNNING\n")
    assert err.count("\n") == 1
    assert read(folder / "run.json")["status"] == "RUNNING"


def test_what_sacred_cannot_write_at_its_heartbeat_ends_the_run(experiment, results, capsys, monkeypatch):
    monkeypatch.setattr("sacred.SETTINGS.DEFAULT_BEAT_INTERVAL", 0.01)

    def run(config, recorder, stop):
        deadline, refused = time.monotonic() + 60, False
        while time.monotonic() < deadline:
            recorder.scalar("loss", time.monotonic(), 5)
            metrics = recorder.run_dir / "metrics.json"
            if not refused and metrics.exists() and read(metrics):
                refuse_to_write(monkeypatch, "metrics.json")
                refused = True
        raise AssertionError("the run went on without its record")

    experiment.then = run
    assert command.main([f"local_results_path={results}"]) == 1
    assert "metrics.json cannot be written (No space left on device); " in capsys.readouterr().err
    folder = results / "sacred" / "1"
    assert status_of(folder) == "FAILED"
    # what was written before is whole, and without a gap
    lines = [json.loads(line)["value"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kept = read(folder / "metrics.json")["loss"]["values"]
    assert str(kept) == str(lines[: len(kept)])


def test_what_sacred_cannot_write_in_the_end_is_a_failure(experiment, results, capsys, monkeypatch):
    refuse_to_write(monkeypatch, "metrics.json")
    assert command.main([f"local_results_path={results}"]) == 1
    assert "metrics.json cannot be written (No space left on device); " in capsys.readouterr().err
    record = read(results / "sacred" / "1" / "run.json")
    assert record["status"] == "FAILED"
    assert "No space left" in "".join(record["fail_trace"])


@pytest.mark.usefixtures("recorded")
def test_a_record_says_from_the_start_whose_it_is(experiment, results):
    def run(config, recorder, stop):
        assert read(recorder.run_dir / "run.json")["meta"]["process"] == process_facts()
        assert status_of(recorder.run_dir) == "RUNNING"
        assert read(recorder.run_dir / "info.json")["device"] == "abacus"
        return {}

    experiment.then = run
    assert command.main([f"local_results_path={results}"]) == 0
    assert status_of(results / "sacred" / "1") == "COMPLETED"
    assert not (results / "sacred" / "1" / ".reserve").exists()

"""The list of runs: what records say, dead ones told from living ones, broken ones in a line."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import bound_by_permissions

import runs
from utils.records import process_facts

GONE = {**process_facts(), "started": -1}  # the process of this id has another start


def write(folder: Path, **files: object) -> Path:
    """A record as a training leaves it, with other contents for the files in `files` (None: without it)."""
    contents: dict[str, object] = {
        "run.json": {
            "status": "COMPLETED",
            "start_time": "2026-03-01T10:00:00.500000",
            "stop_time": "2026-03-01T11:02:03.500000",
        },
        "config.json": {"name": "refil", "seed": 3, "env": "starcraft", "t_max": 2_000_000, "evaluate": False},
        "info.json": {"arguments": ["--config=refil", "--env-config", "sc2_sz", "with", "seed=3"]},
        "evaluation.json": {"3-5": {"battle_won": {"mean": 0.25}}, "8": {"battle_won": {"mean": 0.125}}},
        "metrics.jsonl": '{"name": "loss", "step": 1000, "value": 1}\n{"name": "loss", "step": 12000, "value": 1}\n',
    }
    folder.mkdir(parents=True)
    for name, content in {**contents, **files}.items():
        if content is not None:
            text = content if isinstance(content, str) else json.dumps(content)
            (folder / name).write_text(text, encoding="utf-8", errors="surrogateescape")
    return folder


def listed(results: Path, capsys) -> dict[str, str]:
    """Id -> line of what the program prints; the last one is `all`."""
    assert runs.main([str(results)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["id", "name", "task", "seed", "status", "steps", "time", "last", "test"]
    return {**{line.split()[0]: line for line in lines[1:-1]}, "all": lines[-1]}


def test_a_record_is_a_line(tmp_path, capsys):
    write(tmp_path / "sacred" / "1")
    line = listed(tmp_path, capsys)["1"]
    assert [cell.strip() for cell in line.split("  ") if cell] == [
        "1", "refil", "sc2_sz", "3", "COMPLETED", "12,000 of 2,000,000", "1:02:03", "battle_won 3-5: 0.25, 8: 0.12",
    ]  # fmt: skip


def test_validation_is_told_from_a_test(tmp_path):
    config = {"name": "refil", "env": "starcraft", "t_max": 20, "test_episodes": "validation"}
    files = {"config.json": config, "validation.json": {"3-5": {"battle_won": {"mean": 0.5}}}}
    assert runs.read_run(write(tmp_path / "sacred" / "1", **files), tmp_path).test == "validation: battle_won 3-5: 0.50"


def test_of_a_test_there_is_no_length_and_without_a_task_there_is_the_environment(tmp_path):
    config = {"name": "refil", "seed": 3, "env": "starcraft", "t_max": 2_000_000, "evaluate": True}
    record = write(tmp_path / "sacred" / "1", **{"config.json": config, "info.json": {"arguments": ["seed=3"]}})
    run = runs.read_run(record, tmp_path)
    assert (run.steps, run.task) == ("12,000", "starcraft")


def test_runs_of_studies_are_found_and_numbers_count(tmp_path, capsys):
    places = ["sacred/10", "sacred/9", "sc2_sz/refil/seed0/sacred/1", "sc2_sz/refil/seed0/tests/plain/sacred/2"]
    for place in places:
        write(tmp_path / place)
    for other in ("models/1/2000/sacred/1", "sacred/9/expert", "sacred/notes"):  # none of them is a record
        (tmp_path / other).mkdir(parents=True)
    (tmp_path / "sacred" / "11").write_text("")
    found = listed(tmp_path, capsys)
    assert list(found) == ["9", "10", "sc2_sz/refil/seed0/1", "sc2_sz/refil/seed0/tests/plain/2", "all"]
    assert found["all"] == "4 in all: 4 COMPLETED"
    assert list(listed(tmp_path / "sacred", capsys)) == ["9", "10", "all"]


@pytest.fixture
def tokyo(monkeypatch) -> Iterator[None]:
    """The clock on the wall is 9 hours ahead of UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "JST-9")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("tokyo")
@pytest.mark.parametrize("start", ["2026-03-01T10:00:00", "2026-03-01T10:00:00+00:00"])  # sacred's, and ours without it
def test_the_dead_are_told_from_the_living(tmp_path, capsys, start):
    for number, process in enumerate((process_facts(), GONE, {**GONE, "host": "elsewhere"}), start=1):
        run = {"status": "RUNNING", "start_time": start, "meta": {"process": process}}
        record = write(tmp_path / "sacred" / str(number), **{"run.json": run})
        for name in ("run.json", "metrics.jsonl"):
            os.utime(record / name, (0, 1772359200 + 65))  # that start, and 65 s
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    found = listed(tmp_path, capsys)
    assert [found[i].split()[4] for i in "123"] == ["RUNNING", "DIED", "RUNNING"]
    assert "  1:05  " in found["2"]
    assert found["all"] == "3 in all: 2 RUNNING, 1 DIED"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_run_that_has_just_begun_has_no_figures(tmp_path):
    files = ("metrics.jsonl", "evaluation.json", "info.json")
    run = runs.read_run(write(tmp_path / "sacred" / "1", **dict.fromkeys(files)), tmp_path)
    assert (run.steps, run.test, run.task) == ("0 of 2,000,000", "", "starcraft")


def test_a_line_of_metrics_that_is_being_written_does_not_count(tmp_path):
    lines = '{"name": "loss", "step": 1000, "value": 1}\n' * 1000
    record = write(tmp_path / "sacred" / "1", **{"metrics.jsonl": lines + '{"name": "loss", "step": 20'})
    assert runs.read_run(record, tmp_path).steps == "1,000 of 2,000,000"


BROKEN = ["{\n", "7\n", "[" * 100_000 + "\n", "\udcff\n"]
#: ... and what is sound, and no test and no metric
SENSELESS = ['{"8": 7}\n', '{"step": Infinity}\n']


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((name, content) for name in ("run.json", "config.json") for content in BROKEN),
        *((name, content) for name in ("evaluation.json", "metrics.jsonl") for content in BROKEN + SENSELESS),
    ],
)
def test_what_cannot_be_read_is_said_in_the_line(tmp_path, capsys, name, content):
    write(tmp_path / "sacred" / "1", **{name: content})
    write(tmp_path / "sacred" / "2")
    found = listed(tmp_path, capsys)
    assert found["1"].endswith(f"! cannot be read: {name}")
    assert found["2"].endswith("8: 0.12")


@pytest.mark.parametrize(
    "run",
    [
        {"status": ["a"], "start_time": 3, "meta": 4},
        {"status": "RUNNING", "start_time": "now", "meta": {"process": "x"}},
        {"status": "RUNNING", "start_time": "0001-01-01T00:00:00", "meta": {"process": {**GONE, "pid": 1 << 70}}},
        {"status": "a\nb\x1b[2J"},
    ],
)
def test_whatever_a_record_says_is_one_line(tmp_path, capsys, run):
    config = {"name": ["x"], "seed": {}, "t_max": "long", "evaluate": 3}
    facts = {"arguments": [["--config"], "--nonsense"]}
    write(tmp_path / "sacred" / "1", **{"run.json": run, "config.json": config, "info.json": facts})
    found = listed(tmp_path, capsys)
    assert list(found) == ["1", "all"]
    assert found["1"].isprintable()


def test_a_folder_that_may_not_be_read_is_named(open_folder, capsys):
    write(open_folder / "a" / "sacred" / "1")
    (open_folder / "b").mkdir(mode=0o000)
    with bound_by_permissions():
        assert runs.main([str(open_folder)]) == 0
    said = capsys.readouterr()
    assert said.err == f"left out: {open_folder / 'b'} cannot be read (Permission denied)\n"
    assert "1 in all" in said.out


def test_no_run_no_folder_no_such_option(tmp_path, capsys):
    assert runs.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"no run is recorded below {tmp_path}\n"
    assert runs.main([str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.startswith(f"error: RESULTS={tmp_path / 'nothing'}: there is no such folder")
    assert runs.main(["--all"]) == 2
    assert "--help explains the words" in capsys.readouterr().err


def test_nobody_has_to_read_to_the_end(tmp_path):
    for number in range(1, 1001):
        (tmp_path / "sacred" / str(number)).mkdir(parents=True)
    command = f"{sys.executable} {runs.__file__} {tmp_path} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("id ")
    assert done.stderr == ""

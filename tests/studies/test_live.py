"""What is shown of a study that is carried out, by folders and metrics that are made here."""

import errno
import io
import json
from pathlib import Path

import pytest
from toy_study import SINGLE, TOY

from studies import live
from studies.clusters import Job
from studies.declaration import Entry
from studies.live import Trail, View, cells_of
from studies.progress import Standing, standings
from utils.checkpoints import save_checkpoint
from utils.records import process_facts

PLACE = "sc2_3m/aqmix/seed0"
ENTRY = Entry(SINGLE, (0,), 100, ())
JOBS = [Job(PLACE, ENTRY, 0)]


def record(results: Path, status: str, run: int = 1) -> Path:
    folder = results / PLACE / "sacred" / str(run)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"status": status, "meta": {"process": process_facts()}}))
    return folder


def say(path: Path, name: str, step: int, value: float, at: float) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps({"name": name, "step": step, "value": value, "time": at}) + "\n")


@pytest.fixture
def trail(tmp_path) -> Trail:
    return Trail(tmp_path / "metrics.jsonl")


def test_a_trail_goes_on_where_it_was(trail):
    trail.read()
    assert (trail.rate, trail.test) == (None, "")
    say(trail.path, "loss", 100, 0.5, 10.0)
    trail.read()
    assert trail.rate is None
    say(trail.path, "loss", 400, 0.25, 12.0)
    with open(trail.path, "a", encoding="utf-8") as file:
        file.write('{"name": "loss", "step": 900, "val')  # it is being written
    trail.read()
    assert (trail.last, trail.rate) == ((400, 12.0), 150.0)
    with open(trail.path, "a", encoding="utf-8") as file:
        file.write('ue": NaN, "time": 14.0}\n')
    trail.read()
    assert (trail.last, trail.rate) == ((900, 14.0), 200.0)


def test_the_last_test_counts(trail):
    for step, value in ((0, 0.25), (160, 0.5)):
        say(trail.path, "test/3/return_mean", step, 10 * value, 1.0)
        say(trail.path, "test/3/battle_won_mean", step, value, 1.0)
    trail.read()
    assert trail.test == "battle_won 3: 0.50"
    say(trail.path, "test/3/comm_frequency", 320, 0.125, 2.0)  # the others follow
    trail.read()
    assert trail.test == ""


def shown(results: Path) -> tuple[Standing, Trail | None]:
    (standing,) = standings(ENTRY, results)
    trail = Trail(standing.run / "metrics.jsonl") if standing.run else None
    if trail:
        trail.read()
    return standing, trail


def test_the_line_of_a_cell(tmp_path):
    assert cells_of(*shown(tmp_path)) == [PLACE, "waiting", "0 of 100", "", "", "", "0"]
    record(tmp_path, "INTERRUPTED")
    run = record(tmp_path, "RUNNING", 2)
    save_checkpoint(tmp_path / PLACE / "models" / "1" / "20", {"learner": {}}, updates=7)
    say(run / "metrics.jsonl", "loss", 20, 1.0, 1.0)
    say(run / "metrics.jsonl", "test/3/return_mean", 60, 1.5, 3.0)
    facts = process_facts()
    where = f"{facts['host']} {facts['pid']}"
    assert cells_of(*shown(tmp_path)) == [PLACE, "running", "60 of 100", "20", "return 3: 1.50", where, "2"]
    record(tmp_path, "COMPLETED", 2)
    assert cells_of(*shown(tmp_path)) == [PLACE, "waiting", "60 of 100", "", "return 3: 1.50", "", "2"]


def test_lines_tell_what_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "LOOK", 0.0)
    said = io.StringIO()
    facts = process_facts()
    with View(JOBS, tmp_path, said) as view:
        view.show()
        record(tmp_path, "RUNNING")
        view.show()
        view.show()
        record(tmp_path, "FAILED")
        view.show()
        record(tmp_path, "RUNNING", 2)
        view.show()
        view.note("a note")
        monkeypatch.setattr(live, "LOOK", float("inf"))
        record(tmp_path, "FAILED", 2)
        view.show()  # is too soon for another look; the end is not
    nothing = "0 of 100 steps, 0 updates"
    running = f"{PLACE}: {nothing}, running in process {facts['pid']} on {facts['host']}"
    assert said.getvalue().splitlines() == [
        f"1 in all: 0 finished, 0 running, 0 died, 0 failed, 1 waiting; {nothing}",
        running,
        f"{PLACE}: {nothing}, failed",
        f"{running} (try 2)",
        "a note",
        f"{PLACE}: {nothing}, failed (try 2)",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_a_table_and_a_bar(tmp_path, monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "8")
    monkeypatch.setattr(live, "REDRAW", 0.0)
    run = record(tmp_path, "RUNNING")
    say(run / "metrics.jsonl", "loss", 50, 1.0, 1.0)
    jobs = [Job(cell.place(seed), Entry(TOY, (seed,), 100, ()), 0) for cell, seed in TOY.jobs((0,))][1:2]
    stream = Terminal()
    with View(jobs, tmp_path, stream) as view:
        view.show()
        view.note("a [note]")
        view.show()
    said = stream.getvalue()
    assert all(title in said for title in ("cell", "state", "steps/s", "last test", "where", "tries"))
    assert f"{PLACE} " in said
    assert "50 of 100" in said
    assert "and 1 more" in said  # three cells, and a terminal of eight lines
    assert "0 of 3 finished" in said
    assert "25%" in said  # 50 of 200 steps; a scripted team has none
    assert "a [note]" in said


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_nobody_has_to_read_it(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(live, "REDRAW", 0.0)
    monkeypatch.setattr(live, "LOOK", 0.0)
    stream = kind()
    with View(JOBS, tmp_path, stream) as view:
        view.show()

        def closed(text):
            raise OSError(errno.EIO, "Input/output error")

        stream.write = closed
        record(tmp_path, "RUNNING")
        view.show()
        view.note("a note")
        view.show()

"""Where cells stand, by folders that are made here."""

import json
from pathlib import Path

import pytest
from toy_study import SINGLE, TOY

from studies.declaration import Entry
from studies.progress import standings, summary
from studies.stored import fingerprint
from utils.checkpoints import save_checkpoint
from utils.records import process_facts

CELL = "sc2_3m/aqmix/seed0"
ENTRY = Entry(SINGLE, (0,), 60, ())


def trained(results: Path, step: int, updates: int | None = None) -> Path:
    folder = results / CELL / "models" / "1" / str(step)
    save_checkpoint(folder, {"learner": {"step": step, "counters": {"updates": 5}}}, updates=updates)
    return folder


def write_test(results: Path, checkpoint: Path | None, place: str = CELL) -> None:
    folder = results / place / "tests" / "plain"
    folder.mkdir(parents=True)
    (folder / "test.json").write_text(json.dumps({"checkpoint": checkpoint and fingerprint(checkpoint)}))


def recorded(folder: Path, status: str, run: int = 1) -> dict:
    facts = process_facts()
    if status == "DIED":
        status, facts["started"] = "RUNNING", -1
    (folder / "sacred" / str(run)).mkdir(parents=True)
    record = {"status": status, "meta": {"process": facts}}
    (folder / "sacred" / str(run) / "run.json").write_text(json.dumps(record))
    return facts


def stands(results: Path) -> str:
    (standing,) = standings(ENTRY, results)
    return str(standing)


def test_before_anything_was_done(tmp_path):
    assert stands(tmp_path / "results") == f"{CELL}: 0 of 60 steps, 0 updates, waiting"
    assert not (tmp_path / "results").exists()


def test_running(tmp_path):
    facts = recorded(tmp_path / CELL, "RUNNING")
    trained(tmp_path, 20, updates=7)
    assert stands(tmp_path) == f"{CELL}: 20 of 60 steps, 7 updates, running in process {facts['pid']}"


@pytest.mark.parametrize(
    ("status", "state"), [("DIED", "died"), ("FAILED", "failed"), ("INTERRUPTED", "waiting"), ("COMPLETED", "waiting")]
)
@pytest.mark.parametrize("place", ["", "tests/plain"])
def test_the_latest_run_counts(tmp_path, status, state, place):
    recorded(tmp_path / CELL / place, "FAILED", run=9)
    recorded(tmp_path / CELL / place, status, run=10)
    trained(tmp_path, 60, updates=7)
    assert stands(tmp_path) == f"{CELL}: 60 of 60 steps, 7 updates, {state}"


def test_finished_is_what_is_trained_and_tested(tmp_path):
    write_test(tmp_path, trained(tmp_path, 40, updates=7))
    assert stands(tmp_path).endswith("40 of 60 steps, 7 updates, waiting")
    newest = trained(tmp_path, 64, updates=9)
    recorded(tmp_path / CELL, "DIED")
    assert stands(tmp_path).endswith("64 of 60 steps, 9 updates, died")  # the test is the earlier checkpoint's
    (tmp_path / CELL / "tests" / "plain" / "test.json").write_text(json.dumps({"checkpoint": fingerprint(newest)}))
    assert stands(tmp_path).endswith("64 of 60 steps, 9 updates, finished")


def test_checkpoints_that_do_not_say_how_many_updates(tmp_path):
    trained(tmp_path, 20)
    assert stands(tmp_path).endswith("20 of 60 steps, 5 updates, waiting")
    (tmp_path / CELL / "models" / "1" / "20" / "learner.pt").unlink()
    assert stands(tmp_path).endswith("20 of 60 steps, waiting")


def test_a_scripted_team_has_no_steps(tmp_path):
    entry = Entry(TOY, (0, 1), 60, ())
    assert str(standings(entry, tmp_path)[0]) == "sc2_3m/random: waiting"
    write_test(tmp_path, None, "sc2_3m/random")
    found = standings(entry, tmp_path)
    assert [standing.place.removeprefix("sc2_3m/") for standing in found] == [
        "random",
        *("aqmix/seed0", "copa/seed0", "aqmix/seed1", "copa/seed1"),
    ]
    assert str(found[0]) == "sc2_3m/random: finished"


def test_what_entries_share_counts_once(tmp_path):
    trained(tmp_path, 20, updates=7)
    found = [standing for study in (TOY, SINGLE) for standing in standings(Entry(study, (0,), 60, ()), tmp_path)]
    assert len(found) == 4
    assert summary(found) == (
        "3 in all: 0 finished, 0 running, 0 died, 0 failed, 3 waiting; 20 of 120 steps, 7 updates"
    )

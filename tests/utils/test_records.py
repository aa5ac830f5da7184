"""The record of a run: who is dead and who lives."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from utils.records import process_facts, status_of


def write(folder: Path, status: str, process: object) -> Path:
    (folder / "run.json").write_text(json.dumps({"status": status, "meta": {"process": process}}))
    return folder


@pytest.fixture
def other():
    """A process that lives until its standard input is closed, and what it says of itself."""
    code = "import json, sys; sys.path.insert(0, sys.argv[1]); from utils.records import process_facts; "
    code += "print(json.dumps(process_facts()), flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", code, str(Path(__file__).parents[2] / "src")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.facts = json.loads(process.stdout.readline())
        yield process
        process.kill()


def test_a_living_run_is_running(tmp_path, other):
    assert other.facts["pid"] == other.pid
    assert status_of(write(tmp_path, "RUNNING", other.facts)) == "RUNNING"
    assert status_of(write(tmp_path, "RUNNING", process_facts())) == "RUNNING"


def test_a_killed_run_has_died(tmp_path, other):
    write(tmp_path, "RUNNING", other.facts)
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and keeps its id: nobody collected it
    assert status_of(tmp_path) == "DIED"
    other.wait()
    assert status_of(tmp_path) == "DIED"


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "INTERRUPTED"])
def test_what_ended_in_order_has_not_died(tmp_path, status):
    assert status_of(write(tmp_path, status, {**process_facts(), "started": 0})) == status


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"started": 1}, "DIED"),  # its id is used again by this process
        ({"boot": "before"}, "DIED"),
        ({"boot": "before", "pid_space": "pid:[1]"}, "DIED"),
        ({"host": "elsewhere"}, "RUNNING"),
        ({"host": "elsewhere", "boot": "before", "started": 1}, "RUNNING"),
        ({"pid_space": "pid:[1]", "started": 1}, "RUNNING"),  # a container's, whose ids are not ours
    ],
)
def test_whose_process_it_was(tmp_path, changed, status):
    assert status_of(write(tmp_path, "RUNNING", {**process_facts(), **changed})) == status


def test_a_record_that_does_not_say_whose_it_is(tmp_path):
    assert status_of(write(tmp_path, "RUNNING", None)) == "RUNNING"
    (tmp_path / "run.json").write_text('{"status": "RUNNING"}')
    assert status_of(tmp_path) == "RUNNING"


@pytest.mark.parametrize("text", [None, "", '{"status": "RUN', "[]", "{}"])
def test_no_record_or_half_of_one(tmp_path, text):
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    assert status_of(tmp_path) == "UNKNOWN"

"""The record of a run: where it can be, whole files, who is dead and who lives."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import bound_by_permissions, small_files

from utils.errors import UserError
from utils.records import make_writable, process_facts, space_in_reserve, status_of, write_json


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


def test_what_can_be_written_to_is_there(tmp_path):
    folders = [tmp_path / "a" / "sacred", tmp_path / "a" / "models"]
    for _ in range(2):
        make_writable(folders, "results=a")
        assert [list(folder.iterdir()) for folder in folders] == [[], []]


def link(path: Path) -> None:
    path.symlink_to(path.with_name("nonesuch"))


@pytest.mark.parametrize("occupy", [Path.touch, link])
@pytest.mark.parametrize("below", ["", "below/it"])
def test_what_is_no_folder_is_refused_and_nothing_is_left(tmp_path, occupy, below):
    occupy(tmp_path / "it")
    there = tmp_path / "it" / below
    with pytest.raises(UserError, match=rf"results=a: {there} cannot be written to \(there is something"):
        make_writable([tmp_path / "new" / "one", there], "results=a")
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_folders_that_cannot_be(mounted, open_folder):
    with pytest.raises(UserError, match="/proc/here cannot be written"):
        make_writable([Path("/proc/here")], "results=a")
    with bound_by_permissions(), pytest.raises(UserError, match="Permission denied"):
        make_writable([open_folder], "results=a")
    for options, reason in (("ro", "Read-only file system"), ("size=64k", "No space left")):
        disk = mounted(options)
        with pytest.raises(UserError, match=reason):
            make_writable([disk / "results"], "results=a")
        assert list(disk.iterdir()) == []


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "run.json"
    with small_files(50), pytest.raises(OSError, match="too large") as refused:
        write_json(path, "x" * 100)
    assert refused.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []
    write_json(path, [1])
    with small_files(50), pytest.raises(OSError, match="too large"):
        write_json(path, "x" * 100)
    assert [(entry.name, json.loads(entry.read_text())) for entry in tmp_path.iterdir()] == [("run.json", [1])]


def test_a_full_disk_has_space_for_the_end(mounted):
    disk = mounted("size=256k")
    write_json(disk / "run.json", "RUNNING")
    with space_in_reserve(disk), pytest.raises(OSError, match="No space left"):
        (disk / "other").write_bytes(bytes(1 << 20))
    write_json(disk / "run.json", "FAILED" * 5_000)

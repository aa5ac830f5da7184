"""Checkpoints: whole or not there, and never read wrongly."""

import json
import math
import os
import shutil
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import bound_by_permissions, small_files

from utils import checkpoints
from utils.checkpoints import find_checkpoint, load_checkpoint, not_finite, save_checkpoint
from utils.errors import UserError

STATE = {
    "learner": {"weights": OrderedDict(w=torch.arange(6.0).reshape(2, 3)), "optimiser": {"state": {0: {"step": 3}}}},
    "progress": {"t_env": 100, "names": ["a", ("b", None)], "rng": torch.Generator().manual_seed(3).get_state()},
}


@pytest.fixture
def run_folder(tmp_path) -> Path:
    return tmp_path / "models" / "1"


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def marked(number: float) -> dict[str, dict]:
    return {"learner": {"number": number}}


def number_of(path: Path, load_step: int = 0) -> float:
    return load_checkpoint(path, load_step)[1]["learner"]["number"]


def test_what_was_saved_is_loaded(run_folder):
    save_checkpoint(run_folder / "100", STATE)
    folder, state = load_checkpoint(run_folder)
    assert folder == run_folder / "100"
    assert torch.equal(state["learner"]["weights"]["w"], STATE["learner"]["weights"]["w"])
    assert state["learner"]["optimiser"] == STATE["learner"]["optimiser"]
    assert state["progress"]["names"] == ["a", ("b", None)]
    assert torch.equal(state["progress"]["rng"], STATE["progress"]["rng"])
    assert names(run_folder) == ["100"]
    assert names(folder) == ["learner.pt", "manifest.json", "progress.pt"]


def test_only_the_parts_asked_for_are_read(run_folder):
    save_checkpoint(run_folder / "100", STATE)
    (run_folder / "100" / "learner.pt").unlink()
    assert list(load_checkpoint(run_folder, names=["progress"])[1]) == ["progress"]
    with pytest.raises(UserError, match=r"replay.*learner, progress"):
        load_checkpoint(run_folder, names=["replay"])


def test_the_newest_or_the_step_asked_for(run_folder):
    for step in (900, 1000, 20):
        save_checkpoint(run_folder / str(step), marked(step))
    assert number_of(run_folder) == 1000
    assert number_of(run_folder, 20) == 20
    assert number_of(run_folder / "900") == 900
    assert number_of(run_folder / "900", 900) == 900
    with pytest.raises(UserError, match="20, 900, 1000"):
        load_checkpoint(run_folder, 30)
    with pytest.raises(UserError, match="parent"):
        load_checkpoint(run_folder / "900", 1000)


@pytest.mark.parametrize("runs", [("one", "other"), (None, "other")])
def test_the_newest_of_two_runs_is_not_chosen(run_folder, runs):
    for step, run in zip((900, 300), runs, strict=True):
        save_checkpoint(run_folder / str(step), marked(step), run)
    with pytest.raises(UserError, match=r"different runs, such as 300 and 900.*load_step"):
        find_checkpoint(run_folder)
    assert number_of(run_folder, 300) == 300
    assert number_of(run_folder / "900") == 900


def test_the_newest_of_one_run_is_chosen_beside_a_damaged_one(run_folder):
    for step in (100, 200):
        save_checkpoint(run_folder / str(step), marked(step), "one")
    (run_folder / "100" / "manifest.json").write_text("{")
    assert number_of(run_folder) == 200


def test_parts_that_earlier_versions_lack(run_folder):
    save_checkpoint(run_folder / "100", STATE)
    assert list(load_checkpoint(run_folder, names=["progress"], optional=["identity"])[1]) == ["progress"]
    save_checkpoint(run_folder / "100", {**STATE, "identity": {"env": "toy"}})
    assert load_checkpoint(run_folder, names=["progress"], optional=["identity"])[1]["identity"] == {"env": "toy"}


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_a_file_that_was_never_a_state_is_named(run_folder, content):
    save_checkpoint(run_folder / "100", STATE)
    path = run_folder / "100" / "learner.pt"
    path.write_bytes(content)
    manifest = json.loads((run_folder / "100" / "manifest.json").read_text())
    manifest["files"]["learner"] = {"size": len(content), "sha256": checkpoints._digest(path)}
    (run_folder / "100" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"learner.pt.*cannot be read"):
        load_checkpoint(run_folder)


def test_what_is_not_finite_is_found():
    bad = {"weights": [torch.ones(2), {"w": torch.tensor([1.0, math.inf])}], "steps": torch.tensor([1])}
    assert not_finite(STATE, "state") is None
    assert not_finite(bad, "learner") == "learner.weights.1.w"


def test_an_existing_step_is_replaced(run_folder):
    save_checkpoint(run_folder / "100", STATE)
    save_checkpoint(run_folder / "100", marked(2))
    assert number_of(run_folder) == 2
    assert names(run_folder) == ["100"]
    assert names(run_folder / "100") == ["learner.pt", "manifest.json"]


@pytest.mark.parametrize("name", ["learner.pt", "progress.pt", "manifest.json"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_cut_short_is_named(run_folder, name, share):
    save_checkpoint(run_folder / "100", STATE)
    path = run_folder / "100" / name
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(UserError, match=f"{name}.*another checkpoint"):
        load_checkpoint(run_folder)


def test_a_changed_file_is_named(run_folder):
    save_checkpoint(run_folder / "100", STATE)
    path = run_folder / "100" / "learner.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="learner.pt"):
        load_checkpoint(run_folder)


def test_a_missing_file_is_named(run_folder):
    save_checkpoint(run_folder / "100", STATE)
    (run_folder / "100" / "progress.pt").unlink()
    with pytest.raises(UserError, match=r"progress.pt.*missing"):
        load_checkpoint(run_folder)


class Trap:
    """Unpickling this would run code."""

    def __reduce__(self):
        return os.mkdir, ("trapped",)


def test_code_in_a_file_is_not_run(run_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_checkpoint(run_folder / "100", STATE)
    path = run_folder / "100" / "learner.pt"
    torch.save({"trap": Trap()}, path)
    manifest = json.loads((run_folder / "100" / "manifest.json").read_text())
    manifest["files"]["learner"] = {"size": path.stat().st_size, "sha256": checkpoints._digest(path)}
    (run_folder / "100" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="learner.pt"):
        load_checkpoint(run_folder)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize(
    "content", ["", "[]", '"x"', '{"format": 1}', '{"format": 1, "files": {"learner": 3}}', "\x00"]
)
def test_a_foreign_manifest_is_refused(run_folder, content):
    save_checkpoint(run_folder / "100", STATE)
    (run_folder / "100" / "manifest.json").write_text(content)
    with pytest.raises(UserError, match="manifest.json"):
        load_checkpoint(run_folder)


def test_another_format_says_which_version_reads_it(run_folder):
    save_checkpoint(run_folder / "100", STATE)
    path = run_folder / "100" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99, "muster": "9.9.9"}))
    with pytest.raises(UserError, match=r"format 99.*9\.9\.9"):
        load_checkpoint(run_folder)


def test_places_without_a_checkpoint(run_folder, tmp_path):
    with pytest.raises(UserError, match="no folder"):
        find_checkpoint(run_folder)
    run_folder.mkdir(parents=True)
    with pytest.raises(UserError, match="no checkpoint"):
        find_checkpoint(run_folder)
    (run_folder / "100").mkdir()
    with pytest.raises(UserError, match=r"manifest\.json"):
        load_checkpoint(run_folder)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="no folder"):
        find_checkpoint(tmp_path / "file")


class Killed(BaseException):
    """Stands for a process that ends here."""


def kill_at_rename(monkeypatch, number: int) -> None:
    """Let the renaming call `number` (from 0) and everything after it, the cleaning up included, not happen."""
    rename, calls = os.replace, []

    def replace(source, target):
        calls.append(source)
        if len(calls) > number:
            raise Killed
        rename(source, target)

    def dead(*args, **kwargs):
        raise Killed

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(os, "rename", dead)
    monkeypatch.setattr(shutil, "rmtree", dead)


def test_killed_before_a_new_checkpoint_has_its_name(run_folder, monkeypatch):
    save_checkpoint(run_folder / "100", marked(1))
    with monkeypatch.context() as patch:
        kill_at_rename(patch, 0)
        with pytest.raises(Killed):
            save_checkpoint(run_folder / "200", marked(2))
    assert len(names(run_folder)) == 2  # the leftover is there, and nobody takes it for a checkpoint
    assert number_of(run_folder) == 1
    save_checkpoint(run_folder / "300", marked(3))
    assert names(run_folder) == ["100", "300"]


@pytest.mark.parametrize("renames", [0, 1])
def test_killed_while_a_checkpoint_is_replaced(run_folder, monkeypatch, renames):
    save_checkpoint(run_folder / "100", marked(1))
    with monkeypatch.context() as patch:
        kill_at_rename(patch, renames)
        with pytest.raises(Killed):
            save_checkpoint(run_folder / "100", marked(2))
    assert number_of(run_folder) == 1
    save_checkpoint(run_folder / "100", marked(3))
    assert number_of(run_folder) == 3
    assert names(run_folder) == ["100"]


def test_a_replaced_checkpoint_comes_back_when_the_next_one_is_saved(run_folder, monkeypatch):
    save_checkpoint(run_folder / "100", marked(1))
    with monkeypatch.context() as patch:
        kill_at_rename(patch, 1)
        with pytest.raises(Killed):
            save_checkpoint(run_folder / "100", marked(2))
    save_checkpoint(run_folder / "200", marked(3))
    assert names(run_folder) == ["100", "200"]
    assert number_of(run_folder, 100) == 1


@pytest.mark.parametrize("renames", [0, 1])
def test_an_error_while_saving_leaves_the_old_checkpoint_and_no_litter(run_folder, monkeypatch, renames):
    save_checkpoint(run_folder / "100", marked(1))
    rename, calls = os.replace, []

    def replace(source, target):
        calls.append(source)
        if len(calls) > renames:
            raise OSError("disk full")
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(OSError, match="disk full"):
            save_checkpoint(run_folder / "100", marked(2))
    assert number_of(run_folder) == 1
    assert names(run_folder) == ["100"]


@pytest.mark.parametrize("size", [600, 6_000])  # bytes; torch refuses a few of them by itself, the file's buffer more
def test_a_full_disk_is_named_and_leaves_the_old_checkpoint(run_folder, size):
    save_checkpoint(run_folder / "100", marked(1))
    with small_files(size), pytest.raises(OSError, match="too large") as refused:
        save_checkpoint(run_folder / "200", {"learner": {"weights": torch.zeros(10_000)}})
    assert refused.value.filename == str(run_folder / "200")
    assert names(run_folder) == ["100"]
    assert number_of(run_folder) == 1


def test_a_checkpoint_that_may_not_be_read(open_folder):
    run_folder = open_folder / "private" / "1"
    save_checkpoint(run_folder / "100", marked(1))
    for closed in (run_folder / "100", run_folder, run_folder.parent):
        closed.chmod(0)
        path = run_folder / "100" if closed == run_folder / "100" else run_folder
        with bound_by_permissions(), pytest.raises(UserError, match="cannot be read .Permission denied"):
            find_checkpoint(path)
        closed.chmod(0o755)


def test_killed_while_the_files_are_written(run_folder, monkeypatch):
    def cut_short(state, file):
        file.write(b"half")
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", cut_short)
        patch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
        with pytest.raises(Killed):
            save_checkpoint(run_folder / "100", marked(1))
    with pytest.raises(UserError, match="no checkpoint"):
        find_checkpoint(run_folder)
    save_checkpoint(run_folder / "200", marked(2))
    assert names(run_folder) == ["200"]


def test_leftovers_of_other_runs_go_once_they_are_old(run_folder):
    fresh, stale = (run_folder.parent / "2" / f".50.partial-{name}" for name in ("fresh", "stale"))
    own_name = run_folder.parent / "2" / ".notes"
    for folder in (fresh, stale, own_name):
        folder.mkdir(parents=True)
    long_ago = time.time() - 2 * checkpoints._STALE
    os.utime(stale, (long_ago, long_ago))
    os.utime(own_name, (long_ago, long_ago))
    save_checkpoint(run_folder / "100", marked(1))
    assert names(run_folder.parent / "2") == [".50.partial-fresh", ".notes"]


@pytest.mark.parametrize("value", [np.float64(1.0), np.zeros(2), {1, 2}, Trap(), torch.nn.Linear(1, 1)])
def test_what_could_not_be_loaded_again_is_not_saved(run_folder, value):
    with pytest.raises(TypeError, match=r"learner\.deep\[1\]"):
        save_checkpoint(run_folder / "100", {"learner": {"deep": [0, value]}})
    assert not run_folder.exists()


def test_part_names_are_file_names(run_folder):
    with pytest.raises(ValueError, match="letters"):
        save_checkpoint(run_folder / "100", {"../learner": {}})

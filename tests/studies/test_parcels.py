"""A job whose node shares no disk with the driver: what goes there, and what comes back."""

import os
import time
from pathlib import Path

import pytest
from cluster_runs import PLACES, runs, words
from toy_study import SINGLE

from studies.clusters import host
from studies.clusters.host import Host, Origin
from studies.clusters.parcels import changed, needed, unpack
from studies.declaration import Entry
from studies.engine import Engine
from studies.workers import SRC, Orders
from utils.checkpoints import save_checkpoint, verify_checkpoint
from utils.interrupt import StopSignal


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_a_parcel_holds_what_is_new(tmp_path):
    known: dict[str, tuple[int, int]] = {}
    write(tmp_path, **{"a": "1", "b/c": "2", "lock": "me", ".reserve": "x", "b/.d.partial-1/e": "y", "f.partial": "z"})
    assert changed(tmp_path, known) == {"a": b"1", "b/c": b"2"}
    assert changed(tmp_path, known) == {}
    write(tmp_path, a="longer")
    os.utime(tmp_path / "b" / "c", (1, 1))
    assert changed(tmp_path, known) == {"a": b"longer", "b/c": b"2"}


def test_a_parcel_is_unpacked(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    save_checkpoint(source / "models" / "1" / "20", {"learner": {"step": 20}})
    write(source, **{"sacred/1/run.json": "{}"})
    parcel = changed(source, {})
    for _ in range(2):  # it may come twice
        unpack(parcel, target)
        verify_checkpoint(target / "models" / "1" / "20")
        assert changed(target, {}) == parcel
        assert not list(target.rglob(".*"))
    assert (target / "models" / "1" / "20").stat().st_mode == (source / "models" / "1" / "20").stat().st_mode


def test_the_newest_sound_checkpoint_goes_along(tmp_path):
    for step in (20, 40, 60):
        save_checkpoint(tmp_path / "models" / "1" / str(step), {"learner": {"step": step}})
    write(tmp_path, **{"settings.json": "{}", "models/1/60/learner.pt": "damaged"})
    assert set(needed(tmp_path)) == {"settings.json", "models/1/40/learner.pt", "models/1/40/manifest.json"}


def look_until_the_end(node: Host, folder: Path) -> int:
    while True:
        code, parcel = node.look(0.2)
        unpack(parcel, folder)
        if code is not None:
            return code


@pytest.mark.slow
def test_a_job_goes_on_where_no_disk_is_shared(tmp_path, monkeypatch):
    """Started, stopped when a checkpoint has come back, and continued on another node."""
    monkeypatch.setattr(host, "INTERVAL", 0.0)
    settings = words(tmp_path)
    overrides = settings[settings.index("with") + 1 :]
    entry = Entry(SINGLE, (0,), 320, overrides)
    mine, folder = tmp_path / "mine", tmp_path / "mine" / PLACES[0]
    folder.mkdir(parents=True)
    write(tmp_path, mark="another disk's")
    origin = Origin(tmp_path / "mark", "mine", SRC, "")
    orders = Orders([entry], Path("/nobody/reads/this"))

    node = Host(orders, PLACES[0], origin, 1)
    assert not node.begin()
    node.take(needed(folder))
    deadline = time.monotonic() + 240
    while not list(folder.glob("models/1/[0-9]*")):
        assert time.monotonic() < deadline
        unpack(node.look(0.05)[1], folder)
    node.stop()
    assert look_until_the_end(node, folder) == 143
    assert not node._own.exists()

    node = Host(orders, PLACES[0], origin, 1)
    assert not node.begin()
    node.take(needed(folder))
    assert look_until_the_end(node, folder) == 0
    (first, none), (second, begun) = runs(mine, PLACES[0])
    assert (first, none, second) == ("INTERRUPTED", 0, "COMPLETED")
    assert 0 < begun < 320
    engine = Engine(SINGLE, (0,), mine, StopSignal(), overrides, 320, works=False)
    assert [outcome.step for outcome in engine.run()["A-QMIX"]] == [320]
    assert engine.lacking == {}
    write(tmp_path, mark="mine")
    assert Host(orders, PLACES[0], origin, 1)._shared

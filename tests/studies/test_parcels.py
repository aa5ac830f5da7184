"""A job whose node shares no disk with the driver: what goes there, and what comes back."""

import os
import tempfile
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
    monkeypatch.setattr(host, "INTERVAL", 0.0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    settings = words(tmp_path)
    overrides = settings[settings.index("with") + 1 :]
    mine, folder = tmp_path / "mine", tmp_path / "mine" / PLACES[0]
    Engine(SINGLE, (0,), mine, StopSignal(), overrides, 32).run()
    (tmp_path / "mark").write_text("another disk's")
    origin = Origin(tmp_path / "mark", "mine", SRC, "")
    entry = Entry(SINGLE, (0,), 96, overrides)
    node = Host(Orders([entry], Path("/nobody/reads/this")), PLACES[0], origin, 1)
    assert not node.begin()
    node.take(needed(folder))
    came: list[set[str]] = []
    code = None
    while code is None:
        code, parcel = node.look(0.1)
        unpack(parcel, folder)
        came.append(set(parcel))
    assert code == 0
    assert not any("models/1/" in name for names in came for name in names)  # those were here
    assert any("models/2/48/manifest.json" in names for names in came[:-1])
    assert runs(mine, PLACES[0]) == [("COMPLETED", 0), ("COMPLETED", 32)]
    assert not list(tmp_path.glob("muster-*"))
    engine = Engine(SINGLE, (0,), mine, StopSignal(), overrides, 96, works=False)
    assert [outcome.step for outcome in engine.run()["A-QMIX"]] == [96]
    assert engine.lacking == {}


def test_a_shared_disk_is_known_by_its_mark(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "mark").write_text("mine")
    orders = Orders([], tmp_path)
    assert not Host(orders, PLACES[0], Origin(tmp_path / "none", "mine", SRC, ""), 1).begin()
    node = Host(orders, PLACES[0], Origin(tmp_path / "mark", "mine", SRC, ""), 1)
    assert node.begin()
    assert node.look(60.0) == (0, {})
    assert (tmp_path / PLACES[0] / "worker.log").exists()

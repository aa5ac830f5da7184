"""What all tests share. Its being here also makes the helpers of this folder importable (`import toy_env`)."""

import contextlib
import math
import os
import resource
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pymongo
import pytest
import sc2_standin
import torch
from mongo_standin import Mongo
from sc2_standin.engines import serving

from learners import REGISTRY as LEARNERS
from utils.config import load_config

# several test runs share a machine, and tensors this small gain nothing from threads
torch.set_num_threads(1)
# backend=auto takes StarCraft II where it is installed; the tests are about the embedded engine unless they say so
os.environ["SC2PATH"] = "/nonexistent"
# whoever imports Ray first: it listens on localhost alone
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
os.environ.pop("RAY_ADDRESS", None)
# no database of the user's is meant
os.environ.pop("MONGO_URL", None)

_TINY = {
    "device": "cpu",
    "threads": 1,
    "t_max": 200,
    "batch_size_run": 2,
    "training_iters": 1,
    "num_mini_batch": 1,
    "steps_per_update": 0,  # updates from the first round on, whatever the task says
    "buffer_size": 16,
    "batch_size": 2,
    "attn_embed_dim": 16,
    "attn_heads": 2,
    "rnn_hidden_dim": 16,
    "hypernet_embed": 16,
    "mixing_embed_dim": 8,
    "coach_embed_dim": 16,
    "strategy_dim": 8,
    "test_interval": 100,
    "test_nepisode": 2,
    "test_batch_size": 2,
    "log_interval": 50,
    "save_model_interval": 100,
}


def tiny_overrides(algorithm: str = "aqmix", **more: object) -> list[str]:
    """Words for the command line that let any YAML run in a second or two; `more` replaces or adds settings.

    `algorithm` is the YAML that they are for: those that learn on-policy refuse the replay's settings.
    """
    settings = {**_TINY, **more}
    learner = LEARNERS[load_config([f"--config={algorithm}"]).learner]
    settings = {key: value for key, value in settings.items() if key not in learner.UNUSED}
    if learner.LABELS and "expert_path" not in settings:
        settings.setdefault("expert", "random")  # which every environment has
    return [f"{key}={value}" for key, value in settings.items()]


def fitting(algorithm: str, task: str) -> str:
    """`task`, or one that `algorithm` does not refuse: joint actions are too many in most."""
    return "navigation" if algorithm == "joint" else task


@contextlib.contextmanager
def small_files(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes: the kernel takes what fits and refuses the rest, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def bound_by_permissions() -> Iterator[None]:
    """Permissions bind even where the tests are run by root: as nobody for that time."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody can read, which `tmp_path` is not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def mounted(tmp_path) -> Iterator[Callable[[str], Path]]:
    """Mounts a disk with options such as `size=1m` or `ro`; the test is skipped where that is not allowed."""
    disks = []

    def mount(options: str) -> Path:
        disk = tmp_path / f"disk{len(disks)}"
        disk.mkdir()
        try:
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("needs leave to mount a disk")
        disks.append(disk)
        return disk

    yield mount
    for disk in disks:
        subprocess.run(["umount", disk], check=True)


DOUBLES = Path(__file__).with_name("doubles")


@pytest.fixture
def smac(monkeypatch, tmp_path) -> Iterator[Path]:
    """Doubles of SMAC and SMACv2 are there, also for programs that a test starts, and so is the folder of a game, which
    this is.
    """
    game = tmp_path / "StarCraftII"
    maps = game / "Maps" / "SMAC_Maps"
    for file in (
        game / "Versions/Base75689/SC2_x64",
        *(maps / f"{m}.SC2Map" for m in ("3m", "3s5z", "MMM2", "32x32_flat")),
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.setenv("SC2PATH", str(game))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(DOUBLES), os.environ.get("PYTHONPATH")])))
    _forget_smac()
    monkeypatch.syspath_prepend(str(DOUBLES))
    yield game
    _forget_smac()


def _forget_smac() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("smac", "smacv2")]:
        del sys.modules[name]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the campaign against faults unless `-m` names it. Not by `addopts`: a user's own `-m` replaces its."""
    if "faults" in config.getoption("markexpr"):
        return
    marks = [item.get_closest_marker("faults") for item in items]
    left_out = [item for item, mark in zip(items, marks, strict=True) if mark and not mark.kwargs["always"]]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def engines(tmp_path_factory) -> Iterator[str]:
    """Where the stand-in for StarCraft II finds its engine ready."""
    with serving(tmp_path_factory.mktemp("engines") / "socket") as address:
        yield address


@pytest.fixture
def starcraft(tmp_path, monkeypatch, engines) -> Iterator[Path]:
    """The folder of an installed StarCraft II, which is the stand-in; no process of it may be left."""
    folder = sc2_standin.install(tmp_path / "StarCraftII", engines)
    monkeypatch.setenv("SC2PATH", str(folder))
    yield folder
    assert sc2_standin.running(folder) == []


@pytest.fixture
def results(tmp_path) -> Path:
    """A folder for the results of the test's runs; give it as `local_results_path`."""
    return tmp_path / "results"


class StandIn(ModuleType):
    """Plays the part of `run`, the experiment: records one metric, then does what the test wants."""

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


# --- databases --------------------------------------------------------------------------------------------------------

#: of the stand-in for MongoDB
PASSWORD = "swordfish"


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[Mongo]:
    """The stand-in, for tests that do it harm; it demands PASSWORD."""
    with Mongo(tmp_path / "mongo", password=PASSWORD) as server:
        yield server


@pytest.fixture
def mongo_url(request) -> str:
    """Where a database is; a real one, if there is one."""
    return os.environ.get("TEST_MONGO_URL") or request.getfixturevalue("server").url


@pytest.fixture
def mongo_db(mongo_url) -> Iterator[str]:
    """The name of an empty database there."""
    name = f"test_{uuid.uuid4().hex[:8]}"
    yield name
    if "TEST_MONGO_URL" in os.environ:
        with pymongo.MongoClient(mongo_url) as client:
            client.drop_database(name)


@pytest.fixture
def database(mongo_url, mongo_db) -> Iterator[Any]:
    """That database, for looking into it."""
    with pymongo.MongoClient(mongo_url) as client:
        yield client[mongo_db]


@pytest.fixture
def impatient(monkeypatch) -> None:
    """Seconds become tenths: ticks, and how long a server has to answer."""
    from observers import database, mongo  # late: most tests need none

    monkeypatch.setattr(mongo.MongoFollower, "interval", 0.05)
    monkeypatch.setattr(database, "PATIENCE", 0.6)
    monkeypatch.setattr(mongo, "ATTEMPT", 1.0)

"""Event files, as TensorBoard itself reads them."""

import json
import math
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from conftest import tiny_overrides
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import main
from observers import build, tensorboard
from observers.observer import Run
from observers.tensorboard import TensorBoard
from utils.config import load_config
from utils.errors import UserError
from utils.logging import METRICS_FILE


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Name -> (step, value) of each point that TensorBoard finds."""
    read = EventAccumulator(str(folder), {"scalars": 0})
    read.Reload()
    return {name: [(point.step, point.value) for point in read.Scalars(name)] for name in read.Tags()["scalars"]}


def test_what_is_written_is_read_at_once(tmp_path):
    observer = TensorBoard()
    observer.begin(Run(tmp_path, "7", load_config([])))
    for step in (3, 1 << 40):
        observer.scalar("test/3-5/return_mean", step / 4, step)
    observer.scalar("loss", math.nan, 5)
    observer.scalar("loss", -math.inf, 6)
    observer.scalar("loss", 1e300, 7)  # more than float32 holds
    found = curves(tmp_path)  # before the end: a killed run has its curves, too
    assert found["test/3-5/return_mean"] == [(3, 0.75), (1 << 40, float(1 << 38))]
    assert math.isnan(found["loss"][0][1])
    assert found["loss"][1:] == [(6, -math.inf), (7, math.inf)]
    observer.end("COMPLETED")
    assert [path.name.partition(".tfevents.")[0] for path in tmp_path.iterdir()] == ["events.out"]


def test_a_run_has_the_same_curves_in_its_event_file_as_in_its_metrics(results):
    words = ["--config=refil", "--env-config=sc2_3m", *tiny_overrides("refil", use_tensorboard=True)]
    assert main.main([*words, f"local_results_path={results}"]) == 0
    folder = results / "sacred" / "1"
    expected: dict[str, list[tuple[int, float]]] = {}
    for line in (folder / METRICS_FILE).read_text().splitlines():
        entry = json.loads(line)
        expected.setdefault(entry["name"], []).append((entry["step"], pytest.approx(entry["value"], rel=1e-6)))
    assert len(expected) > 10
    assert curves(folder) == expected


def test_teams_of_any_name_have_a_curve(tmp_path):
    observer = TensorBoard()
    observer.begin(Run(tmp_path, "7", load_config([])))
    for team in ("8v9", "8v+1", "3-5"):
        observer.scalar(f"test/{team}/return_mean", 1.0, 1)
    assert set(curves(tmp_path)) == {"test/8v9/return_mean", "test/8v_1/return_mean", "test/3-5/return_mean"}


def test_only_where_it_is_asked_for(monkeypatch):
    monkeypatch.delenv("MONGO_URL", raising=False)
    assert build(load_config([])) == []
    assert [type(observer) for observer in build(load_config(["use_tensorboard=True"]))] == [TensorBoard]


def test_a_missing_package_is_one_line(monkeypatch, results, capsys):
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    assert main.main(["use_tensorboard=True", f"local_results_path={results}"]) == 2
    assert capsys.readouterr().err == (
        "error: use_tensorboard=True needs the package tensorboard-logger, which is missing: install requirements.txt\n"
    )
    assert not results.exists()


def test_another_package_of_that_name_is_one_line(monkeypatch, tmp_path):
    other = ModuleSpec("tensorboard_logger", None, is_package=True)
    assert other.submodule_search_locations is not None
    other.submodule_search_locations.append(str(tmp_path))
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: other)
    monkeypatch.delitem(sys.modules, "tensorboard_logger", raising=False)
    with pytest.raises(UserError, match="installed but does not work .*summary_pb2.py.*: install requirements.txt"):
        TensorBoard()


def test_nothing_of_it_is_imported_where_it_is_not_asked_for():
    code = "import sys; sys.path.insert(0, sys.argv[1]); import recording; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, str(Path(main.__file__).parent)]).returncode == 0

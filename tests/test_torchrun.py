"""A training by several processes: one record, one stop, one error; resumed bit for bit."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import tiny_overrides
from test_training import Run, StopAfter, parts
from together import PATIENCE, Rank, started, together

import main as command
from rank_settings import settings_of_rank
from training import Training
from utils import ranks
from utils.config import load_config
from utils.errors import RunFailed, UserError
from utils.interrupt import Interrupted, StopSignal
from utils.means import mean, per, variance, weighted_share
from utils.means import share as share_of_mean
from utils.records import status_of

TASK = ["--env-config=sc2_sz", "env_args.episode_limit=10", "test_teams=3,4"]


def words_for(algorithm: str, folder: Path, **settings: object) -> list[str]:
    settings = {"batch_size_run": 4, "log_interval": 20, "local_results_path": folder, **settings}
    return [f"--config={algorithm}", *TASK, *tiny_overrides(algorithm, **settings)]


# --- what ranks compute together ---


def by_hand() -> dict[str, float]:
    """Rank 0 holds 1, 2 and something absent, rank 1 holds 6."""
    one = ranks.first()
    values = torch.tensor([1.0, 2.0, torch.nan]) if one else torch.tensor([6.0])
    mask = values.isfinite()
    weights = torch.tensor([1.0, 1.0, 0.0]) if one else torch.tensor([2.0])
    there = values[mask]
    return {
        "share": float(share_of_mean(values, mask)),
        "weighted": float(weighted_share(values, weights)),
        "per": float(per(there.sum(), len(there) - 1)),
        "mean": float(mean(there)),
        "variance": float(variance(there)),
        "anywhere": ranks.anywhere(not one),
        "everywhere": ranks.everywhere(one),
        "told": ranks.told(ranks.number() + 7),
        "seed": ranks.own_seed(5),
        "nothing": float(share_of_mean(values, torch.zeros_like(mask))),
    }


def test_means_by_hand(tmp_path):
    one, other = together(tmp_path, 2, by_hand)
    assert one["seed"] == 5 != other["seed"]
    del one["seed"], other["seed"]
    everywhere = {"mean": 3.0, "variance": 14 / 3, "anywhere": True, "everywhere": False, "told": 7, "nothing": 0.0}
    assert one == pytest.approx({"share": 3 / 3, "weighted": 3 / 4, "per": 3.0, **everywhere})
    assert other == pytest.approx({"share": 6 / 3, "weighted": 12 / 4, "per": 6.0, **everywhere})


def test_means_of_one_process_by_hand():
    values = torch.tensor([1.0, 2.0, 6.0])
    assert (float(mean(values)), float(variance(values))) == pytest.approx((3.0, 14 / 3))
    assert float(share_of_mean(values)) == pytest.approx(3.0)
    assert float(share_of_mean(values, values < 6)) == pytest.approx(1.5)
    assert float(weighted_share(values, torch.tensor([1.0, 1.0, 2.0]))) == pytest.approx(15 / 4)
    assert float(per(values.sum(), 2)) == float(per(values.sum(), torch.tensor(2))) == 4.5
    assert float(per(values.sum(), 0)) == float(per(values.sum(), torch.tensor(0))) == 9.0


# --- training ---


def stopped_and_resumed(folder: Path, algorithm: str, settings: dict, stops: tuple[float, ...]) -> dict:
    """A run that is never stopped, and one that is stopped where rank 1 alone looks for the n-th time, and resumed."""
    words = words_for(algorithm, folder, save_replay_buffer=True, **settings)
    straight = Run(folder / "straight", words)
    straight.recorder.run_dir.mkdir(exist_ok=True)
    straight.train(StopSignal())
    pieces, newest = [], ""
    for number, looks in enumerate(stops, 1):
        run = Run(folder, [*words, f"checkpoint_path={newest}"], number)
        with pytest.raises(Interrupted) if looks < float("inf") else open(os.devnull):
            run.train(StopSignal() if ranks.first() else StopAfter(looks))
        pieces += run.metrics
        newest = (run.folders() or [newest])[-1]  # where nothing was done since it was resumed, nothing is saved
    return {"straight": straight.metrics, "pieces": pieces, "end": straight.folders()[-1], "newest": newest}


@pytest.mark.parametrize(
    ("algorithm", "settings", "stops"),
    [
        ("mappo", {"rollout_steps": 4, "num_mini_batch": 2, "ppo_epochs": 1, "t_max": 80}, (12, 4, float("inf"))),
        ("refil", {"buffer_dtype": "float16"}, (12, 4, float("inf"))),
    ],
)
def test_two_ranks_stopped_and_resumed_record_what_unbroken_ones_do(tmp_path, algorithm, settings, stops):
    settings = {"t_max": 160, "test_interval": 60, "save_model_interval": 50, **settings}
    one, other = together(tmp_path, 2, stopped_and_resumed, tmp_path, algorithm, settings, stops)
    assert one["pieces"] == one["straight"]
    assert one["straight"] == other["straight"]  # what ranks other than the first record goes nowhere
    steps = [step for name, _, step in one["straight"] if name == "episodes"]
    assert steps[-1] >= settings["t_max"]
    expected, found = parts(one["end"]), parts(one["newest"])
    for part in expected:
        assert_equal(expected[part], found[part])
    mine, theirs = expected["runner"], expected["rank1_state"]["runner"]
    assert not torch.equal(mine["generator"], theirs["generator"])
    if algorithm == "refil":
        entities = [expected[part]["data"]["entities"] for part in ("replay", "rank1_replay")]
        assert entities[0].shape != entities[1].shape or not torch.equal(*entities)


def assert_equal(one, other) -> None:
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_equal(one[key], other[key])
    else:
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def live(*words: str) -> int:
    """What a rank does, as torchrun starts it."""
    return command.main(words, final=True)


def read(path: Path):
    return json.loads(path.read_text())


def metrics(folder: Path) -> list[tuple[str, int, float]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [(entry["name"], entry["step"], entry["value"]) for entry in map(json.loads, lines)]


def test_one_record_and_the_tests_of_one_process(tmp_path, results, capsys):
    words = words_for("vdn", results, t_max=40, save_model_interval=20, test_teams="3,4,5")
    with started(tmp_path, 2, live, *words) as (one, other):
        assert [one.result(), other.result()] == [0, 0]
    assert (one.err.read_text(), other.err.read_text(), other.out.read_text()) == ("", "", "")
    assert one.out.read_text().startswith("run 1: vdn")
    (folder,) = (entry for entry in (results / "sacred").iterdir() if entry.name.isdecimal())
    assert status_of(folder) == "COMPLETED"
    assert read(folder / "info.json")["ranks"] == 2
    assert read(folder / "config.json")["batch_size_run"] == 4
    assert command.main([*words, "local_results_path=" + str(tmp_path / "alone")]) == 0
    capsys.readouterr()
    alone = metrics(tmp_path / "alone" / "sacred" / "1")
    at_start = [entry for entry in metrics(folder) if entry[1] == 0]
    assert at_start == [entry for entry in alone if entry[1] == 0]
    assert {"test/3/return_mean", "test/4/return_mean", "test/5/return_mean"} <= {name for name, *_ in at_start}
    newest = sorted((results / "models" / "1").iterdir(), key=lambda entry: int(entry.name))[-1]
    with pytest.raises(
        UserError, match=r"is one of 2 ranks, here are 1: start 2 of them \(torchrun --nproc-per-node=2\)"
    ):
        Run(tmp_path / "later", [*words, f"checkpoint_path={newest}"]).train(StopSignal())


def test_a_signal_to_one_of_them_stops_both(tmp_path, results):
    words = words_for("vdn", results, t_max=1_000_000, log_interval=1)
    with started(tmp_path, 2, live, *words) as (one, other):
        wait_for(one, "/1,000,000 steps")
        os.kill(other.process.pid, signal.SIGTERM)
        assert [one.result(), other.result()] == [143, 143]
    assert one.err.read_text() + other.err.read_text() == "stopped by SIGTERM\n"
    assert status_of(results / "sacred" / "1") == "INTERRUPTED"
    assert list((results / "models" / "1").iterdir()) != []


def wait_for(rank: Rank, text: str) -> None:
    """Until `rank` has printed `text`."""
    for _ in range(int(PATIENCE / 0.02)):
        if text in rank.out.read_text():
            return
        assert rank.process.is_alive(), rank.err.read_text()
        rank.process.join(0.02)
    raise AssertionError(rank.out.read_text())


def test_one_that_is_killed_ends_the_run_with_one_line(tmp_path, results):
    words = words_for("vdn", results, t_max=1_000_000, log_interval=1)
    with started(tmp_path, 2, live, *words) as (one, other):
        wait_for(one, "/1,000,000 steps")
        other.process.kill()
        assert one.result() == 1
    assert one.err.read_text() == "error: another rank has ended without a word, and no rank can go on alone\n"
    assert status_of(results / "sacred" / "1") == "FAILED"


def test_the_one_that_fails_says_why_and_the_record_says_it_too(tmp_path, results, monkeypatch):
    play = Training.round

    def unlucky(training: Training):
        if not ranks.first() and training.t_env:
            raise RunFailed("no luck")
        return play(training)

    monkeypatch.setattr(Training, "round", unlucky)
    with started(tmp_path, 2, live, *words_for("vdn", results)) as (one, other):
        assert [one.result(), other.result()] == [1, 1]
    assert (one.err.read_text(), other.err.read_text()) == ("", "error: no luck\n")
    assert status_of(results / "sacred" / "1") == "FAILED"
    assert "rank 1: error: no luck" in (results / "sacred" / "1" / "run.json").read_text()


def test_what_the_user_can_correct_is_said_once(tmp_path, results):
    with started(tmp_path, 2, live, *words_for("vdn", results, batch_size=3)) as (one, other):
        assert [one.result(), other.result()] == [2, 2]
    said = one.err.read_text() + other.err.read_text()
    assert said == "error: batch_size=3 cannot be shared by 2 ranks: take a multiple, such as 4\n"
    assert not results.exists()


@pytest.mark.parametrize(
    ("algorithm", "settings", "gpus", "message"),
    [
        ("vdn", {"batch_size_run": 3}, 0, "batch_size_run=3 cannot be shared by 2 ranks: take a multiple, such as 4"),
        ("vdn", {"buffer_size": 15}, 0, "buffer_size=15 cannot be shared"),
        (
            "mappo",
            {"num_mini_batch": 3},
            0,
            "num_mini_batch=3 is more than each of 2 ranks has environments, 2 of batch",
        ),
        ("vdn", {"runner": "episode"}, 0, "runner=episode plays one episode at a time, 2 ranks do not"),
        ("vdn", {"evaluate": True, "checkpoint_path": "."}, 0, "evaluate=True: a test is played by one process"),
        ("vdn", {"device": "cuda:1"}, 2, "each of 2 ranks has a GPU of its own: use device=cuda"),
        ("vdn", {"device": "auto"}, 1, "2 ranks need as many GPUs, and torch sees 1: start as many ranks"),
        ("vdn", {"device": "cpu"}, 1, ""),
        ("vdn", {"device": "cuda"}, 2, ""),
    ],
)
def test_shares(tmp_path, monkeypatch, algorithm, settings, gpus, message):
    evaluated = settings.pop("evaluate", False)
    config = load_config(
        words_for(algorithm, tmp_path, **{k: v for k, v in settings.items() if k != "checkpoint_path"})
    )
    if evaluated:
        config = type(config)({**config, "evaluate": True}, config.command)
    for name, value in {"several": True, "count": 2, "local_count": 2, "local_number": 1}.items():
        monkeypatch.setattr(ranks, name, answering(value))
    monkeypatch.setattr(torch.cuda, "is_available", answering(gpus > 0))
    monkeypatch.setattr(torch.cuda, "device_count", answering(gpus))
    if message:
        with pytest.raises(UserError, match=message):
            settings_of_rank(config)
        return
    own = settings_of_rank(config)
    assert (own.batch_size_run, own.batch_size, own.buffer_size) == (2, 1, 8)
    assert own.device == ("cpu" if config.device == "cpu" else "cuda:1")
    assert (own.lr, own.t_max, own.command) == (config.lr, config.t_max, config.command)


def answering(value) -> Callable[[], object]:
    return lambda: value


def test_torchrun(tmp_path, results):
    words = words_for("vdn", results, t_max=40, save_model=False, threads=1)
    main = Path(command.__file__)
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(main), *words]
    done = subprocess.run(
        program, capture_output=True, text=True, timeout=4 * PATIENCE, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run 1: vdn") == 1
    assert read(results / "sacred" / "1" / "info.json")["ranks"] == 2
    assert status_of(results / "sacred" / "1") == "COMPLETED"

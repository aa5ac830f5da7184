"""What it costs to be followed: steps/s of a training with all observers beside the same training without, in one run.

    ./run.sh python benchmarks/observers.py           # with a database that answers, and with one that hangs
    ./run.sh python benchmarks/observers.py sync      # how long 200 runs of 2,000 figures take to be brought to it

Navigation with 3 agents and VDN, small networks, a line of figures every 1,000 steps, on one thread; the three ways of
recording take turns, and the table shows medians of the rounds, by the clock (which shows what waits) and by the
process's CPU time (which shows what works; on a machine that others use it is the steadier one). Only training is
counted: what follows its end is bounded by the observers' grace.

The database is the tests' stand-in, a process of its own; TEST_MONGO_URL names another one, which cannot hang.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import pymongo
import torch
from mongo_standin import Mongo

import recording
import run
from utils.config import load_config
from utils.interrupt import StopSignal

SRC = Path(recording.__file__).parent
TRAINING = {
    "device": "cpu",
    "threads": 1,
    "batch_size_run": 16,
    "buffer_size": 200,
    "batch_size": 16,
    "attn_embed_dim": 32,
    "attn_heads": 2,
    "rnn_hidden_dim": 32,
    "test_interval": 10**9,
    "test_nepisode": 8,
    "log_interval": 1000,
    "save_model": False,
}
#: what a user adds, beside the database, and the package that it needs
OTHERS = {"use_tensorboard": "tensorboard_logger", "use_wandb": "wandb"}


def train(steps: int, seed: int, added: list[str]) -> tuple[float, float]:
    """Train, and return steps per second by the clock and by the process's CPU time."""
    spent = (0.0, 0.0)
    carry_out = run.run

    def timed(*args: Any) -> Any:
        nonlocal spent
        wall, cpu = time.perf_counter(), time.process_time()
        result = carry_out(*args)
        spent = (time.perf_counter() - wall, time.process_time() - cpu)
        return result

    settings = {**TRAINING, "t_max": steps, "seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        words = ["--config=vdn", "--env-config=navigation", *(f"{key}={value}" for key, value in settings.items())]
        config = load_config([*words, f"local_results_path={folder}", *added])
        run.run = timed
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                recording.record(config, [], StopSignal())
        finally:
            run.run = carry_out
    return steps / spent[0], steps / spent[1]


@contextlib.contextmanager
def database(folder: Path) -> Iterator[tuple[str, Mongo | None]]:
    """The address of a database, and the stand-in, if it is that."""
    real = os.environ.get("TEST_MONGO_URL")
    if real:
        yield real, None
    else:
        with Mongo(folder) as server:
            yield server.url, server


def measure(steps: int, rounds: int, folder: Path) -> None:
    """Measure the three ways of recording in turn, and print."""
    torch.set_num_threads(1)
    others = [f"{key}=True" for key, package in OTHERS.items() if find_spec(package) is not None]
    os.environ.setdefault("WANDB_MODE", "offline")
    rates: dict[str, list[tuple[float, float]]] = {}
    with database(folder) as (url, server):
        added = [f"mongo_url={url}", f"mongo_db=benchmark_{uuid.uuid4().hex[:8]}", *others]
        ways = {"without": [], "all observers": added}
        if server is not None:
            ways["all observers, the database hangs"] = added
        train(steps // 10, 0, added)
        for number in range(rounds):
            for name, words in ways.items():
                hanging = name.endswith("hangs")
                if server is not None and hanging:
                    server.hang()
                rates.setdefault(name, []).append(train(steps, number, words))
                if server is not None and hanging:
                    server.go_on()
        with pymongo.MongoClient(url) as client:
            client.drop_database(added[1].partition("=")[2])
    print(f"observers beside the files: MongoDB {' '.join(others)}")
    for name, pairs in rates.items():
        wall, cpu = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratios = [[rate[i] / base[i] for rate, base in zip(pairs, rates["without"], strict=True)] for i in (0, 1)]
        shares = ", ".join(f"{statistics.median(ratio):.3f}" for ratio in ratios)
        print(f"{name:36} {wall:8,.0f} steps/s  {cpu:8,.0f} steps/CPU s  ratios {shares}")


def write_runs(results: Path, runs: int, figures: int) -> None:
    """Records of `runs` runs with `figures` figures each, of ten metrics."""
    for number in range(1, runs + 1):
        record = results / "sacred" / str(number)
        record.mkdir(parents=True)
        meta = {"uuid": uuid.uuid4().hex}
        run_json = {"status": "COMPLETED", "meta": meta, "result": {}, "start_time": "2026-01-01T00:00:00"}
        (record / "run.json").write_text(json.dumps({**run_json, "stop_time": "2026-01-02T00:00:00"}))
        (record / "config.json").write_text(json.dumps(load_config([]).as_dict()))
        (record / "info.json").write_text("{}")
        with (record / "metrics.jsonl").open("w") as file:
            for i in range(figures):
                point = {"name": f"metric{i % 10}", "step": i, "value": i / 7, "time": 1.8e9 + i}
                file.write(json.dumps(point) + "\n")


def measure_sync(runs: int, figures: int, folder: Path) -> None:
    """Bring written records to the database twice, and print."""
    write_runs(folder / "results", runs, figures)
    words = [sys.executable, str(SRC / "sync_mongo.py"), str(folder / "results")]
    name = f"benchmark_{uuid.uuid4().hex[:8]}"
    with database(folder / "mongo") as (url, _), pymongo.MongoClient(url) as client:
        for what in ("brought", "looked at again"):
            before = time.perf_counter()
            subprocess.run(
                [*words, "--db", name], env={**os.environ, "MONGO_URL": url}, check=True, capture_output=True
            )
            print(f"{runs} runs of {figures:,} figures {what} in {time.perf_counter() - before:.1f} s")
        points = sum(len(metric["steps"]) for metric in client[name].metrics.find({}))
        assert points == runs * figures, points
        client.drop_database(name)
    print(f"at most {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB in any program")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["training", "sync"], default="training")
    parser.add_argument("--steps", type=int, default=20_000, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--figures", type=int, default=2000, help="of a run that is brought")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if options.what == "sync":
            measure_sync(options.runs, options.figures, Path(name))
        else:
            measure(options.steps, options.rounds, Path(name))


if __name__ == "__main__":
    main()

"""Where the time of a training run goes, its steps per second and its memory.

    ./run.sh python benchmarks/profile_run.py --steps 200000 --config=refil --env-config=sc2_sz with threads=2

Every word but --steps and --warm-up is the command line of a run. Nothing is tested, saved or recorded: collecting and
learning only. Times are wall-clock shares of the measured rounds.
"""

import resource
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import torch

from training import Training
from utils.config import load_config
from utils.interrupt import StopSignal
from utils.logging import Console, Recorder


def timed(owner: Any, method: str, label: str, seconds: dict[str, float]) -> None:
    """Count the time spent in `owner.method` under `label`."""
    original = getattr(owner, method)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return original(*args, **kwargs)
        finally:
            seconds[label] += time.perf_counter() - start

    object.__setattr__(owner, method, wrapper)


def option(words: list[str], name: str, default: int) -> int:
    """Take `name N` out of `words`."""
    if name not in words:
        return default
    at = words.index(name)
    value = int(words[at + 1])
    del words[at : at + 2]
    return value


def main() -> None:
    """Measure and print."""
    words = sys.argv[1:]
    steps, warm_up = option(words, "--steps", 20000), option(words, "--warm-up", 2000)
    config = load_config(words)
    if config.threads:
        torch.set_num_threads(config.threads)
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder), "0", Console(config.log_interval, stream=sys.stderr))
        with Training(config, recorder, StopSignal()) as training:
            seconds: dict[str, float] = defaultdict(float)
            timed(training.runner.env, "step", "engine: step", seconds)
            timed(training.runner.env, "reset", "engine: reset", seconds)
            timed(training.controller, "act", "acting", seconds)
            if training.replay is not None:
                timed(training.replay, "insert", "replay: insert", seconds)
                timed(training.replay, "sample", "replay: sample", seconds)
            timed(training.learner, "train", "learner", seconds)
            while training.t_env < warm_up:
                training.round()
            seconds.clear()
            begin, first, updates = time.perf_counter(), training.t_env, training.learner.updates
            while training.t_env < first + steps:
                training.round()
                recorder.progress(training.t_env, first + steps)
            total = time.perf_counter() - begin
            played, made = training.t_env - first, training.learner.updates - updates
        recorder.close()
    spec, memory = training.runner.env.spec, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{config.name} on {spec.name}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{played:,} steps in {total:.0f} s: {played / total:.0f} steps/s, {made / total:.2f} updates/s")
    kept = "no replay" if training.replay is None else f"{len(training.replay)} items in the replay"
    print(f"peak memory {memory:.2f} GiB, {kept}")
    print("| where | seconds | share |\n|---|---|---|")
    seconds["the loop itself"] = total - sum(seconds.values())
    for label, value in sorted(seconds.items(), key=lambda item: -item[1]):
        print(f"| {label} | {value:.1f} | {value / total:.1%} |")


if __name__ == "__main__":
    main()

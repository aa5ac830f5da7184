"""Environment steps per CPU second of a whole CESMA run, beside MADDPG as its public code sets it up, in one run.

    ./run.sh python benchmarks/cesma.py

Navigation with 3 agents. Ours: an expert (VDN on all observations) and then its students, half of the steps each. The
peer: `benchmarks/public_maddpg.py`, one world of `mpe2` (requirements-dev.txt has it). On both sides every agent's
network has two hidden layers of 128 and there is an update every 100 steps; from 1,024 transitions for the peer, and
for ours once from as many (41 episodes of 25 steps), once from as many as CESMA's paper takes (appendix E.2).

One thread. Nothing is tested or saved but for single episodes at the beginning and the end of our trainings, whose
building counts, too. The players take turns, and the table shows medians of the rounds. CPU time is the process's.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import torch
from public_maddpg import BATCH, INTERVAL, LIMIT, PublicMaddpg

import run
from utils.config import load_config
from utils.interrupt import StopSignal
from utils.logging import Console, Recorder

#: of the expert and of the students
BOTH = {"controller": "flat", "recurrent": False, "rnn_hidden_dim": 128, "steps_per_update": INTERVAL}
RUN = {"device": "cpu", "threads": 1, "test_interval": 10**9, "test_nepisode": 1, "save_model": False}
#: what an update learns from -> settings of the expert, of the students
EQUAL = {"batch_size": -(-BATCH // LIMIT), "buffer_size": 8000}
PIECES = {"sequence_length": 1, "buffer_size": 200_000}
BATCHES = {
    "1,024 transitions": (EQUAL, EQUAL),
    "64 transitions, students 32": ({**PIECES, "batch_size": 64}, {**PIECES, "batch_size": 32}),
}


def words(steps: int, worlds: int, expert: Mapping[str, object], students: Mapping[str, object]) -> list[str]:
    """The command line of a run with `steps` steps."""
    taught = {f"expert_args.{key}": value for key, value in {**BOTH, **expert}.items()}
    settings = {**RUN, **BOTH, **students, "expert": "vdn", **taught, "t_max": steps, "batch_size_run": worlds}
    return ["--config=cesma", "--env-config=navigation", *(f"{key}={value}" for key, value in settings.items())]


def teach(settings: list[str], seed: int) -> None:
    """Train an expert and its students."""
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder), "1", Console(10**9, stream=sys.stderr))
        run.run(load_config([*settings, f"seed={seed}", f"local_results_path={folder}"]), recorder, StopSignal())
        recorder.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60_000, help="of a round of ours, expert's and students' together")
    parser.add_argument("--worlds", type=int, default=64, help="at once, ours; the peer has one")
    parser.add_argument("--peer-steps", type=int, default=5000, help="of a round of the peer")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    torch.set_num_threads(1)
    peer = PublicMaddpg()
    peer.play(BATCH + INTERVAL)  # from here on there is an update every 100 steps
    players: dict[str, tuple[int, Callable[[int], None]]] = {}
    for name, batches in BATCHES.items():
        settings = words(options.steps, options.worlds, *batches)
        teach(words(2 * options.worlds * LIMIT, options.worlds, *batches), 0)
        players[f"CESMA, {name}"] = (options.steps, lambda number, settings=settings: teach(settings, number))
    players["MADDPG, 1,024 transitions"] = (options.peer_steps, lambda _: peer.play(options.peer_steps))

    rates: dict[str, list[float]] = {name: [] for name in players}
    for number in range(options.rounds):
        for name, (steps, play) in players.items():
            busy = time.process_time()
            play(number)
            rates[name].append(steps / (time.process_time() - busy))
    base = statistics.median(rates["MADDPG, 1,024 transitions"])
    print("| | steps per CPU second | slowest | fastest | ratio |\n|---|---|---|---|---|")
    for name, found in rates.items():
        middle = statistics.median(found)
        print(f"| {name} | {middle:,.0f} | {min(found):,.0f} | {max(found):,.0f} | {middle / base:.1f} |")


if __name__ == "__main__":
    main()

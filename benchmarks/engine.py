"""Steps per second of the embedded battle engine, against SMAX of JaxMARL on the same machine in the same run.

    ./run.sh python benchmarks/engine.py --jax-python PATH_TO_PYTHON

    ./run.sh python benchmarks/engine.py --scenarios sz --teams 8 16 20v23     # how the cost grows with the sides

PATH is the Python of an environment with `jaxmarl` (python -m venv jaxenv; jaxenv/bin/pip install jaxmarl); without it
only our own times are measured. Both play 3 Stalkers and 5 Zealots against the same army led by the environment: 512
battles at once, uniformly random legal actions, 8 game loops a step, finished battles begin anew, observations and
legal actions of every step included. SMAX plays its heuristic enemy, and its whole round is one compiled program. The
players take turns, so that whatever else the machine does falls on all; the table shows medians of the rounds.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

from envs.starcraft.env import StarCraftEnv  # noqa: E402 (src has to be on the path)

#: Plays one round and returns the seconds it took.
Round = Callable[[], float]


def ours(scenario: str, team: str, battles: int, steps: int, threads: int, device: str) -> Round:
    """A round of `steps` steps in each of `battles` battles."""
    env = StarCraftEnv(StarCraftEnv.Args(scenario, team), battles, seed=0, device=device)
    act = StarCraftEnv.SCRIPTED["random"](env.spec)
    generator = torch.Generator(device=device).manual_seed(0)
    seen = env.reset()

    def play() -> float:
        nonlocal seen
        torch.set_num_threads(threads)
        start = time.perf_counter()
        for _ in range(steps):
            seen = env.step(act(seen, generator))
            if bool(seen.done.any()):
                seen = env.reset(seen.done)
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    play()
    return play


@contextmanager
def smax(python: str, battles: int, steps: int) -> Iterator[Round]:
    """The same in SMAX, in a process of its own."""
    words = [python, str(HERE / "smax_worker.py"), str(battles), str(steps)]
    worker = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert worker.stdin is not None
    assert worker.stdout is not None
    source, sink = worker.stdout, worker.stdin
    while (line := source.readline()) != "ready\n":
        if not line:
            raise SystemExit(f"{python} could not play SMAX; is jaxmarl installed there?")

    def play() -> float:
        sink.write("go\n")
        sink.flush()
        return float(source.readline())

    try:
        yield play
    finally:
        sink.close()
        worker.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jax-python", default="", help="Python of an environment with jaxmarl")
    parser.add_argument("--battles", type=int, default=512)
    parser.add_argument("--steps", type=int, default=100, help="steps of a round")
    parser.add_argument("--rounds", type=int, default=7)
    cores = sorted({1, os.cpu_count() or 1})
    parser.add_argument("--threads", type=int, nargs="*", default=cores, help="of torch; SMAX takes all cores")
    parser.add_argument("--device", default="cpu", help="ours; SMAX runs where its jax runs")
    parser.add_argument("--scenarios", nargs="*", default=["3s5z"], help="ours: 3s5z, sz, csz, mmm")
    parser.add_argument("--teams", nargs="*", default=["8"], help="ours: sizes, with the enemies' where they differ")
    options = parser.parse_args()
    count = options.battles * options.steps

    players = {
        f"Muster {scenario} {team}, {threads} thread{'s' * (threads > 1)}": ours(
            scenario, team, options.battles, options.steps, threads, options.device
        )
        for scenario in options.scenarios
        for team in options.teams
        for threads in options.threads
    }
    if options.jax_python:
        with smax(options.jax_python, options.battles, options.steps) as play:
            report(take_turns({**players, "SMAX 3s5z": play}, options.rounds), count, "SMAX 3s5z")
    else:
        report(take_turns(players, options.rounds), count, "")


def take_turns(players: dict[str, Round], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in players}
    for _ in range(rounds):
        for name, play in players.items():
            times[name].append(play())
    return times


def report(times: dict[str, list[float]], count: int, peer: str) -> None:
    """Print one row for each player; `count` environment steps in a round."""
    print(f"{'':26}{'steps/s':>10}{'slowest':>10}{'fastest':>10}{'ratio':>8}")
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        ratio = f"{statistics.median(times[peer]) / middle:8.2f}" if peer else ""
        print(f"{name:26}{count / middle:10,.0f}{count / max(seconds):10,.0f}{count / min(seconds):10,.0f}{ratio}")


if __name__ == "__main__":
    main()

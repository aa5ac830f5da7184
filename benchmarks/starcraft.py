"""Steps per second of battles on StarCraft II's protocol, against REFIL's public environment in the same run.

    ./run.sh python benchmarks/starcraft.py --refil PATH_TO_REFIL

PATH is a copy of github.com/shariqiqbal2810/REFIL; without it only our own times are measured. Both play on the tests'
stand-in for the game, a process that speaks the game's protocol and moves units with the embedded engine; needs
requirements-sc2.txt. With `--still` its units take orders and stay where they are: most of the time is motion, and what
remains is that of environments and protocol. Stalkers and Zealots, as many on either side, uniformly random legal
actions. A round is an episode in each of `--games` games, and ends with the last of them, as in both projects' runners;
entities, masks and legal actions of every step are handed out where actions are chosen, resets count.

Ours has its games in one process (`runner=vector`) or a process for each (`runner=parallel`); REFIL's has a process for
each, which is its own runner's `env_worker`, or with one game none. REFIL's plays twice: with the packages of ours, and
with protobuf's slow parser, which s2clientprotocol, as pysc2 asks for it, needs on a current Python. The players take
turns, so that whatever else the machine does falls on all; the table shows medians of the rounds, in the last column of
ratios in the same round. CPU time is that of the player and its workers; the stand-in's has a column of its own, and
steps per CPU second count both: what as many games as there are cores for come to.
"""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Cost(NamedTuple):
    """Of a step of one game, in seconds."""

    wall: float
    #: CPU time of the player and its workers, and of its games
    own: float
    games: float


class Player(NamedTuple):
    name: str
    play: Callable[[], Cost]


def used() -> tuple[float, float]:
    """CPU seconds of this process and its workers, and of the games, so far."""
    parents: dict[int, int] = {}
    seconds: dict[int, float] = {}
    games = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            nanoseconds = sum(int(task.read_text().split()[0]) for task in folder.glob("task/*/schedstat"))
            if b"sc2_standin.server" in (folder / "cmdline").read_bytes():
                games.add(int(folder.name))
        except OSError:  # it has just ended
            continue
        parents[int(folder.name)], seconds[int(folder.name)] = int(parent), 1e-9 * nanoseconds

    def is_ours(pid: int) -> bool:
        return pid == os.getpid() or (pid in parents and is_ours(parents[pid]))

    ours = {pid for pid in seconds if is_ours(pid)}
    return sum(seconds[pid] for pid in ours - games), sum(seconds[pid] for pid in ours & games)


def measured(play: Callable[[], int], steps: int) -> Cost:
    """Whole rounds of `play`, which returns their steps, until there are `steps`."""
    own, games = used()
    wall, played = time.perf_counter(), 0
    while played < steps:
        played += play()
    wall = time.perf_counter() - wall
    after = used()
    return Cost(wall / played, (after[0] - own) / played, (after[1] - games) / played)


def be_ours(backend: str, runner: str, games: int, units: int) -> Callable[[], int]:
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
    import torch

    import runners
    from envs.starcraft.env import StarCraftEnv

    torch.set_num_threads(1)
    args = StarCraftEnv.fit(StarCraftEnv.Args("sz", str(units), backend=backend), ())
    env = runners.REGISTRY[runner](StarCraftEnv, args, games, 0)
    act = StarCraftEnv.SCRIPTED["random"](env.spec)
    generator = torch.Generator().manual_seed(0)

    def play() -> int:
        seen, steps = env.reset(), 0
        while not bool(seen.done.all()):
            steps += games - int(seen.done.sum())
            seen = env.step(act(seen, generator))
        return steps

    return play


def be_refil(folder: str, games: int, units: int) -> Callable[[], int]:
    sys.path.insert(0, str(Path(folder) / "src"))
    import numpy as np

    from envs.starcraft2 import StarCraft2CustomEnv, custom_scenario_registry  # type: ignore[attr-defined]

    draw = np.random.default_rng(0)
    scenario = custom_scenario_registry["3-8sz_symmetric"]()
    armies = [both for both in scenario["scenarios"] if sum(number for number, *_ in both[0]) == units]

    def make(rank: int) -> Any:
        return StarCraft2CustomEnv(scenario_dict={**scenario, "scenarios": armies}, seed=rank)

    ask, answer = _in_process(make(0)) if games == 1 else _in_workers(make, games)

    def play() -> int:
        for i in range(games):
            ask(i, "reset", {})
        seen = {i: answer(i) for i in range(games)}
        steps = 0
        while seen:
            steps += len(seen)
            legal = np.array([told["avail_actions"] for told in seen.values()])
            actions = np.where(legal, draw.random(legal.shape), -1).argmax(axis=-1)
            for i, chosen in zip(seen, actions, strict=True):
                ask(i, "step", chosen)
            seen = {i: answer(i) for i in seen}
            seen = {i: told for i, told in seen.items() if not told["terminated"]}
        return steps

    return play


def _in_process(env: Any) -> tuple[Callable[..., None], Callable[[int], dict[str, Any]]]:
    told: dict[str, Any] = {}

    def ask(_: int, command: str, value: Any) -> None:
        told.clear()
        if command == "reset":
            env.reset(**value)
        else:
            told["reward"], told["terminated"], told["info"] = env.step(value)
        told["obs_mask"], told["entity_mask"] = env.get_masks()
        told["entities"], told["avail_actions"] = env.get_entities(), env.get_avail_actions()

    return ask, lambda _: dict(told)


def _in_workers(make: Callable[[int], Any], games: int) -> tuple[Callable[..., None], Callable[[int], dict[str, Any]]]:
    from functools import partial

    from runners.parallel_runner import CloudpickleWrapper, env_worker  # type: ignore[import-not-found]

    context = multiprocessing.get_context("fork")
    pipes = []
    for rank in range(games):
        ours, theirs = context.Pipe()
        words = (theirs, True, CloudpickleWrapper(partial(make, rank)))
        context.Process(target=env_worker, args=words, daemon=True).start()
        pipes.append(ours)
    return lambda i, *message: pipes[i].send(message), lambda i: pipes[i].recv()


def player(name: str, words: argparse.Namespace, parser: str = "upb", **who: str) -> Player:
    """A process of its own, because REFIL's packages have the names of ours."""
    command = [sys.executable, __file__, *(f"--{key}={value}" for key, value in who.items())]
    command += [f"--games={words.games}", f"--units={words.units}", f"--steps={words.steps}"]
    environment = {**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": parser, "PYTHONPATH": ""}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def play() -> Cost:
        assert process.stdin is not None
        assert process.stdout is not None
        print("go", file=process.stdin, flush=True)
        return Cost(*map(float, process.stdout.readline().split()))

    return Player(name, play)


def serve(play: Callable[[], int], steps: int) -> None:
    """Play for every line on stdin, and answer with what it took."""
    # the answers' stream is not for what an environment prints
    answers, sys.stdout = sys.stdout, sys.stderr
    for _ in sys.stdin:
        print(*measured(play, steps), file=answers, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--refil", default="", help="a copy of REFIL's repository")
    parser.add_argument("--games", type=int, default=8, help="that are played at once")
    parser.add_argument("--units", type=int, default=8, help="of either side")
    parser.add_argument("--steps", type=int, default=2000, help="of a player's turn, of all games")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--still", action="store_true", help="units take orders and stay where they were placed")
    parser.add_argument("--play", choices=("ours", "refil"), help=argparse.SUPPRESS)
    parser.add_argument("--backend", default="", help=argparse.SUPPRESS)
    parser.add_argument("--runner", default="", help=argparse.SUPPRESS)
    words = parser.parse_args()
    # what Python puts first is this file's folder
    del sys.path[0]
    if words.play == "ours":
        serve(be_ours(words.backend, words.runner, words.games, words.units), words.steps)
    elif words.play == "refil":
        serve(be_refil(words.refil, words.games, words.units), words.steps)
    else:
        compare(words)


def compare(words: argparse.Namespace) -> None:
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
    import sc2_standin

    with tempfile.TemporaryDirectory() as folder:
        os.environ["SC2PATH"] = str(sc2_standin.install(Path(folder) / "StarCraftII", still=words.still))
        players = [player("Muster, `runner=vector`", words, play="ours", backend="sc2", runner="vector")]
        if words.games > 1:
            players.append(player("Muster, `runner=parallel`", words, play="ours", backend="sc2", runner="parallel"))
        if words.refil:
            for parser, packages in (("upb", "the packages of ours"), ("python", "protobuf's parser in Python")):
                name = f"REFIL's public environment, {packages}"
                players.append(player(name, words, parser, play="refil", refil=words.refil))
        players.append(player("Muster, `backend=skirmish`", words, play="ours", backend="skirmish", runner="vector"))
        for each in players:  # what is done once
            each.play()
        costs = [[each.play() for each in players] for _ in range(words.rounds)]
    columns = list(zip(*costs, strict=True))
    print("| | steps/s, median | slowest | fastest | CPU per step, ms | the games' | steps per CPU second | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for each, column in zip(players, columns, strict=True):
        walls = sorted(cost.wall for cost in column)
        median = statistics.median(walls)
        own, games = (statistics.median(getattr(cost, name) for cost in column) for name in ("own", "games"))
        cpu = (f"{1000 * own:.2f}", f"{1000 * games:.2f}", f"{1 / (own + games):.0f}")
        ratio = statistics.median(cost.wall / first.wall for cost, first in zip(column, columns[0], strict=True))
        row = (each.name, f"{1 / median:.0f}", f"{1 / walls[-1]:.0f}", f"{1 / walls[0]:.0f}", *cpu)
        print("|", " | ".join([*row, f"{ratio:.2f}"]), "|")


if __name__ == "__main__":
    main()

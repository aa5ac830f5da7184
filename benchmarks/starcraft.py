"""Steps per second of battles on StarCraft II's protocol, against REFIL's public environment in the same run.

    ./run.sh python benchmarks/starcraft.py --refil PATH_TO_REFIL

PATH is a copy of github.com/shariqiqbal2810/REFIL; without it only our own times are measured. Both play on the tests'
stand-in for the game, a process that speaks the game's protocol and moves units with the embedded engine; needs
requirements-sc2.txt. Stalkers and Zealots, as many on either side, uniformly random legal actions; entities, masks and
legal actions of every step are asked for, resets count. REFIL's environment plays twice: with the packages of ours, and
with protobuf's slow parser, which s2clientprotocol, as pysc2 asks for it, needs on a current Python. The players take
turns, so that whatever else the machine does falls on all; the table shows medians of the rounds. CPU time is the
player's own, without the stand-in's.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Player(NamedTuple):
    """Plays rounds; each gives (wall seconds, own CPU seconds) of a step."""

    name: str
    play: Callable[[], tuple[float, float]]


def measured(step: Callable[[], None], steps: int) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        step()
    return (time.perf_counter() - wall) / steps, (time.process_time() - cpu) / steps


def ours(backend: str, units: int, steps: int) -> Player:
    """Muster's environment, one battle at a time."""
    import torch

    from envs.starcraft.env import StarCraftEnv

    torch.set_num_threads(1)
    env = StarCraftEnv(StarCraftEnv.Args("sz", str(units), backend=backend), 1, seed=0)
    act = env.SCRIPTED["random"](env.spec)
    generator = torch.Generator().manual_seed(0)
    seen = env.reset()

    def step() -> None:
        nonlocal seen
        seen = env.step(act(seen, generator))
        if bool(seen.done):
            seen = env.reset()

    return Player(f"Muster, backend={backend}", lambda: measured(step, steps))


def refil(folder: str, units: int, steps: int, parser: str) -> Player:
    """REFIL's environment, in a process of its own: its packages have the names of ours."""
    command = [sys.executable, __file__, "--peer", f"--refil={folder}", f"--units={units}", f"--steps={steps}"]
    environment = {**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": parser}
    peer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def play() -> tuple[float, float]:
        assert peer.stdin is not None
        assert peer.stdout is not None
        print("go", file=peer.stdin, flush=True)
        wall, cpu = map(float, peer.stdout.readline().split())
        return wall, cpu

    return Player(f"REFIL's public environment, parser {parser}", play)


def be_refil(folder: str, units: int, steps: int) -> None:
    """Play a round for every line on stdin, and answer with its times."""
    sys.path[:] = [path for path in sys.path if Path(path) not in (ROOT / "src", ROOT / "tests")]
    sys.path.insert(0, str(Path(folder) / "src"))
    import numpy as np

    from envs.starcraft2 import StarCraft2CustomEnv, custom_scenario_registry  # type: ignore[attr-defined]

    # the answers' stream is not for what an environment prints
    answers, sys.stdout = sys.stdout, sys.stderr
    draw = np.random.default_rng(0)
    scenario = custom_scenario_registry["3-8sz_symmetric"]()
    armies = [both for both in scenario["scenarios"] if sum(number for number, *_ in both[0]) == units]
    env = StarCraft2CustomEnv(scenario_dict={**scenario, "scenarios": armies}, seed=0)
    env.reset()

    def step() -> None:
        legal = np.array(env.get_avail_actions())
        actions = [int(draw.choice(np.flatnonzero(row))) for row in legal]
        _, over, _ = env.step(actions)
        if over:
            env.reset()
        env.get_entities()
        env.get_masks()

    for _ in sys.stdin:
        print(*measured(step, steps), file=answers, flush=True)
    env.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--refil", default="", help="a copy of REFIL's repository")
    parser.add_argument("--units", type=int, default=8, help="of either side")
    parser.add_argument("--steps", type=int, default=200, help="of a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.peer:
        be_refil(words.refil, words.units, words.steps)
        return
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
    import sc2_standin

    with tempfile.TemporaryDirectory() as folder:
        os.environ["SC2PATH"] = str(sc2_standin.install(Path(folder) / "StarCraftII"))
        players = [ours(backend, words.units, words.steps) for backend in ("sc2", "skirmish")]
        if words.refil:
            players += [refil(words.refil, words.units, words.steps, parser) for parser in ("upb", "python")]
        for player in players:  # what is done once
            player.play()
        times = [[player.play() for player in players] for _ in range(words.rounds)]
        columns = list(zip(*times, strict=True))
        first = statistics.median(wall for wall, _ in columns[0])
        print("| | steps/s, median | slowest | fastest | own CPU per step, ms | Muster on the stand-in is faster by |")
        print("|---|---|---|---|---|---|")
        for player, column in zip(players, columns, strict=True):
            walls = sorted(wall for wall, _ in column)
            median = statistics.median(walls)
            own = 1000 * statistics.median(cpu for _, cpu in column)
            row = (player.name, f"{1 / median:.0f}", f"{1 / walls[-1]:.0f}", f"{1 / walls[0]:.0f}", f"{own:.2f}")
            print("|", " | ".join([*row, f"{median / first:.2f}"]), "|")


if __name__ == "__main__":
    main()

"""Games behind Ray's actors (`runner=ray`) against worker processes (`runner=parallel`), and what a message costs.

    ./run.sh python benchmarks/ray_envs.py

Both play battles on the tests' stand-in for StarCraft II (see `starcraft.py`), as many on either side, uniformly random
legal actions, an episode in each of `--games` games a round, in turns; Ray runs on this machine alone. Needs
requirements-sc2.txt and requirements-cluster.txt. CPU time is that of the player, of its workers and of all that Ray
started; the stand-in's has a column of its own.

What a message costs is seen on an environment that does nothing, and shows as much as a battle does: a step is a
message there and one back, of `--games` workers and of one alone. It is collected as in training, by who chooses always
the same, or by REFIL's networks. The last column is the CPU time of the process that asks, which learns as well.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from starcraft import ROOT, player, used

sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests"), str(Path(__file__).parent)]

import torch  # noqa: E402

import builders  # noqa: E402
import runners  # noqa: E402
from controllers.scripted import ScriptedController  # noqa: E402
from envs.base import EntityEnv, TimeStep  # noqa: E402
from envs.starcraft.env import StarCraftEnv  # noqa: E402
from envs.worker import record  # noqa: E402
from runners.asynchronous import Asynchronous  # noqa: E402
from runners.runner import Runner  # noqa: E402
from utils.config import load_config  # noqa: E402

RUNNERS = ("parallel", "ray")


class Idle(EntityEnv):
    """Shows the beginning of a battle of so many units a side, 50 times."""

    def __init__(self, units: int, num_envs: int, seed: int, device: str) -> None:
        args = StarCraftEnv.fit(StarCraftEnv.Args("sz", str(units), backend="skirmish"), ())
        with StarCraftEnv(args, 1, 0) as env:
            self.spec, self.seen = env.spec, env.reset()
        super().__init__(num_envs, seed, device)

    def _reset(self, env_mask: torch.Tensor, team: str | None) -> TimeStep:
        self.steps = 0
        return self.seen

    def _step(self, actions: torch.Tensor) -> TimeStep:
        self.steps += 1
        return self.seen._replace(terminated=torch.tensor([self.steps == 50]))


def games(words: argparse.Namespace) -> None:
    import sc2_standin

    with tempfile.TemporaryDirectory() as folder:
        os.environ["SC2PATH"] = str(sc2_standin.install(Path(folder) / "StarCraftII", still=words.still))
        players = [player(f"`runner={name}`", words, play="ours", backend="sc2", runner=name) for name in RUNNERS]
        for each in players:  # what is done once
            each.play()
        costs = [[each.play() for each in players] for _ in range(words.rounds)]
    print("| | steps/s, median | slowest | fastest | CPU per step, ms | the games' | ratio | by CPU time |")
    print("|---|---|---|---|---|---|---|---|")
    for number, each in enumerate(players):
        column = [costs_of_round[number] for costs_of_round in costs]
        walls = sorted(cost.wall for cost in column)
        own, theirs = (statistics.median(getattr(cost, name) for cost in column) for name in ("own", "games"))
        ratios = [first.wall / cost.wall for (first, *_), cost in zip(costs, column, strict=True)]
        cpu = [
            (first.own + first.games) / (cost.own + cost.games) for (first, *_), cost in zip(costs, column, strict=True)
        ]
        row = [each.name, *(f"{1 / wall:.0f}" for wall in (statistics.median(walls), walls[-1], walls[0]))]
        row += [f"{1000 * own:.2f}", f"{1000 * theirs:.2f}"]
        print("|", " | ".join([*row, *(f"{statistics.median(each):.2f}" for each in (ratios, cpu))]), "|")


class Cost(NamedTuple):
    """Of a step of one environment, in seconds."""

    wall: float
    #: CPU time of everybody, and of the process that asks
    every: float
    asker: float


def measured(play: Callable[[], int], rounds: int) -> Cost:
    """Medians of so many calls of `play`, which returns the steps that it played."""
    costs = []
    for _ in range(rounds):
        every, wall, asker = sum(used()), time.perf_counter(), time.process_time()
        steps = play()
        spent = time.perf_counter() - wall, sum(used()) - every, time.process_time() - asker
        costs.append([seconds / steps for seconds in spent])
    return Cost(*(statistics.median(column) for column in zip(*costs, strict=True)))


def messages(words: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    config = load_config(["--config=refil", "--env-config=sc2_sz", "device=cpu"])
    print("\n| | workers | steps/s | CPU per step, ms, of all | of who asks |")
    print("|---|---|---|---|---|")
    for name in RUNNERS:
        for count in (words.games, 1):
            with runners.REGISTRY[name](Idle, words.units, count, 0) as env:
                controller = builders.build_controller(config, env.spec)
                nobody = ScriptedController(lambda seen, _: seen.avail_mask.int().argmax(dim=-1))
                waits, goes_on = Runner(env, nobody, 0), Asynchronous(env, nobody, 0, count, 99)
                ways = {"": waits, ", `round_episodes`": goes_on, ", REFIL acts": Runner(env, controller, 0)}
                for way, runner in ways.items():

                    def play(runner: Any = runner, count: int = count) -> int:
                        return sum(int(runner.play().steps) for _ in range(-(-words.messages // (50 * count))))

                    play()
                    cost = measured(play, words.rounds)
                    row = (f"{1 / cost.wall:.0f}", f"{1000 * cost.every:.3f}", f"{1000 * cost.asker:.3f}")
                    print(f"| `runner={name}`{way} |", " | ".join([str(count), *row]), "|", flush=True)
    print(f"\nA time step of {words.units} a side is {record(env.spec).itemsize:,} bytes.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=int, default=8, help="that are played at once")
    parser.add_argument("--units", type=int, default=8, help="of either side")
    parser.add_argument("--steps", type=int, default=2000, help="of a player's turn, of all games")
    parser.add_argument("--messages", type=int, default=4000, help="of a turn without games")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--still", action="store_true", help="units take orders and stay where they were placed")
    parser.add_argument("--only", choices=("games", "messages"))
    words = parser.parse_args()
    os.environ.pop("RAY_ADDRESS", None)
    for measure in (games, messages):
        if words.only in (None, measure.__name__):
            measure(words)


if __name__ == "__main__":
    main()

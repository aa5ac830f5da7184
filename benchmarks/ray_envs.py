"""Games behind Ray's actors (`runner=ray`) against worker processes (`runner=parallel`), and what a message costs.

    ./run.sh python benchmarks/ray_envs.py

Both play battles on the tests' stand-in for StarCraft II (see `starcraft.py`), as many on either side, uniformly random
legal actions, an episode in each of `--games` games a round, in turns; Ray runs on this machine alone. Needs
requirements-sc2.txt and requirements-cluster.txt. CPU time is that of the player, of its workers and of all that Ray
started; the stand-in's has a column of its own.

Messages are steps of an environment that does nothing and shows as much as a battle does: there and back, of `--games`
workers at once and of one alone. The last column is the CPU time of the process that asks, which learns as well.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from starcraft import ROOT, player, used

sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests"), str(Path(__file__).parent)]

import torch  # noqa: E402

import runners  # noqa: E402
from envs.base import EntityEnv, TimeStep  # noqa: E402
from envs.starcraft.env import StarCraftEnv  # noqa: E402
from envs.worker import record  # noqa: E402

RUNNERS = ("parallel", "ray")


class Idle(EntityEnv):
    """Does nothing, and shows the beginning of a battle of so many units a side."""

    def __init__(self, units: int, num_envs: int, seed: int, device: str) -> None:
        args = StarCraftEnv.fit(StarCraftEnv.Args("sz", str(units), backend="skirmish"), ())
        with StarCraftEnv(args, 1, 0) as env:
            self.spec, self.seen = env.spec, env.reset()
        super().__init__(num_envs, seed, device)

    def _reset(self, env_mask: torch.Tensor, team: str | None) -> TimeStep:
        return self.seen

    def _step(self, actions: torch.Tensor) -> TimeStep:
        return self.seen


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


def messages(words: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    print("\n| | workers | messages/s | CPU per message, ms, of all | of who asks |")
    print("|---|---|---|---|---|")
    for name in RUNNERS:
        for count in (words.games, 1):
            with runners.REGISTRY[name](Idle, words.units, count, 0) as env:
                env.reset()
                actions = torch.ones(count, env.spec.agents, dtype=torch.int64)
                best = []
                for _ in range(words.rounds):
                    own, wall, asker = sum(used()), time.perf_counter(), time.process_time()
                    for _ in range(words.messages // count):
                        env.step(actions)
                    sent = words.messages // count * count
                    spent = time.perf_counter() - wall, sum(used()) - own, time.process_time() - asker
                    best.append([seconds / sent for seconds in spent])
                wall, cpu, asker = (statistics.median(column) for column in zip(*best, strict=True))
                print(f"| `runner={name}` | {count} | {1 / wall:.0f} | {1000 * cpu:.3f} | {1000 * asker:.3f} |")
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

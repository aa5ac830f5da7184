"""Steps per second of particle tasks, against public code in the same run.

    ./run.sh python benchmarks/particle.py --copa PATH_TO_MARL_COPA
    ./run.sh python benchmarks/particle.py navigation --vmas FOLDER

Without a peer only our own times are measured. Uniformly random actions, observations and rewards of every step
included, episodes that are over begin anew.

Resource Collection has 2 to 4 agents and episodes of 145 steps; its peer is a copy of github.com/Cranial-XIX/marl-copa,
one world of Python objects in one process.

Navigation has 3 agents and episodes of 25 steps; its peer is `simple_spread` of VMAS, as many worlds in torch. FOLDER
is where it was installed:

    pip install --target FOLDER --no-deps vmas gym gym-notices cloudpickle "pyglet<2"

The players take turns, so that whatever else the machine does falls on all; the table shows medians of the rounds. CPU
time is that of all threads together. Ratios are to the peer, with as many threads where it has threads.
"""

import argparse
import os
import statistics
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from envs import REGISTRY

TASKS = ("resource_collection", "navigation")


class Player(NamedTuple):
    """Plays one round in `play`."""

    name: str
    #: environment steps of a round
    steps: int
    play: Callable[[], None]
    threads: int
    peer: bool = False


def ours(task: str, worlds: int, steps: int, threads: int, device: str) -> Player:
    """`steps` steps in each of `worlds` worlds."""
    Env = REGISTRY[task]
    env = Env(Env.resolve_args({}, []), worlds, seed=0, device=device)
    act = Env.SCRIPTED["random"](env.spec)
    generator = torch.Generator(device=device).manual_seed(0)
    seen = env.reset()

    def play() -> None:
        nonlocal seen
        torch.set_num_threads(threads)
        for _ in range(steps):
            seen = env.step(act(seen, generator))
            if bool(seen.done.any()):
                seen = env.reset(seen.done)
        if device != "cpu":
            torch.cuda.synchronize()

    return Player(f"Muster, {threads} thread{'s' * (threads > 1)}", worlds * steps, play, threads)


def vmas_spread(folder: str, worlds: int, steps: int, threads: int, device: str) -> Player:
    """`steps` steps in each of `worlds` worlds of `simple_spread` in VMAS."""
    if folder not in sys.path:
        sys.path.append(folder)  # behind what we have of the same packages
    try:
        import vmas  # type: ignore[import-not-found]
    except ImportError as error:
        raise SystemExit(f"--vmas {folder}: was VMAS installed there as --help says? ({error})") from None
    env = vmas.make_env("simple_spread", worlds, device, continuous_actions=False, seed=0, n_agents=3)
    choices = [space.n for space in env.action_space]
    age = 0
    env.reset()

    def play() -> None:
        nonlocal age
        torch.set_num_threads(threads)
        for _ in range(steps):
            env.step([torch.randint(count, (worlds,), device=device) for count in choices])
            age = (age + 1) % 25
            if age == 0:
                env.reset()
        if device != "cpu":
            torch.cuda.synchronize()

    return Player(f"VMAS, {threads} thread{'s' * (threads > 1)}", worlds * steps, play, threads, peer=True)


def authors(folder: str, steps: int) -> Player:
    """`steps` steps in one world of the authors' training environment."""
    for name, contents in (
        # it asks for a release of gym that current Pythons cannot install, and uses no more of it than names
        ("gym", {"Env": object}),
        ("gym.spaces", {"Discrete": _Space, "Box": _Space, "Tuple": _Space}),
        ("gym.envs", {}),
        ("gym.envs.registration", {"register": _Space, "EnvSpec": object}),
        ("multiagent.multi_discrete", {"MultiDiscrete": _Never}),
    ):
        module = types.ModuleType(name)
        module.__dict__.update(contents)
        sys.modules[name] = module
    sys.modules["gym"].spaces = sys.modules["gym.spaces"]  # type: ignore[attr-defined]
    sys.path[:0] = [folder, str(Path(folder) / "multiagent-particle-envs")]
    try:
        from environment.mpe84 import make_env  # type: ignore[import-not-found]
    except ImportError as error:
        raise SystemExit(f"--copa {folder}: is that a copy of marl-copa? ({error})") from None
    env, draw, age = make_env(), np.random.default_rng(0), 0
    env.reset()

    def play() -> None:
        nonlocal age
        for _ in range(steps):
            env.step(draw.integers(5, size=6))
            env.get_entities(), env.get_observability()
            age = (age + 1) % 145
            if age == 0:
                env.reset()

    return Player("authors' code", steps, play, 1, peer=True)


class _Space:
    def __init__(self, *args: object, **settings: object) -> None:
        pass


class _Never:
    pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="?", choices=TASKS, default=TASKS[0])
    parser.add_argument("--copa", default="", help="a copy of the authors' code, for resource_collection")
    parser.add_argument("--vmas", default="", help="the folder that VMAS was installed to, for navigation")
    parser.add_argument("--worlds", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=150, help="steps of a round in each of our worlds")
    parser.add_argument("--peer-steps", type=int, default=1450, help="steps of a round of the authors' code")
    parser.add_argument("--rounds", type=int, default=7)
    cores = sorted({1, os.cpu_count() or 1})
    parser.add_argument("--threads", type=int, nargs="*", default=cores, help="of torch; the authors' code uses one")
    parser.add_argument("--device", default="cpu", help="ours")
    options = parser.parse_args()

    if options.task == TASKS[0] and options.vmas:
        parser.error("VMAS is the peer of navigation")
    if options.task == TASKS[1] and options.copa:
        parser.error("COPA's code is the peer of resource_collection")
    shared = [(options.worlds, options.steps, threads, options.device) for threads in options.threads]
    players = [ours(options.task, *sizes) for sizes in shared]
    if options.copa:
        players.append(authors(options.copa, options.peer_steps))
    if options.vmas:
        players += [vmas_spread(options.vmas, *sizes) for sizes in shared]
    wall: dict[str, list[float]] = {player.name: [] for player in players}
    work: dict[str, list[float]] = {player.name: [] for player in players}
    for player in players:
        player.play()
    for _ in range(options.rounds):
        for player in players:
            start, busy = time.perf_counter(), time.process_time()
            player.play()
            wall[player.name].append(player.steps / (time.perf_counter() - start))
            work[player.name].append(player.steps / (time.process_time() - busy))

    peers = {player.threads: player.name for player in players if player.peer}
    print(f"{'':20}{'steps/s':>12}{'slowest':>12}{'fastest':>12}{'ratio':>8}{'per CPU s':>12}{'ratio':>8}")
    for player in players:
        rates, busy_rates = wall[player.name], work[player.name]
        row = [statistics.median(rates), min(rates), max(rates), statistics.median(busy_rates)]
        ratios = ["", ""]
        if peers:
            peer = peers.get(player.threads, players[-1].name)
            ratios = [f"{row[i] / statistics.median(rate[peer]):.3g}" for i, rate in ((0, wall), (3, work))]
        print(
            f"{player.name:20}{row[0]:12,.0f}{row[1]:12,.0f}{row[2]:12,.0f}{ratios[0]:>8}{row[3]:12,.0f}{ratios[1]:>8}"
        )


if __name__ == "__main__":
    main()

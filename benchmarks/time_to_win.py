"""CPU seconds and environment steps until a greedy team wins its battles, beside JaxMARL's baselines in the same run.

    ./run.sh python benchmarks/time_to_win.py --jax-python PATH_TO_PYTHON --jaxmarl CHECKOUT
    ./run.sh python benchmarks/time_to_win.py --task sc2_sz --limit 1500 --run "--config=refil --recipe=fast lr=0.001"

PATH is the Python of an environment with `jaxmarl`, `distrax` and `hydra-core`, CHECKOUT a checkout of the public code
(github.com/FLAIROx/JaxMARL), whose wheel lacks the baselines; without them only ours are measured. Its MAPPO and
PQN-VDN play SMAX `3m`: another game than `sc2_3m`, on an engine and against an enemy of its own. They have JaxMARL's
settings for SMAX but for 64 environments and networks 64 wide (`benchmarks/smax_learners.py`).

Every training is a process of its own. Its CPU seconds count from its start, imports and compiling included, with those
of its children that have ended, and include its tests, whose part is told apart. A test plays a number of greedy
episodes, the same ones each time; a rate is reached when a test shows it. All is done on one core with one thread.
"""

import argparse
import contextlib
import io
import json
import math
import os
import resource
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

#: task -> the team that is tested, the rates
TASKS = {"sc2_3m": ("3", (0.5, 0.8)), "sc2_sz": ("3-5", (0.4, 0.5, 0.65))}
RUNS = tuple(f"--config={name} --recipe=fast" for name in ("mappo", "pqn_vdn", "refil"))
#: of JaxMARL's, and the name that tables have for them
PEERS = {"mappo": "JaxMARL MAPPO, SMAX 3m", "pqn_vdn": "JaxMARL PQN-VDN, SMAX 3m"}


@dataclass(frozen=True)
class Score:
    """One test in the course of a training."""

    #: environment steps that were trained
    step: int
    #: CPU seconds of the process until the test's end
    cpu: float
    #: ... of these in tests
    testing: float
    #: share of its episodes that were won
    won: float


def first_reached(tests: Iterable[Score], rate: float, limit: float) -> Score | None:
    """The first of `tests` that shows `rate`, in at most `limit` CPU seconds."""
    return next((test for test in tests if test.won >= rate and test.cpu <= limit), None)


def row(name: str, rate: float, runs: Sequence[Sequence[Score]], limit: float) -> str:
    """A line of the table: when the trainings `runs`, one per seed, reached `rate`, the median seed and the worst.

    Of an even number of seeds the slower of the middle two stands for the median.
    """
    reached = [(first_reached(tests, rate, limit), tests[-1]) for tests in runs]
    # a training that came to its end is told from one that was cut off, by what its last test says
    reached.sort(key=lambda pair: pair[0].cpu if pair[0] is not None else math.inf)
    cells = [cell for pair in (reached[len(reached) // 2], reached[-1]) for cell in _cells(*pair, limit)]
    count = sum(found is not None for found, _ in reached)
    return f"| {name} | {rate:g} | {' | '.join(cells)} | {count} of {len(runs)} |"


def _cells(found: Score | None, last: Score, limit: float) -> tuple[str, str, str]:
    """CPU seconds, of these in tests, steps."""
    if found is not None:
        return f"{found.cpu:,.0f}", f"{found.testing:,.0f}", f"{found.step:,}"
    return f"not within {min(last.cpu, limit):,.0f}", f"{last.testing:,.0f}", f"{last.step:,}"


HEADER = (
    "| training | won | CPU seconds, median | in tests | steps | CPU seconds, worst | in tests | steps | seeds |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


# --- one training -----------------------------------------------------------------------------------------------------


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def train(team: str, words: Sequence[str]) -> int:
    """Carry out the command line `words` as `main.py` does, print a `Score` as JSON after each test, and return the
    exit code.
    """
    import main as command
    import training

    told, play, testing = sys.stdout, training.test, 0.0

    def timed(config: Any, recorder: Any, stop: Any, runner: Any, t_env: int) -> Any:
        nonlocal testing
        begin = cpu_seconds()
        results = play(config, recorder, stop, runner, t_env)
        now = cpu_seconds()
        testing += now - begin
        if results:
            won = results[team]["battle_won"]["mean"]
            print(json.dumps({"step": t_env, "cpu": now, "testing": testing, "won": won}), file=told, flush=True)
        return results

    training.test = timed
    with contextlib.redirect_stdout(io.StringIO()):
        return command.main(words)


def follow(command: Sequence[str], rates: Sequence[float], limit: float) -> list[Score]:
    """The tests of the training that `command` starts, which is ended when one shows the highest of `rates`, or `limit`
    CPU seconds are over.
    """
    alone = {"OMP_NUM_THREADS": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false", "JAX_PLATFORMS": "cpu"}
    tests = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **alone}) as worker:
        assert worker.stdout is not None
        try:
            for line in worker.stdout:
                if line.startswith("{"):  # JaxMARL says this and that
                    tests.append(Score(**json.loads(line)))
                    if tests[-1].won >= max(rates) or tests[-1].cpu > limit:
                        return tests
            worker.wait()
        finally:
            worker.kill()
    if worker.returncode or not tests:
        raise SystemExit(f"failed: {shlex.join(command)}")
    return tests


@contextlib.contextmanager
def commands(options: argparse.Namespace) -> Iterator[Mapping[tuple[str, str], list[str]]]:
    """(task, training) -> the command that carries it out but for its seed, of all that are asked for."""
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for task in options.task:
            team, _ = TASKS[task]
            tests = {"test_interval": options.interval, "test_nepisode": options.episodes, "test_teams": team}
            means = {"device": "cpu", "threads": 1, "save_model": False, "local_results_path": folder}
            settings = {**tests, "test_batch_size": options.episodes, **means}
            for run in options.run or RUNS:
                words = [
                    *shlex.split(run),
                    f"--env-config={task}",
                    *(f"{key}={value}" for key, value in settings.items()),
                ]
                found[task, run] = [sys.executable, __file__, "--train", team, *words, "seed={seed}"]
        if options.jax_python and "sc2_3m" in options.task:
            sizes = [str(number) for number in (options.peer_steps, options.interval, options.episodes)]
            for algorithm, name in PEERS.items():
                words = [str(HERE / "smax_learners.py"), options.jaxmarl, algorithm, "{seed}", *sizes]
                found["sc2_3m", name] = [options.jax_python, *words]
        yield found


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--train"]:
        sys.exit(train(sys.argv[2], sys.argv[3:]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--run", action="append", help=f"words of main.py; again for another one; default: {RUNS}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--limit", type=float, default=300.0, help="CPU seconds after which a training is ended")
    parser.add_argument("--interval", type=int, default=10_000, help="environment steps between tests")
    parser.add_argument("--episodes", type=int, choices=range(100, 10_001), metavar="N", default=160, help="of a test")
    parser.add_argument("--core", type=int, default=min(os.sched_getaffinity(0)), help="which one all run on, in turn")
    parser.add_argument("--jax-python", default="", help="Python of an environment with jaxmarl")
    parser.add_argument("--jaxmarl", default="", help="checkout of JaxMARL")
    parser.add_argument("--peer-steps", type=int, default=1_000_000, help="that JaxMARL's schedules are made for")
    options = parser.parse_args()
    if bool(options.jax_python) != bool(options.jaxmarl):
        parser.error("--jax-python and --jaxmarl belong together")
    os.sched_setaffinity(0, {options.core})
    with commands(options) as players:
        runs: dict[tuple[str, str], list[list[Score]]] = {player: [] for player in players}
        for seed in options.seeds:
            for (task, name), command in players.items():
                _, rates = TASKS[task]
                tests = follow([word.replace("{seed}", str(seed)) for word in command], rates, options.limit)
                runs[task, name].append(tests)
                last, best = tests[-1], max(test.won for test in tests)
                done = f"{last.step:,} steps, {last.cpu:.0f} CPU seconds, best {best:.2f}"
                print(f"{task}, {name}, seed {seed}: {done}", file=sys.stderr)
    count = f"{options.episodes} greedy episodes every {options.interval:,} steps"
    print(f"seeds: {', '.join(map(str, options.seeds))}; tests of {count}, in JaxMARL's rounds of 8,192")
    for task in options.task:
        print(f"\n{task}\n\n{HEADER}")
        for (where, name), tests in runs.items():
            if where == task:
                print("\n".join(row(name, rate, tests, options.limit) for rate in TASKS[task][1]))


if __name__ == "__main__":
    main()

"""Everything that is to be measured on a GPU, in one command.

    ./run.sh python benchmarks/gpu.py --refil PATH_TO_REFIL/src --jax-python PATH_TO_PYTHON
    ./run.sh python benchmarks/gpu.py --device cpu --small          # whether it works, where there is no GPU

REFIL's update against the public code's, and the engine against SMAX, both on the same device (benchmarks/learner.py
and engine.py say what the paths are; without them our own times stand alone); and how long COPA's 5 million steps of
Resource Collection and REFIL's 10 million of `sc2_sz` would take with all defaults, from a piece of each with engine,
replay and learner on the device, after updates have begun. Early episodes are not as long as later ones, and updates
cost what their steps do, so a whole training may take longer; tests are not counted. The last table says where in a
round the host waited for the device.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

import torch  # noqa: E402 (src has to be on the path)

from training import Training  # noqa: E402
from utils.config import load_config  # noqa: E402
from utils.interrupt import StopSignal  # noqa: E402
from utils.logging import Silence  # noqa: E402

TRAININGS = {
    "COPA on Resource Collection": (5_000_000, ["--config=copa", "--env-config=resource_collection"]),
    "REFIL on sc2_sz": (10_000_000, ["--config=refil", "--env-config=sc2_sz", "env_args.backend=skirmish"]),
}
#: what makes a training small enough for a look at whether it runs
SMALL = ["batch_size_run=2", "batch_size=4", "buffer_size=100", "attn_embed_dim=16", "rnn_hidden_dim=16"]
SMALL += [
    "hypernet_embed=16",
    "mixing_embed_dim=8",
    "coach_embed_dim=16",
    "strategy_dim=8",
    "env_args.episode_limit=20",
]


def script(name: str, *words: str) -> None:
    """Run the benchmark `name`, which prints its own table."""
    print(f"\n## benchmarks/{name} {' '.join(words)}\n", flush=True)
    subprocess.run([sys.executable, str(HERE / name), *words], check=True)


def waits(training: Training) -> Counter[str]:
    """Where the host waits for the device in one round, as far as torch notices: file and line -> times."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            training.round()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return Counter(f"{Path(each.filename).name}:{each.lineno}" for each in caught if "synchroniz" in str(each.message))


def measure(words: list[str], steps: int) -> tuple[float, float, Counter[str]]:
    """Steps and updates per second over about `steps` steps of a training; and where its rounds wait."""
    config = load_config(words)
    with (
        tempfile.TemporaryDirectory() as folder,
        Training(config, Silence(Path(folder), "0"), StopSignal()) as training,
    ):
        while training.learner.updates == 0:
            training.round()
        training.round()
        assert training.learner.fault() is None  # and the device has nothing left to do
        first, before, begin = training.t_env, training.learner.updates, time.perf_counter()
        while training.t_env < first + steps:
            training.round()
        assert training.learner.fault() is None
        seconds = time.perf_counter() - begin
        made, updates = training.t_env - first, training.learner.updates - before
        where = waits(training) if config.device.startswith("cuda") else Counter[str]()
    return made / seconds, updates / seconds, where


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--refil", default="", help="folder `src` of REFIL's public code")
    parser.add_argument("--jax-python", default="", help="Python of an environment with jaxmarl, for this device")
    parser.add_argument("--steps", type=int, default=50_000, help="of each training that is measured")
    parser.add_argument("--small", action="store_true", help="little of everything: figures mean nothing")
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(f"--device {options.device}: torch sees no CUDA device; --device cpu --small tries the rest")
    place = torch.cuda.get_device_name(options.device) if options.device.startswith("cuda") else "CPU"
    print(f"{place}, torch {torch.__version__}", flush=True)
    peer = ["--refil", options.refil] if options.refil else []
    updates = "1" if options.small else "20"
    script("learner.py", "--device", options.device, "--threads", "1", "--updates", updates, *peer)
    peer = ["--jax-python", options.jax_python] if options.jax_python else []
    for battles in ("8",) if options.small else ("512", "4096"):
        rounds = ["--steps", "5", "--rounds", "1"] if options.small else []
        script("engine.py", "--device", options.device, "--threads", "1", "--battles", battles, *rounds, *peer)
    print("\n## trainings, extrapolated\n\n| training | steps/s | updates/s | steps | hours |\n|---|---|---|---|---|")
    waiting = []
    for name, (length, words) in TRAININGS.items():
        words = [*words, f"device={options.device}", "buffer_device=device", "save_model=False"]
        speed, rate, where = measure(
            [*words, *SMALL] if options.small else words, 40 if options.small else options.steps
        )
        print(f"| {name} | {speed:,.0f} | {rate:.2f} | {length:,} | {length / speed / 3600:.1f} |", flush=True)
        waiting += [f"| {name} | {line} | {times} |" for line, times in where.most_common()]
    if waiting:
        print("\n| training | the host waits at | times in a round |\n|---|---|---|", *waiting, sep="\n")


if __name__ == "__main__":
    main()

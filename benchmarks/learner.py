"""Seconds per update of the learner, against REFIL's public code on the same synthetic batch.

    ./run.sh python benchmarks/learner.py --refil PATH_TO_REFIL/src

PATH is a checkout of the public code (github.com/shariqiqbal2810/REFIL); without it only our own times are measured.
B=32 episodes, T=60 steps, 8 agents, 16 entities, widths 128 and 64, float32. Current torch refuses the public code's
uint8 masks: they are cast to bool where they are used, nothing else is changed. The two codes take turns, each update
timed by itself; the table shows medians, by the clock and of processor time: the latter is what to compare where other
programs use the same cores.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
B, T, A, E, D, U = 32, 60, 8, 16, 32, 14
Update = Callable[[], None]


def synthetic(seed: int = 0) -> dict[str, torch.Tensor]:
    """One batch in neutral form: T + 1 observations, half of all entities seen, everyone present, full length."""
    g = torch.Generator().manual_seed(seed)
    obs = torch.rand(B, T + 1, A, E, generator=g) < 0.5
    obs[:, :, torch.arange(A), torch.arange(A)] = True
    avail = torch.rand(B, T + 1, A, U, generator=g) < 0.5
    avail[..., 1] = True
    return {
        "entities": torch.randn(B, T + 1, E, D, generator=g),
        "obs": obs,
        "avail": avail,
        "actions": torch.randint(1, U, (B, T, A), generator=g),
        "reward": torch.rand(B, T, generator=g),
    }


def ours(algorithm: str, data: dict[str, torch.Tensor], amp: bool, device: str) -> Update:
    """An update of this project's learner on `data`, which lies on `device`, as the networks do."""
    sys.path.insert(0, str(ROOT / "src"))
    from components.action_selectors import EpsilonGreedy
    from components.episodes import EpisodeBatch
    from components.schedules import LinearDecay
    from controllers.entity import EntityController, View
    from envs.base import EnvSpec
    from learners.base import BellmanConfig, BellmanLearner
    from learners.refil import RefilConfig, RefilLearner
    from modules.agents.entity_agent import AgentSizes, EntityAgent
    from modules.layers.inputs import make_reader
    from modules.mixers.base import MixerSizes
    from modules.mixers.flex_qmix import FlexMixer
    from utils.allocator import keep_freed_memory

    keep_freed_memory()  # as every run of ours does
    spec = EnvSpec("synthetic", A, E, D, 0, U, T)
    agent = EntityAgent(AgentSizes(make_reader(spec, pairs=False), 0, 128, 4, 64))
    controller = EntityController(agent, EpsilonGreedy(LinearDecay(1.0, 0.05, 1)), View(), spec).to(device)
    mixer = FlexMixer(MixerSizes(D + U, 4, 128, 32)).to(device)
    learner: BellmanLearner
    if algorithm == "refil":
        learner = RefilLearner(controller, mixer, RefilConfig(amp=amp), seed=0)
    else:
        learner = BellmanLearner(controller, mixer, BellmanConfig(amp=amp), seed=0)
    ended = torch.zeros(B, T, dtype=torch.bool)
    ended[:, -1] = True
    batch = EpisodeBatch(
        entities=data["entities"],
        private=torch.zeros(B, T + 1, A, 0),
        entity_mask=torch.ones(B, T + 1, E, dtype=torch.bool),
        obs_mask=data["obs"],
        avail_mask=data["avail"],
        actions=data["actions"],
        reward=data["reward"],
        terminated=ended,
        truncated=torch.zeros_like(ended),
        filled_mask=torch.ones(B, T, dtype=torch.bool),
        start_actions=torch.full((B, A), -1),
    )
    batch = batch.to(device)
    return lambda: learner.train(batch, episodes=0) and None


def theirs(algorithm: str, data: dict[str, torch.Tensor], path: Path, device: str) -> Update:
    """An update of the public code on `data`."""
    sys.path.insert(0, str(path))
    uncast = torch.Tensor.masked_fill
    torch.Tensor.masked_fill = lambda self, mask, value: uncast(self, mask.bool(), value)  # type: ignore[method-assign]
    from controllers.entity_controller import EntityMAC
    from learners.q_learner import QLearner

    args = SimpleNamespace(
        agent="imagine_entity_attend_rnn" if algorithm == "refil" else "entity_attend_rnn",
        mixer="flex_qmix", mixing_embed_dim=32, hypernet_embed=128, softmax_mixing_weights=True, rnn_hidden_dim=64,
        attn_embed_dim=128, attn_n_heads=4, pooling_type=None, entity_scheme=True, entity_last_action=True,
        entity_shape=D, n_agents=A, n_entities=E, n_actions=U, agent_output_type="q", action_selector="epsilon_greedy",
        epsilon_start=1.0, epsilon_finish=0.05, epsilon_anneal_time=1, lr=5e-4, optim_alpha=0.99, optim_eps=1e-5,
        weight_decay=0, grad_norm_clip=10, gamma=0.99, double_q=True, lmbda=0.5, target_update_interval=200,
        learner_log_interval=10**9, test_gt_factors=False, train_gt_factors=False, train_rand_gt_factors=False,
        gt_mask_avail=False,
    )  # fmt: skip
    scheme = {"entities": {"vshape": D}, "actions_onehot": {"vshape": (U,)}}
    learner = QLearner(EntityMAC(scheme, None, args), scheme, SimpleNamespace(), args)
    if device != "cpu":
        learner.cuda()
    learner.log_stats_t = 0
    actions = torch.cat([data["actions"], torch.ones(B, 1, A, dtype=torch.int64)], dim=1)
    ended = torch.zeros(B, T + 1, 1)
    ended[:, T - 1] = 1
    hidden = torch.ones(B, T + 1, E, E, dtype=torch.uint8)  # 1 = not seen
    hidden[:, :, :A] = (~data["obs"]).to(torch.uint8)

    class Batch(dict[str, Any]):
        batch_size, max_seq_length = B, T + 1

    Batch.device = torch.device(device)  # type: ignore[attr-defined]
    parts = {
        "entities": data["entities"],
        "obs_mask": hidden,
        "entity_mask": torch.zeros(B, T + 1, E, dtype=torch.uint8),
        "avail_actions": data["avail"].int(),
        "actions": actions.unsqueeze(-1),
        "actions_onehot": torch.nn.functional.one_hot(actions, U).float(),
        "reward": torch.cat([data["reward"], torch.zeros(B, 1)], dim=1).unsqueeze(-1),
        "terminated": ended,
        "filled": torch.ones(B, T + 1, 1),
    }
    batch = Batch({name: value.to(device) for name, value in parts.items()})
    return lambda: learner.train(batch, t_env=0, episode_num=0)


def serve(update: Update, device: str) -> None:
    """Make one update per line read, and tell its seconds: by the clock, and of the processor's time."""
    for _ in sys.stdin:
        start, busy = time.perf_counter(), time.process_time()
        update()
        if device != "cpu":
            torch.cuda.synchronize()
        print(time.perf_counter() - start, time.process_time() - busy, flush=True)


def main() -> None:
    """Measure and print."""
    import subprocess

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--refil", type=Path, help="folder `src` of REFIL's public code")
    parser.add_argument("--updates", type=int, default=10, help="timed updates of each code")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--serve", nargs=2, metavar=("CODE", "ALGORITHM"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.serve:
        code, algorithm = options.serve
        torch.manual_seed(0)
        data = synthetic()
        where = options.device
        peer = code == "theirs"
        update = theirs(algorithm, data, options.refil, where) if peer else ours(algorithm, data, code == "bf16", where)
        serve(update, where)
        return
    codes = ["ours", "bf16"] + (["theirs"] if options.refil else [])
    place = options.device if options.device == "cpu" else torch.cuda.get_device_name(options.device)
    place += f", {options.threads} threads, torch {torch.__version__}"
    print(f"seconds per update, median of {options.updates}, {place}")
    print("| algorithm | measured | ours | ours, bf16 autocast | public code | ratio | ratio, bf16 |")
    print("|---|---|---|---|---|---|---|")
    for algorithm in ("refil", "aqmix"):
        times: dict[str, list[tuple[float, ...]]] = {code: [] for code in codes}
        servers = {}
        for code in codes:
            command = [sys.executable, __file__, "--serve", code, algorithm, "--threads", str(options.threads)]
            command += ["--device", options.device]
            command += ["--refil", str(options.refil)] if options.refil else []
            servers[code] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for turn in range(options.updates + 2):  # the first two warm up
            for code, server in servers.items():
                assert server.stdin and server.stdout
                server.stdin.write("\n")
                server.stdin.flush()
                seconds = tuple(map(float, server.stdout.readline().split()))
                if turn >= 2:
                    times[code].append(seconds)
        for server in servers.values():
            server.communicate()
        for which, measured in enumerate(("clock", "processor")):
            median = {code: statistics.median(row[which] for row in rows) for code, rows in times.items()}
            peer = "- | - | -"
            if options.refil:
                ratios = (median["theirs"] / median[code] for code in ("ours", "bf16"))
                peer = " | ".join((f"{median['theirs']:.3f}", *(f"{ratio:.2f}" for ratio in ratios)))
            print(f"| {algorithm} | {measured} | {median['ours']:.3f} | {median['bf16']:.3f} | {peer} |", flush=True)


if __name__ == "__main__":
    main()

"""How much memory a run takes once it is under way, from its settings alone: refused before anything large is made.

Only what is sure to be needed is counted: a full replay, the round that is being collected, the sample of an update
with the embedding of its entities, the networks, the environments. A run that is refused here could not be carried out.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import builders
import envs
import learners
import runners
from components.replay import item_layout
from envs.base import EnvSpec
from evaluating import count_test_envs
from utils import ranks
from utils.config import Config
from utils.config_checks import LARGEST_INT
from utils.errors import UserError

#: An environment holds and works with so many times what it shows (5 to 15, measured on those that are registered).
STEPS_AT_WORK = 5
#: What a worker process has of its own, in bytes, beside its environment.
WORKER = 14_000_000
#: Numbers per trained parameter: itself, its gradient, and two of RMSprop's average and the target network (or of
#: Adam's two averages); in a test the target network alone.
IN_TRAINING, IN_TESTS = 4, 2


@dataclass(frozen=True)
class Part:
    """What one part of a run takes."""

    name: str
    bytes: int
    device: torch.device
    #: the settings that it grows with, with the number that each of them stands for
    grows_with: Mapping[str, int]


@dataclass(frozen=True)
class Memory:
    """What a run takes, part by part; as text, a line for the user."""

    parts: tuple[Part, ...]

    def on(self, device: torch.device) -> int:
        """Bytes on `device`; of a machine's memory every rank there takes as much."""
        takers = ranks.local_count() if device.type == "cpu" else 1
        return takers * sum(part.bytes for part in self.parts if part.device == device)

    def __str__(self) -> str:
        devices = dict.fromkeys(part.device for part in self.parts)
        totals = " and ".join(f"{size(self.on(device))} of {size(available(device))} on {device}" for device in devices)
        return f"memory: {totals} ({', '.join(f'{part.name} {size(part.bytes)}' for part in self.parts)})"


def check(config: Config) -> Memory:
    """The memory that a run takes.

    Raises:
        UserError: there is not as much; names the setting that takes most of it.
    """
    memory = estimate(config)
    for part in sorted(memory.parts, key=lambda part: part.bytes, reverse=True):
        needed, there = memory.on(part.device), available(part.device)
        if needed > there:
            key = max(part.grows_with, key=lambda name: part.grows_with[name])
            value = getattr(config.env_args, key.removeprefix("env_args.")) if "." in key else config[key]
            raise UserError(
                f"{key}={value}: this run needs {size(needed)} of memory on {part.device}, which has {size(there)}; "
                f"its {part.name} alone: {size(part.bytes)}; lower {key}"
            )
    return memory


def estimate(config: Config) -> Memory:
    """The memory that a run takes, whether or not there is as much; `config` is one that `builders.check` lets pass."""
    largest, spec = _spec(config, config.test_teams), _spec(config, ())
    if builders.shares_slots(config):
        spec = largest
    parts = [_environments(config, largest)]
    if config.controller != "scripted":
        parts.append(_networks(config, spec))
        if not config.evaluate:
            parts += _episodes(config, spec)
    return Memory(tuple(parts))


def _spec(config: Config, teams: Sequence[str]) -> EnvSpec:
    """The sizes of an environment for training and `teams`."""
    env_class = envs.REGISTRY[config.env]
    with runners.vector(env_class, env_class.fit(config.env_args, teams), num_envs=1, seed=0) as env:
        return env.spec


def _environments(config: Config, spec: EnvSpec) -> Part:
    counts = {"test_batch_size": count_test_envs(config)} if builders.is_batch(config) else {}
    if not config.evaluate or not builders.is_batch(config):
        counts["batch_size_run"] = _count_envs(config)
    each = STEPS_AT_WORK * _item_size(spec, 1) + (WORKER if config.runner == "parallel" else 0)
    return Part("environments", each * sum(counts.values()), _env_device(config), counts)


def _networks(config: Config, spec: EnvSpec) -> Part:
    """Counted on torch's device `meta`, where tensors have shapes and no memory."""
    nowhere = Config({**config, "device": "meta", "compile": False})
    try:
        with torch.device("meta"):
            controller = builders.build_controller(nowhere, spec)
            count = builders.build_learner(nowhere, controller, spec).parameter_counts()["total"]  # type: ignore[arg-type]
    except RuntimeError as error:
        if "overflow" not in str(error):
            raise
        count = LARGEST_INT  # more than torch can count
    widths = ["attn_embed_dim", "rnn_hidden_dim", "hypernet_embed", "mixing_embed_dim"]
    widths += ["coach_embed_dim", "strategy_dim"] if config.controller == "coach" else []
    numbers = IN_TESTS if config.evaluate else IN_TRAINING
    return Part("networks", 4 * numbers * count, builders.build_device(config), {key: config[key] for key in widths})


def _episodes(config: Config, spec: EnvSpec) -> Iterator[Part]:
    """What is collected, kept and sampled."""
    on_policy = learners.REGISTRY[config.learner].ON_POLICY
    limit = {"env_args.episode_limit": spec.episode_limit}
    if on_policy and config.rollout_steps:
        limit = {"rollout_steps": config.rollout_steps}
    (steps,) = limit.values()
    count = _count_envs(config)
    played = 2 * count * _item_size(spec, steps)  # step by step, then stacked
    yield Part("round of episodes", played, _env_device(config), {"batch_size_run": count, **limit})
    batch = {"batch_size_run": count}
    if not on_policy:
        steps, batch = config.sequence_length or steps, {"batch_size": config.batch_size}
        limit = {"sequence_length": steps} if config.sequence_length else limit
        labelled = learners.REGISTRY[config.learner].LABELS
        item = _item_size(spec, steps, builders.replay_dtype(config), labelled)
        copies = 2 if config.save_replay_buffer else 1  # saving makes a second one
        kept = {"buffer_size": config.buffer_size, **limit}
        yield Part("replay", copies * config.buffer_size * item, builders.replay_device(config), kept)
    width = config.attn_embed_dim
    each = _item_size(spec, steps) + 4 * (steps + 1) * spec.entities * width
    grows_with = {**batch, **limit, "attn_embed_dim": width}
    yield Part("update", sum(batch.values()) * each, builders.build_device(config), grows_with)


def _count_envs(config: Config) -> int:
    """Environments that collect at once, or that serve tests too."""
    return 1 if config.runner == "episode" else int(config.batch_size_run)


def _env_device(config: Config) -> torch.device:
    return builders.build_device(config) if builders.is_batch(config) else torch.device("cpu")


def _item_size(spec: EnvSpec, steps: int, dtype: torch.dtype = torch.float32, labelled: bool = False) -> int:
    """Bytes of an episode, or a piece of one, of `steps` steps."""
    total = 0
    for shape, kind in item_layout(spec, steps, dtype, labelled).values():
        numbers = 1
        for side in shape:
            numbers *= side
        total += numbers * kind.itemsize
    return total


def available(device: torch.device) -> int:
    """Bytes that `device` has in all: of the machine's memory, what the process's control groups let it have."""
    if device.type != "cpu":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_limits())


def _limits(groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """The limits in bytes of the control groups that this process is in, and of those above them (version 1 and 2)."""
    found = [LARGEST_INT]
    lines = groups.read_text(encoding="utf-8").splitlines() if groups.is_file() else []
    for _, controllers, group in (line.split(":", 2) for line in lines):
        if controllers not in ("", "memory"):
            continue
        base = root / controllers
        folder = base / group.lstrip("/")
        for place in (folder, *folder.parents):
            if place.is_relative_to(base):
                for file in (place / "memory.max", place / "memory.limit_in_bytes"):
                    text = file.read_text(encoding="utf-8").strip() if file.is_file() else "max"
                    found += [int(text)] if text.isdecimal() else []
    return found


def size(count: int) -> str:
    """`count` bytes in the largest unit of which there is one: "1.3 GB"."""
    units = ["bytes", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"]
    power = min((len(str(count)) - 1) // 3, len(units) - 1)
    return f"{count / 1000**power:.{1 if power else 0}f} {units[power]}"

"""The estimate of a run's memory: it counts what is made, and refuses only what the machine does not have."""

import math

import pytest
import torch
import yaml
from conftest import fitting

import builders
import main
import memory
import runners
from components.replay import item_layout
from envs import REGISTRY
from utils import ranks
from utils.command_line import config_names
from utils.config import load_config
from utils.errors import UserError

WORDS = [
    "--env-config=sc2_3m",
    "device=cpu",
    "buffer_size=20",
    "batch_size=2",
    "attn_embed_dim=16",
    "hypernet_embed=16",
]


def part(name: str, *words: str) -> memory.Part:
    (found,) = [part for part in memory.estimate(load_config([*WORDS, *words])).parts if part.name == name]
    return found


@pytest.mark.parametrize("words", [[], ["sequence_length=4"], ["buffer_dtype=float16"]])
def test_a_replay_takes_what_is_counted(words):
    config = load_config([*WORDS, *words])
    with runners.vector(REGISTRY[config.env], config.env_args, 1, 0) as env:
        replay = builders.build_replay(config, env.spec)
    assert part("replay", *words).bytes == sum(x.numel() * x.element_size() for x in replay._data.values())
    assert part("replay", *words, "save_replay_buffer=True").bytes == 2 * part("replay", *words).bytes


@pytest.mark.parametrize("algorithm", ["aqmix", "copa", "collaq", "mappo", "mipi"])
def test_networks_have_the_parameters_that_are_counted(algorithm):
    words = ["--config=" + algorithm, "--env-config=sc2_3m", "device=cpu", "attn_embed_dim=16"]
    config = load_config(words)
    with runners.vector(REGISTRY[config.env], config.env_args, 1, 0) as env:
        learner = builders.build_learner(config, builders.build_controller(config, env.spec), env.spec)
    (networks,) = [part for part in memory.estimate(config).parts if part.name == "networks"]
    assert networks.bytes == 4 * memory.IN_TRAINING * learner.parameter_counts()["total"]


@pytest.mark.parametrize(
    ("algorithm", "steps", "room"),
    [("mappo", 0, 150), ("mappo", 12, 12), ("refil", 0, 150), ("refil", 12, 150)],
)
def test_a_round_takes_what_is_counted(algorithm, steps, room):
    """At work, and as it is handed over; where episodes are needed as a whole, there is room for whole ones."""
    config = load_config([f"--config={algorithm}", *WORDS[:2], "batch_size_run=3", f"rollout_steps={steps}"])
    (counted,) = [part for part in memory.estimate(config).parts if part.name == "round of episodes"]
    with runners.vector(REGISTRY[config.env], config.env_args, 3, 0) as env:
        layout = item_layout(env.spec, room, torch.float32)
        assert counted.bytes == 2 * 3 * sum(math.prod(shape) * kind.itemsize for shape, kind in layout.values())
        if steps:
            runner = builders.build_runner(config, env, builders.build_controller(config, env.spec), 0)
            held = sum(x.numel() * x.element_size() for x in runner._open._data.values())
            assert held < counted.bytes / 2 < 1.1 * held  # the rest is small
    key = "rollout_steps" if steps and algorithm == "mappo" else "env_args.episode_limit"
    assert counted.grows_with == {"batch_size_run": 3, key: room}


def test_the_estimate_takes_no_memory():
    # 10**8 numbers squared would be 40 PB
    with pytest.raises(UserError, match=r"attn_embed_dim=100000000: this run needs .* PB .* lower attn_embed_dim"):
        memory.check(load_config(["device=cpu", "attn_embed_dim=100000000"]))


def test_what_fits_to_the_byte_is_not_refused(monkeypatch):
    config = load_config(WORDS)
    needed = memory.estimate(config).on(torch.device("cpu"))
    monkeypatch.setattr(memory, "available", lambda device: needed)
    memory.check(config)
    monkeypatch.setattr(memory, "available", lambda device: needed - 1)
    with pytest.raises(UserError, match="env_args.episode_limit=150: this run needs"):  # more than 20 items
        memory.check(config)


@pytest.mark.parametrize("key", ["buffer_size", "batch_size_run", "sequence_length", "rnn_hidden_dim"])
def test_the_setting_that_takes_most_is_named(monkeypatch, key):
    monkeypatch.setattr(memory, "available", lambda device: 10**6)
    with pytest.raises(UserError, match=rf"^{key}=9000: .* lower {key}$"):
        memory.check(load_config([*WORDS, f"{key}=9000"]))


def test_the_yaml_files_fit_into_four_gigabytes(monkeypatch, smac):
    monkeypatch.setattr(memory, "available", lambda device: 4 * 10**9)
    for algorithm in config_names("algs"):
        for task in config_names("envs") if algorithm == "aqmix" else ["sc2_sz"]:
            words = [f"--config={algorithm}", f"--env-config={fitting(algorithm, task)}", "device=cpu"]
            memory.check(load_config(words))


def test_a_test_keeps_no_episodes():
    config = load_config([*WORDS, "--config=scripted", "evaluate=True", "buffer_size=1000000000000"])
    assert [part.name for part in memory.check(config).parts] == ["environments"]


def test_a_tighter_limit_of_a_control_group_counts(tmp_path):
    (tmp_path / "groups").write_text("4:cpu:/a\n3:memory:/a/b\n0::/c/d\n")
    for folder in ("memory/a/b", "c/d", "cpu/a"):
        (tmp_path / "fs" / folder).mkdir(parents=True)
    files = {"memory/a/b/memory.limit_in_bytes": "9223372036854771712", "memory/a/memory.limit_in_bytes": "700"}
    files |= {"c/d/memory.max": "max", "c/memory.max": "600", "cpu/a/memory.max": "5"}
    for name, text in files.items():
        (tmp_path / "fs" / name).write_text(text + "\n")
    limits = memory._limits(tmp_path / "groups", tmp_path / "fs")
    assert {600, 700} <= set(limits)
    assert min(limits) == 600
    assert min(memory._limits(tmp_path / "nothing", tmp_path / "fs")) == 2**63 - 1


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (25_340_000_000, "25.3 GB")]
)
def test_sizes_are_readable(count, text):
    assert memory.size(count) == text


def test_print_config_tells_it(capsys):
    assert main.main([*WORDS, "--print-config"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith("# memory: ")
    assert yaml.safe_load(out) == load_config(WORDS).as_dict()
    assert main.main([*WORDS, "--print-config", "buffer_size=1000000000000"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith("# would not start: buffer_size=1000000000000: this run needs ")
    assert yaml.safe_load(out)["buffer_size"] == 10**12


def test_ranks_of_one_machine_share_its_memory(monkeypatch):
    needed = memory.estimate(load_config(WORDS))
    alone = needed.on(torch.device("cpu"))
    monkeypatch.setattr(ranks, "local_count", lambda: 3)
    assert needed.on(torch.device("cpu")) == 3 * alone > 0
    assert needed.on(torch.device("meta")) == 0

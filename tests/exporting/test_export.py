"""Models are exported by the command line, and whole episodes are played by the programs alone, elsewhere."""

import io
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import small_files, tiny_overrides
from exported_team import ExportedTeam

import builders
import envs
import export
import main
from controllers.base import Controller
from exporting.policy import programs
from exporting.source import read_source
from runners.runner import Runner
from utils.checkpoints import load_checkpoint, save_checkpoint
from utils.config import load_config

PLAYER = Path(__file__).with_name("player.py")
#: what is trained: words of the command line
MODELS = {
    "refil": (
        "--config=refil",
        "--env-config=sc2_sz",
        "target_values=pairs",
        "env_args.episode_limit=30",
        "test_teams=3-5",
    ),
    "copa": ("--config=copa", "--env-config=resource_collection", "env_args.episode_limit=12", "beta=0.05"),
    "qmix": ("--config=qmix", "--env-config=sc2_3m", "env_args.episode_limit=30"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Name of a model -> the folder of its run's checkpoints."""
    made = {}

    def train(name: str) -> Path:
        if name not in made:
            results = tmp_path_factory.mktemp(name)
            words = [
                *MODELS[name],
                *tiny_overrides(name, t_max=40, test_nepisode=1, broadcast_interval=3, sequence_length=6),
            ]
            words = [word for word in words if not word.startswith("test_interval")] + ["test_interval=1000"]
            assert main.main([*words, f"local_results_path={results}"]) == 0
            made[name] = results / "models" / "1"
        return made[name]

    return train


@contextmanager
def elsewhere(files: dict[str, Path], folder: Path) -> Iterator:
    """How programs are asked that run in a process without this project."""
    folder.mkdir()
    command = [sys.executable, "-I", PLAYER, *(f"{name}={file}" for name, file in files.items())]
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as player:

        def ask(name, inputs):
            frame = io.BytesIO()
            np.savez(frame, program=np.array(name), **{key: tensor.numpy() for key, tensor in inputs.items()})
            player.stdin.write(struct.pack("<I", frame.tell()) + frame.getvalue())
            player.stdin.flush()
            size = struct.unpack("<I", player.stdout.read(4))[0]
            with np.load(io.BytesIO(player.stdout.read(size))) as answer:
                return {key: torch.from_numpy(array) for key, array in answer.items()}

        yield ask
        player.stdin.close()
    assert player.returncode == 0


class Watched(Controller):
    """Plays what a team of programs says, which must be what the controller would do in its place."""

    def __init__(self, team, model) -> None:
        self.team, self.model, self.compared = team, model, 0

    def initial_state(self, num_envs, agents):
        ours, theirs = (player.initial_state(num_envs, agents) for player in (self.team, self.model))
        return {**{f"ours {k}": v for k, v in ours.items()}, **{f"theirs {k}": v for k, v in theirs.items()}}

    def act(self, timestep, last_actions, state, **more):
        decisions = []
        for player, whose in ((self.team, "ours "), (self.model, "theirs ")):
            own = {key.removeprefix(whose): value for key, value in state.items() if key.startswith(whose)}
            decisions.append(player.act(timestep, last_actions, own, **more))
        ours, theirs = decisions
        assert torch.equal(ours.actions, theirs.actions)
        self.compared += int(timestep.agent_mask.sum())
        after = {
            **{f"ours {k}": v for k, v in ours.state.items()},
            **{f"theirs {k}": v for k, v in theirs.state.items()},
        }
        return ours._replace(state=after)


def play(models: Path, words: tuple[str, ...], out: Path, team: str, episodes: int = 2) -> int:
    """Play `team` by what is exported to `out`; returns how many agents' decisions were compared."""
    assert export.main([str(models), "--out", str(out)]) == 0
    model = read_source(models).controller
    made = programs(model)
    files = {name: out if name == "policy" else out.with_stem(f"{out.stem}_{name}") for name in made}
    config = load_config([*words, f"test_teams={team}", "device=cpu"])
    with builders.build_env(config, episodes, 0, tests=True) as env, elsewhere(files, out.parent / "away") as ask:
        exported = ExportedTeam(model, made, ask)
        exported.play_in(env.spec)
        watched = Watched(exported, model)
        Runner(env, watched, seed=0, device="cpu").evaluate(team, episodes, seed=3)
    return watched.compared


def test_a_policy_of_3_to_5_plays_16_against_16_by_the_program_alone(trained, tmp_path):
    assert play(trained("refil"), MODELS["refil"], tmp_path / "policy.pt2", "16") > 300


@pytest.mark.skipif(
    any(find_spec(package) is None for package in ("onnx", "onnxscript", "onnxruntime")), reason="needs ONNX's packages"
)
def test_so_does_onnx(trained, tmp_path):
    assert play(trained("refil"), MODELS["refil"], tmp_path / "policy.onnx", "16") > 300


def test_a_coach_is_a_second_program(trained, tmp_path):
    assert play(trained("copa"), MODELS["copa"], tmp_path / "policy.pt2", "varying") > 50


def test_networks_with_slots_keep_them(trained, tmp_path):
    assert play(trained("qmix"), MODELS["qmix"], tmp_path / "policy.pt2", "3") > 50
    card = (tmp_path / "policy.md").read_text()
    assert "there are always 6 rows, in the order of training, the first 3 of them agents" in card


def altered(models: Path, folder: Path, change) -> Path:
    """A checkpoint without a record, whose parts `change` has been at."""
    state = load_checkpoint(models)[1]
    change(state)
    save_checkpoint(folder / "40", state)
    return folder / "40"


def said(capsys, *words: str) -> str:
    """What the program says where it refuses: one line."""
    capsys.readouterr()
    assert export.main(list(words)) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


@pytest.fixture
def quick(monkeypatch):
    """Programs are not made: a file says that they would have been."""
    from exporting import programs as writers

    monkeypatch.setattr(writers, "WRITERS", {".pt2": lambda module: b"program", ".onnx": lambda module: b"program"})


@pytest.mark.usefixtures("quick")
def test_the_card_says_what_a_user_needs(trained, tmp_path, capsys):
    models = trained("refil")
    capsys.readouterr()  # what the training said
    assert export.main([str(models), "--out", str(tmp_path / "policy.pt2")]) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'policy.pt2'}\nwrote {tmp_path / 'policy.md'}\n"
    card = (tmp_path / "policy.md").read_text()
    assert card.startswith("# refil on sc2_sz: the policy of one agent\n")
    for line in (
        "| teams trained on | 3-5 |",
        "| `entities` | (B, E, 11) | float32 | features, a row for each entity |",
        "| `memory` | (B, 16) | float32 | next_memory of the last call; zeros when the agent begins or joins |",
        "| `step` | (B,) | int64 | steps since the episode began: memories start anew every 6 steps |",
        "| `entity` | (B,) | int64 | the row that it points at; -1: a basic action |",
        "| 9-10 | relative |",
        "| 3 | south |",
        "| 3-5 | ",
    ):
        assert f"\n{line}" in card
    commit = json.loads((models.parents[1] / "sacred" / "1" / "info.json").read_text())["git"]["commit"]
    assert f"| revision of the training | {commit or 'unknown'}" in card
    assert str(tmp_path) not in card
    snippet = card.split("```python\n")[1].split("```")[0]
    compile(snippet, "card", "exec")


@pytest.mark.usefixtures("quick")
def test_what_a_checkpoint_does_not_say_its_record_does(trained, tmp_path, capsys):
    """Checkpoints of earlier versions say neither how they are built nor what their task looks like."""

    def forget(state):
        del state["spec"], state["settings"]

    whole = trained("refil")
    spec = read_source(whole).controller.spec
    bare = altered(whole, tmp_path / "run" / "checkpoint", forget)
    assert "config.json is not beside it" in said(capsys, str(bare), "--out", str(tmp_path / "policy.pt2"))
    (tmp_path / "run" / "config.json").write_text((whole.parents[1] / "sacred" / "1" / "config.json").read_text())
    source = read_source(bare)
    assert source.controller.spec.as_plain() == {**spec.as_plain()}
    # a record of other settings is another run's
    settled = altered(whole, tmp_path / "run" / "checkpoint", lambda state: state["settings"].update(seed=77))
    assert not read_source(settled).record.config


@pytest.mark.usefixtures("quick")
def test_what_cannot_be_exported_is_refused_in_a_line(trained, tmp_path, capsys, monkeypatch):
    models, out = trained("refil"), tmp_path / "policy.pt2"
    (tmp_path / "file").write_text("x")
    (tmp_path / "foreign").mkdir()
    for checkpoint, message in (
        (tmp_path / "nothing", "CHECKPOINT: there is no folder"),
        (tmp_path / "file", "CHECKPOINT: there is no folder"),
        (tmp_path / "foreign", "holds no checkpoint"),
    ):
        assert message in said(capsys, str(checkpoint), "--out", str(out))
    for name, message in (
        ("policy.bin", "--out policy.bin: a program is a file that ends in .pt2 (torch.export) or .onnx (ONNX)"),
        ("policy", "--out policy: a program is a file that ends in .pt2"),
        ("nowhere/policy.pt2", "there is no folder"),
    ):
        assert message in said(capsys, str(models), "--out", str(tmp_path / name))
    assert "the following arguments are required: --out" in said(capsys, str(models))
    with monkeypatch.context() as patch:
        patch.setattr("exporting.programs.find_spec", lambda package: None)
        err = said(capsys, str(models), "--out", str(tmp_path / "policy.onnx"))
        assert "ONNX needs onnx and onnxscript, not installed here" in err
        assert "requirements-export.txt" in err
    for controller, message in (
        ("joint", "controller=joint decides for the whole team at once"),
        ("one_at_a_time", "controller=one_at_a_time decides for the whole team at once"),
        ("scripted", "controller=scripted has no network that could be exported"),
    ):
        other = altered(
            models, tmp_path / controller, lambda state, c=controller: state["settings"].update(controller=c)
        )
        assert message in said(capsys, str(other), "--out", str(out))
    broken = altered(models, tmp_path / "wide", lambda state: state["settings"].update(rnn_hidden_dim=32))
    assert "cannot be built by its settings" in said(capsys, str(broken), "--out", str(out))
    with small_files(3):
        assert "cannot be written (File too large)" in said(capsys, str(models), "--out", str(out))
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix) == []


@pytest.mark.parametrize("task", ["sc2_mmm", "rescue", "navigation", "reference", "matrix_game", "resource_collection"])
def test_a_checkpoint_keeps_what_a_task_looks_like(task):
    config = load_config([f"--env-config={task}", "device=cpu"])
    with builders.build_env(config, 1, 0, tests=False) as env:
        plain = env.spec.as_plain()
        assert type(env.spec).from_plain(plain) == env.spec
    assert config.env in envs.REGISTRY

"""Validation episodes: others than the test's, under names of their own, and nothing to training."""

import json

import pytest
import torch
from conftest import tiny_overrides
from test_teaching import Told, make
from test_training import BATTLE, Run, assert_same, parts

import builders
import envs
import run
from controllers.scripted import ScriptedController
from runners.runner import Runner
from utils.command_line import config_names
from utils.config import load_config
from utils.errors import UserError
from utils.interrupt import StopSignal

KINDS = ("test", "validation")
#: tasks whose games are others' programs
OTHERS = ("pettingzoo", "smac", "smacv2")
#: what a test leaves
FILES = {"evaluation.json", "validation.json"}
TASKS = [task for task in config_names("envs") if task not in OTHERS]


def starts(config, kind: str, team: str) -> torch.Tensor:
    """What is there at the beginning of the episodes that `team` is tested on."""
    seen = []
    with builders.build_env(config, 4, seed=0, tests=True) as env:
        reset = env.reset

        def keeping(*args, **kwargs):
            seen.append(reset(*args, **kwargs))
            return seen[-1]

        env.reset = keeping
        policy = ScriptedController(env.SCRIPTED["random"](env.spec))
        Runner(env, policy, seed=0).evaluate(team, 8, builders.test_seed(kind, team))
    assert len(seen) == 2
    return torch.stack([first.entities.clone() for first in seen])


@pytest.mark.parametrize("task", TASKS)
def test_validation_plays_other_episodes_than_the_test_or_is_refused(task):
    words = [f"--env-config={task}", "device=cpu"]
    if envs.REGISTRY[load_config(words).env].FIXED_TESTS:
        with pytest.raises(UserError, match=r"test_episodes=validation: env=.* has one list of test episodes"):
            run.check(load_config([*words, "test_episodes=validation"]))
        run.check(load_config(words))
        return
    config = load_config(words)
    run.check(load_config([*words, "test_episodes=validation"]))
    team = config.test_teams[0] if config.test_teams else "train"
    found = {kind: starts(config, kind, team) for kind in KINDS}
    assert (found["test"] != found["validation"]).flatten(2).any(dim=2).all()
    for kind in KINDS:
        assert torch.equal(starts(config, kind, team), found[kind])


def test_training_is_the_same_whichever_it_is_tested_on(tmp_path):
    words = ["--config=refil", *BATTLE, *tiny_overrides(t_max=120, test_interval=40, save_replay_buffer=True)]
    runs = {kind: Run(tmp_path / kind, [*words, f"test_episodes={kind}"]) for kind in KINDS}
    for trained in runs.values():
        trained.recorder.run_dir.mkdir()
        trained.train(StopSignal())
    expected, found = (parts(trained.folders()[-1]) for trained in runs.values())
    for part in ("learner", "runner", "replay", "progress"):
        assert_same(expected[part], found[part])
    metrics = {kind: trained.metrics for kind, trained in runs.items()}
    names = {kind: {name for name, _, _ in metrics[kind] if name.startswith(KINDS)} for kind in KINDS}
    assert "test/3/battle_won_mean" in names["test"]
    assert names["validation"] == {name.replace("test/", "validation/") for name in names["test"]}
    trained = [[line for line in metrics[kind] if line[0] not in names[kind]] for kind in KINDS]
    assert trained[0] == trained[1]
    tested = [[value for name, value, _ in metrics[kind] if name in names[kind]] for kind in KINDS]
    assert tested[0] != tested[1]
    written = [{path.name for path in runs[kind].recorder.run_dir.iterdir()} & FILES for kind in KINDS]
    assert written == [{"evaluation.json"}, {"validation.json"}]


def test_experts_and_students_are_tested_alike(tmp_path):
    told = Told(tmp_path)
    run.run(make(tmp_path, "expert_steps=40", "test_episodes=validation", expert="vdn"), told.recorder, StopSignal())
    names = {name for name, _, _ in told.metrics}
    assert {"validation/6/gap", "validation/6/return_mean", "expert/validation/6/return_mean"} <= names
    assert not [name for name in names if "test/" in name]


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_is_tested_on_either(tmp_path, kind):
    words = ["--config=scripted", *BATTLE, *tiny_overrides(), "policy=random", "evaluate=True", f"test_episodes={kind}"]
    told = Told(tmp_path)
    results = run.run(load_config(words), told.recorder, StopSignal())
    assert {name.partition("/")[0] for name, _, _ in told.metrics} == {kind}
    written = {"test": "evaluation.json", "validation": "validation.json"}[kind]
    assert json.loads((told.recorder.run_dir / written).read_text()) == results

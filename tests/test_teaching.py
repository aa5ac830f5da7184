"""An expert and its students in one run: two curves, their steps one after the other, stopped and resumed anywhere."""

from contextlib import suppress
from io import StringIO
from pathlib import Path

import pytest
import torch
from conftest import tiny_overrides
from test_training import StopAfter, assert_same, parts

import run
from learners.experts import expert_config
from teaching import Students
from utils.config import load_config
from utils.errors import UserError
from utils.interrupt import Interrupted, StopSignal
from utils.logging import Console, Recorder

TINY = {"t_max": 100, "test_interval": 40, "log_interval": 50, "save_model_interval": 35, "save_replay_buffer": True}
WORDS = ["--config=cesma", "--env-config=navigation_teams", "env_args.episode_limit=10", "test_teams=2-4,6"]


class Told:
    """What a run has recorded."""

    def __init__(self, folder: Path, number: int = 1) -> None:
        self.metrics: list[tuple[str, float, int]] = []
        self.facts: dict[str, object] = {}
        run_dir = folder / str(number)
        run_dir.mkdir(parents=True)
        say = lambda name, value, step: self.metrics.append((name, value, step))  # noqa: E731
        self.recorder = Recorder(run_dir, str(number), Console(50, StringIO()), say, self.facts.update)
        self.models = folder / "models" / str(number)

    def steps(self, name: str) -> list[int]:
        return [step for found, _, step in self.metrics if found == name]

    def folders(self) -> list[Path]:
        return sorted(self.models.glob("*"), key=lambda folder: int(folder.name))


def make(folder: Path, *words: str, **settings: object):
    return load_config(
        [*WORDS, *tiny_overrides("cesma", **{**TINY, **settings}), *words, f"local_results_path={folder}"]
    )


@pytest.mark.parametrize("expert", ["vdn", "aqmix_full", "copa"])
def test_students_count_on_from_where_the_expert_ended(tmp_path, expert):
    told = Told(tmp_path)
    config = make(tmp_path, "expert_steps=40", expert=expert)
    results = run.run(config, told.recorder, StopSignal())
    ended = told.steps("expert/test/6/return_mean")[-1]
    assert told.steps("expert/test/6/return_mean")[0] == 0
    assert 40 <= ended < 100
    assert told.steps("test/6/return_mean")[0] == ended
    assert told.steps("test/6/return_mean")[-1] >= 100
    assert max(step for name, _, step in told.metrics if name.startswith("expert/")) == ended
    assert min(step for name, _, step in told.metrics if not name.startswith("expert/")) == ended
    value = {(name, step): value for name, value, step in told.metrics}
    last = told.steps("test/6/return_mean")[-1]
    gap = value["test/6/return_mean", last] / value["expert/test/6/return_mean", ended]
    assert value["test/6/gap", last] == pytest.approx(gap)
    assert results["6"]["return"]["mean"] == value["test/6/return_mean", last]
    assert told.facts["expert"]["parameters"]["total"] > 0
    assert (told.recorder.run_dir / "expert" / "evaluation.json").is_file()


def test_a_scripted_expert_is_measured_on_larger_teams_than_it_teaches(tmp_path):
    """Training and tests of battles have slots of their own."""
    told = Told(tmp_path)
    tiny = tiny_overrides("cesma", **{**TINY, "expert": "focus_fire", "t_max": 20})
    words = ["--config=cesma", "--env-config=sc2_sz", *tiny, "env_args.episode_limit=10", "test_teams=8"]
    run.run(load_config([*words, f"local_results_path={tmp_path}"]), told.recorder, StopSignal())
    assert told.steps("expert/test/8/return_mean") == [0]


def test_what_a_scripted_expert_does_is_measured_once(tmp_path):
    told = Told(tmp_path)
    run.run(make(tmp_path, expert="greedy"), told.recorder, StopSignal())
    assert told.steps("expert/test/2-4/return_mean") == [0]
    assert told.steps("test/2-4/gap") == told.steps("test/2-4/return_mean")


@pytest.mark.parametrize("words", [(), ("controller=flat", "recurrent=False", "expert_args.controller=flat")])
def test_stopped_anywhere_and_resumed_it_records_what_an_unbroken_run_does(tmp_path, words):
    straight = Told(tmp_path / "straight")
    run.run(make(tmp_path / "straight", *words, expert="vdn"), straight.recorder, StopSignal())
    together, newest, stops = [], "", []
    for number in range(1, 20):
        told, interrupted = Told(tmp_path, number), True
        with suppress(Interrupted):
            config = make(tmp_path, *words, f"checkpoint_path={newest}", expert="vdn")
            run.run(config, told.recorder, StopAfter((5, 24, 43)[(number - 1) % 3]))
            interrupted = False
        together += told.metrics
        newest = (told.folders() or [newest])[-1]
        if not interrupted:
            break
        stops.append(any(name.startswith("test/") for name, _, _ in told.metrics))
    assert stops.count(False) > 2  # of the expert, ...
    assert stops.count(True) > 1  # ... and of the students
    # where it was stopped between the two parts, the last test of the one and the first of the other are made again
    assert list(dict.fromkeys(together)) == list(dict.fromkeys(straight.metrics))
    expected, found = parts(straight.folders()[-1]), parts(newest)
    assert_same(expected["learner"], found["learner"])
    assert_same(expected["progress"], found["progress"])


def test_the_parent_of_both_parts_checkpoints_is_one_run(tmp_path):
    told = Told(tmp_path)
    config = make(tmp_path, expert="vdn")
    run.run(config, told.recorder, StopSignal())
    again = make(tmp_path, f"checkpoint_path={told.models}", expert="vdn", t_max=150)
    more = Told(tmp_path, 2)
    run.run(again, more.recorder, StopSignal())
    assert not [name for name, _, _ in more.metrics if name.startswith("expert/")]


def test_students_learn_from_what_the_expert_has_learnt(tmp_path, monkeypatch):
    told, kept = Told(tmp_path), {}
    monkeypatch.setattr(Students, "run", lambda self: kept.update(self.learner.expert.state_dict()) or {})
    run.run(make(tmp_path, expert="vdn"), told.recorder, StopSignal())
    learnt = parts(told.folders()[-1])["learner"]["controller"]
    assert all(torch.equal(kept[name], value) for name, value in learnt.items())


def test_what_holds_for_whom():
    words = ["threads=3", "lr=0.25", "expert_args.lr=0.125", "expert_args.double_q=False", "test_teams=5", "seed=7"]
    config = load_config(["--config=cesma", "--env-config=navigation", *words, "t_max=1000", "env_args.sight=0.5"])
    expert = expert_config(config)
    assert (config.lr, expert.lr, expert.double_q) == (0.25, 0.125, False)
    assert (expert.threads, expert.test_teams, expert.env_args.sight) == (3, ("5",), 0.5)
    assert (expert.gamma, expert.mixer, expert.view, expert.t_max) == (0.9, "vdn", "joint", 500)
    assert expert.seed not in (1, 7)
    assert expert_config(load_config(["--config=cesma", "--env-config=navigation", "expert=greedy"])) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["expert=vnd"], "expert='vnd': env=navigation has greedy, random, and there is no algorithm of that name"),
        (["expert=cesma"], "expert=cesma: it learns from nobody but an expert, or not at all"),
        (["expert=scripted"], "expert=scripted: it learns from nobody but an expert, or not at all"),
        (["expert_steps=1500000"], "expert_steps=1500000: must leave some of t_max=1500000"),
        (["expert=greedy", "expert_steps=5"], "expert_args and expert_steps are for experts that are trained"),
        (["expert_args.lr=-1"], "lr=-1.0 \\(expert_args\\): must be above 0"),
        (["expert_args.mixer=none", "expert_args.lear=1"], "unknown key lear=1 \\(expert_args\\)"),
        (["expert=refil", "expert_args.mixer=none"], "expert=refil: learner=refil needs a mixer"),
    ],
)
def test_experts_that_cannot_be_are_refused_before_anything_is_written(words, said):
    with pytest.raises(UserError, match=said):
        run.check(load_config(["--config=cesma", "--env-config=navigation", *words]))


def test_messages_are_not_learnt_from_single_steps(tmp_path):
    words = ["--config=cesma", "--env-config=speaker_listener", *tiny_overrides("cesma"), "sequence_length=1"]
    with pytest.raises(UserError, match="pieces of a single step teach nobody what to say"):
        run.run(load_config([*words, f"local_results_path={tmp_path}"]), Told(tmp_path).recorder, StopSignal())


def test_a_flat_expert_and_its_students_have_the_same_slots(tmp_path):
    told = Told(tmp_path)
    config = make(tmp_path, "expert_args.controller=flat", expert="vdn")
    with Students(config, told.recorder, StopSignal()) as students:
        assert students.runner.env.spec.agents == 6
        assert not students.replay.keep_slots


def test_an_expert_that_leaves_no_steps_for_students_is_told(tmp_path):
    config = make(tmp_path, "batch_size_run=4", "expert_steps=90", expert="vdn")  # 40 steps a round
    with pytest.raises(UserError, match="last round ended at 120 steps, which leaves none for students"):
        run.run(config, Told(tmp_path).recorder, StopSignal())

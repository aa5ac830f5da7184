"""Training that is stopped, resumed, diverges, or is given a checkpoint of something else."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_overrides
from test_learning import Silence

import evaluating
from runners.runner import Rollout
from training import Averages, Tally, Training
from utils.checkpoints import load_checkpoint, not_finite, save_checkpoint
from utils.config import load_config
from utils.errors import RunFailed, UserError
from utils.interrupt import Interrupted, StopSignal

BATTLE = ["--env-config=sc2_3m", "env_args.episode_limit=20"]


class StopAfter(StopSignal):
    """A signal that comes when it is looked for the `looks`-th time: before a step of a test, or after a round."""

    def __init__(self, looks: float = math.inf) -> None:
        self.left = looks
        super().__init__()

    @property
    def requested(self) -> bool:
        self.left -= 1
        return self.left < 0

    @requested.setter
    def requested(self, value: bool) -> None:
        pass


class Run:
    """A training in `folder / "models" / number`, with what it records."""

    def __init__(self, folder: Path, words: list[str], number: int = 1) -> None:
        self.models = folder / "models" / str(number)
        self.config = load_config([*words, f"local_results_path={folder}"])
        self.recorder = Silence(folder)
        self.recorder.run_id = str(number)
        self.notes: list[str] = []
        self.recorder.note = self.notes.append  # type: ignore[method-assign]

    def train(self, stop: StopSignal) -> None:
        with Training(self.config, self.recorder, stop) as training:
            if self.config.checkpoint_path:
                training.restore(Path(self.config.checkpoint_path), self.config.load_step)
            training.run()

    @property
    def metrics(self) -> list[tuple[str, float, int]]:
        return self.recorder.metrics

    def folders(self) -> list[Path]:
        """Its checkpoints, the newest last."""
        return sorted(self.models.glob("*"), key=lambda folder: int(folder.name))


def parts(folder: Path) -> dict[str, dict[str, Any]]:
    return load_checkpoint(folder)[1]


# --- stopping and resuming ---


@pytest.mark.parametrize(
    ("algorithm", "runner", "stops", "more"),
    [
        ("copa", "vector", (3, 21, 25, 23), {}),
        ("mappo", "vector", (0, 22, 24), {}),
        ("refil", "episode", (14, 43, 22), {}),
        ("maddpg", "vector", (3, 21, 25, 23), {}),
        ("cesma", "vector", (3, 21, 25, 23), {}),
        ("vdn", "parallel", (22, 24), {}),
        # in the middle of episodes of 10 steps
        ("mappo", "vector", (3, 24, 25), {"rollout_steps": 4, "num_mini_batch": 2}),
        ("pqn_vdn", "vector", (2, 23, 26), {"rollout_steps": 7}),
        ("refil", "vector", (3, 24, 25), {"rollout_steps": 3, "steps_per_update": 10}),
        ("copa", "vector", (3, 24, 25), {"rollout_steps": 4}),
        ("cesma", "vector", (3, 24, 25), {"rollout_steps": 6}),
    ],
)
def test_stopped_anywhere_and_resumed_it_records_what_an_unbroken_run_does(tmp_path, algorithm, runner, stops, more):
    words = [f"--config={algorithm}", "--env-config=sc2_sz", "env_args.episode_limit=10", "test_teams=3,4"]
    settings = {"t_max": 100, "test_interval": 40, "log_interval": 50, "save_model_interval": 35, "runner": runner}
    if runner == "episode":
        # most rounds make no update: their log lines tell the last one's figures
        settings.update(steps_per_update=25, log_interval=1)
    words += tiny_overrides(algorithm, **{**settings, **more}, save_replay_buffer=True)
    straight = Run(tmp_path / "straight", words)
    straight.recorder.run_dir.mkdir()
    straight.train(StopSignal())
    together, newest = [], ""
    for number, looks in enumerate((*stops, math.inf), 1):
        run = Run(tmp_path, [*words, f"checkpoint_path={newest}"], number)
        with pytest.raises(Interrupted) if looks < math.inf else nullcontext():
            run.train(StopAfter(looks))
        together += run.metrics
        newest = (run.folders() or [newest])[-1]  # where nothing was done since it was resumed, nothing is saved
    assert together == straight.metrics
    expected, found = parts(straight.models), parts(newest)
    assert_same(expected["learner"], found["learner"])
    assert_same(expected["progress"], found["progress"])
    made = [value for name, value, _ in straight.metrics if name == "updates"]
    assert made == sorted(made)
    assert 0 < made[-1] <= expected["learner"]["counters"]["updates"]


def test_running_episodes_ask_for_as_many_environments(tmp_path):
    words = ["--config=refil", *BATTLE, *tiny_overrides("refil", rollout_steps=8, t_max=40, test_interval=1000)]
    run = Run(tmp_path, words)
    run.train(StopSignal())
    assert [folder.name for folder in run.folders()] == ["48"]  # rounds of 2 environments and 8 steps
    again = [*words, f"checkpoint_path={run.models}", "t_max=80"]
    with pytest.raises(
        UserError, match="here are 3: take batch_size_run=2, or begin new ones with rollout_steps=0"
    ) as told:
        Run(tmp_path, [*again, "batch_size_run=3"], 2).train(StopSignal())
    assert "\n" not in str(told.value)
    Run(tmp_path, [*again, "batch_size_run=3", "rollout_steps=0"], 3).train(StopSignal())


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other


def test_a_stop_in_the_last_test_leaves_it_due(tmp_path):
    words = ["--config=vdn", *BATTLE, *tiny_overrides(t_max=40, test_interval=1000)]
    run = Run(tmp_path, words)
    with pytest.raises(Interrupted):
        run.train(StopAfter(30))  # after the first test, at most 20 steps, and a round or two
    assert int(run.folders()[-1].name) >= 40
    assert {step for name, _, step in run.metrics if name.startswith("test/")} == {0}
    resumed = Run(tmp_path, [*words, f"checkpoint_path={run.models}"], 2)
    resumed.train(StopSignal())
    assert {step for name, _, step in resumed.metrics if name.startswith("test/")} == {int(run.folders()[-1].name)}


def test_a_stop_after_a_test_saves_that_it_was_made(tmp_path):
    """Also where there is a checkpoint of that step already, written before the test."""
    words = ["--config=vdn", *BATTLE, *tiny_overrides(t_max=60, test_interval=1, save_model_interval=1)]
    run = Run(tmp_path, words)

    class StopOnceTested(StopSignal):
        requested = property(lambda self: any(step for _, _, step in run.metrics), lambda self, value: None)

    with pytest.raises(Interrupted):
        run.train(StopOnceTested())
    tested = run.metrics[-1][2]
    assert str(tested) == run.folders()[-1].name
    resumed = Run(tmp_path, [*words, f"checkpoint_path={run.models}"], 2)
    resumed.train(StopSignal())
    assert min(step for _, _, step in resumed.metrics) > tested
    manifests = [json.loads((r.folders()[-1] / "manifest.json").read_text()) for r in (run, resumed)]
    assert None not in {manifest["run"] for manifest in manifests}
    assert manifests[0]["run"] != manifests[1]["run"]
    for manifest, saved in zip(manifests, (run, resumed), strict=True):
        assert manifest["updates"] == load_checkpoint(saved.models)[1]["learner"]["counters"]["updates"] > 0


# --- divergence ---


@pytest.mark.parametrize(
    ("algorithm", "lr", "said"),
    [
        ("refil", "1e30", r"loss is (nan|inf) in update \d+ \(.*imagined_loss"),
        ("copa", "1e30", r"is (nan|inf) in update \d+"),
        ("collaq", "1e30", r"is (nan|inf) in update \d+"),
        ("mipi", "1e30", r"loss is (nan|inf) in update \d+"),
        ("mappo", "1e30", r"is (nan|inf) in update \d+"),
        ("vdn", "1e38", r"parameters of the controller are not finite after update 2"),
    ],
)
def test_a_training_that_diverges_fails_and_leaves_nothing_that_is_not_finite(tmp_path, algorithm, lr, said):
    words = [f"--config={algorithm}", *BATTLE]
    words += tiny_overrides(algorithm, t_max=400, save_model_interval=1, log_interval=1, test_interval=10000)
    begun = Run(tmp_path, [*words, "t_max=1"])  # a good checkpoint to go on from
    begun.train(StopSignal())
    run = Run(tmp_path, [*words, f"lr={lr}", f"checkpoint_path={begun.models}"], 2)
    with pytest.raises(RunFailed, match=rf"diverged at \d+ steps: .*{said}.*; the last good checkpoint is ") as told:
        run.train(StopSignal())
    last = Path(re.search(r"checkpoint is (\S+);", str(told.value))[1])
    assert last == [*begun.folders(), *run.folders()][-1]
    for folder in run.folders():
        assert not_finite(parts(folder), "") is None
    assert all(math.isfinite(value) for _, value, _ in run.metrics)


def test_what_is_not_finite_is_neither_saved_nor_loaded(tmp_path):
    words = ["--config=mappo", *BATTLE, *tiny_overrides("mappo", t_max=1)]
    run = Run(tmp_path, words)
    with Training(run.config, run.recorder, StopSignal()) as training:
        training.learner.critic.norm.mean_sum.fill_(math.nan)  # no parameter
        with pytest.raises(RunFailed, match=r"critic\.norm\.mean_sum is not finite; there is no checkpoint before it"):
            training.save()
    assert run.folders() == []
    run.train(StopSignal())
    folder, state = load_checkpoint(run.models)
    next(iter(state["learner"]["optimiser"]["state"].values()))["exp_avg"].fill_(math.inf)
    refused(words, tmp_path, folder, state, r"optimiser.*exp_avg is not finite")


# --- checkpoints of something else ---


@pytest.fixture(scope="module")
def vdn(tmp_path_factory) -> Iterator[tuple[list[str], Path]]:
    """The words of a short training, and its checkpoint, with a replay."""
    folder = tmp_path_factory.mktemp("vdn")
    words = ["--config=vdn", "--env-config=sc2_csz", BATTLE[1]]
    words += tiny_overrides(t_max=60, save_replay_buffer=True, test_interval=10000)
    run = Run(folder, words)
    run.train(StopSignal())
    return words, run.folders()[-1]


def refused(words: list[str], tmp_path: Path, folder: Path, state: dict[str, dict[str, Any]], said: str) -> None:
    """Neither resumed nor tested: one line each."""
    save_checkpoint(tmp_path / "altered" / folder.name, state)
    words = [*words, f"checkpoint_path={tmp_path / 'altered' / folder.name}"]
    with pytest.raises(UserError, match=said) as told:
        Run(tmp_path, words).train(StopSignal())
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("evaluate", [False, True])
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["--config=iql"], "one of mixer=vdn, these settings have mixer=none"),
        (["--config=vdn", "--env-config=sc2_mmm"], "one of env=sc2_csz, these settings have env=sc2_mmm"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(tmp_path, vdn, changed, said, evaluate):
    words, folder = vdn
    words = [*changed, *words[len(changed) :], f"checkpoint_path={folder}", f"evaluate={evaluate}"]
    run = Run(tmp_path, words)
    act = evaluating.evaluate if evaluate else lambda *_: run.train(StopSignal())
    with pytest.raises(UserError, match=said):
        act(run.config, run.recorder, StopSignal())


def test_it_is_loaded_all_the_same_where_one_wants_that(tmp_path, vdn):
    words, folder = vdn
    run = Run(tmp_path, ["--config=iql", *words[1:], f"checkpoint_path={folder}", "evaluate=True", "force_load=True"])
    assert evaluating.evaluate(run.config, run.recorder, StopSignal())
    assert "mixer=none here, vdn in the checkpoint: loaded all the same" in run.notes


def test_another_recipe_is_other_settings_from_here_on(tmp_path):
    words = ["--config=refil", *BATTLE, *tiny_overrides(t_max=40, save_model_interval=10**6)]
    fast = Run(tmp_path, ["--recipe=fast", *words])
    fast.train(StopSignal())
    resumed = [*words, "t_max=80", f"checkpoint_path={fast.models}"]
    # what fits is resumed with the settings of now, and what they are called is told
    other = Run(tmp_path, [*resumed, "target_values=pairs", "optimiser=adam", "recurrent=False"], 2)
    other.train(StopSignal())
    assert "recipe=paper from here on, fast before" in other.notes
    assert parts(other.folders()[-1])["settings"]["recipe"] == "paper"
    same = Run(tmp_path, ["--recipe=fast", *resumed], 3)
    same.train(StopSignal())
    assert not [note for note in same.notes if "recipe=" in note]
    # what does not fit is refused
    with pytest.raises(UserError, match=r"is one of targets=.* take the settings of its run"):
        Run(tmp_path, resumed, 4).train(StopSignal())


def test_a_checkpoint_of_an_earlier_version_is_taken_with_a_note(tmp_path, vdn):
    words, folder = vdn
    state = parts(folder)
    del state["identity"], state["progress"]["metrics"], state["progress"]["train_figures"]
    save_checkpoint(tmp_path / "1" / folder.name, state)
    run = Run(tmp_path, [*words, f"checkpoint_path={tmp_path / '1'}"])
    run.train(StopSignal())
    assert any("does not say of what task" in note for note in run.notes)


def other_keys(part: str, *path: Any) -> Any:
    def change(state: dict[str, Any]) -> None:
        place = state[part]
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return change


def put(value: Any, part: str, *path: Any) -> Any:
    def change(state: dict[str, Any]) -> None:
        place = state[part]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        other_keys("learner", "optimiser"),
        other_keys("progress", "clock"),
        other_keys("progress", "clock", "save"),
        other_keys("runner", "env"),
        other_keys("replay", "data"),
        put("12", "learner", "counters", "updates"),
        put([1], "learner", "counters"),
        put("12", "progress", "t_env"),
        put("soon", "progress", "clock", "test"),
        put(torch.zeros(3), "progress", "sampler"),
        put({"count": "few", "sums": {}}, "progress", "train_figures"),
        put([], "progress", "metrics"),
        put(torch.zeros(3, 3), "learner", "optimiser", "state", 0, "square_avg"),
        put("x", "replay", "position"),
        put(torch.zeros(2, 1, 1), "replay", "data", "actions"),
    ],
)
def test_a_state_that_is_not_built_as_ours_is_one_line(tmp_path, vdn, change):
    words, folder = vdn
    state = parts(folder)
    change(state)
    refused(words, tmp_path, folder, state, "does not fit these settings")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_engine_replay_and_learner_stay_on_the_gpu(tmp_path):
    words = ["--config=refil", *BATTLE, *tiny_overrides("refil", device="cuda", buffer_device="device")]
    run = Run(tmp_path, words)
    with Training(run.config, run.recorder, StopSignal()) as training:
        training.round()
        assert training.replay is not None
        places = {training.runner.env.device.type, training.replay.device.type, training.controller.device.type}
        sample = training.replay.sample(2, training.sampler)
        assert places | {value.device.type for value in sample.parts().values()} == {"cuda"}
        assert training.learner.fault() is None


@pytest.mark.parametrize("runner", ["episode", "parallel"])
def test_updates_are_as_many_as_the_steps_that_were_played_ask_for(tmp_path, monkeypatch, runner):
    """One for every seven steps, from the first step from which the replay has a batch; rounds may have any length."""
    played = Training.round
    due: list[tuple[int, int]] = []

    def counted(training: Training):
        done, before = training.learner.updates, training.t_env
        found = played(training)
        ready = training.replay.can_sample(training.config.batch_size)
        due.append((training.learner.updates - done, ready * (training.t_env // 7 - before // 7)))
        return found

    monkeypatch.setattr(Training, "round", counted)
    settings = {"runner": runner, "steps_per_update": 7, "t_max": 150, "batch_size": 3}
    run = Run(tmp_path, ["--config=vdn", *BATTLE, *tiny_overrides("vdn", **settings)])
    run.train(StopSignal())
    made, wanted = zip(*due, strict=True)
    assert made == wanted
    assert made[0] == 0 < max(made)


def test_means_of_training_episodes_by_hand():
    """Every episode counts the same, whatever round it was of."""
    lone, sent = torch.tensor([8.0]), torch.tensor([0.25, 0.5, 0.75])
    first = Rollout(None, lone, torch.tensor([9]), {"battle_won": torch.tensor([1.0])}, torch.tensor([0.25]), steps=12)
    returns, lengths = torch.tensor([0.0, 1.0, 3.0]), torch.tensor([2, 3, 6])
    second = Rollout(None, returns, lengths, {"battle_won": torch.tensor([0.0, 1.0, 0.0])}, sent, steps=11)
    averages = Averages()
    assert averages.means() == {}
    for rollout in (first, second):
        tally = Tally.of(rollout)
        assert (tally.steps, tally.episodes) == (rollout.steps, len(rollout.lengths))
        averages.add(tally)
    assert averages.means() == {
        "train/return_mean": (8 + 0 + 1 + 3) / 4,
        "train/ep_length_mean": (9 + 2 + 3 + 6) / 4,
        "train/battle_won_mean": 2 / 4,
        "train/comm_frequency_mean": (0.25 + 0.25 + 0.5 + 0.75) / 4,
    }
    assert "comm_frequency" not in Tally.of(replace(second, comm_frequency=None)).sums

"""Battles are learnt, and the same seed gives the same run."""

import pytest
import torch
from conftest import tiny_overrides

import builders
import evaluating
from runners.runner import Runner
from training import Training
from utils.config import load_config
from utils.errors import UserError
from utils.interrupt import StopSignal

SHORT = ["env_args.episode_limit=20", "save_model=False"]


class Silence:
    """A recorder that keeps the metrics and says nothing."""

    run_id = "1"

    def __init__(self, folder):
        self.run_dir, self.metrics = folder, []

    def scalar(self, name, value, step):
        self.metrics.append((name, float(value), step))

    def scalars(self, values, step):
        for name, value in values.items():
            self.scalar(name, value, step)

    def facts(self, facts):
        pass

    note = facts

    def progress(self, *_):
        pass


def train(folder, *words):
    folder.mkdir(exist_ok=True)
    config = load_config([*words, f"local_results_path={folder}"])
    recorder = Silence(folder)
    with Training(config, recorder, StopSignal()) as training:
        training.run()
    return training, recorder.metrics


def test_a_duel_is_learnt(tmp_path):
    """One against one: a random unit gets a return of about 3.1 of 20, attack_nearest about 8.9."""
    settings = {
        "env_args.train_team": "1", "test_teams": "1", "t_max": 9000, "batch_size": 16, "batch_size_run": 16,
        "training_iters": 8, "buffer_size": 1000, "attn_embed_dim": 32, "attn_heads": 2, "rnn_hidden_dim": 32,
        "hypernet_embed": 32, "epsilon_anneal_time": 4000, "target_update_interval": 64, "test_interval": 100000,
        "log_interval": 1000, "save_model": False, "threads": 1, "seed": 2,
    }  # fmt: skip
    words = ["--config=vdn", "--env-config=sc2_sz", "with", *(f"{k}={v}" for k, v in settings.items())]
    _, metrics = train(tmp_path / "run", *words)
    returns = [value for name, value, _ in metrics if name == "train/return_mean"]
    early, late = returns[0], sum(returns[-3:]) / 3
    assert early < 4.5
    assert late > 5.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "payoffs"),
    [("mipi", [5.0, 5.0, 5.0]), ("mipi_value", [5.2, 5.2, 0.2]), ("mipi_entropy", [5.2, 5.2, 0.2])],
)
def test_mutual_information_holds_on_an_unseen_team(tmp_path, algorithm, payoffs):
    """The matrix game: what is best for type B in the two teams trained on goes wrong where both are B."""
    words = [f"--config={algorithm}", "--env-config=matrix_game", "with", "device=cpu", "save_model=False", "seed=0"]
    _, metrics = train(tmp_path / "run", *words)
    last = {name: value for name, value, _ in metrics}
    assert [last[f"test/{team}/return_mean"] for team in ("AB", "BA", "BB")] == pytest.approx(payoffs)


@pytest.mark.parametrize(
    ("algorithm", "task", "more"),
    [
        ("copa", "sz", {}),
        ("mappo", "sz", {}),
        ("pqn_qmix", "sz", {}),
        ("maddpg", "sz", {}),
        ("refil", "mmm", {"target_values": "pairs"}),
    ],
)
def test_the_same_seed_gives_the_same_run(tmp_path, algorithm, task, more):
    words = [f"--config={algorithm}", f"--env-config=sc2_{task}", "with"]
    words += [*tiny_overrides(algorithm, test_teams="3-5", **more), *SHORT]
    (one, first), (two, second), (_, other) = (
        train(tmp_path / name, *words, f"seed={seed}") for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert first == second
    assert first != other
    assert all(torch.equal(x, y) for x, y in zip(one.learner.parameters, two.learner.parameters, strict=True))


def test_testing_does_not_change_training(tmp_path):
    """However often tests are made, the trained networks are the same."""
    words = ["--config=refil", "--env-config=sc2_3m", "with", *SHORT]
    # the episode runner tests in the environment that it trains in
    often, rare = (
        train(tmp_path / str(interval), *words, *tiny_overrides(test_interval=interval, runner="episode"))[0]
        for interval in (1, 10**6)
    )
    assert all(torch.equal(x, y) for x, y in zip(often.learner.parameters, rare.learner.parameters, strict=True))


def test_every_run_is_tested_on_the_same_episodes(tmp_path):
    """Neither the run's seed nor how far it has come decides what is tested."""

    def scores(seed, t_env):
        words = ["--config=scripted", "--env-config=sc2_sz", "with", "policy=attack_nearest", "evaluate=True", *SHORT]
        config = load_config([*words, *tiny_overrides(seed=seed, test_nepisode=4, test_teams="3-5")])
        with builders.build_env(config, 4, seed, tests=True) as env:
            runner = Runner(env, builders.build_controller(config, env.spec), seed=seed)
            return evaluating.test(config, Silence(tmp_path), StopSignal(), runner, t_env)

    assert scores(1, 0) == scores(2, 5000)


@pytest.mark.parametrize(
    ("algorithm", "setting", "said"),
    [
        ("aqmix", "sequence_length=5", "sequence_length=0, these settings have sequence_length=5"),
        ("aqmix", "attn_heads=1", "attn_heads=2, these settings have attn_heads=1"),
        ("aqmix", "view=periodic", "view=local, these settings have view=periodic"),
        ("copa", "broadcast_interval=2", "broadcast_interval=4, these settings have broadcast_interval=2"),
        ("mipi", "alpha=inf", "alpha=a number, these settings have alpha=inf"),
        ("collaq", "alone_view=self", "alone_view=no_teammates, these settings have alone_view=self"),
    ],
)
def test_a_model_is_tested_as_it_learnt_to_act(tmp_path, algorithm, setting, said):
    """None of these changes the shape of a weight."""
    words = [f"--config={algorithm}", "--env-config=sc2_3m", *tiny_overrides(algorithm, t_max=20), *SHORT[:1]]
    train(tmp_path, *words)
    words += [f"checkpoint_path={tmp_path / 'models' / '1'}", f"local_results_path={tmp_path}"]
    recorder = Silence(tmp_path)
    assert evaluating.evaluate(load_config([*words, "evaluate=True"]), recorder, StopSignal())
    other = [*words, setting]
    with pytest.raises(UserError, match=f"learnt with {said}"):
        evaluating.evaluate(load_config([*other, "evaluate=True"]), recorder, StopSignal())
    notes = []
    recorder.note = notes.append
    config = load_config(other)
    with Training(config, recorder, StopSignal()) as training:
        training.restore(config.checkpoint_path, 0)
    changed = [note for note in notes if "from here on" in note]
    assert len(changed) >= 1
    assert changed[0].startswith(said.split("=")[0])

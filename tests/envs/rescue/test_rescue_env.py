"""The Rescue Game: episodes, chance, settings, pictures, and the command line."""

import json

import pytest
import torch
from conftest import tiny_overrides
from rescue_town import act, arranged, make

import builders
import main
from controllers.scripted import ScriptedController
from envs.check import check_env
from envs.rescue.env import RescueEnv
from envs.rescue.picture import BUILDING, CELL, RIM
from envs.rescue.scripted import SCRIPTED
from runners.runner import Runner
from utils.config import load_config
from utils.errors import UserError


def play(env, policy="greedy", team=None, steps=20):
    """The time steps of one round."""
    choose, generator = SCRIPTED[policy](env.spec), torch.Generator().manual_seed(1)
    steps_seen = [env.reset(team=team)]
    for _ in range(steps):
        steps_seen.append(env.step(choose(steps_seen[-1], generator)))
    return steps_seen


@pytest.mark.parametrize(
    "settings",
    [{"sight": 0, "ignition_rate": 0.5}, {"max_team": 16, "ignition_rate": 0.0, "episode_limit": 5}, {"sight": 9}],
)
def test_contract(settings):
    check_env(make(5, test_teams=["2-8"], **settings), steps=30, teams=["1", "2-8", "8"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_contract_on_a_gpu():
    args = RescueEnv.resolve_args({}, ["2-8"])
    check_env(RescueEnv(args, 4, 0, "cuda"), steps=30, teams=["2-8"])


# --- episodes ---


def test_training_episodes():
    env = make(3000)
    seen = env.reset()
    size, skill = seen.info["team_size"], seen.entities[:, : env.spec.agents, 2]
    assert env.spec.agents == 5
    assert size.unique().tolist() == [3, 4, 5]
    assert seen.agent_mask.sum(dim=1).tolist() == size.tolist()
    assert skill[seen.agent_mask].unique().tolist() == pytest.approx([0.2, 0.5, 1.0])
    assert seen.info["fires_left"].unique().tolist() == [3, 4, 5, 6]
    for share in (size == 3, size == 4, size == 5):
        assert share.float().mean().item() == pytest.approx(1 / 3, abs=0.04)
    assert (skill[seen.agent_mask] == 1).float().mean().item() == pytest.approx(1 / 3, abs=0.03)


def test_test_episodes():
    env = make(3000, test_teams=["2-8"])
    seen = env.reset(team="2-8")
    skill = seen.entities[:, : env.spec.agents, 2][seen.agent_mask]
    assert env.spec.agents == 8
    assert seen.info["team_size"].unique().tolist() == [2, 3, 4, 5, 6, 7, 8]
    assert seen.info["fires_left"].unique().tolist() == [3, 4, 5, 6, 7, 8, 9, 10]
    assert 0.2 <= skill.min() < 0.21
    assert 0.99 < skill.max() <= 1
    assert skill.mean().item() == pytest.approx(0.6, abs=0.01)
    # a named team is a test, also where it is the training team
    assert env.reset(team="3-5").info["fires_left"].max() == 10
    assert env.reset().info["fires_left"].max() == 6


def test_episodes_are_truncated_and_never_terminate():
    env, _ = arranged([(0, 0, 1.0)], [(0, 0, 0.5)], episode_limit=3)
    for step in range(1, 4):
        seen = act(env, 0)  # no fire is left after the first step, but another may come
        assert seen.truncated.item() is (step == 3)
        assert not seen.terminated.item()
    rest = act(env, 0)
    assert rest.truncated.item()
    assert torch.equal(rest.entities, seen.entities)


def test_a_fire_burns_on_after_the_end():
    env, _ = arranged([(0, 0, 0.2)], [(0, 0, 0.9)], episode_limit=1, ignition_rate=1.0)
    last, rest = act(env, 0), act(env, 0)
    assert last.reward.item() > 0
    assert rest.reward.item() == 0
    assert torch.equal(rest.entities, last.entities)


# --- chance ---


def test_the_same_seed_gives_the_same_episodes():
    one, same, other = (play(make(6, seed)) for seed in (3, 3, 4))
    assert all(torch.equal(a.entities, b.entities) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one[0].entities, other[0].entities)


def test_all_runs_are_tested_on_the_same_episodes():
    figures = []
    for seed in (1, 2):
        config = load_config(["--config=scripted", "--env-config=rescue", "with", f"seed={seed}", "policy=greedy"])
        with builders.build_env(config, 4, seed, tests=True) as env:
            runner = Runner(env, ScriptedController(SCRIPTED["greedy"](env.spec)), seed=seed)
            play(env, steps=2 * seed)  # wherever training is
            figures.append(runner.evaluate("2-8", 4, builders.test_seed("test", "2-8")))
    assert all(torch.equal(figures[0][name], figures[1][name]) for name in figures[0])


@pytest.mark.parametrize("team", [None, "2-5"])
def test_more_slots_change_nothing(team):
    small, large = make(20, max_team=5), make(20, max_team=12)
    both = [*range(5), *range(12, 22)]
    for ours, theirs in zip(play(small, team=team), play(large, team=team), strict=True):
        assert not theirs.agent_mask[:, 5:].any()
        torch.testing.assert_close(theirs.entities[:, both], ours.entities)
        torch.testing.assert_close(theirs.reward, ours.reward)
        assert torch.equal(theirs.obs_mask[:, :5][:, :, both], ours.obs_mask)
        assert torch.equal(theirs.avail_mask[:, :5], ours.avail_mask)


# --- settings ---


@pytest.mark.parametrize(
    ("settings", "test_teams", "message"),
    [
        ({"train_team": "5-3"}, [], r"env_args.train_team = '5-3' is not possible; .* within 1-16"),
        ({"train_team": "0-3"}, [], r"env_args.train_team = '0-3' .* within 1-16"),
        ({}, ["many"], r"test_teams = 'many' .* within 1-16"),
        ({}, ["2-17"], r"test_teams = '2-17' .* within 1-16"),
        ({"max_team": 6}, ["2-8"], r"env_args.max_team = 6 .* test_teams = '2-8'; allowed: 0 \(derived\) or 8-16"),
        ({"max_team": -1}, [], r"env_args.max_team = -1 .* allowed: 0 \(derived\) or 5-16"),
        ({"sight": -1}, [], r"env_args.sight = -1 must be at least 0"),
        ({"ignition_rate": 1.5}, [], r"env_args.ignition_rate = 1.5 must be .* from 0 to 1"),
        ({"ignition_rate": -0.1}, [], r"env_args.ignition_rate = -0.1 must be .* from 0 to 1"),
        ({"episode_limit": 0}, [], r"env_args.episode_limit = 0 must be at least 1"),
    ],
)
def test_impossible_settings(settings, test_teams, message):
    with pytest.raises(UserError, match=message) as error:
        make(test_teams=test_teams, **settings)
    assert "\n" not in str(error.value)


def test_a_team_that_does_not_fit():
    with pytest.raises(UserError, match="team = '2-8' needs 8 slots; this environment has 5"):
        make().reset(team="2-8")


# --- pictures ---


def test_picture():
    env, _ = arranged([(0, 9, 1.0), (0, 9, 0.2)], [(9, 0, 1.0)])
    picture = env.render()
    assert picture.shape == (10 * CELL, 10 * CELL, 3)
    assert picture.dtype == "uint8"

    def cell(column, row):
        top = (9 - row) * CELL
        return picture[top : top + CELL, column * CELL : (column + 1) * CELL]

    assert (cell(0, 9) == RIM).all(axis=2).any()
    assert not (cell(9, 0) == BUILDING).all(axis=2).any()
    for other in ((0, 0), (9, 9), (5, 5)):
        assert (cell(*other) == cell(3, 3)).all()


# --- the command line ---


def test_a_scripted_team_on_the_command_line(results, capsys):
    words = ["--config=scripted", "--env-config=rescue", "with", "policy=greedy", "evaluate=True"]
    assert main.main([*words, *tiny_overrides(), f"local_results_path={results}"]) == 0
    capsys.readouterr()
    tested = json.loads((results / "sacred" / "1" / "evaluation.json").read_text())
    assert list(tested) == ["2-8"]
    assert tested["2-8"]["return"]["n"] == 2
    assert tested["2-8"]["ep_length"]["mean"] == 64

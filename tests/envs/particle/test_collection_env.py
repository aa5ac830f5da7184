"""Resource Collection: teams, scenarios, variants, scripted teams, settings, pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from collection import arranged, make, places, wait

from controllers.scripted import ScriptedController
from envs.check import check_env
from envs.hosts import WorkerEnv
from envs.particle.resource_collection.env import ResourceCollectionEnv
from envs.particle.resource_collection.scenarios import write_scenarios
from runners.runner import Runner
from utils.errors import UserError


def play(env, policy="random", steps=145, team=None):
    """Rewards (B, steps) and the time steps of a round."""
    act, generator = env.SCRIPTED[policy](env.spec), torch.Generator().manual_seed(1)
    history = [env.reset(team=team)]
    for _ in range(steps):
        history.append(env.step(act(history[-1], generator)))
    return torch.stack([seen.reward for seen in history[1:]], dim=1), history


@pytest.mark.parametrize("variant", ["static", "medium", "dynamic"])
def test_contract(variant):
    env = make(3, variant=variant, train_team="1-3", test_teams=["varying"], episode_limit=30)
    check_env(env, steps=35, teams=["5", "2-4", "varying"])


# --- teams ---


def test_sizes_take_turns():
    env = make(12)
    for _ in range(3):
        sizes = env.reset().info["team_size"].tolist()
        assert sorted(sizes) == [2.0] * 4 + [3.0] * 4 + [4.0] * 4
    env = make(12, test_teams=["5", "6"])
    assert env.reset(team="6").agent_mask.all()
    assert env.reset(team="5").agent_mask.sum(1).unique().tolist() == [5]
    assert env.reset(team="3-5").agent_mask.sum(1).bincount().tolist() == [0, 0, 0, 4, 4, 4]


def test_agents_start_around_the_home():
    seen = make(1, train_team="4").reset()
    expected = [[0.12, 0], [0, 0.12], [-0.12, 0], [0, -0.12]]
    torch.testing.assert_close(places(seen)[0, :4], torch.tensor(expected))


def test_members_in_training_and_in_tests():
    env = make(400, test_teams=["6"])
    members = env.reset().entities[:, :6, 8:].flatten(0, 1)
    members = members[members.any(dim=1)]
    for column, values in ((0, [0.1, 0.5, 0.9]), (1, [0.1, 0.5, 0.9]), (2, [0.1, 0.5, 0.9]), (3, [0.3, 0.5, 0.7])):
        found, counts = members[:, column].unique(return_counts=True)
        assert found.tolist() == pytest.approx(values)
        assert counts.min() > 300  # of 1,200, each 400 with a standard deviation of 16
    members = env.reset(team="6").entities[:, :6, 8:].flatten(0, 1)
    low, high = members.amin(dim=0), members.amax(dim=0)
    assert low.tolist() == pytest.approx([0.1, 0.1, 0.1, 0.2], abs=0.01)
    assert high.tolist() == pytest.approx([0.9, 0.9, 0.9, 0.8], abs=0.01)
    assert members.mean(dim=0).tolist() == pytest.approx([0.5] * 4, abs=0.02)


@pytest.mark.parametrize("bounds", ["2-6", "4-6", "1-3"])
def test_a_varying_team(bounds):
    low, high = map(int, bounds.split("-"))
    env = make(200, varying=bounds, max_team=7, test_teams=["varying"])
    _, history = play(env, team="varying")
    masks = torch.stack([seen.agent_mask for seen in history], dim=1)  # (B, T, A)
    sizes = masks.sum(dim=2)
    assert sizes[:, 0].unique().tolist() == [min(4, high)]
    assert (sizes.min().item(), sizes.max().item()) == (low, high)
    assert not masks[:, :, high:].any()  # the first free slots
    changed = (masks[:, 1:] ^ masks[:, :-1]).sum(dim=2)
    assert changed.unique().tolist() == [0, 1]
    assert torch.equal((sizes[:, 1:] - sizes[:, :-1]).abs(), changed)
    pauses = torch.cat([torch.cat([row.nonzero()[:1, 0] + 1, row.nonzero()[:, 0].diff()]) for row in changed])
    assert pauses.unique().tolist() == [8, 9, 10, 11, 12]
    up = (sizes[:, 1:] > sizes[:, :-1])[(changed > 0) & (sizes[:, :-1] > low) & (sizes[:, :-1] < high)]
    if len(up):
        assert abs(up.float().mean() - 0.5) < 0.1
    # anyone may leave
    left = (masks[:, :-1] & ~masks[:, 1:]).sum(dim=(0, 1))
    assert (left[:high] > 0).all()


def test_joining_and_leaving():
    env = make(60, varying="3-6", test_teams=["varying"])
    _, history = play(env, "greedy", 40, team="varying")
    joins = 0
    for before, after in zip(history, history[1:], strict=False):
        joined, left = after.agent_mask & ~before.agent_mask, before.agent_mask & ~after.agent_mask
        joins += int(joined.sum())
        place, speed = places(after)[:, :6][joined], after.private[:, :, :2][joined]
        torch.testing.assert_close(place.norm(dim=-1), torch.full((len(place),), 0.12))
        assert (speed == 0).all()
        assert (after.private[:, :, 4][joined] == 1).all()  # empty hands
        assert (after.entities[:, :6, 8:][joined] > 0).all()
        assert after.avail_mask[joined].all()
        assert after.obs_mask[joined].any(dim=1).all()
        assert not after.obs_mask[left].any()
        assert not after.obs_mask.transpose(1, 2)[:, :6][left].any()
        assert not after.avail_mask[left][:, 1:].any()
    assert joins > 60


def test_who_leaves_earns_and_blocks_nothing():
    env = arranged([(0.5, 0.205), (0.5, 0.355), (-0.5, 0.5)], [(0.5, 0.28), *[(0.8, 0.8 - 0.2 * i) for i in range(5)]])
    present, members = env._world.present.clone(), env._world.members.clone()
    present[0], members[:, 0] = 0, 0
    env._world = env._world._replace(present=present, members=members)
    seen = wait(env)
    # the second takes what the first would have had, and is not pushed
    assert seen.private[0, :, 4:8].sum(dim=0).tolist() == [1, 1, 0, 0]
    assert seen.reward.item() == pytest.approx(1)
    assert seen.info["team_size"].item() == 2


def test_members_that_join_are_new():
    env = make(30, varying="1-2", test_teams=["varying"])
    _, history = play(env, team="varying")
    members = torch.stack([seen.entities[:, 1, 8:] for seen in history], dim=1)
    for row in members:
        assert len(row.unique(dim=0)) > 3


def test_more_slots_change_nothing():
    few, many = make(20, test_teams=["varying"]), make(20, test_teams=["varying"], max_team=9)
    rewards, one = play(few, "greedy", team="varying")
    padded, other = play(many, "greedy", team="varying")
    for ours, theirs in zip(one[:50], other, strict=False):
        order = [*range(6), *range(9, 17)]
        torch.testing.assert_close(ours.entities, theirs.entities[:, order])
        torch.testing.assert_close(ours.private, theirs.private[:, :6])
        assert torch.equal(ours.obs_mask, theirs.obs_mask[:, :6, order])
        assert not theirs.entity_mask[:, 6:9].any()
    assert torch.equal(rewards[:, :50], padded[:, :50])


# --- scenarios and seeds ---


def test_a_test_plays_the_fixed_scenarios_in_order():
    env, other = make(4, seed=1, scenarios="10"), make(6, seed=8, scenarios="10", train_team="3")
    for batch in (env, other):
        batch.seed(20)
    rounds = torch.cat([env.reset(team="3").entities[:, :3] for _ in range(6)])
    assert torch.equal(rounds[:10], rounds[10:20])
    assert len(rounds[:10].unique(dim=0)) == 10
    again = torch.cat([other.reset(team="3").entities[:, :3] for _ in range(2)])
    assert torch.equal(rounds[:12], again)


def test_an_episode_does_not_depend_on_the_batch():
    rewards = []
    for count in (1, 8):
        env = make(count, test_teams=["5"])
        env.seed(0)
        rewards.append(torch.cat([play(env, "greedy", 60, "5")[0] for _ in range(8 // count)]))
    assert torch.equal(rewards[0][:, :30], rewards[1][:, :30])
    torch.testing.assert_close(rewards[0].sum(), rewards[1].sum(), atol=20, rtol=0)


def test_every_run_is_tested_on_the_same_episodes():
    figures = []
    for seed in (1, 2):
        env = make(5, seed=seed, test_teams=["varying"], episode_limit=20)
        env.reset()
        runner = Runner(env, ScriptedController(env.SCRIPTED["greedy"](env.spec)), seed=seed)
        runner.play()
        figures.append(runner.evaluate("varying", 12, seed=7)["return"])
        state = env.state_dict()
        runner.evaluate("varying", 12, seed=7)
        assert env.state_dict()["next"] == state["next"]
    assert torch.equal(*figures)


def test_scenario_files(tmp_path):
    path = tmp_path / "scenarios.npy"
    write_scenarios(path, 7, 6)
    env, file = make(9, test_teams=["6"], scenarios="7"), make(9, test_teams=["6"], scenarios=str(path))
    for batch in (env, file):
        batch.seed(3)
    assert torch.equal(env.reset(team="6").entities, file.reset(team="6").entities)
    members = np.zeros((2, 3, 4))
    members[...] = [0.2, 0.4, 0.6, 0.8]
    np.save(path, members)
    env = make(2, train_team="3", scenarios=str(path))
    assert env.reset(team="3").entities[:, :3, 8:].flatten(0, 1).tolist() == [pytest.approx([0.2, 0.4, 0.6, 0.8])] * 6
    assert env.reset().entities[:, 0, 11].tolist() != [pytest.approx(0.8)] * 2  # training draws
    # a member that joins in a slot is as the file says
    env = make(5, scenarios=str(path), train_team="2", varying="2-3", test_teams=["varying"])
    seen = play(env, steps=50, team="varying")[1][-1]
    assert seen.entities[:, :3, 11][seen.agent_mask].unique().tolist() == pytest.approx([0.8])


def test_the_end_is_the_limit():
    env = make(3, episode_limit=4)
    rewards, history = play(env, steps=6)
    assert [seen.truncated.all().item() for seen in history] == [False] * 4 + [True] * 3
    assert not any(seen.terminated.any() for seen in history)
    assert (rewards[:, 4:] == 0).all()
    seen = env.reset(torch.tensor([False, True, False]))
    assert seen.truncated.tolist() == [True, False, True]


# --- variants ---


def test_the_variants():
    for variant, fixed, invader in (("static", True, False), ("medium", False, False), ("dynamic", False, True)):
        env = make(50, variant=variant, train_team="4")
        rewards, history = play(env, "greedy", 60)
        assert history[-1].info["collected"].sum() > 100
        seen_at = torch.cat([places(seen)[:, 5:11] for seen in history])
        assert (len(seen_at.unique(dim=0)) == 1) is fixed
        assert any(seen.entity_mask[:, -1].any() for seen in history) is invader
        assert (rewards.min() < 0).item() is invader
        assert not history[0].entity_mask[:, -1].any() or invader


# --- scripted teams ---


def test_greedy_by_hand():
    # speed 0.5: at most 0.025 along each axis; best at blue, which is at (-0.8, 0.8) and (-0.8, 0)
    env = arranged([(-0.4, -0.3), (0.2, -0.8), (0.6, 0.2)], loads=[(1, 0)], invader=(0.6, 0.6))
    act = env.SCRIPTED["greedy"](env.spec)
    seen = env.step(act(env._show(torch.zeros(1)), env.generator))
    moves = places(seen)[0, :3] - torch.tensor([(-0.4, -0.3), (0.2, -0.8), (0.6, 0.2)])
    expected = [
        [-0.025 * 0.8, 0.025 * 0.6],  # to the nearer blue one, (-0.4, 0.3) away
        [-0.025 * 0.2 / 0.68**0.5, 0.025 * 0.8 / 0.68**0.5],  # home
        [0, 0.025],  # after the invader
    ]
    torch.testing.assert_close(moves, torch.tensor(expected))
    assert seen.private[0, :, :2].abs().max() < 1e-6


def test_greedy_does_not_overshoot():
    env = arranged([(0.13, 0.01)], loads=[(0, 0)])
    env.step(torch.tensor([[-1]]))
    # the smaller of 0.025 and what is left, 0.01, along y; x is pushed back by the home
    assert env._world.position[1, 0, 0] == pytest.approx(0.01 - 0.01 * 0.01 / (0.0169 + 0.0001) ** 0.5, abs=2e-3)


def test_the_scripted_teams_differ():
    env = make(200, test_teams=["5"])
    random, greedy = (play(env, policy, team="5")[0].sum(dim=1).mean() for policy in ("random", "greedy"))
    # 6.4 and 113 with standard errors of 0.7 and 1.8
    assert 3 < random < 10
    assert 105 < greedy < 121


def test_greedy_in_worker_processes():
    args = ResourceCollectionEnv.resolve_args({"episode_limit": 10}, ["5"])
    with WorkerEnv(ResourceCollectionEnv, args, 2, seed=0) as env:
        seen = env.reset(team="5")
        assert not torch.equal(seen.entities[0], seen.entities[1])  # workers play different scenarios
        before = places(seen)[:, :5]
        seen = env.step(ResourceCollectionEnv.SCRIPTED["greedy"](env.spec)(seen, torch.Generator()))
        assert ((places(seen)[:, :5] - before).norm(dim=-1) > 0.005).all()


# --- settings ---


def test_slots_follow_from_the_teams():
    resolve = ResourceCollectionEnv.resolve_args
    assert resolve({}, ["5", "6", "varying"]).max_team == 6
    assert resolve({}, []).max_team == 4
    assert resolve({"train_team": "3-5"}, ["6", "7", "8"]).max_team == 8
    assert resolve({"varying": "2-9"}, ["varying"]).max_team == 9
    assert resolve({"train_team": 3, "max_team": 5}, []).max_team == 5


@pytest.mark.parametrize(
    ("settings", "test_teams", "message"),
    [
        ({"variant": "wild"}, [], r"env_args.variant = 'wild' is not one of static, medium, dynamic"),
        ({"sight": -0.1}, [], r"env_args.sight = -0.1 must be at least 0"),
        ({"episode_limit": 0}, [], r"env_args.episode_limit = 0 must be at least 1"),
        ({"train_team": "4-2"}, [], r"env_args.train_team = '4-2' is not possible .*a size or a range within 1-16"),
        ({"train_team": "0"}, [], r"env_args.train_team = '0' is not possible"),
        ({}, ["5", "all"], r"test_teams = 'all' is not possible \(nor is it 'varying'\); allowed: a size"),
        ({"max_team": 4}, ["5"], r"env_args.max_team = 4 .* test_teams = '5'; allowed: 0 \(derived\) or 5-16"),
        ({"max_team": 20}, [], r"env_args.max_team = 20"),
        ({"varying": "4"}, [], r"env_args.varying = '4' is not possible; allowed: a range such as 2-6"),
        ({"varying": "a"}, [], r"env_args.varying = 'a' is not possible"),
        ({"scenarios": "0"}, [], r"env_args.scenarios = 0 must be from 1 to 999999999"),
        (
            {"scenarios": "nowhere.npy"},
            [],
            r"env_args.scenarios = '.*nowhere.npy': there is no such file; use a number",
        ),
        ({"scenarios": __file__}, [], r"env_args.scenarios = '.*' cannot be read"),
    ],
)
def test_impossible_settings(settings, test_teams, message):
    with pytest.raises(UserError, match=message) as error:
        ResourceCollectionEnv.resolve_args(settings, test_teams)
    assert "\n" not in str(error.value)


def test_impossible_scenario_files(tmp_path):
    def refused(values, message, **env_args):
        path = Path(tmp_path) / "members.npy"
        np.save(path, values)
        with pytest.raises(UserError, match=message) as error:
            make(1, scenarios=str(path), **env_args)
        assert "\n" not in str(error.value)

    refused(np.full((5, 3, 4), 0.5), "has 3 agents, fewer than the 4 slots")
    refused(np.full((5, 4), 0.5), "holds no numbers")
    refused(np.full((5, 4, 4), 2.0), "values outside 0 to 1")
    refused(np.full((5, 4, 4), np.nan), "values outside 0 to 1")
    refused(np.zeros((5, 4, 4)), "speeds of 0")
    refused(np.array([{}]), "cannot be read")


def test_a_team_that_does_not_fit():
    with pytest.raises(UserError, match="team = '6' needs 6 slots; this environment has 4"):
        make(1).reset(team="6")


# --- pictures ---


def test_pictures():
    env = arranged([(0.5, 0.5), (-0.5, -0.5)], loads=[(1, 0)], invader=(0.5, -0.5))
    picture = env.render(0)
    assert picture.dtype == np.uint8
    height, width, channels = picture.shape
    assert channels == 3

    def at(x, y):
        row, column = round(height * (0.5 - y / 2.04)), round(width * (0.5 + x / 2.04))
        return picture[row, column].astype(int)

    assert at(0.52, 0.5).argmax() == 2  # best at blue
    assert at(-0.5, -0.5).argmax() == 0  # carries red
    assert at(0.8, -0.8).argmax() == 1  # green
    floor = at(0.1, 0.3)
    assert abs(at(0.5, 0.65) - floor).sum() > 0  # the sight
    marked = env.render(0, marked=[1])
    assert not np.array_equal(marked, picture)
    assert np.array_equal(marked[: height // 2], picture[: height // 2])
    with pytest.raises(IndexError):
        env.render(3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_plays_the_same_episodes():
    args = ResourceCollectionEnv.resolve_args({"episode_limit": 25}, ["varying"])
    check_env(ResourceCollectionEnv(args, 4, 0, "cuda"), steps=30, teams=["varying"])
    ours, theirs = (ResourceCollectionEnv(args, 16, 0, device) for device in ("cpu", "cuda"))
    seen, same = ours.reset(team="varying"), theirs.reset(team="varying")
    act = ours.SCRIPTED["greedy"](ours.spec)
    for _ in range(10):
        torch.testing.assert_close(same.entities.cpu(), seen.entities, atol=1e-4, rtol=0)
        actions = act(seen, ours.generator)
        seen, same = ours.step(actions), theirs.step(actions.cuda())

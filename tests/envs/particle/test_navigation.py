"""Cooperative navigation: `mpe2` step by step, teams, rewards by hand, what agents see, the scripted team, settings."""

import peers
import pytest
import torch

from components.action_selectors import random_legal
from envs.check import check_env
from envs.particle.navigation import NavigationEnv, match
from utils.errors import UserError


def make(num_envs=4, seed=0, test_teams=(), **env_args):
    return NavigationEnv(NavigationEnv.resolve_args(env_args, test_teams), num_envs, seed)


def arranged(agents, landmarks, **env_args):
    """One world with everybody at these places, at rest."""
    env = make(1, train_team=str(len(agents)), **env_args)
    env.reset()
    env._position = torch.tensor([*agents, *landmarks]).T[:, :, None].contiguous()
    return env


def wait(env):
    return env.step(torch.zeros(env.num_envs, env.spec.agents, dtype=torch.int64))


@pytest.mark.parametrize("settings", [{"kinds": "mixed"}, {"sight": 0.5, "max_team": 8}, {"reward": "mpe2"}])
def test_contract(settings):
    check_env(make(3, train_team="1-3", test_teams=["4"], **settings), steps=30, teams=["1", "2-4"])


@pytest.mark.parametrize("kinds", ["same", "mixed"])
def test_as_mpe2_step_by_step(kinds):
    """Positions, velocities, and the package's reward."""
    env, generator = make(12, train_team="2-6", kinds=kinds, reward="mpe2"), torch.Generator().manual_seed(1)
    env.reset()
    peers.crowd(env, generator)
    others = [peers.spread(env, index) for index in range(env.num_envs)]
    seen = env._show(torch.zeros(env.num_envs))
    for _ in range(25):
        actions = random_legal(seen.avail_mask, generator)
        # from the same state each time: hard pushes let rounding grow from step to step
        for index, other in enumerate(others):
            peers.place(env, index, other.world)
        seen = env.step(actions)
        for index, other in enumerate(others):
            here = seen.entity_mask[index]
            count = len(other.world.agents)
            reward = peers.step(other, actions[index, :count])
            assert seen.reward[index].item() == pytest.approx(reward, abs=1e-5)
            torch.testing.assert_close(seen.entities[index, here, :2], peers.positions(other), rtol=0, atol=1e-5)
            torch.testing.assert_close(seen.private[index, :count, :2], peers.velocities(other), rtol=0, atol=1e-5)
    assert seen.info["collisions"].sum() > 60
    assert env._team_size().unique().numel() > 2


def test_the_papers_reward_by_hand():
    # nearest agents at 0.5 and 0; they do not touch: 0.3 is both radii
    agents, landmarks = [(0.0, 0.0), (0.31, 0.0)], [(0.0, 0.5), (0.31, 0.0)]
    assert wait(arranged(agents, landmarks)).reward.item() == pytest.approx(-0.5, abs=1e-5)
    # one agent may be the nearest to both
    env = arranged([(0.0, 0.0), (5.0, 0.0)], [(0.0, 0.5), (0.3, 0.4)])
    assert wait(env).reward.item() == pytest.approx(-1.0, abs=1e-5)
    # a pair that overlaps costs 1, three of them 3; positions move by the old velocity, so that they still do
    env = arranged([(0.0, 0.0), (0.1, 0.0), (0.0, 0.1)], [(0.0, 0.0), (0.1, 0.0), (0.0, 0.1)])
    seen = wait(env)
    assert seen.reward.item() == pytest.approx(-3, abs=1e-5)
    assert seen.info["collisions"].item() == 3
    assert seen.info["covered"].item() == 1
    # mpe2: half of the distances and of two collisions each
    env = arranged([(0.0, 0.0), (0.1, 0.0)], [(0.0, 0.5), (0.1, 0.0)], reward="mpe2")
    assert wait(env).reward.item() == pytest.approx(-(0.5 + 1) / 2, abs=1e-5)


def test_figures():
    env = arranged([(0.0, 0.0), (1.0, 0.0)], [(0.0, 0.09), (1.0, 0.11)])
    info = wait(env).info
    assert info["covered"].item() == 0.5
    assert info["distance"].item() == pytest.approx(0.1, abs=1e-5)
    assert info["team_size"].item() == 2


def test_teams_have_as_many_landmarks():
    env = make(600, train_team="2-4", test_teams=["6"])
    assert (env.spec.agents, env.spec.entities) == (6, 12)
    seen = env.reset()
    agents, landmarks = seen.entity_mask.split(6, dim=1)
    assert torch.equal(agents, landmarks)
    assert agents.sum(dim=1).bincount()[2:].min() > 150
    assert env.reset(team="6").entity_mask.all()
    places = env._position
    assert places.abs().max() <= 1
    assert places.mean(dim=(1, 2)).abs().max() < 0.05
    assert places.std().item() == pytest.approx(3**-0.5, abs=0.02)
    with pytest.raises(UserError, match="team = '7' needs 7 slots; this environment has 6"):
        env.reset(team="7")


def test_slots_change_no_episode():
    few, many = make(5, train_team="2-3"), make(5, train_team="2-3", max_team=9)
    one, other = few.reset(), many.reset()
    assert torch.equal(one.entities[:, :3], other.entities[:, :3])
    assert torch.equal(one.entities[:, 3:], other.entities[:, 9:12])


def test_what_agents_see():
    env = arranged([(0.0, 0.0), (0.6, 0.0)], [(0.0, 0.4), (0.6, 0.4)], kinds="mixed", sight=0.5)
    env._velocity[:, 0, 0] = torch.tensor([0.3, -0.2])
    seen = env._show(torch.zeros(1))
    rows = [[0.0, 0, 1, 0, 0.2 / 0.15, 0.6], [0.6, 0, 1, 0, 1, 1], [0.0, 0.4, 0, 1, 0, 0], [0.6, 0.4, 0, 1, 0, 0]]
    torch.testing.assert_close(seen.entities[0], torch.tensor(rows))
    # only the agent itself knows how fast it is
    torch.testing.assert_close(seen.private[0], torch.tensor([[0.3, -0.2, 0, 0], [0, 0, 0.6, 0]]))
    assert seen.obs_mask[0].tolist() == [[True, False, True, False], [False, True, False, True]]
    env = make(50, train_team="1-3")
    seen = env.reset()
    assert torch.equal(seen.obs_mask, seen.agent_mask[:, :, None] & seen.entity_mask[:, None])


def test_matching_takes_the_nearest_first():
    distance = torch.tensor([[[2.0, 1.0, 0.1], [0.3, 0.2, 9.0], [0.0, 0.0, 0.0]]])
    free = torch.ones_like(distance, dtype=torch.bool)
    free[:, 2] = False  # an absent agent
    assert match(distance, free)[0].nonzero().tolist() == [[0, 2], [1, 1]]


def test_greedy_covers_the_landmarks():
    returns = {}
    for name in ("random", "greedy"):
        env, generator = make(200, seed=3, train_team="2-4", kinds="mixed"), torch.Generator().manual_seed(0)
        act, seen, total = env.SCRIPTED[name](env.spec), env.reset(), torch.zeros(200)
        for _ in range(25):
            seen = env.step(act(seen, generator))
            total += seen.reward
        returns[name] = total.mean().item()
    assert seen.truncated.all()
    assert seen.info["covered"].mean() > 0.7
    assert returns["greedy"] > returns["random"] / 2


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"kinds": "big"}, "env_args.kinds = 'big' is not one of same, mixed"),
        ({"reward": "sum"}, "env_args.reward = 'sum' is not one of paper, mpe2"),
        ({"sight": -1.0}, "env_args.sight = -1.0 must be at least 0"),
        ({"episode_limit": 0}, "env_args.episode_limit = 0 must be at least 1"),
        ({"train_team": "17"}, "env_args.train_team = '17' is not possible; allowed: a size or a range within 1-16"),
        ({"max_team": 2}, "env_args.max_team = 2 is not possible with env_args.train_team = '3'"),
    ],
)
def test_settings_that_cannot_be(settings, named):
    with pytest.raises(UserError, match=named):
        make(1, **settings)


def test_illegal_actions_are_refused():
    env = make(1, train_team="2", max_team=3)
    env.reset()
    with pytest.raises(ValueError, match=r"illegal actions: \(world, agent\) \[\[0, 2\]\]"):
        env.step(torch.tensor([[1, 2, 1]]))


def test_picture():
    env = arranged([(0.0, 0.0), (0.8, 0.0)], [(0.0, 0.7), (0.8, 0.7)], kinds="mixed")
    image, marked = env.render(), env.render(0, {1})
    assert image.shape == (600, 600, 3)
    changed = (image != marked).any(axis=2).nonzero()
    # the ring is around the agent at 0.8, where 1.3 is the edge
    assert changed[1].mean() == pytest.approx(300 + 0.8 * 300 / 1.3, abs=2)

"""Speaker and listener, and reference: `mpe2` step by step, rewards by hand, who knows, says and hears what."""

import peers
import pytest
import torch

from components.action_selectors import random_legal
from envs.check import check_env
from envs.particle.reference import ReferenceEnv
from envs.particle.speaker_listener import SpeakerListenerEnv
from utils.errors import UserError


def make(kind=ReferenceEnv, num_envs=4, seed=0, test_teams=(), **env_args):
    return kind(kind.resolve_args(env_args, test_teams), num_envs, seed)


def private_goals(env, seen):
    """(B, A, A - 1, L)."""
    return seen.private[:, :, 4:].unflatten(2, (env.spec.agents - 1, -1))


def test_contract():
    check_env(make(agents=4, landmarks=10, reward="mpe2"), steps=30, teams=["4"])


def play_beside(env, make_peer, as_theirs):
    """25 steps from the same state; rewards, places and velocities agree. `as_theirs(acts, symbols)`: its actions."""
    generator = torch.Generator().manual_seed(1)
    env.reset()
    peers.crowd(env, generator)
    env._velocity = env._velocity * env.moves[:, None]
    others = [make_peer(env, index) for index in range(env.num_envs)]
    seen = env._show(torch.zeros(env.num_envs))
    for _ in range(25):
        actions = random_legal(seen.avail_mask, generator)
        seen = env.step(actions)
        theirs = as_theirs(*env.spec.split(actions))
        for index, other in enumerate(others):
            reward = peers.step(other, theirs[index])
            assert seen.reward[index].item() == pytest.approx(reward, abs=1e-5)
            places, speeds = peers.positions(other), peers.velocities(other)
            torch.testing.assert_close(env._position[:, :, index].T, places, rtol=0, atol=1e-5)
            torch.testing.assert_close(env._velocity[:, :, index].T, speeds, rtol=0, atol=1e-5)
            said = torch.tensor([agent.state.c.tolist() for agent in other.world.agents])
            assert torch.equal(seen.entities[index, :2, env.spec.feature_slices["said"]], said)


def test_speaker_and_listener_as_mpe2_step_by_step():
    # the speaker's action is a symbol, the listener's an act
    play_beside(
        make(SpeakerListenerEnv, 8),
        peers.speaker_listener,
        lambda acts, symbols: torch.stack([symbols[:, 0], acts[:, 1]], dim=1),
    )


def test_reference_as_mpe2_step_by_step():
    play_beside(make(num_envs=8, reward="mpe2"), peers.reference, lambda acts, symbols: symbols * 5 + acts)


def test_the_papers_rewards_by_hand():
    env = make(num_envs=1, agents=3, landmarks=5)
    env.reset()
    env._position.zero_()
    env._position[0, 3:, 0] = torch.arange(5)  # landmark k is k away from everybody
    env._goal[0] = torch.tensor([1, 3, 3])
    seen = env.step(torch.zeros(1, 3, dtype=torch.int64))
    assert seen.reward.item() == -7  # of which mpe2 has the mean
    assert seen.info["distance"].item() == pytest.approx(7 / 3)
    assert seen.info["reached"].item() == 0
    env._goal[0, 0] = 0
    assert env.step(torch.zeros(1, 3, dtype=torch.int64)).info["reached"].item() == pytest.approx(1 / 3)
    env = make(SpeakerListenerEnv, 1)
    env.reset()
    env._position.zero_()
    env._position[:, 0, 0] = 1.0  # the speaker
    env._position[:, 2 + 2, 0] = torch.tensor([3.0, 4.0])
    env._goal[0] = torch.tensor([0, 2])
    seen = env.step(torch.zeros(1, 2, dtype=torch.int64))
    assert (seen.reward.item(), seen.info["distance"].item()) == (-25, 5)  # the speaker has no goal, whatever was drawn


# --- who knows what ---


def test_each_goal_is_known_to_the_others_alone():
    env = make(num_envs=1, agents=3, landmarks=5)
    env.reset()
    env._goal[0] = torch.tensor([4, 0, 2])
    seen = env._show(torch.zeros(1))
    # of the next slot first: agent 0 knows of 1 and 2, agent 1 of 2 and 0, agent 2 of 0 and 1
    assert private_goals(env, seen)[0].argmax(dim=2).tolist() == [[0, 2], [2, 4], [4, 0]]
    assert (private_goals(env, seen).sum(dim=3) == 1).all()
    before = seen
    env._goal[0, 1] = 3
    seen = env._show(torch.zeros(1))
    # neither its own features nor anybody's row told agent 1 of its goal
    assert torch.equal(seen.entities, before.entities)
    assert torch.equal(seen.private[0, 1], before.private[0, 1])
    assert not torch.equal(seen.private[0, [0, 2]], before.private[0, [0, 2]])


def test_the_speaker_knows_the_goal_and_sees_nothing():
    env = make(SpeakerListenerEnv, 1)
    seen = env.reset()
    goal = torch.nn.functional.one_hot(env._goal[:, 1], 3).float()
    assert torch.equal(seen.private[:, 0], torch.cat([torch.zeros(1, 4), goal], dim=1))
    assert torch.equal(seen.private[:, 1, 4:], torch.zeros(1, 3))
    assert seen.obs_mask[0].tolist() == [[True, False, False, False, False], [True] * 5]


def test_where_agents_are_is_their_own_knowledge():
    env = make(num_envs=3)
    seen = env.reset()
    assert (seen.entities[:, :2, env.spec.feature_slices["position"]] == 0).all()
    assert torch.equal(seen.private[:, :, 2:4], env._position[:, :2].permute(2, 1, 0))
    landmarks = env._position[:, 2:].permute(2, 1, 0)
    assert torch.equal(seen.entities[:, 2:, env.spec.feature_slices["position"]], landmarks)
    assert torch.equal(seen.entities[0, 2:, env.spec.feature_slices["colour"]], torch.eye(3))


# --- who says what ---


def test_a_symbol_stands_on_its_speakers_row_for_one_step():
    env = make(num_envs=1)
    said = env.spec.feature_slices["said"]
    assert (env.reset().entities[..., said] == 0).all()
    seen = env.step(env.spec.join(torch.tensor([[1, 4]]), torch.tensor([[7, 0]])))
    assert seen.entities[0, :2, said].nonzero().tolist() == [[0, 7], [1, 0]]
    assert torch.sign(seen.private[0, :, :2]).tolist() == [[-1, 0], [0, 1]]
    seen = env.step(env.spec.join(torch.tensor([[0, 0]]), torch.tensor([[2, 9]])))
    assert seen.entities[0, :2, said].nonzero().tolist() == [[0, 2], [1, 9]]
    assert (env.reset().entities[..., said] == 0).all()


def test_legal_actions():
    env = make(SpeakerListenerEnv, 1)
    seen = env.reset()
    assert seen.avail_mask[0].unflatten(1, (5, 3)).nonzero().tolist() == [
        *[[0, 0, symbol] for symbol in range(3)],
        *[[1, act, 0] for act in range(5)],
    ]
    # what the silent one does says nothing
    seen = env.step(torch.tensor([[2, 3]]))
    assert seen.entities[0, :, env.spec.feature_slices["said"]].nonzero().tolist() == [[0, 2]]
    for actions in ([3, 0], [0, 1]):
        with pytest.raises(ValueError, match="illegal actions"):
            env.step(torch.tensor([actions]))
    assert make().reset().avail_mask.all()


@pytest.mark.parametrize(
    ("kind", "settings"), [(SpeakerListenerEnv, {}), (ReferenceEnv, {}), (ReferenceEnv, {"agents": 3, "landmarks": 5})]
)
def test_greedy_says_and_goes_where_it_was_told(kind, settings):
    env, generator = make(kind, 200, 3, **settings), torch.Generator().manual_seed(0)
    act, seen = env.SCRIPTED["greedy"](env.spec), env.reset()
    for _ in range(25):
        seen = env.step(act(seen, generator))
    assert seen.truncated.all()
    assert seen.info["reached"].mean() > 0.95


# --- settings ---


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"agents": 1}, "env_args.agents = 1 must be from 2 to 16"),
        ({"landmarks": 11}, "env_args.landmarks = 11 must be from 2 to 10"),
        ({"reward": "sum"}, "env_args.reward = 'sum' is not one of paper, mpe2"),
        ({"episode_limit": 0}, "env_args.episode_limit = 0 must be at least 1"),
        ({"test_teams": ["3"]}, "test_teams = '3' is not possible; allowed: 2"),
        ({"test_teams": ["2", "2-2"]}, "test_teams has the same team twice"),
    ],
)
def test_settings_that_cannot_be(settings, named):
    with pytest.raises(UserError, match=named):
        make(**settings)
    if settings.get("test_teams") or "episode_limit" in settings:
        with pytest.raises(UserError, match=named):
            make(SpeakerListenerEnv, **settings)


def test_pictures_show_goals_by_colour():
    env = make(num_envs=1)
    env.reset()
    env._position = torch.tensor([(-0.5, 0.0), (0.5, 0.0), (-1.0, 1.0), (0.0, 1.0), (1.0, 1.0)]).T[:, :, None]
    env._goal[0] = torch.tensor([0, 2])
    image = env.render()
    left, right = image[300, 300 - 115], image[300, 300 + 115]
    assert left.argmax() == 0  # red
    assert right.argmax() == 2  # blue

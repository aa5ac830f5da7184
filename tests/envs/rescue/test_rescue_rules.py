"""The Rescue Game by hand: moves, fires, rewards, sight."""

import pytest
import torch
from rescue_town import act, arranged, levels, make, places

PUT_OUT, NORTH, SOUTH, EAST, WEST = range(5)


def legal(seen, robot):
    return seen.avail_mask[0, robot].nonzero()[:, 0].tolist()


# --- moves ---


def test_moves_go_where_they_say():
    for action, (column, row) in {PUT_OUT: (4, 7), NORTH: (4, 8), SOUTH: (4, 6), EAST: (5, 7), WEST: (3, 7)}.items():
        env, seen = arranged([(4, 7, 0.5)], [])
        assert legal(seen, 0) == [0, 1, 2, 3, 4]
        assert places(env, act(env, action))[0] == [column, row]
        assert env.spec.action_names[action] == ("put out", "north", "south", "east", "west")[action]


def test_no_move_leads_out_of_the_town():
    corners = [(0, 0, 1.0), (9, 0, 1.0), (0, 9, 1.0), (9, 9, 1.0), (9, 5, 1.0)]
    env, seen = arranged(corners, [])
    assert [legal(seen, robot) for robot in range(5)] == [[0, 1, 3], [0, 1, 4], [0, 2, 3], [0, 2, 4], [0, 1, 2, 4]]
    for robot, action in ((0, SOUTH), (0, WEST), (1, EAST), (2, NORTH), (3, NORTH), (4, EAST)):
        actions = [0] * 5
        actions[robot] = action
        with pytest.raises(ValueError, match=rf"illegal actions: \(town, robot\) \[\[0, {robot}\]\]"):
            act(env, *actions)


def test_an_absent_robot_has_only_the_first_action():
    env, seen = arranged([(4, 4, 1.0)], [], max_team=2)
    assert legal(seen, 1) == [0]
    with pytest.raises(ValueError, match="illegal"):
        act(env, 0, NORTH)


# --- fires and rewards ---


def test_a_robot_takes_its_skill_off_the_level():
    env, _ = arranged([(2, 3, 0.2)], [(2, 3, 0.9), (3, 3, 0.8)])
    seen = act(env, PUT_OUT)
    assert levels(env)[:2] == pytest.approx([0.7, 0.8])
    assert seen.reward.item() == pytest.approx(0.9**2 - 0.7**2)
    assert seen.entities[0, 1, 3].item() == pytest.approx(0.7)
    assert seen.info["fires_left"].item() == 2


def test_a_level_does_not_fall_below_zero():
    env, _ = arranged([(2, 3, 1.0)], [(2, 3, 0.4), (5, 5, 0.5)])
    seen = act(env, PUT_OUT)
    assert levels(env)[0] == 0
    assert seen.reward.item() == pytest.approx(0.4**2)
    assert seen.entity_mask[0].tolist() == [True, False, True] + [False] * 8
    assert (seen.info["fires_put_out"].item(), seen.info["fires_left"].item()) == (1, 1)
    assert act(env, PUT_OUT).reward.item() == 0


def test_robots_at_one_fire_add_up():
    robots, fires = [(2, 3, 0.2), (2, 3, 0.5), (2, 4, 1.0)], [(2, 3, 0.9)]
    env, _ = arranged(robots, fires)
    seen = act(env, PUT_OUT, PUT_OUT, PUT_OUT)  # the third stands next door
    assert levels(env)[0] == pytest.approx(0.2)
    assert seen.reward.item() == pytest.approx(0.9**2 - 0.2**2)
    assert act(env, PUT_OUT, PUT_OUT, PUT_OUT).reward.item() == pytest.approx(0.2**2)


def test_who_arrives_or_leaves_does_not_put_out():
    env, _ = arranged([(2, 3, 0.5), (2, 4, 0.5)], [(2, 3, 0.9)])
    seen = act(env, NORTH, SOUTH)
    assert levels(env)[0] == pytest.approx(0.9)
    assert seen.reward.item() == 0
    assert act(env, PUT_OUT, PUT_OUT).reward.item() == pytest.approx(0.9**2 - 0.4**2)


def test_new_fires_cost_nothing_and_are_at_most_ten():
    env, _ = arranged([(0, 0, 0.5)], [(0, 0, 0.8)], ignition_rate=1.0)
    seen = act(env, NORTH)
    assert seen.reward.item() == 0
    assert seen.info["fires_left"].item() == 10
    assert levels(env)[0] == pytest.approx(0.8)  # it goes on burning as before
    assert env._fire[0].unique().numel() == 10
    before = env._fire.clone()
    assert act(env, EAST).reward.item() == 0
    assert torch.equal(env._fire, before)


def test_how_often_and_where_buildings_catch_fire():
    env = make(4000, train_team="1", ignition_rate=0.01)
    env.reset()
    env._level = torch.zeros_like(env._level)
    seen = env.step(torch.zeros(4000, 1, dtype=torch.int64))
    burning = env._level > 0
    # 100 buildings, binomial: mean 1, standard error 0.016; more than ten never happen here
    assert seen.info["fires_left"].mean().item() == pytest.approx(1, abs=0.06)
    assert seen.info["fires_left"].max() >= 4
    where = env._fire[burning].bincount(minlength=100) / burning.sum()
    assert where.min() > 0.002
    assert where.max() < 0.02
    level = env._level[burning]
    assert level.mean().item() == pytest.approx(1 / 2, abs=0.02)
    assert (level**2).mean().item() == pytest.approx(1 / 3, abs=0.02)
    for fires, lit in zip(env._fire, burning, strict=True):
        assert fires[lit].unique().numel() == lit.sum()


def test_a_building_can_burn_again():
    # one building is left to burn, again and again: the others are kept from it by the ten fires that there may be
    env = make(3000, train_team="1", ignition_rate=1.0)
    env.reset()
    env._robot[:], env._skill[:], env._fire[:] = 42, 1.0, torch.tensor([42, *range(9)])
    env._level[:] = 0.5
    seen = env.step(torch.zeros(3000, 1, dtype=torch.int64))
    assert (seen.reward == 0.25).all()
    assert (seen.info["fires_put_out"] == 1).all()
    # each of the 91 that do not burn with the same chance: 33 towns of 3000, give or take 6
    assert 10 < (env._fire[:, 0] == 42).sum() < 60
    assert env._fire[:, 0].unique().numel() == 91
    assert torch.equal(env._fire[:, 1:], torch.arange(9).expand(3000, 9))


def test_without_ignition_no_new_fires():
    env, _ = arranged([(0, 0, 0.5)], [(5, 5, 0.8)])
    for _ in range(5):
        assert act(env, PUT_OUT).info["fires_left"].item() == 1


# --- what is seen ---


def test_features():
    env, seen = arranged([(0, 9, 0.2), (9, 3, 1.0)], [(6, 0, 0.3)], max_team=3)
    assert env.spec.feature_slices.keys() == {"robot", "fire", "skill", "level", "position"}
    expected = torch.zeros(13, 6)
    expected[0] = torch.tensor([1, 0, 0.2, 0, -1, 1])
    expected[1] = torch.tensor([1, 0, 1.0, 0, 1, -1 / 3])
    expected[3] = torch.tensor([0, 1, 0, 0.3, 1 / 3, -1])
    torch.testing.assert_close(seen.entities[0], expected)
    assert seen.entity_mask[0].tolist() == [True, True, False, True] + [False] * 9
    assert seen.private.shape == (1, 3, 0)


@pytest.mark.parametrize(
    ("sight", "first", "second"),
    [(0, [1, 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0]), (1, [1, 0, 0, 1, 0, 1], [0, 1, 0, 1, 0, 0])]
    + [(2, [1, 1, 0, 1, 1, 1], [1, 1, 0, 1, 0, 1]), (9, [1, 1, 0, 1, 1, 1], [1, 1, 0, 1, 1, 1])],
)
def test_sight(sight, first, second):
    # fires: one diagonally between the robots, one 2 to the west of the first, one below the first robot
    fires = [(5, 5, 0.5), (2, 4, 0.5), (4, 4, 0.5)]
    _, seen = arranged([(4, 4, 1.0), (6, 6, 1.0)], fires, max_team=3, sight=sight)
    assert seen.obs_mask[0, 0, :6].int().tolist() == first
    assert seen.obs_mask[0, 1, :6].int().tolist() == second
    assert not seen.obs_mask[0, 2].any()
    assert not seen.obs_mask[0, :, 6:].any()

"""Scripted teams of the Rescue Game in single situations, and what they earn."""

import pytest
import torch
from rescue_town import arranged, make

from envs.rescue.scripted import SCRIPTED

PUT_OUT, NORTH, SOUTH, EAST, WEST = range(5)


def decide(robots, fires, **settings):
    env, seen = arranged(robots, fires, **settings)
    return SCRIPTED["greedy"](env.spec)(seen, torch.Generator())[0].tolist()


def test_greedy_walks_along_the_longer_way():
    for fire, action in {(5, 8): NORTH, (5, 2): SOUTH, (8, 5): EAST, (2, 5): WEST, (5, 5): PUT_OUT}.items():
        assert decide([(5, 5, 0.5)], [(*fire, 0.5)]) == [action]
    assert decide([(5, 5, 0.5)], [(8, 7, 0.5)]) == [EAST]
    assert decide([(5, 5, 0.5)], [(3, 9, 0.5)]) == [NORTH]
    assert decide([(5, 5, 0.5)], [(3, 7, 0.5)]) == [NORTH]  # equally long


def test_greedy_sends_the_most_skilled_to_the_worst_fire():
    fires = [(5, 9, 0.4), (9, 5, 0.9), (5, 0, 0.6)]
    assert decide([(5, 5, 0.2), (5, 5, 1.0), (5, 5, 0.5)], fires) == [NORTH, EAST, SOUTH]
    # more fires than robots: the worst ones
    assert decide([(5, 5, 0.2), (5, 5, 1.0)], fires) == [SOUTH, EAST]
    # equally skilled: the lower slot first; absent robots and slots without fire take no part
    assert decide([(5, 5, 0.5), (5, 5, 0.5)], fires, max_team=4) == [EAST, SOUTH, PUT_OUT, PUT_OUT]


def test_greedy_robots_without_a_fire_wait():
    assert decide([(5, 5, 0.2), (5, 5, 1.0)], [(9, 5, 0.3)]) == [PUT_OUT, EAST]
    assert decide([(5, 5, 0.2)], []) == [PUT_OUT]
    robots = [(5, 5, 1 - slot / 20) for slot in range(12)]
    fires = [(9, row, 0.5) for row in range(10)]
    assert decide(robots, fires)[10:] == [PUT_OUT, PUT_OUT]


def test_greedy_does_not_depend_on_sight():
    assert decide([(0, 0, 0.5)], [(9, 0, 0.5)], sight=0) == [EAST]


def test_random_actions_are_legal_and_uniform():
    env, generator = make(4000), torch.Generator().manual_seed(0)
    seen = env.reset()
    actions = SCRIPTED["random"](env.spec)(seen, generator)
    assert seen.avail_mask.gather(2, actions[..., None]).all()
    free = seen.avail_mask.all(dim=2)
    shares = actions[free].bincount(minlength=5) / free.sum()
    assert shares.tolist() == pytest.approx([0.2] * 5, abs=0.02)


def mean_return(policy):
    env, generator = make(400, seed=7, test_teams=["2-8"]), torch.Generator().manual_seed(2)
    choose, seen, total = SCRIPTED[policy](env.spec), env.reset(team="2-8"), torch.zeros(400)
    while not seen.done.all():
        seen = env.step(choose(seen, generator))
        total += seen.reward
    return total.mean().item()


def test_what_the_teams_earn():
    # docs/rescue.md; the standard errors are about 0.04 and 0.12
    assert mean_return("random") == pytest.approx(1.29, abs=0.2)
    assert mean_return("greedy") == pytest.approx(7.3, abs=0.5)

"""What scripted teams do in single situations, and how often they win."""

import pytest
import torch
from battle import arranged, look

from envs.starcraft.env import StarCraftEnv
from envs.starcraft.scripted import SCRIPTED


def decide(policy, scenario, allies, enemies, wounds=()):
    env, seen = arranged(scenario, allies, enemies)
    for slot, health in wounds:
        env.engine._vitals[0, slot] = health
        env._units.health[slot] = health
        seen = look(env)
    return SCRIPTED[policy](env.spec)(seen, torch.Generator())[0].tolist()


def test_attack_nearest():
    enemies = [("zealot", 15.9, 16), ("zealot", 13, 16)]
    assert decide("attack_nearest", "sz", [("stalker", 10, 16)], enemies) == [6 + 5, 0, 0, 0]
    # out of range: towards the nearest, along the longer axis
    assert decide("attack_nearest", "sz", [("stalker", 8, 16)], [("zealot", 16, 19)]) == [4, 0, 0, 0]
    assert decide("attack_nearest", "sz", [("stalker", 16, 26)], [("zealot", 15, 16)]) == [3, 0, 0, 0]
    # Medivacs are no goal
    assert decide("attack_nearest", "mmm", [("marine", 10, 16)], [("medivac", 12, 16), ("marine", 14, 16)])[0] == 6 + 5


def test_focus_fire():
    enemies = [("zealot", 15, 16), ("zealot", 13, 16)]
    stalker, zealot = ("stalker", 10, 16), ("zealot", 10, 16)
    assert decide("focus_fire", "sz", [stalker], enemies, wounds=[(4, 50)])[0] == 6 + 4
    assert decide("focus_fire", "sz", [stalker], enemies, wounds=[(5, 50)])[0] == 6 + 5
    # a Zealot reaches neither of them now: it takes the nearest
    assert decide("focus_fire", "sz", [zealot], enemies, wounds=[(4, 50)])[0] == 6 + 5
    assert decide("focus_fire", "sz", [("zealot", 14, 16.3)], enemies, wounds=[(4, 50)])[0] == 6 + 4
    assert decide("focus_fire", "sz", [stalker], [("zealot", 20, 15)])[0] == 4


@pytest.mark.parametrize("policy", ["attack_nearest", "focus_fire"])
def test_healers_tend_the_most_wounded(policy):
    allies = [("medivac", 10, 16), ("marine", 12, 16), ("marauder", 14, 16)]
    assert decide(policy, "mmm", allies, [("marine", 30, 16)], wounds=[(1, 30), (2, 60)])[0] == 8
    assert decide(policy, "mmm", allies, [("marine", 30, 16)], wounds=[(1, 10), (2, 60)])[0] == 7
    # none near enough: it follows the nearest
    allies = [("medivac", 4, 16), ("marine", 12, 16)]
    assert decide(policy, "mmm", allies, [("marine", 30, 16)])[0] == 4


def test_random_actions_are_legal_and_uniform():
    env = StarCraftEnv(StarCraftEnv.Args(), 3000, 0)
    seen = env.reset()
    act, generator = SCRIPTED["random"](env.spec), torch.Generator().manual_seed(0)
    actions = act(seen, generator)
    assert seen.avail_mask.gather(2, actions[..., None]).all()
    # the armies are far apart: everybody may stop or move in four ways
    shares = actions[seen.agent_mask].bincount(minlength=6)[1:6] / seen.agent_mask.sum()
    assert shares.min() > 0.185
    assert shares.max() < 0.215


def win_rate(policy, scenario, team, battles=500):
    env = StarCraftEnv(StarCraftEnv.Args(scenario, team), battles, seed=11)
    act, generator = SCRIPTED[policy](env.spec), torch.Generator().manual_seed(2)
    seen = env.reset()
    while not seen.done.all():
        seen = env.step(act(seen, generator))
    return seen.info["battle_won"].mean().item()


def test_the_enemy_is_neither_hopeless_nor_easy():
    # standard deviation 0.022
    assert win_rate("random", "sz", "3-5", battles=200) < 0.02
    assert 0.3 < win_rate("attack_nearest", "sz", "3-5") < 0.65


@pytest.mark.parametrize(("scenario", "team"), [("3s5z", "8"), ("sz", "6")])
def test_focus_fire_is_better_than_attack_nearest(scenario, team):
    assert win_rate("focus_fire", scenario, team) > win_rate("attack_nearest", scenario, team) + 0.02

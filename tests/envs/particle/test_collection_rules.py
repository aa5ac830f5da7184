"""What happens in a step of Resource Collection, worked out by hand."""

import pytest
import torch
from collection import CORNERS, arranged, make, places, private, wait

from envs.particle.resource_collection.encoding import POSITION_UNIT

NOTHING, RED, GREEN, BLUE = ([float(i == k) for i in range(4)] for k in range(4))
FIRST_RESOURCE = 1  # behind the agents and the home


def resource(env, index):
    """The place of a resource in world 0."""
    return env._world.position[:, env.spec.agents + FIRST_RESOURCE + index, 0].tolist()


def reward_of(env):
    return pytest.approx(wait(env).reward.item())


# --- collecting and delivering ---


@pytest.mark.parametrize(
    ("index", "efficiency", "held"), [(0, 0.1, RED), (1, 0.5, GREEN), (2, 0.9, BLUE), (4, 0.5, GREEN)]
)
def test_collecting_pays_by_efficiency(index, efficiency, held):
    resources = list(CORNERS)
    resources[index] = (0.5, 0.3)
    env = arranged([(0.5, 0.205)], resources)  # 0.095 apart: the radii are 0.09, touching begins at 0.1
    seen = wait(env)
    assert seen.reward.item() == pytest.approx(10 * efficiency)
    assert private(env, seen, "load") == [held]
    assert private(env, seen, "touched") == [[0, 0, *held[1:], 0]]
    assert seen.info["collected"].item() == 1
    # it has come back, elsewhere, and still counts six
    assert seen.entity_mask[0, 2:8].all()
    assert resource(env, index) != [0.5, pytest.approx(0.3)]
    # what was touched in the last step only
    assert private(env, wait(env), "touched") == [[1, 0, 0, 0, 0, 0]]


def test_touching_has_a_reach():
    resources = [(0.5, 0.305), *CORNERS[1:]]
    assert reward_of(arranged([(0.5, 0.2)], resources)) == 0
    assert reward_of(arranged([(0.5, 0.206)], resources)) == 1


def test_full_hands_collect_nothing():
    env = arranged([(0.5, 0.2)], [(0.5, 0.3), *CORNERS[1:]], loads=[(0, 2)])
    seen = wait(env)
    assert seen.reward.item() == 0
    assert private(env, seen, "load") == [BLUE]


def test_bringing_home():
    env = arranged([(0.128, 0)], loads=[(0, 1)])
    seen = wait(env)
    assert seen.reward.item() == 1
    assert private(env, seen, "load") == [NOTHING]
    assert private(env, seen, "touched") == [[0, 1, 0, 0, 0, 0]]
    assert seen.info["delivered"].item() == 1
    # empty hands at home are nothing
    seen = wait(env)
    assert seen.reward.item() == 0
    assert private(env, seen, "touched") == [[1, 0, 0, 0, 0, 0]]


def test_one_event_in_a_step():
    # home and a resource in reach of one agent: first the resource, in the next step the home
    env = arranged([(0.128, 0)], [(0.2, 0.06), *CORNERS[1:]])
    assert reward_of(env) == 1  # red: 10 * 0.1
    assert reward_of(env) == 1  # home


def test_a_resource_belongs_to_the_first_agent():
    agents = [(0.5, 0.205), (0.5, 0.395), (-0.5, 0.2)]
    env = arranged(agents, [(0.5, 0.3), *CORNERS[1:]])
    seen = wait(env)
    assert seen.reward.item() == pytest.approx(1)
    assert private(env, seen, "load") == [RED, NOTHING, NOTHING]


def test_an_agent_takes_the_first_of_two_and_leaves_the_other_to_the_next():
    # both agents touch both the green and the blue one
    env = arranged([(0.46, 0), (0.54, 0)], [CORNERS[0], (0.5, 0.06), (0.5, -0.06), *CORNERS[3:]])
    seen = wait(env)
    assert seen.reward.item() == pytest.approx(5 + 9)
    assert private(env, seen, "load") == [GREEN, BLUE]


def test_random_places():
    env = make(500)
    env.reset()
    first = env.spec.agents + FIRST_RESOURCE
    for _ in range(40):
        places = env._world.position[:, first:-1]
        assert places.abs().max() <= 0.95
        assert places.norm(dim=0).min() >= 0.4 - 1e-6
        between = (places[:, :, None] - places[:, None]).norm(dim=0) + torch.eye(6)[:, :, None]
        assert between.min() >= 0.1 - 1e-6
        env.step(env.SCRIPTED["greedy"](env.spec)(env._show(torch.zeros(500)), env.generator))


# --- the invader ---


def test_the_invader_walks_home_and_costs_four():
    env = arranged([(-0.5, 0.5)], invader=(0.3, 0.4))
    seen = wait(env)
    assert places(seen)[0, -1].tolist() == pytest.approx([0.27, 0.36])  # 0.05 of 0.5
    env = arranged([(-0.5, 0.5)], invader=(0.12, 0))  # radii 0.11 and the reach of 0.01
    seen = wait(env)
    assert seen.reward.item() == -4
    assert not seen.entity_mask[0, -1]
    assert (seen.info["invaders_home"].item(), seen.info["invaders_caught"].item()) == (1, 0)


def test_catching_the_invader():
    env = arranged([(0.5, 0.205), (0.5, 0.355)], invader=(0.5, 0.28))
    seen = wait(env)
    assert seen.reward.item() == 4  # once, by the first of two
    assert private(env, seen, "touched") == [[0, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0]]
    assert not seen.entity_mask[0, -1]
    assert seen.info["invaders_caught"].item() == 1


def test_the_order_of_events():
    # the invader before the resource
    env = arranged([(0.5, 0.205)], [(0.5, 0.3), *CORNERS[1:]], invader=(0.5, 0.13))
    seen = wait(env)
    assert seen.reward.item() == 4
    assert private(env, seen, "load") == [NOTHING]
    # full hands catch too, and the home waits
    env = arranged([(0.126, 0)], invader=(0.2, 0), loads=[(0, 0)])
    seen = wait(env)
    assert seen.reward.item() == 4
    assert private(env, seen, "load") == [RED]
    assert reward_of(env) == 1
    # an invader at home is not caught any more: the agent next to it delivers
    env = arranged([(0.1, 0.075)], invader=(0.119, 0), loads=[(0, 0)])
    assert reward_of(env) == 1 - 4


def test_the_invader_comes_back():
    env = make(400, train_team="1")
    env.reset()
    count = len(env._world.steps)
    position = env._world.position.clone()
    position[:, -1] = torch.tensor([0.1, 0.0])[:, None]
    env._world = env._world._replace(position=position)
    assert (wait(env).reward == -4).all()
    away = torch.zeros(count)
    for _ in range(10):
        seen = wait(env)
        away += ~seen.entity_mask[:, -1]
    # it is back after 1 to 10 steps; the step in which it comes back shows it
    assert seen.entity_mask[:, -1].all()
    assert away.unique().tolist() == list(range(10))
    border = env._world.position[:, -1].abs().amax(dim=0)
    assert border.max() <= 0.99
    assert (border > 0.5).all()  # at most nine steps of 0.05 from 0.99


# --- moving ---


def test_actions():
    for action, expected in enumerate([(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)]):
        env = arranged([(0.4, 0.4)])
        seen = env.step(torch.tensor([[action]]))
        # 5 * 0.5 for 0.1 s, then the new speed for 0.1 s
        assert seen.private[0, 0, :2].tolist() == pytest.approx([0.25 * x for x in expected])
        place = [0.4 + 0.025 * x for x in expected]
        assert (seen.private[0, 0, 2:4] * POSITION_UNIT).tolist() == pytest.approx(place)
        assert places(seen)[0, 0].tolist() == pytest.approx(place)


def test_speed_ends_at_the_attribute():
    env = arranged([(-0.8, 0.4)])
    for _ in range(10):
        seen = env.step(torch.tensor([[2]]))
    assert seen.private[0, 0, :2].tolist() == pytest.approx([0.5, 0])


def test_agents_push_off_the_home_and_each_other():
    env = arranged([(0.1, 0), (0.5, 0.5), (0.5, 0.55)])
    seen = wait(env)
    velocity = seen.private[0, :, :2]
    assert velocity[0].tolist() == pytest.approx([0.2, 0], abs=1e-6)  # 0.02 deep
    assert velocity[1].tolist() == pytest.approx([0, -0.3], abs=1e-6)
    assert velocity[2].tolist() == pytest.approx([0, 0.3], abs=1e-6)


def test_actions_that_cannot_be():
    env = make(1, train_team="2", max_team=3)
    env.reset()
    for actions in ([5, 0, 0], [-2, 0, 0], [0, 0, 1], [0, 0, -1]):
        with pytest.raises(ValueError, match="illegal actions"):
            env.step(torch.tensor([actions]))


# --- what agents see ---


def test_sight():
    # the other agent is 0.19 and 0.21 away; a resource 0.25 with its radius
    env = arranged([(0.4, 0.4), (0.4, 0.63)], [(0.66, 0.4), (0.4, 0.15), *CORNERS[2:]], invader=(0.17, 0.4), sight=0.2)
    seen = env._show(torch.zeros(1))
    visible = [False, True, False, False, False, False]
    assert seen.obs_mask[0, 0].tolist() == [True, False, False, *visible, True]
    env = arranged([(0.4, 0.4), (0.4, 0.59)], [(0.66, 0.4), (0.4, 0.15), *CORNERS[2:]], sight=0.2)
    assert env._show(torch.zeros(1)).obs_mask[0, :, :2].all()
    # the home, 0.08 in radius, is no exception
    assert arranged([(0.27, 0)])._show(torch.zeros(1)).obs_mask[0, 0, 1]
    assert not arranged([(0.29, 0)])._show(torch.zeros(1)).obs_mask[0, 0, 1]


def test_features():
    env = arranged([(0.4, 0.4)], invader=(0.5, -0.5))
    seen = env._show(torch.zeros(1))
    # places in units of 0.2
    member = pytest.approx([2.0, 2.0, 1, 0, 0, 0, 0, 0, 0.1, 0.5, 0.9, 0.5])
    assert seen.entities[0, 0].tolist() == member
    kinds = seen.entities[0, :, env.spec.feature_slices["kind"]].argmax(-1).tolist()
    assert kinds == [0, 1, 2, 3, 4, 2, 3, 4, 5]
    assert (seen.entities[0, 1:, 8:] == 0).all()

"""Choices, epsilon-greedy or drawn from a policy: legal, in proportion, on a random stream that nothing shifts."""

import pytest
import torch
from torch import Tensor

from components.action_selectors import REGISTRY, EpsilonGreedy, SoftPolicies, random_legal
from components.schedules import LinearDecay
from utils.seeding import make_generator

VALUES = torch.tensor([[[1.0, 5.0, 3.0, 2.0], [9.0, 0.0, 0.0, 0.0]]])
LEGAL = torch.tensor([[[True, False, True, True], [True, False, False, False]]])


def choose(epsilon: float, b: int = 1, *, explore: bool = True, seed: int = 0) -> Tensor:
    selector = EpsilonGreedy(lambda t: epsilon)
    values, legal = VALUES.expand(b, -1, -1), LEGAL.expand(b, -1, -1)
    return selector.select(values, legal, t_env=0, explore=explore, generator=make_generator(seed))


def shares(actions: Tensor, kinds: int) -> list[float]:
    return (torch.bincount(actions, minlength=kinds) / len(actions)).tolist()


def test_greedy_takes_the_best_legal_action() -> None:
    actions = choose(0.0)
    assert actions.tolist() == [[2, 0]]
    assert actions.dtype == torch.int64


def test_without_exploration_epsilon_is_zero() -> None:
    assert (choose(1.0, 500, explore=False) == torch.tensor([2, 0])).all()


def test_proportions() -> None:
    actions = choose(0.6, 20000)
    # the best one by choice (0.4) or by chance (0.2), the other two legal ones by chance
    assert shares(actions[:, 0], 4) == pytest.approx([0.2, 0.0, 0.6, 0.2], abs=0.015)
    assert shares(actions[:, 0], 4)[1] == 0
    assert shares(actions[:, 1], 4) == [1, 0, 0, 0]


def test_agents_explore_independently() -> None:
    values = torch.tensor([1.0, 0.0]).expand(20000, 2, 2)
    legal = torch.tensor([False, True]).expand(20000, 2, 2).clone()
    legal[..., 0] = True
    selector = EpsilonGreedy(lambda t: 0.5)
    one, other = selector.select(values, legal, t_env=0, explore=True, generator=make_generator(0)).T
    assert float((one & other).float().mean()) == pytest.approx(0.25**2, abs=0.01)


def test_the_schedule_sees_the_time() -> None:
    selector = EpsilonGreedy(LinearDecay(1.0, 0.0, 100))
    values, legal = VALUES.expand(1000, -1, -1), LEGAL.expand(1000, -1, -1)
    late = selector.select(values, legal, t_env=100, explore=True, generator=make_generator(0))
    early = selector.select(values, legal, t_env=0, explore=True, generator=make_generator(0))
    assert (late == torch.tensor([2, 0])).all()
    assert shares(early[:, 0], 4) == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3], abs=0.06)


def test_the_random_stream_does_not_depend_on_the_choice() -> None:
    states = []
    for epsilon, explore in [(0.0, True), (1.0, True), (0.5, False)]:
        generator = make_generator(3)
        EpsilonGreedy(lambda t, e=epsilon: e).select(VALUES, LEGAL, t_env=0, explore=explore, generator=generator)
        states.append(generator.get_state())
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


def test_a_seed_repeats() -> None:
    assert torch.equal(choose(0.7, 100, seed=4), choose(0.7, 100, seed=4))
    assert not torch.equal(choose(0.7, 100, seed=4), choose(0.7, 100, seed=5))


def test_random_legal_is_uniform_over_what_is_legal() -> None:
    legal = torch.tensor([False, True, False, True, True])
    actions = random_legal(legal.expand(30000, 5), make_generator(1))
    assert shares(actions, 5) == pytest.approx([0, 1 / 3, 0, 1 / 3, 1 / 3], abs=0.015)
    assert shares(actions, 5)[0] == shares(actions, 5)[2] == 0


def test_random_legal_where_nothing_is() -> None:
    assert random_legal(torch.zeros(2, 3, dtype=torch.bool), make_generator(0)).tolist() == [0, 0]


def test_random_legal_takes_any_leading_shape() -> None:
    legal = torch.rand(3, 4, 5, 6, generator=make_generator(0)) < 0.5
    legal[..., 2] = True
    actions = random_legal(legal, make_generator(1))
    assert actions.shape == (3, 4, 5)
    assert legal.gather(-1, actions[..., None]).all()


def test_registry() -> None:
    assert isinstance(REGISTRY["epsilon_greedy"](LinearDecay(1.0, 0.1, 10)), EpsilonGreedy)


# --- drawn from a policy --------------------------------------------------------------------------------------------

#: probabilities 1/2, 1/4, 1/4 over the legal actions; the illegal one is the largest by far
LOGITS = torch.tensor([[[0.6931472, 50.0, 0.0, 0.0], [-3.0, 9.0, 9.0, 9.0]]])


def draw(epsilon: float = 0.0, b: int = 20000, *, explore: bool = True) -> Tensor:
    selector = SoftPolicies(lambda t: epsilon)
    logits, legal = LOGITS.expand(b, -1, -1), LEGAL.expand(b, -1, -1)
    return selector.select(logits, legal, t_env=0, explore=explore, generator=make_generator(0))


def test_actions_are_drawn_from_the_policy() -> None:
    actions = draw()
    assert shares(actions[:, 0], 4) == pytest.approx([0.5, 0.0, 0.25, 0.25], abs=0.015)
    assert not (actions[:, 0] == 1).any()
    assert (actions[:, 1] == 0).all()


def test_with_probability_epsilon_any_legal_action() -> None:
    assert shares(draw(0.75)[:, 0], 4) == pytest.approx([0.375, 0.0, 0.3125, 0.3125], abs=0.015)


def test_without_exploration_the_most_probable_action() -> None:
    assert (draw(1.0, 100, explore=False) == torch.tensor([0, 0])).all()


def test_what_selectors_choose_by() -> None:
    values, legal = LOGITS, LEGAL
    assert torch.equal(EpsilonGreedy(lambda t: 0.0).figures(values, legal), values)
    probabilities = SoftPolicies(lambda t: 0.0).figures(values, legal)[0, 0].tolist()
    assert probabilities == pytest.approx([0.5, 0, 0.25, 0.25])
    assert probabilities[1] == 0

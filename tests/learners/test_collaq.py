"""CollaQ's MARA loss, by hand."""

import batches
import pytest
import torch

from components.episodes import EpisodeBatch
from controllers.entity import Unroll


def two_agents_three_actions() -> EpisodeBatch:
    """An episode of two steps with two agents, the second of which leaves after the first step, and one of one step
    with the first agent alone, padded behind.
    """
    entity_mask = torch.tensor([[[1, 1], [1, 0], [1, 0]], [[1, 0], [1, 0], [0, 0]]]).bool()
    avail = torch.zeros(2, 3, 2, 3, dtype=torch.bool)
    avail[..., 1:] = entity_mask[..., None]
    avail[..., 0] = ~entity_mask
    avail[0, 0, 1, 2] = False
    filled = torch.tensor([[True, True], [True, False]])
    return EpisodeBatch(
        entities=torch.zeros(2, 3, 2, 1),
        private=torch.zeros(2, 3, 2, 0),
        entity_mask=entity_mask,
        obs_mask=entity_mask[:, :, :, None] & entity_mask[:, :, None],
        avail_mask=avail,
        actions=torch.tensor([[[1, 1], [2, 0]], [[2, 0], [0, 0]]]),
        reward=torch.tensor([[1.0, 2.0], [3.0, 0.0]]),
        terminated=torch.tensor([[False, True], [True, False]]),
        truncated=torch.zeros(2, 2, dtype=torch.bool),
        filled_mask=filled,
        start_actions=torch.full((2, 2), -1),
    )


@pytest.fixture
def case():
    """A learner, its data and Q_collab(o_alone) (2, 3, 2, 3): 100 wherever it should not count."""
    spec = batches.make_spec(agents=2, others=0, features=1, private=0, actions=3)
    learner = batches.make_learner("collaq", spec, mara_weight=0.5)
    q = torch.full((2, 3, 2, 3), 100.0)
    q[0, 0, 0, 1:] = torch.tensor([1.0, -2.0])
    q[0, 0, 1, 1] = 3.0
    q[0, 1, 0, 1:] = torch.tensor([0.0, 4.0])
    q[1, 0, 0, 1:] = torch.tensor([-5.0, 6.0])
    return learner, learner.controller.prepare(two_agents_three_actions()), q


def test_mara_loss_by_hand(case):
    """Illegal actions, the absent agent, what is seen after the last step and padding are out of the mean."""
    learner, data, q = case
    loss = learner.mara_loss(data, Unroll((data.pack(q),), collab_alone=data.pack(q)))
    assert float(loss) == pytest.approx((1 + 4 + 9 + 0 + 16 + 25 + 36) / 7)


def test_the_loss_is_the_sum_of_its_terms(case):
    learner, data, q = case
    zeros = torch.zeros_like(q)
    learner.controller.unroll = lambda data, *_: Unroll((data.pack(zeros),), collab_alone=data.pack(q))
    loss, figures = learner.loss(data.batch)
    assert float(figures["mara_loss"]) == pytest.approx(13)
    assert float(loss.detach()) == pytest.approx(float(figures["td_loss"]) + 0.5 * 13)


def test_the_loss_brings_collab_alone_to_zero():
    spec = batches.make_spec()
    batch = batches.random_batch(spec)
    learner = batches.make_learner("collaq", spec, mara_weight=100.0, lr=0.003)
    with torch.no_grad():
        learner.controller.agent.collab.head.plain.bias.fill_(1.0)
    first = learner.train(batch, episodes=0)["mara_loss"]
    for _ in range(100):
        last = learner.train(batch, episodes=0)["mara_loss"]
    assert float(last) < 0.05 * float(first)

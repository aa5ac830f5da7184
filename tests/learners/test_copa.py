"""COPA's variational term, by hand."""

import batches
import pytest
import torch
from torch.distributions import Normal

from controllers.entity import Broadcast
from modules.coach import Gaussian


class Judge(torch.nn.Module):
    """A posterior with known output that keeps what it was asked."""

    def __init__(self, mean, log_variance):
        super().__init__()
        self.answer = Gaussian(mean, log_variance)

    def forward(self, inputs, mask, pairs=None):
        self.inputs, self.mask = inputs, mask
        return self.answer


@pytest.fixture(params=[4, 2, 1])
def case(request):
    """One episode of 7 steps and one of 6 with T = 4, 2 or 1; agent 1 of the first joins at step 2. With T = 4 that is
    between two broadcasts, and both episodes end inside an interval.
    """
    spec = batches.make_spec(agents=2, others=1)
    learner = batches.make_learner("copa", spec)
    learner.controller.interval = learner.target_controller.interval = request.param
    batch = batches.random_batch(spec, batch=2, steps=7, seed=4)
    batch.filled_mask[:] = torch.tensor([[1] * 7, [1] * 6 + [0]]).bool()
    batch.entity_mask[:] = True
    batch.entity_mask[0, :2, 1] = False
    data = learner.controller.prepare(batch)
    g = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn(2, 8, 2, 6, generator=g), -torch.rand(2, 8, 2, 6, generator=g)
    z = torch.randn(2, 8, 2, 6, generator=g)
    sent = torch.zeros(2, 8, 2, dtype=torch.bool)
    sent[:, :: request.param] = True
    sent[0, :2, 1], sent[0, 2, 1] = False, True
    broadcast = Broadcast(*(data.pack(x) for x in (torch.zeros(2, 8, 2, 16), z, sent, mean, log_variance)))
    return learner, data, broadcast


def test_log_density_by_hand(case):
    learner, data, broadcast = case
    # every step that a strategy is in force, T of them if nothing cuts them short
    asked = [(0, t) for t in range(7)] + [(1, t) for t in range(6)]
    sent = {4: 8, 2: 4 + 3 + 6, 1: 7 + 5 + 12}[learner.controller.interval]
    g = torch.Generator().manual_seed(1)
    mean, log_variance = torch.randn(13, 2, 6, generator=g), -torch.rand(13, 2, 6, generator=g) * 9
    judge = learner.posterior = Judge(mean, log_variance)
    got = learner.log_density(data, broadcast)

    strategy = data.unpack(broadcast.strategy)
    total = 0.0
    for row, (b, t) in enumerate(asked):
        reference = Normal(mean[row], torch.exp(0.5 * log_variance[row]))
        table = reference.log_prob(strategy[b, t]).clamp(-1000, 0).sum(-1)
        total += float(table[0]) + (0.0 if (b, t) in ((0, 0), (0, 1)) else float(table[1]))
    assert float(got) == pytest.approx(total / sent, rel=1e-5)
    for row, (b, t) in enumerate(asked):
        # the posterior looks at everything when the coach does, else with the agent's own eyes
        want = data.batch.obs_mask[b, t].clone()
        for agent in range(2):
            told = t % learner.controller.interval == 0 or (b, t, agent) == (0, 2, 1)
            if told and data.batch.agent_mask[b, t, agent]:
                want[agent] = data.batch.entity_mask[b, t]
        assert torch.equal(judge.mask[row], want)
        # ... and is told the action that was chosen then
        assert judge.inputs[row, :2, -4:].argmax(-1).tolist() == data.batch.actions[b, t].tolist()


def test_entropy_by_hand(case):
    learner, data, broadcast = case
    scale = torch.exp(0.5 * broadcast.log_variance)
    reference = data.unpack(Normal(broadcast.mean, scale).entropy().clamp(0, 10).mean(-1))
    sent = data.unpack(broadcast.sent)
    where = [(b, t, a) for b, t, a in sent.nonzero().tolist() if t < (7, 6)[b]]
    if learner.controller.interval == 4:
        assert where == [(0, 0, 0), (0, 2, 1), (0, 4, 0), (0, 4, 1), (1, 0, 0), (1, 0, 1), (1, 4, 0), (1, 4, 1)]
    want = sum(float(reference[index]) for index in where) / len(where)
    assert float(learner.entropy(data, broadcast)) == pytest.approx(want, rel=1e-5)


def test_loss_is_the_sum_of_its_terms():
    spec = batches.make_spec()
    batch = batches.random_batch(spec)
    learner = batches.make_learner("copa", spec)
    loss, figures = learner.loss(batch)
    want = figures["td_loss"] - 0.1 * figures["strategy_log_density"] - 0.1 * figures["strategy_entropy"]
    torch.testing.assert_close(loss.detach(), want)


def test_target_strategies_come_from_the_target_coach(case):
    learner, data, _ = case
    with torch.no_grad():
        for p in learner.target_controller.coach.parameters():
            p.add_(1.0)
        ours = learner.controller.unroll(data).broadcast
        theirs = learner.target_controller.unroll(data).broadcast
    assert not torch.allclose(ours.mean, theirs.mean)
    assert all(not p.requires_grad or p.grad is None for p in learner.target_controller.parameters())
    loss, _ = learner.loss(data.batch)
    loss.backward()
    assert all(p.grad is None for p in learner.target_controller.parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in learner.controller.coach.parameters())

"""Critics and actors of DDPG, recomputed by hand."""

import math

import batches
import pytest
import torch
from test_base import GAMMA, two_agents_three_actions
from torch import nn
from toy_env import ToyEnv

from components.replay import ReplayBuffer
from learners.ddpg import LOGITS_WEIGHT, DdpgLearner, situation
from runners.runner import Runner


class Counted(nn.Module):
    """Q is the sum over agents of 10 * (the agent's number + 1) * (the action's number): central, or of each alone."""

    def __init__(self, local: bool):
        super().__init__()
        self.local = local

    def forward(self, at, actions):
        numbers = torch.arange(actions.shape[-1], dtype=actions.dtype)
        worth = (actions * numbers).sum(dim=-1) * 10 * torch.arange(1, actions.shape[1] + 1)
        return worth if self.local else worth.sum(dim=-1)


@pytest.fixture
def _no_noise(monkeypatch):
    monkeypatch.setattr(DdpgLearner, "noise", lambda self, like: torch.zeros_like(like))


def learner_with(local: bool, logits=None):
    """Critics as above; target actors with `logits (B, T+1, A, U)`."""
    spec = batches.make_spec(agents=2, others=0, features=1, private=0, actions=3)
    learner = batches.make_learner("ddpg" + "_local" * local, spec, gamma=GAMMA)
    learner.critic = learner.target_critic = Counted(local)
    learner.target_controller.values_at = lambda data, which: data.pack(logits)[which]
    return learner


def losses(local):
    batch = two_agents_three_actions()
    logits = torch.zeros(3, 3, 2, 3)
    logits[..., 2] = 1.0  # action 2, where it is legal
    logits[:, :, 1, 1] = 3.0  # the second agent: action 1
    logits[:, 0] = logits[:, 0].flip(1)  # nothing comes before the first observation
    learner = learner_with(local, logits)
    data, online, _ = learner.passes(batch)
    targets = learner.targets(data, online)
    return targets, *learner.objective(data, online, targets, ())


@pytest.mark.usefixtures("_no_noise")
def test_central_targets_and_loss_by_hand():
    """Of 5 played steps: episode 0 (its first agent may only take action 1 after step 0), which terminates; episode 1,
    truncated; episode 2, of one agent alone, which terminates.
    """
    targets, loss, figures = losses(local=False)
    after = [10 * 1 + 20 * 1, 0, 10 * 2 + 20 * 1, 10 * 2 + 20 * 1, 0]
    expected = [r + GAMMA * v for r, v in zip([1, 2, 3, 4, 5], after, strict=True)]
    assert targets.tolist() == expected
    taken = [10 * 1 + 20 * 2, 10 * 2 + 20 * 1, 10 * 1 + 20 * 1, 10 * 2 + 20 * 2, 10 * 2]
    assert loss.item() == pytest.approx(sum((q - y) ** 2 for q, y in zip(taken, expected, strict=True)) / 5)
    assert figures["q_taken_mean"].item() == pytest.approx(sum(taken) / 5)


@pytest.mark.usefixtures("_no_noise")
def test_local_targets_and_loss_by_hand():
    targets, loss, _ = losses(local=True)
    after = [(10, 20), (0, 0), (20, 20), (20, 20), (0, 0)]
    expected = [[r + GAMMA * v for v in values] for r, values in zip([1, 2, 3, 4, 5], after, strict=True)]
    assert targets.tolist() == expected
    taken = [(10, 40), (20, 20), (10, 20), (20, 40), (20, None)]  # nobody is the second agent of the last episode
    errors = [
        (q - y) ** 2 for row, goal in zip(taken, expected, strict=True) for q, y in zip(row, goal, strict=True)
        if q is not None
    ]  # fmt: skip
    assert len(errors) == 9
    assert loss.item() == pytest.approx(sum(errors) / 9)


@pytest.mark.usefixtures("_no_noise")
@pytest.mark.parametrize("local", [False, True])
def test_actors_loss_by_hand(local):
    """Soft-max vectors over the legal actions, judged by the critic, and the price of the legal logits."""
    batch = two_agents_three_actions()
    logits = torch.tensor([[7.0, 1.0, 1.0 + math.log(3)], [7.0, 1.0, 1.0 - math.log(4)]]).expand(3, 3, 2, 3)
    learner = learner_with(local)
    learner.controller.values_at = lambda data, which: data.pack(logits)[which]
    loss, figures = learner.policy_loss(learner.controller.prepare(batch))
    price = [(1 + (1 + math.log(3)) ** 2) / 2, (1 + (1 - math.log(4)) ** 2) / 2]
    # action 2 has probability 3/4 of the first agent, 0 in its second step of episode 0, and 1/5 of the second agent
    worth = [17.5, 10, 17.5, 17.5, 17.5], [24.0] * 4
    prices = [price[0], 1.0, price[0], price[0], price[0]], [price[1]] * 4
    cost = LOGITS_WEIGHT * sum(map(sum, prices)) - sum(map(sum, worth))
    assert loss.item() == pytest.approx(cost / (9 if local else 5))
    entropy = [-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)), -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))]
    assert figures["policy_entropy"].item() == pytest.approx((4 * entropy[0] + 4 * entropy[1]) / 9)


KINDS = ("ddpg", "ddpg_flat", "ddpg_memoryless_flat", "ddpg_pairs_messages", "ddpg_local_pairs_messages")


@pytest.mark.parametrize("kind", KINDS)
def test_actors_gradients_agree_with_finite_differences(kind, monkeypatch):
    """The noise stays as it was drawn once."""
    spec = batches.spec_for(kind)
    batch = batches.random_batch(spec)
    learner = batches.make_learner(kind, spec)
    for part in ("entities", "private", "reward"):
        setattr(batch, part, getattr(batch, part).double())
    controller, _ = learner.controller.double(), learner.critic.double()
    data = controller.prepare(batch)
    gumbel = learner.noise(controller.values_at(data, data.acts).detach())
    monkeypatch.setattr(DdpgLearner, "noise", lambda self, like: gumbel)
    parameters = list(controller.parameters())
    gradients = torch.autograd.grad(learner.policy_loss(data)[0], parameters)
    g, step = torch.Generator().manual_seed(0), 1e-6
    for parameter, gradient in zip(parameters, gradients, strict=True):
        direction, ends = torch.randn(parameter.shape, generator=g, dtype=torch.double), []
        with torch.no_grad():
            for move in (step, -2 * step, step):
                parameter += move * direction
                ends.append(learner.policy_loss(data)[0])
        torch.testing.assert_close((ends[0] - ends[1]) / (2 * step), (gradient * direction).sum(), rtol=1e-3, atol=1e-7)


def test_noise_makes_draws_from_the_policies():
    learner = batches.make_learner("ddpg", batches.make_spec())
    logits = torch.tensor([0.2, 0.3, 0.5]).log().expand(20000, 3)
    shares = torch.bincount((logits + learner.noise(logits)).argmax(dim=-1)) / 20000
    assert shares.tolist() == pytest.approx([0.2, 0.3, 0.5], abs=0.015)
    legal = torch.tensor([True, False, True]).expand(20000, 3)
    relaxed = learner.relaxed(logits, legal)
    assert (relaxed[:, 1] == 0).all()
    torch.testing.assert_close(relaxed.sum(dim=-1), torch.ones(20000))


def values_of(learner, batch):
    data = learner.controller.prepare(batch)
    taken = learner._one_hot(data, batch.actions[batch.filled_mask], data.acts)
    return learner.critic(situation(data, data.acts), taken)


@pytest.mark.parametrize("marks", ["", "_flat"])
def test_a_local_critic_sees_what_its_agent_sees_and_does(marks):
    """And a central one everything."""
    spec = batches.make_spec()
    for name, local in (("ddpg", False), ("ddpg_local", True)):
        learner = batches.make_learner(name + marks, spec)
        batch = batches.random_batch(spec)
        batch.entity_mask[:, :, :2] = True
        batch.obs_mask[:, :, 0, 1] = False
        batch.obs_mask[:, :, 0, 0] = batch.obs_mask[:, :, 1, 1] = True
        batch.avail_mask[:, :, :2, 1] = True
        batch.start_actions[:] = 1
        before = values_of(learner, batch)
        batch.actions[:, 0, 1] = 3 - batch.actions[:, 0, 1].clamp(max=2)  # the first step alone: no last action changes
        batch.private[:, 0, 1] += 1.0
        first = torch.cumsum(batch.filled_mask.sum(dim=1), 0) - batch.filled_mask.sum(dim=1)
        after = values_of(learner, batch)
        moved = (after != before)[first]
        if local:
            assert not moved[:, 0].any()
            assert moved[:, 1].all()
        else:
            assert moved.all()


@pytest.mark.parametrize("marks", ["", "_flat"])
def test_a_local_critic_gives_absent_agents_nothing(marks):
    learner = batches.make_learner("ddpg_local" + marks, batches.make_spec())
    batch = batches.random_batch(batches.make_spec())
    present = batch.agent_mask[:, :-1][batch.filled_mask]
    values = values_of(learner, batch)
    assert values.shape == present.shape
    assert (values[~present] == 0).all()
    assert (values[present] != 0).all()
    assert 0 < present.sum() < present.numel()


@pytest.mark.parametrize("kind", ["ddpg_memoryless", "ddpg_memoryless_flat", "ddpg_pairs"])
def test_values_of_some_rows_are_those_of_all(kind):
    spec = batches.spec_for(kind)
    learner = batches.make_learner(kind, spec)
    data = learner.controller.prepare(batches.random_batch(spec))
    for which in (data.acts, data.follows):
        found, whole = learner.controller.values_at(data, which), learner.controller.unroll(data).q[0][which]
        torch.testing.assert_close(found, whole)


def make_toy(**settings):
    return ToyEnv(ToyEnv.resolve_args({"team": "1-3", **settings}, []), num_envs=64, seed=3)


@pytest.mark.parametrize("kind", ["ddpg", "ddpg_memoryless_flat"])
def test_signs_are_learnt(kind):
    """A random agent reads its sign a third of the time or a little more, where some actions are illegal."""
    env = make_toy()
    learner = batches.make_learner(kind, env.spec, lr=0.01, gamma=0.0, target_tau=0.01)
    runner, replay = Runner(env, learner.controller, seed=0), ReplayBuffer(env.spec, 4096, 1, keep_slots="flat" in kind)
    generator, scores = torch.Generator().manual_seed(1), []
    for _ in range(40):
        batch = runner.play().batch
        scores.append(float(batch.reward[batch.filled_mask].mean()))
        replay.insert(batch)
        for _ in range(6):
            learner.train(replay.sample(128, generator), 0)
    assert scores[0] < 0.55
    assert sum(scores[-3:]) / 3 > 0.9

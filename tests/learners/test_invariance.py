"""Padding and the order of slots change no value, no loss and no gradient: the promise that everything stands on."""

import batches
import pytest
import torch

from learners.cesma import CesmaLearner
from learners.ddpg import DdpgLearner
from learners.mipi import MipiLearner
from modules.coach import Gaussian


@pytest.fixture(autouse=True)
def _still_coach(monkeypatch):
    """A strategy's noise belongs to a slot, not to an agent: compare without it."""
    monkeypatch.setattr(Gaussian, "sample", lambda self, generator: self.mean + 0.1 * torch.exp(self.log_variance))


@pytest.fixture(autouse=True)
def _still_messages(monkeypatch):
    monkeypatch.setattr(CesmaLearner, "gumbel", lambda self, logits: torch.zeros_like(logits))


@pytest.fixture(autouse=True)
def _still_policies(monkeypatch):
    """The same for actions that are drawn: the least probable of the legal ones, so that ratios are large."""
    monkeypatch.setattr(MipiLearner, "draw", lambda self, policy: policy.masked_fill(policy == 0, 2.0).argmin(dim=-1))


@pytest.fixture(autouse=True)
def _still_actors(monkeypatch):
    """Nor the noise of actors."""
    monkeypatch.setattr(DdpgLearner, "noise", lambda self, like: torch.zeros_like(like))


def loss_and_gradients(kind, spec, batch, groups):
    learner = batches.make_learner(kind, spec)
    if kind.startswith("mappo"):
        return on_policy_loss_and_gradients(learner, batch)
    targets = () if learner.LABELS else (target for _, target in learner.target_networks().values())
    with torch.no_grad():  # apart from the online networks, so that a mix-up of the two shows
        for parameter in (parameter for target in targets for parameter in target.parameters()):
            parameter.mul_(0.9)
    if kind.startswith(("refil", "mipi", "pqn_refil")):
        learner.draw_groups = lambda data: groups
    loss, figures = learner.loss(batch)
    loss.backward()
    return loss.detach(), [p.grad for p in learner.parameters if p.grad is not None], figures


def on_policy_loss_and_gradients(learner, batch):
    (lesson,), figures = learner.prepare(batch)
    with torch.no_grad():  # away from the policy that acted, so that some ratios are clipped
        for parameter in learner.controller.agent.head.parameters():
            parameter.mul_(3.0)
    loss, more = learner.loss(lesson)
    assert 0 < more["clip_fraction"] < 1
    loss.backward()
    return loss.detach(), [p.grad for p in learner.parameters], {**figures, **more}


@pytest.mark.parametrize(("kind", "rearrangement"), batches.REARRANGED)
def test_loss_and_gradients_do_not_depend_on_slots(kind, rearrangement):
    spec = batches.spec_for(kind)
    batch = batches.batch_for(kind, spec)
    groups = torch.rand(4, spec.entities, generator=torch.Generator().manual_seed(1)) < 0.5
    other, layout = rearrangement(batch, spec)
    other_spec = batches.spec_for(kind, agents=layout.new_agents, others=layout.new_others)
    other_groups = torch.zeros(4, other_spec.entities, dtype=torch.bool)
    other_groups[:, layout.entities()] = groups

    loss, gradients, figures = loss_and_gradients(kind, spec, batch, groups)
    other_loss, other_gradients, other_figures = loss_and_gradients(kind, other_spec, other, other_groups)

    assert loss > 0
    torch.testing.assert_close(other_loss, loss, rtol=1e-5, atol=1e-6)
    assert len(gradients) == len(other_gradients) > 0
    assert sum(float(g.abs().sum()) for g in gradients) > 0
    for one, two in zip(gradients, other_gradients, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-3, atol=2e-5)
    for name, value in figures.items():
        torch.testing.assert_close(other_figures[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rearrangement", [batches.padded, batches.permuted])
@pytest.mark.parametrize("kind", [*batches.MIPI, "mipi_pairs", "mipi_alone_pairs", "mipi_slots"])
def test_steps_of_the_policies_do_not_depend_on_slots(kind, rearrangement):
    spec = batches.spec_for(kind)
    batch = batches.random_batch(spec)
    other, layout = rearrangement(batch, spec)
    other_spec = batches.spec_for(kind, agents=layout.new_agents, others=layout.new_others)
    groups = torch.rand(4, spec.entities, generator=torch.Generator().manual_seed(1)) < 0.5
    other_groups = torch.zeros(4, other_spec.entities, dtype=torch.bool)
    other_groups[:, layout.entities()] = groups
    found = []
    for of, episodes, split in ((spec, batch, groups), (other_spec, other, other_groups)):
        learner = batches.make_learner(kind, of)
        learner.draw_groups = lambda data, split=split: split
        data, online, _ = learner.passes(episodes)
        features = learner.features(data, online)
        losses = learner.marginal_loss(features), learner.policy_loss(features)
        agent = learner.controller.agent
        gradients = [
            *torch.autograd.grad(losses[0], list(agent.marginal.parameters())),
            *torch.autograd.grad(losses[1], list(agent.policy.parameters())),
        ]
        assert all(gradient.abs().sum() > 0 for gradient in gradients)
        found.append([*losses, *gradients, *learner.policy_figures(features).values()])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("kind", "rearrangement"), [pair for pair in batches.REARRANGED if pair[0].startswith("ddpg")])
def test_steps_of_actors_do_not_depend_on_slots(kind, rearrangement):
    spec = batches.spec_for(kind)
    batch = batches.random_batch(spec)
    other, layout = rearrangement(batch, spec)
    other_spec = batches.spec_for(kind, agents=layout.new_agents, others=layout.new_others)
    found = []
    for of, episodes in ((spec, batch), (other_spec, other)):
        learner = batches.make_learner(kind, of)
        loss, figures = learner.policy_loss(learner.controller.prepare(episodes))
        gradients = torch.autograd.grad(loss, list(learner.controller.parameters()))
        assert all(gradient.abs().sum() > 0 for gradient in gradients)
        found.append([loss, *gradients, *figures.values()])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "kind",
    [
        *("flex_qmix", "copa", "collaq", "mappo", "mipi", "flex_qmix_pairs", "copa_pairs", "collaq_pairs"),
        *("refil_slots", "copa_slots", "collaq_slots"),
    ],
)
def test_values_follow_their_agents(kind):
    spec = batches.spec_for(kind)
    batch = batches.batch_for(kind, spec)
    for rearrangement in (batches.padded, batches.permuted):
        other, layout = rearrangement(batch, spec)
        other_spec = batches.spec_for(kind, agents=layout.new_agents, others=layout.new_others)
        controller = batches.make_learner(kind, spec).controller
        moved = batches.make_learner(kind, other_spec).controller
        q, q_moved = (
            data.unpack(c.unroll(data).q[0])
            for c, data in ((controller, controller.prepare(batch)), (moved, moved.prepare(other)))
        )
        there = q_moved[:, : q.shape[1], layout.agents][..., layout.actions(q.shape[-1])]
        torch.testing.assert_close(there, q, rtol=1e-5, atol=1e-5)
        absent = ~other.agent_mask
        assert absent.any()
        assert (q_moved[absent] == 0).all()


@pytest.mark.parametrize("kind", batches.KINDS)
def test_trimming_a_padded_batch_changes_nothing(kind):
    spec = batches.spec_for(kind)
    batch = batches.batch_for(kind, spec)
    wide, layout = batches.padded(batch, spec)
    wide = batches.rearrange(batch, layout, garbage=0.0)  # trim reads padding as the replay leaves it
    if kind in batches.FIXED:  # the slots stay
        layout = batches.extended(batch, spec)[1]
        wide = batches.rearrange(batch, layout, garbage=0.0)
    trimmed = wide.trim(spec, keep_slots=kind in batches.FIXED)
    assert trimmed.filled_mask.shape == batch.filled_mask.shape
    assert trimmed.entities.shape == batch.entities.shape
    groups = torch.rand(4, spec.entities, generator=torch.Generator().manual_seed(1)) < 0.5
    loss, _, _ = loss_and_gradients(kind, spec, batch, groups)
    loss_trimmed, _, _ = loss_and_gradients(kind, spec, trimmed, groups)
    assert torch.equal(loss, loss_trimmed)

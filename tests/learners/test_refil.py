"""REFIL's imagined split, against a slow computation of the same."""

import batches
import pytest
import torch

from learners.refil import same_group
from utils.masking import full_view


def test_same_group_by_hand():
    groups = torch.tensor([[True, False, True, False]])
    assert same_group(groups, 2).tolist() == [[[True, False, True, False], [False, True, False, True]]]


@pytest.mark.parametrize(("split", "low", "high"), [("uniform", 0.45, 0.55), (0.5, 0.47, 0.53), (0.9, 0.88, 0.92)])
def test_split_frequencies(split, low, high):
    spec = batches.make_spec()
    learner = batches.make_learner("refil", spec, imagine_split=split)
    batch = batches.random_batch(spec, batch=2000, steps=2)
    groups = learner.draw_groups(learner.controller.prepare(batch)).float()
    assert low < float(groups.mean()) < high
    # with p drawn per episode, the shares of group one spread far more than with a fixed p
    spread = float(groups.mean(dim=1).var())
    assert (spread > 0.1) == (split == "uniform")


def test_everyone_in_one_group_is_the_real_pass():
    spec = batches.make_spec()
    learner = batches.make_learner("refil", spec)
    batch = batches.random_batch(spec)
    data = learner.controller.prepare(batch)
    learner.draw_groups = lambda data: torch.ones(4, spec.entities, dtype=torch.bool)
    masks = tuple(data.view_mask & group for group in learner.groups(data))
    real, within, between = learner.controller.unroll(data, masks).q
    torch.testing.assert_close(within, real)
    nothing = learner.controller.unroll(data, (torch.zeros_like(data.view_mask),)).q[1]
    torch.testing.assert_close(between, nothing)


@pytest.mark.parametrize("kind", ["refil", "refil_vdn", "refil_linear", "refil_linear_softmax", "refil_linear_abs"])
def test_imagined_loss_against_separate_passes(kind):
    """Shared projections give what three separate passes give."""
    spec = batches.make_spec()
    learner = batches.make_learner(kind, spec, imagine_lambda=0.3)
    batch = batches.random_batch(spec)
    groups = torch.rand(4, spec.entities) < 0.5
    learner.draw_groups = lambda data: groups
    loss, figures = learner.loss(batch)

    controller, mixer = learner.controller, learner.mixer
    data = controller.prepare(batch)
    same = same_group(groups, spec.agents)[data.rows // 7]  # 6 steps, 7 observations
    q = [
        learner.chosen(data, controller.unroll(data._replace(view_mask=data.view_mask & mask)).q[0])
        for mask in (torch.ones_like(same), same, ~same)
    ]
    targets = learner.targets(data, controller.unroll(data))
    inputs = learner.mixer_inputs(data, controller.unroll(data), data.acts)
    real = ((mixer(q[0], inputs).q_tot - targets) ** 2).mean()
    present = data.agent_mask[data.acts]
    q_imagined = torch.cat([q[1].masked_fill(~present, 0), q[2].masked_fill(~present, 0)], -1)
    full, same = full_view(inputs.entity_mask, spec.agents), same[data.acts]
    masks = (full & same, full & ~same)
    if kind == "refil_vdn":
        q_tot = q_imagined.sum(-1)
    elif kind in ("refil", "refil_linear"):
        w1 = torch.cat([mixer.w1.per_agent(inputs, spec.agents, (mask,))[1] for mask in masks], 1).softmax(-1)
        hidden = (q_imagined[:, None] @ w1)[:, 0] + mixer.b1.mean(inputs, spec.agents)
        if kind == "refil":
            hidden = torch.nn.functional.elu(hidden)
        w_final = mixer.w_final.mean(inputs, spec.agents).softmax(-1)
        q_tot = (hidden * w_final).sum(-1) + mixer.v.mean(inputs, spec.agents).mean(-1)
    else:
        raw = [mixer.weight.per_agent(inputs, spec.agents, (mask,))[1].mean(-1) for mask in masks]
        weights = torch.cat(raw, -1).abs()
        if kind == "refil_linear_softmax":  # over the values of present agents in both groups
            weights = torch.cat(raw, -1).masked_fill(~present.repeat(1, 2), -torch.inf).softmax(-1)
        q_tot = (q_imagined * weights).sum(-1) + mixer.bias.mean(inputs, spec.agents).mean(-1)
    imagined = ((q_tot - targets) ** 2).mean()

    torch.testing.assert_close(figures["td_loss"], real.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(figures["imagined_loss"], imagined.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss, 0.7 * real + 0.3 * imagined, rtol=1e-4, atol=1e-5)

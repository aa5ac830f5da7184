"""Networks in fixed slots: layers on everything laid end to end."""

import batches
import pytest
import torch
from torch import nn

from modules.layers.slots import SlotLinear
from modules.mixers import REGISTRY as MIXERS
from modules.mixers.base import MixerInputs, MixerSizes


@pytest.mark.parametrize(("agents", "alike"), [(1, True), (4, False), (4, True)])
def test_a_layer_on_slots_is_a_linear_layer_on_rows_laid_end_to_end(agents, alike):
    torch.manual_seed(0)
    layer = SlotLinear(slots=3, inputs=2, outputs=4)
    nn.init.normal_(layer.bias)
    rows, mask = torch.randn(5, 3, 2), torch.rand(2, 5, agents, 3) < 0.5
    mask = mask[:, :, :1].expand_as(mask) if alike else mask
    flat = torch.cat([rows[None, :, None] * mask[..., None], mask[..., None].float()], dim=-1).flatten(-2)
    torch.testing.assert_close(layer(rows, mask), flat @ layer.weight.flatten(0, 1) + layer.bias)


def test_a_layer_on_slots_keeps_the_size_of_what_it_reads():
    """As He et al. want it before a ReLU: the mean square of the results is twice that of all inputs."""
    torch.manual_seed(0)
    layer = SlotLinear(slots=8, inputs=31, outputs=512)
    rows, mask = torch.randn(64, 8, 31), torch.ones(1, 64, 1, 8, dtype=torch.bool)
    assert layer(rows, mask).square().mean().item() == pytest.approx(2.0, rel=0.05)


def test_other_slots_are_refused():
    layer = SlotLinear(slots=3, inputs=2, outputs=4)
    with pytest.raises(ValueError, match="3 slots of width 2, got"):
        layer(torch.zeros(5, 4, 2), torch.ones(1, 5, 1, 4, dtype=torch.bool))


def test_qmix_by_hand():
    """Two agents, two hidden units, networks that give their biases: ELU(q |W1| + b1) |w2| + V."""
    mixer = MIXERS["qmix"](MixerSizes(inputs=2, heads=1, hypernet=8, embed=2, agents=2, entities=3))
    biases = {"w1": [1.0, -0.5, 2.0, 0.25], "b1": [0.5, -3.0], "w2": [-2.0, 3.0], "v": [0.75]}
    for name, bias in biases.items():
        net = getattr(mixer, name)
        last = net.final or net.read
        nn.init.zeros_(last.weight)
        last.bias.data = torch.tensor(bias)
    inputs = MixerInputs(torch.zeros(1, 3, 2), torch.tensor([[True, True, False]]))
    # hidden = ELU(2 * 1 - 1 * 2 + .5, 2 * .5 - 1 * .25 - 3) = (.5, e^-2.25 - 1 = -.89460078)
    # Q = .5 * 2 - .89460078 * 3 + .75
    assert mixer(torch.tensor([[2.0, -1.0]]), inputs).q_tot.item() == pytest.approx(-0.93380235, abs=1e-6)


def values(controller, batch):
    data = controller.prepare(batch)
    return data.unpack(controller.unroll(data).q[0])


@pytest.mark.parametrize("kind", ["entity", "flat"])
@pytest.mark.parametrize("view", ["full", "joint"])
def test_what_others_know_of_themselves_is_seen_in_the_joint_view_alone(kind, view):
    spec = batches.make_spec()
    batch = batches.random_batch(spec)
    batch.entity_mask[:, :, : spec.agents] |= batch.entity_mask[:, :, :1]
    torch.manual_seed(0)
    controller = batches.make_controller(spec, kind, view=view)
    before = values(controller, batch)
    batch.private[:, :, 1] += 1.0
    changed = (values(controller, batch) - before).abs().amax(dim=-1)[batch.entity_mask[:, :, 0]]
    assert (changed[:, 1] > 0).float().mean() > 0.9
    assert bool((changed[:, 0] > 0).float().mean() > 0.9) == (view == "joint")
    assert view == "joint" or not changed[:, 0].any()


@pytest.mark.parametrize("kind", ["entity", "flat"])
def test_without_memory_the_past_does_not_matter(kind):
    spec = batches.make_spec()
    batch = batches.random_batch(spec)
    pasts = []
    for recurrent in (True, False):
        torch.manual_seed(0)
        controller = batches.make_controller(spec, kind, recurrent=recurrent)
        before = values(controller, batch)[:, 1:]
        batch.entities[:, 0] += batch.entity_mask[:, 0, :, None]
        pasts.append(bool((values(controller, batch)[:, 1:] != before).any()))
    assert pasts == [True, False]


def test_agents_in_fixed_slots_know_entities_by_their_slots():
    spec = batches.make_spec(private=0)
    batch = batches.random_batch(spec)
    batch.obs_mask[:] = batch.entity_mask[:, :, None] & batch.entity_mask[:, :, : spec.agents, None]
    swapped, layout = batches.permuted(batch, spec)
    torch.manual_seed(0)
    flat = batches.make_controller(spec, "flat")
    own = values(flat, batch)
    assert not torch.allclose(values(flat, swapped)[:, :, layout.agents], own, atol=1e-3)

"""Mixers: by hand, monotone, and deaf to absent agents."""

import batches
import pytest
import torch
from torch import nn

from modules.mixers import REGISTRY
from modules.mixers.base import Imagined, Mixer, MixerInputs, MixerSizes

#: every mixer that is registered comes under these tests
NAMES = [name for name, entry in REGISTRY.items() if entry is not None]


@pytest.fixture
def inputs():
    spec = batches.make_spec(private=0)
    batch = batches.random_batch(spec)
    entity_mask = batch.entity_mask.flatten(0, 1)
    return spec, MixerInputs(torch.randn(*entity_mask.shape, spec.features + spec.actions), entity_mask)


def test_registry():
    assert {"flex_qmix", "linear", "vdn"} <= set(NAMES)
    assert all(issubclass(REGISTRY[name], Mixer) for name in NAMES)
    assert set(REGISTRY) - set(NAMES) == {"none"}


def test_vdn_by_hand():
    entity_mask = torch.tensor([[True, True, False, True]])
    mixer = batches.make_mixer("vdn", batches.make_spec(private=0))
    q = torch.tensor([[1.5, -4.0, 100.0]])
    inputs = MixerInputs(torch.zeros(1, 4, 9), entity_mask)
    imagined = Imagined(torch.tensor([[1.0, 2.0, 50.0, 3.0, 4.0, 50.0]]), (torch.zeros(1, 3, 4).bool(),) * 2)
    mixed = mixer(q, inputs, imagined)
    assert mixed.q_tot.item() == -2.5
    assert mixed.imagined.item() == 10.0


def test_flexible_mixer_by_hand():
    """Two agents, one of them absent, two hidden units, hyper-networks with constant output: ELU(q w1 + b1) w + V."""
    spec = batches.make_spec(agents=2, others=1, features=1, private=0, actions=1)
    mixer = batches.make_mixer("flex_qmix", spec)
    for net, bias in (
        (mixer.w1, [0.0, 1.0]),
        (mixer.b1, [0.5, -6.0]),
        (mixer.w_final, [2.0, 0.0]),
        (mixer.v, [3.0, 5.0]),
    ):
        net.final = nn.Linear(batches.EMBED, 2)
        nn.init.zeros_(net.final.weight)
        net.final.bias.data = torch.tensor(bias)
    q = torch.tensor([[2.0, 99.0]])
    inputs = MixerInputs(torch.randn(1, 3, 2), torch.tensor([[True, False, True]]))
    # softmax([0, 1]) = (.26894142, .73105858); softmax([2, 0]) = (.88079708, .11920292); V = (3 + 5) / 2
    # hidden = ELU(2 * .26894142 + .5, 2 * .73105858 - 6) = (1.03788284, e^-4.53788284 - 1 = -.98930392)
    # Q = 1.03788284 * .88079708 - .98930392 * .11920292 + 4
    assert mixer(q, inputs).q_tot.item() == pytest.approx(4.796236, abs=1e-5)


def test_the_flexible_mixer_starts_near_a_sum(inputs):
    """Every value counts for about (3 / 4) (3 / 4) in `Q_tot`; an even mixture would make it 1 / 32."""
    torch.manual_seed(0)
    mixer = REGISTRY["flex_qmix"](MixerSizes(inputs[1].entities.shape[-1], heads=2, hypernet=32, embed=32))
    present = inputs[1].entity_mask[:, : inputs[0].agents]
    q = torch.rand(present.shape, requires_grad=True)
    mixer(q, inputs[1]).q_tot.sum().backward()
    assert q.grad[present].mean().item() == pytest.approx(0.5625, abs=0.15)
    assert q.grad[present].min() > 0.2


def constant(net, bias):
    """Let a hyper-network give `bias` whatever it reads."""
    net.final = nn.Linear(batches.EMBED, len(bias))
    nn.init.zeros_(net.final.weight)
    net.final.bias.data = torch.tensor(bias)


def test_linear_mixers_by_hand():
    """Values 2 and -3, and an absent agent's."""
    spec = batches.make_spec(agents=3, others=1, features=1, private=0, actions=1)
    inputs = MixerInputs(torch.randn(1, 4, 2), torch.tensor([[True, False, True, True]]))
    q = torch.tensor([[2.0, 99.0, -3.0]])
    flexible = batches.make_mixer("linear", spec)
    biases = {"w1": [0.0, 1.0], "b1": [0.5, -6.0], "w_final": [2.0, 0.0], "v": [3.0, 5.0]}
    for name, bias in biases.items():
        constant(getattr(flexible, name), bias)
    # as for the flexible mixer, with the sum -1: (-.26894142 + .5) * .88079708 + (-.73105858 - 6) * .11920292 + 4
    assert flexible(q, inputs).q_tot.item() == pytest.approx(3.401158, abs=1e-5)
    weighted = batches.make_mixer("linear_abs", spec), batches.make_mixer("linear_softmax", spec)
    for mixer in weighted:
        constant(mixer.weight, [-0.5, -1.5])  # mean -1 for each
        constant(mixer.bias, [10.0, 20.0])
    assert weighted[0](q, inputs).q_tot.item() == pytest.approx(-1.0 + 15.0)
    assert weighted[1](q, inputs).q_tot.item() == pytest.approx(-0.5 + 15.0)
    # an imagined split: all weights alike, so that one soft-max makes a quarter of each of four
    imagined = Imagined(torch.tensor([[1.0, 99.0, 2.0, 3.0, 99.0, 6.0]]), (torch.ones(1, 3, 4).bool(),) * 2)
    assert weighted[0](q, inputs, imagined).imagined.item() == pytest.approx(12.0 + 15.0)
    assert weighted[1](q, inputs, imagined).imagined.item() == pytest.approx(3.0 + 15.0)


@pytest.mark.parametrize(
    ("name", "at", "slope"),
    [("flex_qmix_even", 1.0, 1 / 8), ("flex_qmix_low", -10.0, 0.002), ("flex_qmix", -10.0, 0.56)],
)
def test_starts_of_the_flexible_mixer(name, at, slope, inputs):
    """How much of a value shows in `Q_tot` where the team's values sum up to `at`."""
    torch.manual_seed(0)
    mixer = batches.make_mixer(name, inputs[0])
    present = inputs[1].entity_mask[:, : inputs[0].agents]
    q = (at / present.sum(dim=1, keepdim=True).clamp(min=1)).expand_as(present).clone().requires_grad_()
    mixed = mixer(q, inputs[1]).q_tot
    mixed.sum().backward()
    assert q.grad[present].mean().item() == pytest.approx(slope, rel=0.35, abs=0.03)
    if name == "flex_qmix":
        assert mixed[present.any(dim=1)].mean().item() == pytest.approx(0.5625 * at, abs=1.5)


@pytest.mark.parametrize("name", NAMES)
def test_monotone_in_every_present_agent(name, inputs):
    spec, state = inputs
    mixer = batches.make_mixer(name, spec)
    q = torch.randn(len(state.entity_mask), spec.agents, requires_grad=True)
    mixer(q, state).q_tot.sum().backward()
    present = state.entity_mask[:, : spec.agents]
    assert (q.grad[present] >= 0).all()
    assert (q.grad[present] > 0).float().mean() > 0.9
    assert (q.grad[~present] == 0).all()


@pytest.mark.parametrize("encoded", [False, True])
def test_mean_is_the_mean_of_the_present_agents_vectors(encoded, inputs):
    spec, state = inputs
    net = batches.make_mixer("flex_qmix", spec, coached=encoded).b1
    encoding = torch.randn(len(state.entity_mask), spec.agents, batches.EMBED) if encoded else None
    flat = state._replace(encoding=encoding)
    present = flat.entity_mask[:, : spec.agents]
    rows = present.any(dim=1)
    vectors = net.per_agent(flat, spec.agents)[0]
    for row in rows.nonzero()[:, 0].tolist():
        want = vectors[row][present[row]].mean(dim=0)
        torch.testing.assert_close(net.mean(flat, spec.agents)[row], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_shapes_are_refused(name, inputs):
    spec, state = inputs
    mixer = batches.make_mixer(name, spec)
    q = torch.zeros(len(state.entity_mask), spec.agents)
    with pytest.raises(ValueError, match="entity_mask"):
        mixer(q[:-1], state)
    with pytest.raises(ValueError, match="entity_mask"):
        mixer(torch.zeros(len(q), spec.entities + 1), state)
    with pytest.raises(ValueError, match="imagined"):
        mixer(q, state, Imagined(q, (state.entity_mask, state.entity_mask)))

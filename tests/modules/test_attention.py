"""Attention against a slow computation of the same, one agent and one head at a time."""

import math

import pytest
import torch

from modules.layers.attention import EntityAttention


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return EntityAttention(in_dim=6, embed_dim=8, out_dim=5, heads=2, query_extra=3)


def slow(layer, x, mask, extra):
    """Row by row, over the visible entities only."""
    rows, agents, entities = mask.shape
    result = torch.zeros(rows, agents, layer.embed_dim)
    width = layer.embed_dim // layer.heads
    for m in range(rows):
        for a in range(agents):
            seen = [e for e in range(entities) if mask[m, a, e]]
            if not seen:
                continue
            query = layer.query(torch.cat([x[m, a], extra[m, a]]) if extra is not None else x[m, a])
            keys, values = layer.key_value(x[m, seen]).chunk(2, dim=-1)
            for h in range(layer.heads):
                part = slice(h * width, (h + 1) * width)
                weights = torch.softmax(keys[:, part] @ query[part] / width**0.5, dim=0)
                result[m, a, part] = weights @ values[:, part]
    return result


def test_weights_are_those_that_attend_sums_up_by(layer):
    x, extra = torch.randn(4, 5, 6), torch.randn(4, 3, 3)
    mask = torch.rand(4, 3, 5) < 0.6
    mask[0, 0] = False  # sees nothing
    weights = layer.weights(x, mask, extra)
    assert weights.shape == (4, 2, 3, 5)
    assert not weights[~mask.unsqueeze(1).expand_as(weights)].any()
    torch.testing.assert_close(weights.sum(-1), mask.any(-1).float().unsqueeze(1).expand(-1, 2, -1))
    values = layer.key_value(x).chunk(2, dim=-1)[1].unflatten(-1, (2, -1))
    seen = torch.einsum("mnae,menw->manw", weights, values).flatten(-2)
    torch.testing.assert_close(seen, slow(layer, x, mask, extra))


def test_attend_and_forward(layer):
    x, extra = torch.randn(4, 5, 6), torch.randn(4, 3, 3)
    masks = tuple(torch.rand(4, 3, 5) < p for p in (0.3, 0.7))
    masks[0][0, 0] = False  # sees nothing
    got = layer.attend(x, masks, extra)
    for k, mask in enumerate(masks):
        torch.testing.assert_close(got[k], slow(layer, x, mask, extra), rtol=1e-4, atol=1e-5)
    assert (got[0, 0, 0] == 0).all()
    torch.testing.assert_close(layer(x, masks, extra)[0, 0, 0], layer.out.bias)


def test_mean_over_present_agents():
    torch.manual_seed(1)
    layer = EntityAttention(in_dim=6, embed_dim=8, out_dim=5, heads=2)
    x = torch.randn(4, 5, 6)
    mask = torch.rand(4, 3, 5) < 0.6
    mask[:, 1] = False  # an absent agent
    mask[3] = False  # nobody there at all
    mask[2, 0, 0] = True
    got = layer.attend_mean(x, mask)
    single = slow(layer, x, mask, None)
    for m in range(4):
        rows = [a for a in range(3) if mask[m, a].any()]
        want = single[m, rows].mean(dim=0) if rows else torch.zeros(8)
        torch.testing.assert_close(got[m], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("beside", [0, 2])
def test_read_out_is_two_layers_one_after_the_other(layer, beside):
    following = torch.nn.Linear(5 + beside, 3)
    seen, extra = torch.randn(2, 4, 3, 8), torch.randn(4, 3, beside)
    got = layer.read_out(seen, following, extra if beside else None)
    out = layer.out(seen)
    want = following(torch.cat([out, extra.expand(2, -1, -1, -1)], dim=-1))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_gradients_are_finite_where_nothing_is_seen(layer):
    x = torch.randn(2, 5, 6, requires_grad=True)
    layer(x, (torch.zeros(2, 3, 5, dtype=torch.bool),), torch.randn(2, 3, 3)).sum().backward()
    assert (x.grad == 0).all()


def test_unseen_entities_have_no_influence(layer):
    x, extra = torch.randn(2, 5, 6), torch.randn(2, 3, 3)
    mask = torch.ones(2, 3, 5, dtype=torch.bool)
    mask[:, :, 4] = False
    changed = x.clone()
    changed[:, 4] = 1e3
    assert torch.equal(layer(x, (mask,), extra), layer(changed, (mask,), extra))


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="multiple of heads"):
        EntityAttention(4, 6, 4, heads=4)


def test_pairs_move_the_logits_by_hand():
    """One head; agent 0 and entity 1 have the only feature, whose weight adds log 3 to a logit of 0."""
    layer = EntityAttention(1, 1, 1, heads=1, pair_features=1)
    with torch.no_grad():
        layer.query.weight.zero_()
        layer.key_value.weight.copy_(torch.tensor([[0.0], [1.0]]))
        layer.out.weight.fill_(1.0)
        layer.pair.fill_(math.log(3))
    x, mask = torch.tensor([[[2.0], [6.0]]]), torch.ones(1, 2, 2, dtype=torch.bool)
    pairs = torch.tensor([[[[0.0], [1.0]], [[0.0], [0.0]]]])
    torch.testing.assert_close(layer(x, (mask,), None, pairs)[0, 0, :, 0], torch.tensor([(2 + 3 * 6) / 4, 4.0]))

"""Gradients written by hand, against differences of values in float64; and fast products against exact ones."""

import pytest
import torch

from modules.layers.gru import recur
from modules.layers.products import linear
from modules.layers.shares import gather, shares


def checked(function, inputs):
    """Gradients by finite differences, far closer than `gradcheck` asks by itself, which lets a thousandth pass."""
    return torch.autograd.gradcheck(function, inputs, atol=1e-6, rtol=1e-5)


def leaves(*shapes):
    """Random float64 tensors that want gradients."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("counts", [[4, 3, 3, 1], [2, 2, 2], [3]])
def test_recurrence(counts):
    inputs = leaves((sum(counts), 9), (counts[0] + 1, 3), (9, 3), (9,))  # one stream more than is ever reached
    assert checked(lambda *tensors: recur(*tensors, counts), inputs)


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3)])
def test_linear(shape):
    assert checked(linear, leaves(shape, (4, 3), (4,)))
    assert checked(linear, leaves(shape, (4, 3)))


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("biased", [False, True])
def test_shares(views, biased):
    rows, heads, agents, entities, width = 2, 2, 3, 5, 4
    masks = tuple(torch.rand(views, rows, agents, entities, generator=torch.Generator().manual_seed(1)) < 0.6)
    masks[0][0, 1] = False  # sees nothing
    query, key, bias = leaves(
        (rows, heads, agents, width), (rows, heads, entities, width), (rows, heads, entities, agents)
    )
    inputs = [query, key, bias] if biased else [query, key]
    assert checked(lambda q, k, *b: shares(q, k, masks, *b), inputs)


def test_gather():
    assert checked(gather, leaves((3, 5, 2), (3, 5, 4)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_are_as_exact_as_their_type(dtype):
    """In whatever library: value and gradients by float64 products of the same numbers."""
    exact = [part.detach().to(dtype).double().requires_grad_() for part in leaves((6, 40, 30), (20, 30), (20,))]
    parts = [part.detach().to(dtype).requires_grad_() for part in exact]
    results = []
    for x, weight, bias in (exact, parts):
        result = linear(x, weight, bias)
        result.sum().backward()
        results.append([result, x.grad, weight.grad, bias.grad])
    for want, got in zip(*results, strict=True):
        torch.testing.assert_close(got, want.to(dtype), rtol=2e-5 if dtype == torch.float32 else 2e-2, atol=1e-4)

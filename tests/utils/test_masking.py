"""Masked functions, recomputed by hand; what is masked out may hold anything."""

import math

import pytest
import torch

from utils.masking import (
    ILLEGAL,
    fill_illegal,
    full_view,
    joined,
    lowest_legal,
    masked_argmax,
    masked_log_softmax,
    masked_max,
    masked_mean,
    masked_softmax,
    weighted_mean,
)

NAN, INF = math.nan, math.inf
MASK = torch.tensor([[True, False, True], [False, True, False], [False, False, False]])


@pytest.fixture(params=[9.0, NAN, INF, -INF], ids=str)
def junk(request: pytest.FixtureRequest) -> float:
    """What stands where the mask is False."""
    return request.param


def test_fill_illegal(junk: float) -> None:
    values = torch.tensor([[1.0, junk, -2.0], [junk, 3.0, junk], [junk, junk, junk]])
    assert fill_illegal(values, MASK).tolist() == [[1, ILLEGAL, -2], [ILLEGAL, 3, ILLEGAL], [ILLEGAL] * 3]


def test_the_fill_survives_half_precision() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        filled = fill_illegal(torch.zeros(1, dtype=dtype), torch.tensor([False]))
        assert filled.isfinite().all()
        assert filled.item() == pytest.approx(ILLEGAL, rel=0.01)


def test_masked_argmax(junk: float) -> None:
    values = torch.tensor([[-1.0, junk, -2.0], [junk, -3.0, junk], [junk, junk, junk]])
    assert masked_argmax(values, MASK).tolist() == [0, 1, 0]
    values = torch.tensor([[-2.0, junk, -1.0], [junk, -3.0, junk], [junk, junk, junk]])
    assert masked_argmax(values, MASK).tolist() == [2, 1, 0]


def test_masked_max(junk: float) -> None:
    values = torch.tensor([[-2.0, junk, -1.0], [junk, -3.0, junk], [junk, junk, junk]])
    assert masked_max(values, MASK).tolist() == [-1, -3, 0]


def test_lowest_legal() -> None:
    assert lowest_legal(MASK).tolist() == [0, 1, 0]
    assert lowest_legal(MASK[:, 1:]).tolist() == [1, 0, 0]


def test_weighted_mean(junk: float) -> None:
    values, weights = torch.tensor([2.0, junk, -4.0]), torch.tensor([0.5, 0.0, 0.25])
    assert weighted_mean(values, weights).item() == 0
    assert weighted_mean(values[:2], weights[:2]).item() == 2
    assert weighted_mean(values, torch.zeros(3)).item() == 0


def test_masked_softmax(junk: float) -> None:
    logits = torch.tensor([[0.0, junk, math.log(3)], [junk, 5.0, junk], [junk, junk, junk]])
    expected = torch.tensor([[0.25, 0, 0.75], [0, 1, 0], [0, 0, 0]])
    got = masked_softmax(logits, MASK)
    torch.testing.assert_close(got, expected)
    assert (got[~MASK] == 0).all()


def test_masked_log_softmax(junk: float) -> None:
    logits = torch.tensor([[0.0, junk, math.log(3)], [junk, 5.0, junk], [junk, junk, junk]], requires_grad=True)
    expected = torch.tensor([[math.log(0.25), 0, math.log(0.75)], [0, 0, 0], [0, 0, 0]])
    got = masked_log_softmax(logits, MASK)
    torch.testing.assert_close(got, expected)
    assert (got[~MASK] == 0).all()
    got.sum().backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.tensor([[0.5, 0, -0.5], [0, 0, 0], [0, 0, 0]]))


def test_masked_softmax_of_nothing_has_zero_gradient() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    masked_softmax(logits, torch.zeros(1, 3, dtype=torch.bool)).sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0, 0, 0]]


def test_masked_mean(junk: float) -> None:
    values = torch.tensor([[1.0, junk, 4.0], [junk, 6.0, junk], [junk, junk, junk]])
    assert masked_mean(values, MASK).item() == pytest.approx(11 / 3)
    assert masked_mean(values, MASK, dim=1).tolist() == [2.5, 6, 0]
    assert masked_mean(values, MASK, dim=0).tolist() == [1, 6, 4]
    assert masked_mean(values[None], MASK[None], dim=(1, 2)).tolist() == pytest.approx([11 / 3])
    assert masked_mean(values, torch.zeros_like(MASK)).item() == 0


def test_masked_mean_passes_no_gradient_to_what_is_absent() -> None:
    values = torch.tensor([2.0, NAN], requires_grad=True)
    masked_mean(values * 3, torch.tensor([True, False])).backward()
    assert values.grad is not None
    assert values.grad.tolist() == [3, 0]


def test_full_view() -> None:
    entity_mask = torch.tensor([[True, False, True], [False, False, False]])
    view = full_view(entity_mask, agents=2)
    assert view.tolist() == [[[True, False, True], [False] * 3], [[False] * 3] * 2]


def test_joined() -> None:
    # two agents over five steps: one leaves and comes back, one comes later and stays
    agent_mask = torch.tensor([[[1, 0], [1, 0], [0, 1], [1, 1], [1, 1]]]).bool()
    assert joined(agent_mask).int().tolist() == [[[0, 0], [0, 0], [0, 1], [1, 0], [0, 0]]]

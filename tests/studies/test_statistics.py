"""Means over seeds and their intervals."""

import math

import pytest

from studies.statistics import Summary, summarise, t_quantile


def test_three_values_by_hand():
    found = summarise([1.0, 2.0, 6.0])
    std = math.sqrt((2**2 + 1**2 + 3**2) / 2)
    half = 4.3027 * std / math.sqrt(3)
    assert (found.n, found.mean, found.median, found.std) == (3, 3.0, 2.0, pytest.approx(std))
    assert (found.low, found.high) == (pytest.approx(3 - half), pytest.approx(3 + half))


def test_one_value_has_no_deviation():
    assert summarise([2.5]) == Summary(1, 2.5, 2.5)
    assert summarise([]) is None


@pytest.mark.parametrize("freedom", [*range(1, 32), 100])
def test_quantiles_leave_a_fortieth_above(freedom):
    # the distribution function by Simpson's rule, with t = sqrt(freedom) tan(angle)
    angle, pieces = math.atan(t_quantile(freedom) / math.sqrt(freedom)), 2000
    weights = [1, *([4, 2] * pieces)[: pieces - 1], 1]
    height = [math.cos(angle * i / pieces) ** (freedom - 1) for i in range(pieces + 1)]
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    area = scale * angle / pieces / 3 * sum(w * h for w, h in zip(weights, height, strict=True))
    assert area == pytest.approx(0.475, abs=1e-5)

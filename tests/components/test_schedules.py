"""Decay recomputed by hand."""

from itertools import pairwise

import pytest

from components.schedules import REGISTRY, ExponentialDecay, LinearDecay


def test_linear() -> None:
    epsilon = LinearDecay(1.0, 0.2, 100)
    assert [epsilon(t) for t in (0, 25, 50, 100, 5000)] == pytest.approx([1.0, 0.8, 0.6, 0.2, 0.2])


def test_exponential() -> None:
    epsilon = ExponentialDecay(1.0, 0.01, 100)
    assert [epsilon(t) for t in (0, 25, 50, 100, 5000)] == pytest.approx([1.0, 10**-0.5, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("name", REGISTRY)
def test_every_decay_keeps_to_its_ends(name: str) -> None:
    epsilon = REGISTRY[name](0.9, 0.05, 1000)
    values = [epsilon(t) for t in range(-10, 1200)]
    assert values[0] == pytest.approx(0.9)
    assert values[-1] == pytest.approx(0.05)
    assert all(one >= other for one, other in pairwise(values))


@pytest.mark.parametrize("name", REGISTRY)
def test_no_time_to_fall_means_the_end_at_once(name: str) -> None:
    assert REGISTRY[name](1.0, 0.05, 0)(0) == pytest.approx(0.05)


@pytest.mark.parametrize("ends", [(1.0, 0.0), (0.0, 0.5), (1.0, -1.0)])
def test_exponential_needs_positive_ends(ends: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="positive ends"):
        ExponentialDecay(*ends, 10)

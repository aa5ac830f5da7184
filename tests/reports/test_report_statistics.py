"""Statistics of few runs: by hand, and beside rliable.

The numbers marked `rliable` are those of rliable 1.2.0 (with arch 7.2.0 and numpy 1.26.4) for `X` and `Y`; its
intervals are of 50,000 resamplings (5,000 for the probability of improvement, 20,000 for the curve).
"""

import itertools

import numpy as np
import pytest

from reports.statistics import (
    improvement_interval,
    interquartile_interval,
    interquartile_mean,
    probability_of_improvement,
    profile,
    profile_interval,
)

#: scores of six and of five runs on two tasks
X = np.array([[0.10, 0.55], [0.35, 0.60], [0.20, 0.95], [0.80, 0.40], [0.65, 0.70], [0.50, 0.15]])
Y = np.array([[0.30, 0.45], [0.05, 0.50], [0.20, 0.60], [0.45, 0.40], [0.25, 0.85]])
LEVELS = np.array([0.0, 0.2, 0.4, 0.6, 0.8])


def pooled(scores):
    """(N, 1), task after task, and the numbers of runs."""
    return scores.T.reshape(-1, 1), [len(scores)] * scores.shape[1]


def column(*values):
    return np.array(values, dtype=float)[:, None]


def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end():
    assert interquartile_mean(column(9, 1, 2, 3, -50, 4, 5, 1000)) == pytest.approx((2 + 3 + 4 + 5) / 4)
    assert interquartile_mean(column(0, 10, 20, 100, 1000)) == pytest.approx((10 + 20 + 100) / 3)  # a quarter of 5: 1
    assert interquartile_mean(column(1, 2, 6)) == pytest.approx(3)  # none of three


def test_each_point_of_a_curve_has_its_own_middle():
    scores = np.array([[0.0, 4.0], [1.0, 3.0], [2.0, 100.0], [3.0, 1.0]])
    assert interquartile_mean(scores).tolist() == [1.5, 3.5]


def test_the_interval_of_two_runs_is_what_their_four_draws_say():
    # the means 0, 1/2, 1/2, 1 are equally likely
    low, high = interquartile_interval(column(0, 1), [2])
    assert (low[0], high[0]) == (0, 1)


def test_the_interval_agrees_with_all_draws():
    scores = [3.0, 1.0, 4.0, 10.0, 6.0]
    means = [sum(sorted(drawn)[1:4]) / 3 for drawn in itertools.product(scores, repeat=5)]
    low, high = interquartile_interval(column(*scores), [5])
    assert np.quantile(means, 0.022) <= low[0] <= np.quantile(means, 0.028)
    assert np.quantile(means, 0.972) <= high[0] <= np.quantile(means, 0.978)


def test_tasks_are_drawn_among_themselves():
    # with one run each, there is nothing to draw; with two on one task, the other task's run is in every draw
    assert interquartile_interval(column(0, 100), [1, 1]) is None
    low, high = interquartile_interval(column(100, 0, 3), [1, 2])
    assert (low[0], high[0]) == pytest.approx((100 / 3, 106 / 3))


def test_the_same_runs_have_the_same_interval():
    assert interquartile_interval(*pooled(X)) == interquartile_interval(*pooled(X))


def test_the_interquartile_mean_is_that_of_rliable():
    assert interquartile_mean(pooled(X)[0])[0] == pytest.approx(0.5083333333333333, abs=1e-12)  # rliable
    assert interquartile_mean(pooled(Y)[0])[0] == pytest.approx(0.39166666666666666, abs=1e-12)  # rliable
    assert interquartile_mean(X[:, :1])[0] == pytest.approx(0.425, abs=1e-12)  # rliable


@pytest.mark.parametrize(
    ("scores", "interval"),
    [(X, (0.30833333333333335, 0.6666666666666666)), (Y, (0.3166666666666667, 0.49166666666666664)),
     (X[:, :1], (0.1875, 0.6875))],
)  # fmt: skip
def test_its_interval_is_that_of_rliable_to_what_resampling_leaves(scores, interval):
    low, high = interquartile_interval(*pooled(scores))
    assert (low[0], high[0]) == pytest.approx(interval, abs=0.012)  # rliable


def test_bands_are_those_of_rliable():
    scores = pooled(X)[0]
    curve = np.concatenate([scores, scores**2, np.sqrt(scores)], axis=1)
    expected = [0.5083333333333333, 0.26958333333333334, 0.708935430718515]  # rliable
    assert interquartile_mean(curve) == pytest.approx(expected, abs=1e-12)
    low, high = interquartile_interval(curve, [6, 6])
    assert low == pytest.approx([0.30833333, 0.11458333, 0.54123481], abs=0.025)  # rliable
    assert high == pytest.approx([0.66666667, 0.4541875, 0.811099], abs=0.025)  # rliable


def test_a_profile_counts_what_is_above():
    assert profile(np.array([1.0, 2.0, 2.0, 4.0]), np.array([0.0, 2.0, 3.0, 4.0])).tolist() == [1, 0.25, 0.25, 0]


def test_profiles_are_those_of_rliable():
    x, y = (pooled(scores)[0][:, 0] for scores in (X, Y))
    assert profile(x, LEVELS) == pytest.approx([1, 0.75, 0.5833333333333334, 1 / 3, 1 / 12], abs=1e-12)  # rliable
    assert profile(y, LEVELS) == pytest.approx([1, 0.8, 0.5, 0.1, 0.1], abs=1e-12)  # rliable
    low, high = profile_interval(x, LEVELS, [6, 6])
    assert low == pytest.approx([1, 0.5, 1 / 3, 1 / 12, 0], abs=1e-9)  # rliable
    assert high == pytest.approx([1, 1, 5 / 6, 7 / 12, 0.25], abs=1e-9)  # rliable
    low, high = profile_interval(y, LEVELS, [5, 5])
    assert low == pytest.approx([1, 0.6, 0.3, 0, 0], abs=1e-9)  # rliable
    assert high == pytest.approx([1, 1, 0.7, 0.3, 0.3], abs=1e-9)  # rliable


def test_an_equal_score_is_half_an_improvement():
    ours, theirs = [np.array([1.0, 2.0])], [np.array([0.0, 1.0, 5.0])]
    # 1 beats 0 and equals 1; 2 beats 0 and 1: 1 + 1/2 + 2 of 6
    assert probability_of_improvement(ours, theirs) == pytest.approx(3.5 / 6)
    assert probability_of_improvement(theirs, ours) == pytest.approx(2.5 / 6)


def test_tasks_weigh_the_same_in_an_improvement():
    ours = [np.array([1.0, 1.0, 1.0]), np.array([0.0])]
    theirs = [np.array([0.0]), np.array([1.0])]
    assert probability_of_improvement(ours, theirs) == pytest.approx(0.5)


def test_improvements_are_those_of_rliable():
    ours, theirs = list(X.T), list(Y.T)
    assert probability_of_improvement(ours, theirs) == pytest.approx(0.625, abs=1e-12)  # rliable
    assert improvement_interval(ours, theirs) == pytest.approx((0.3666666666666667, 0.85), abs=0.012)  # rliable


def test_an_improvement_of_one_run_over_one_has_no_interval():
    assert improvement_interval([np.array([1.0])], [np.array([0.0, 0.5])]) is None

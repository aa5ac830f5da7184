"""Means over seeds and their confidence intervals, medians."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, median, stdev

#: 97.5 % quantiles of Student's t distribution with 1, 2, ... 30 degrees of freedom
_T = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
    2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
)  # fmt: skip


@dataclass(frozen=True)
class Summary:
    """Mean and median of `n` values; their sample deviation (ddof = 1) and the bounds of the mean's 95 % t interval,
    which neither one value alone has nor values of which one is infinite.
    """

    n: int
    mean: float
    median: float
    std: float | None = None
    low: float | None = None
    high: float | None = None


def summarise(values: Sequence[float]) -> Summary | None:
    """The summary of one value per seed; None for no values."""
    n = len(values)
    if n < 2:
        return Summary(n, values[0], values[0]) if n else None
    if math.inf in values:
        return Summary(n, math.inf, median(values))
    mean, std = fmean(values), stdev(values)
    half = t_quantile(n - 1) * std / math.sqrt(n)
    return Summary(n, mean, median(values), std, mean - half, mean + half)


def t_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t distribution with `freedom` >= 1 degrees of freedom."""
    if freedom <= len(_T):
        return _T[freedom - 1]
    z = NormalDist().inv_cdf(0.975)  # and the first terms of the expansion in 1 / freedom, off by less than 1e-4 here
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)

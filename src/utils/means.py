"""Means over a batch of which each rank holds a part.

Ranks hold different numbers of entries that count, so the mean of their means is not the mean. A rank's **share** is
the sum over its own entries by the number of entries of all ranks: shares add up to the mean, and their gradients to
its gradient. With one rank the share is the mean.
"""

import torch
from torch import Tensor

from utils import ranks
from utils.masking import masked_mean, weighted_mean


def share(values: Tensor, mask: Tensor | None = None, dim: int | None = None) -> Tensor:
    """This rank's share of the mean of `values` where `mask` (same shape; None: everywhere) is True, along `dim` (by
    default all axes); 0 where it is True in no rank.
    """
    if mask is not None:
        return masked_mean(values, mask, dim, ranks.total)
    return per(values.sum(), values.numel()) if ranks.several() else values.mean()


def weighted_share(values: Tensor, weights: Tensor) -> Tensor:
    """As `share`, by `weights` (same shape, at least 0)."""
    return weighted_mean(values, weights, ranks.total)


def per(amount: Tensor, count: Tensor | int) -> Tensor:
    """This rank's `amount` by the `count` of all; by 1 where that is 0."""
    if ranks.several():
        count = ranks.total(torch.as_tensor(count, device=amount.device))
    return amount / (count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1))


def mean(values: Tensor) -> Tensor:
    """The mean of all ranks' `values`, without gradient."""
    return ranks.total(share(values))


def variance(values: Tensor) -> Tensor:
    """The variance (of a population: ddof = 0) of all ranks' `values`, without gradient."""
    return mean((values - mean(values)) ** 2) if ranks.several() else values.var(correction=0)

"""Everything that is done with a mask: filling, means, soft-max, arg max, views.

Every mask is bool, True = present / visible / legal / counts. Nothing here divides by a slot count, and a row in
which nothing counts gives zeros by construction, never NaN.
"""

from collections.abc import Callable

import torch
from torch import Tensor

#: The value of what may not be chosen. Finite (so that 0 * ILLEGAL is 0) and inside float16 and bfloat16 range.
ILLEGAL = -6e4


def fill_illegal(values: Tensor, mask: Tensor) -> Tensor:
    """Return `values` with `ILLEGAL` where `mask` (broadcastable) is False."""
    return values.masked_fill(~mask, ILLEGAL)


def masked_argmax(values: Tensor, mask: Tensor) -> Tensor:
    """Index of the largest legal value along the last axis, which goes; 0 where nothing is legal."""
    return fill_illegal(values, mask).argmax(dim=-1)


def masked_max(values: Tensor, mask: Tensor) -> Tensor:
    """Largest legal value along the last axis; 0 where nothing is legal."""
    best = fill_illegal(values, mask).amax(dim=-1)
    return best.masked_fill(~mask.any(dim=-1), 0.0)


def lowest_legal(avail_mask: Tensor) -> Tensor:
    """The lowest legal action, by which an agent does as little as it may: `avail_mask (..., U)` -> int64 `(...)`; 0
    where nothing is legal.
    """
    return avail_mask.long().argmax(dim=-1)


def masked_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Soft-max over the True entries of the last axis; exactly 0 elsewhere, all zeros where no entry is True."""
    return _over_last_axis(torch.softmax, fill_illegal(logits, mask)) * mask


def masked_log_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Logarithm of the soft-max over the True entries of the last axis. Elsewhere, where it would be minus infinity, it
    is 0: what has no probability drops out of sums of logarithms and out of ratios.
    """
    return _over_last_axis(torch.log_softmax, fill_illegal(logits, mask)).masked_fill(~mask, 0.0)


def _over_last_axis(function: Callable[..., Tensor], values: Tensor) -> Tensor:
    """`function` along the last axis, computed along the first: over a short last axis torch's CPU kernels are several
    times slower.
    """
    columns = values.reshape(-1, values.shape[-1]).t().contiguous()
    return function(columns, dim=0).t().reshape(values.shape)


def itself(count: Tensor) -> Tensor:
    """`count` as it is."""
    return count


def masked_mean(
    values: Tensor,
    mask: Tensor,
    dim: int | tuple[int, ...] | None = None,
    counted: Callable[[Tensor], Tensor] = itself,
) -> Tensor:
    """Mean of `values` where `mask` (same shape) is True, along `dim` (by default all axes); 0 where it never is.

    `counted`: how many there are in all, where `values` are a part of them (`utils.means`).
    """
    # masked_fill and not a product: an absent entry may hold anything, inf and NaN included
    kept = values.masked_fill(~mask, 0.0)
    if dim is None:
        return kept.sum() / counted(mask.sum()).clamp(min=1)
    return kept.sum(dim=dim) / counted(mask.sum(dim=dim)).clamp(min=1)


def weighted_mean(values: Tensor, weights: Tensor, counted: Callable[[Tensor], Tensor] = itself) -> Tensor:
    """Mean of `values` by `weights` (same shape, at least 0); where a weight is 0 there may be anything, and where all
    are, the mean is 0. `counted`: as for `masked_mean`.
    """
    kept = values.masked_fill(weights == 0, 0.0) * weights
    total = counted(weights.sum())
    return kept.sum() / torch.where(total > 0, total, 1.0)


def full_view(entity_mask: Tensor, agents: int) -> Tensor:
    """Mask `(..., A, E)` in which every present agent sees every present entity; `entity_mask (..., E)`."""
    return entity_mask[..., :agents, None] & entity_mask[..., None, :]


def joined(agent_mask: Tensor) -> Tensor:
    """Where an agent becomes present: `agent_mask (B, T, A)` -> bool `(B, T, A)`, False at the first step.

    A recurrent state, a strategy or a last action from before that moment belongs to nobody and must be dropped.
    """
    before = torch.cat([agent_mask[:, :1], agent_mask[:, :-1]], dim=1)
    return agent_mask & ~before

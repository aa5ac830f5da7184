"""What attention does between its linear layers: how much of each entity, and the sum of as much of each.

Both are written in the form in which a CPU computes them, and their gradients, fastest: small matrices that stand one
after the other, soft-maxes along an axis that many rows share, masks as numbers.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from utils.masking import ILLEGAL

#: Larger than any logit, and within bfloat16's range.
UNBOUNDED = 3e38


def shares(query: Tensor, key: Tensor, masks: tuple[Tensor, ...], bias: Tensor | None = None) -> Tensor:
    """The soft-max of `key query + bias` over the entities that each agent sees.

    Args:
        query (M, N, A, W), key (M, N, E, W): finite, what is not seen included.
        masks: K bool masks (M, A, E), True = the agent sees the entity.
        bias (M, N, E, A): added to the logits.

    Returns:
        (M, N, E, K, A): exactly 0 for what is not seen, all zeros where nothing is
    """
    seen = torch.stack([mask.transpose(1, 2) for mask in masks]).to(query.dtype)  # (K, M, E, A)
    if torch.compiler.is_exporting():
        return _as_written(query, key, bias, seen)
    weights: Tensor = _Shares.apply(query, key, bias, seen)
    return weights


def gather(weights: Tensor, values: Tensor) -> Tensor:
    """`weights (R, E, Q)`, `values (R, E, W)` -> the sums of values by these weights (R, Q, W)."""
    sums: Tensor = _Gather.apply(weights, values)
    return sums


def _as_written(query: Tensor, key: Tensor, bias: Tensor | None, seen: Tensor) -> Tensor:
    """As `shares`, with nothing written in place and no size taken for a constant, for programs that are exported."""
    logits = torch.matmul(key, query.transpose(-1, -2))
    if bias is not None:
        logits = logits + bias
    parts = []
    for mask in seen.unsqueeze(2):  # (M, 1, E, A)
        parts.append(torch.softmax(torch.minimum(logits, mask * UNBOUNDED + ILLEGAL), dim=2) * mask)
    return torch.stack(parts, dim=3)


class _Shares(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, bias: Tensor | None, seen: Tensor) -> Tensor:
        heads, entities, agents = query.shape[1], key.shape[2], query.shape[2]
        query, key = query.flatten(0, 1), key.flatten(0, 1)
        logits = torch.bmm(key, query.transpose(1, 2)).view(-1, heads, entities, agents)
        if bias is not None:
            logits += bias
        columns = logits.new_empty(len(seen), entities, len(logits), heads, agents)
        for view, most in zip(columns, seen * UNBOUNDED + ILLEGAL, strict=True):
            view.copy_(torch.minimum(logits, most.unsqueeze(1)).permute(2, 0, 1, 3))
        columns = torch.softmax(columns, dim=1)
        counts = seen.permute(1, 2, 0, 3).contiguous().unsqueeze(1)  # (M, 1, E, K, A)
        ctx.save_for_backward(query, key, columns, counts)
        ctx.biased = bias is not None
        return columns.permute(2, 3, 1, 0, 4).contiguous().mul_(counts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        query, key, columns, counts = ctx.saved_tensors
        grad = (grad * counts).permute(3, 2, 0, 1, 4).contiguous()
        grad = torch._softmax_backward_data(grad, columns, 1, columns.dtype)
        grad = (grad[0] if len(grad) == 1 else grad.sum(dim=0)).permute(1, 2, 0, 3).contiguous()  # (M, N, E, A)
        logits, heads = grad.flatten(0, 1), (-1, grad.shape[1])
        return (
            torch.bmm(logits.transpose(1, 2), key).unflatten(0, heads),
            torch.bmm(logits, query).unflatten(0, heads),
            grad if ctx.biased else None,
            None,
        )


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, values: Tensor) -> Tensor:
        ctx.save_for_backward(weights, values)
        return torch.bmm(weights.transpose(1, 2), values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        weights, values = ctx.saved_tensors
        return torch.bmm(values, grad.transpose(1, 2)), torch.bmm(weights, grad)

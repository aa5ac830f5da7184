"""The matrix products of linear layers, by the fastest routine at hand, with their gradients."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

#: whether this torch has oneDNN's routine
ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x (..., I)`, `weight (O, I)`, `bias (O,)` -> (..., O), as `torch.nn.functional.linear`; in autocast's type."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        result: Tensor = _Linear.apply(x, weight, bias)
        return result
    return product(_rows(x), weight, bias).view(*x.shape[:-1], len(weight))


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x (R, I)`, `weight (O, I)`, `bias (O,)` -> (R, O), without gradients and in the type that `x` has.

    oneDNN makes float32 products on a CPU with all that its vectors can do; the library that torch asks first (MKL)
    does so on processors of its own maker alone, and is 2.5 times as slow on others.
    """
    # who compiles or exports this chooses routines of its own
    if ONEDNN and x.dtype == torch.float32 and x.device.type == "cpu" and not torch.compiler.is_compiling():
        result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return result
    return F.linear(x, weight, bias)


class _Linear(torch.autograd.Function):
    """`product`, whose gradients are products, too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        result = product(_rows(x), weight, bias)
        # no view: what follows may write into it
        return torch.ops.aten._unsafe_view(result, (*x.shape[:-1], len(weight)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        rows = _rows(grad)
        return (
            product(rows, weight.t()).view_as(x) if for_x else None,
            rows.t() @ _rows(x) if for_weight else None,  # oneDNN takes 100 times as long for some of these shapes
            rows.sum(dim=0) if for_bias else None,
        )

"""The recurrence of a GRU over streams, forwards and backwards, with nothing in its loops but what has to wait for the
step before.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from modules.layers.products import product


def recur(gates: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor, counts: list[int]) -> Tensor:
    """The states of streams that end one after the other, in which gates stand as `reset, update, new` (those of
    `torch.nn.GRU`).

    Args:
        gates (R, 3H): the inputs' share, position by position; R is the sum of `counts`.
        hidden (S, H): what the streams begin with.
        weight (3H, H), bias (3H,): what makes the state's share.
        counts: how many streams, always the first ones, reach each position; at most S.

    Returns:
        (R, H)
    """
    if torch.is_grad_enabled():
        states: Tensor = _Recurrence.apply(gates, hidden, weight, bias, counts)
        return states
    return _run(gates, hidden, weight, bias, counts)[0]


def _run(
    gates: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor, counts: list[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """States (R, H), reset and update gates (R, 2H), new states (R, H), and what the resets were multiplied by."""
    width = hidden.shape[-1]
    states, news, kept = (gates.new_empty(len(gates), width) for _ in range(3))
    switches = gates.new_empty(len(gates), 2 * width)
    parts = (tensor.split(counts) for tensor in (gates, states, switches, news, kept))
    for of_input, state, switch, new, keep in zip(*parts, strict=True):
        recurrent = product(hidden[: len(of_input)], weight, bias)
        torch.add(of_input[:, : 2 * width], recurrent[:, : 2 * width], out=switch).sigmoid_()
        keep.copy_(recurrent[:, 2 * width :])
        torch.addcmul(of_input[:, 2 * width :], switch[:, :width], keep, out=new).tanh_()
        hidden = torch.lerp(new, hidden[: len(of_input)], switch[:, width:], out=state)
    return states, switches, news, kept


class _Recurrence(torch.autograd.Function):
    """`_run`, whose gradients walk back through time in the same way"""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor, counts: list[int]) -> Tensor:
        states, switches, news, kept = _run(gates, hidden, weight, bias, counts)
        ctx.save_for_backward(hidden, weight, states, switches, news, kept)
        ctx.counts = counts
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        first, weight, states, switches, news, kept = ctx.saved_tensors
        width = weight.shape[1]
        back, carried = weight.t(), torch.zeros_like(first)
        for_gates = grad.new_empty(len(grad), 3 * width)
        # sums over many steps: in bfloat16 the last ones would hardly count
        exact = torch.promote_types(grad.dtype, torch.float32)
        for_weight = torch.zeros(3 * width, width, dtype=exact, device=grad.device)
        for_bias = for_weight.new_zeros(3 * width)
        parts = [tensor.split(ctx.counts) for tensor in (grad, switches, news, kept, for_gates)]
        befores = (first, *states.split(ctx.counts)[:-1])
        for before, part, switch, new, keep, for_gate in reversed(list(zip(befores, *parts, strict=True))):
            before, reset, update = before[: len(part)], switch[:, :width], switch[:, width:]
            at_state = part + carried[: len(part)]
            at_new = torch.ops.aten.tanh_backward(torch.addcmul(at_state, at_state, update, value=-1), new)
            at_switch = torch.cat([at_new * keep, at_state * (before - new)], dim=1)
            at_switch = torch.ops.aten.sigmoid_backward(at_switch, switch)
            torch.cat([at_switch, at_new], dim=1, out=for_gate)
            at_recurrent = torch.cat([at_switch, at_new * reset], dim=1)
            torch.addcmul(product(at_recurrent, back), at_state, update, out=carried[: len(part)])
            for_weight += at_recurrent.t() @ before
            for_bias += at_recurrent.sum(dim=0)
        return for_gates, carried, for_weight.to(grad.dtype), for_bias.to(grad.dtype), None

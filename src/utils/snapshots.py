"""Copies of tensors that others go on working with."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def snapshot(state: Any) -> Any:
    """`state`, of tensors and plain values in mappings, with copies of the tensors on the CPU."""
    if isinstance(state, Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, Mapping):
        return {name: snapshot(value) for name, value in state.items()}
    return state


def restored(saved: Tensor, now: Tensor) -> Tensor:
    """A copy of `saved` that can take the place of `now`.

    Raises:
        ValueError: it is of another shape or type.
    """
    if saved.shape != now.shape or saved.dtype != now.dtype:
        was, here = (f"{value.dtype} {tuple(value.shape)}" for value in (saved, now))
        raise ValueError(f"saved was {was}, here is {here}")
    return saved.to(now.device, copy=True)

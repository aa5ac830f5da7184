"""Layers with weights of their own for every slot, which only teams in the same slots can use."""

import torch
from torch import Tensor, nn


class SlotLinear(nn.Module):
    """A linear layer on all rows of a step at once, laid end to end: absent or unseen ones are zeros, and a further
    input per slot says which are there.
    """

    def __init__(self, slots: int, inputs: int, outputs: int) -> None:
        """`slots`: E, or A; `inputs`: width of a row."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(slots, inputs + 1, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        # as `scaled_linear` with a ReLU behind it, on that many inputs
        nn.init.uniform_(self.weight, -1, 1)
        with torch.no_grad():
            self.weight.mul_((6 / (slots * (inputs + 1))) ** 0.5)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """
        Args:
            rows (M, E, I): shared by all that look at them.
            mask (..., M, A, E): which of them each one reads.

        Returns:
            (..., M, A, outputs)
        """
        slots, width = self.weight.shape[0], self.weight.shape[1] - 1
        if rows.shape[-2:] != (slots, width):
            raise ValueError(f"this layer reads {slots} slots of width {width}, got {tuple(rows.shape[-2:])}")
        if mask.shape[-2] == 1 or bool((mask == mask[..., :1, :]).all()):  # all agents read the same, once
            there = mask[..., 0, :, None].to(rows.dtype)
            flat = torch.cat([rows * there, there], dim=-1).flatten(-2) @ self.weight.flatten(0, 1) + self.bias
            return flat.unsqueeze(-2).expand(*mask.shape[:-1], -1)
        # each slot's part is computed once, whoever reads it
        parts = torch.einsum("mei,eih->meh", rows, self.weight[:, :-1]) + self.weight[:, -1]
        return torch.matmul(mask.to(parts.dtype), parts) + self.bias

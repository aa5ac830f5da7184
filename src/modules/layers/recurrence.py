"""A GRU over whole sequences whose state can start anew in mid-sequence."""

import torch
from torch import Tensor, nn


class ResettingGRU(nn.Module):
    """`nn.GRU` over (T, R, I) with a per-row reset: an agent that joins starts from zero.

    A run of steps without any reset goes through the fused kernel in one call; only steps at which some row resets
    split the sequence, so that teams of constant make-up pay nothing.
    """

    def __init__(self, in_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        self.gru = nn.GRU(in_dim, hidden_dim)

    def forward(self, x: Tensor, hidden: Tensor, reset: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            x (T, R, I): inputs.
            hidden (R, H): state before the first step.
            reset (T, R): bool, True where the state is zeroed before that step.

        Returns:
            outputs (T, R, H) and the last state (R, H).
        """
        starts = [0, *(int(t) for t in reset.any(dim=1).nonzero()[:, 0] if t > 0), len(x)]
        outputs = []
        for start, stop in zip(starts[:-1], starts[1:], strict=True):
            if bool(reset[start].any()):
                hidden = hidden * ~reset[start].unsqueeze(-1)
            out, last = self.gru(x[start:stop], hidden.unsqueeze(0))
            hidden = last[0]
            outputs.append(out)
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs), hidden

"""The scale of returns, followed while it grows with the policy (MAPPO, section 5.1)."""

import torch
from torch import Tensor, nn

from utils.means import mean


class ValueNorm(nn.Module):
    """Running mean and standard deviation of the returns, saved with the critic.

    Exponential averages of `x` and `x**2`, one step per update, each divided by the weight that has come together so
    far: the first update alone gives exactly its own mean and deviation.
    """

    mean_sum: Tensor
    square_sum: Tensor
    weight: Tensor

    def __init__(self, decay: float = 0.99) -> None:
        """`decay`: what an update leaves of the old averages."""
        super().__init__()
        self.decay = decay
        for name in ("mean_sum", "square_sum", "weight"):
            # double: the variance is a small difference of large numbers
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))

    @property
    def mean(self) -> Tensor:
        """Scalar; 0 before the first update."""
        return self.mean_sum / self.weight.clamp(min=1e-12)

    @property
    def std(self) -> Tensor:
        """Scalar; 1 before the first update, never 0."""
        variance = self.square_sum / self.weight.clamp(min=1e-12) - self.mean**2
        return torch.where(self.weight > 0, variance.clamp(min=1e-8).sqrt(), 1.0)

    @torch.no_grad()
    def update(self, returns: Tensor) -> None:
        """Take in `returns (S,)`, all of them of steps that were really played, and those of all other ranks."""
        returns = returns.double()
        self.mean_sum.lerp_(mean(returns), 1.0 - self.decay)
        self.square_sum.lerp_(mean(returns**2), 1.0 - self.decay)
        self.weight.lerp_(torch.ones_like(self.weight), 1.0 - self.decay)

    def normalise(self, returns: Tensor) -> Tensor:
        """Returns in units of their deviation from their mean; same shape and type."""
        return ((returns - self.mean) / self.std).to(returns.dtype)

    def denormalise(self, values: Tensor) -> Tensor:
        """The inverse of `normalise`."""
        return (values * self.std + self.mean).to(values.dtype)

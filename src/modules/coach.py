"""COPA's coach and its variational posterior (section 3 and appendix A)."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from modules.layers.attention import EntityAttention
from modules.layers.linear import Linear, scaled_linear

LOG_TWO_PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class CoachSizes:
    """Widths of the coach and of the posterior."""

    #: I + P
    inputs: int
    #: width of embedding and attention, and of the encoding
    embed: int
    #: N
    heads: int
    #: Z
    strategy: int


class Gaussian(NamedTuple):
    """Diagonal Gaussians over the last axis."""

    mean: Tensor
    #: clamped to [-10, 0] by whoever makes it: the variance is at most 1
    log_variance: Tensor

    def sample(self, generator: torch.Generator | None) -> Tensor:
        """Re-parameterised: gradients reach mean and variance."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        return self.mean + noise * torch.exp(0.5 * self.log_variance)

    def log_density(self, z: Tensor) -> Tensor:
        """Log-density of each coordinate of `z`."""
        squared = (z - self.mean) ** 2 * torch.exp(-self.log_variance)
        return -0.5 * (squared + self.log_variance + LOG_TWO_PI)

    def entropy(self) -> Tensor:
        """Entropy of each coordinate."""
        return 0.5 * (1.0 + self.log_variance + LOG_TWO_PI)


class GaussianHead(nn.Module):
    """Linear mean and log-variance."""

    def __init__(self, in_dim: int, out_dim: int, hidden: bool = False) -> None:
        super().__init__()

        def branch() -> nn.Module:
            if not hidden:
                return Linear(in_dim, out_dim)
            return nn.Sequential(Linear(in_dim, in_dim), nn.ReLU(), Linear(in_dim, out_dim))

        self.mean, self.log_variance = branch(), branch()

    def forward(self, x: Tensor) -> Gaussian:
        return Gaussian(self.mean(x), self.log_variance(x).clamp(-10.0, 0.0))


class Coach(nn.Module):
    """Sees every present entity and turns the state into one encoding and one strategy per agent."""

    def __init__(self, sizes: CoachSizes) -> None:
        super().__init__()
        self.embed = scaled_linear(sizes.inputs, sizes.embed, relu=True)
        self.attention = EntityAttention(sizes.embed, sizes.embed, sizes.embed, sizes.heads)
        self.head = GaussianHead(sizes.embed, sizes.strategy)

    def encode(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """
        Args:
            inputs (M, E, I + P): from a reader, private features included.
            mask (M, A, E): who is present, `full_view`.

        Returns:
            (M, A, embed)
        """
        encoding: Tensor = self.attention(torch.relu_(self.embed(inputs)), (mask,))[0]
        return encoding

    def strategies(self, encoding: Tensor) -> Gaussian:
        """`encoding (..., A, embed)` -> the distribution of each agent's strategy (..., A, Z)."""
        gaussian: Gaussian = self.head(encoding)
        return gaussian


class Posterior(nn.Module):
    """`q_xi(z | one step)`: what the strategy was, judged from one observation and the action that followed."""

    def __init__(self, sizes: CoachSizes, outputs: int, pair_features: int = 0) -> None:
        """
        Args:
            outputs: W, actions as networks know them.
            pair_features: 1 where actions point and W does not say at whom; else 0.
        """
        super().__init__()
        self.embed = scaled_linear(sizes.inputs + outputs, sizes.embed, relu=True)
        self.attention = EntityAttention(
            sizes.embed, sizes.embed, sizes.embed, sizes.heads, pair_features=pair_features
        )
        self.head = GaussianHead(sizes.embed, sizes.strategy, hidden=True)

    def forward(self, inputs: Tensor, mask: Tensor, pairs: Tensor | None = None) -> Gaussian:
        """
        Args:
            inputs (M, E, I + P + W): rows with the chosen action appended to those of the agents.
            mask (M, A, E): what each agent looks at.
            pairs (M, A, E, pair_features): at whom the chosen action points.

        Returns:
            a distribution over strategies (M, A, Z)
        """
        embedded = torch.relu_(self.embed(inputs))
        gaussian: Gaussian = self.head(self.attention(embedded, (mask,), None, pairs)[0])
        return gaussian

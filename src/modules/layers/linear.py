"""Linear layers that keep the size of what passes through them, and what normalises it."""

from torch import Tensor, nn

from modules.layers.products import linear


class Linear(nn.Linear):
    """`nn.Linear` by this project's products."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def scaled_linear(in_dim: int, out_dim: int, *, relu: bool = False, bias: bool = True) -> Linear:
    """A linear layer whose results vary as much as what it reads (He et al., 2015, section 2.2), from a zero bias.

    torch's own initialisation takes a factor of 1.7 (2.4 with a ReLU) at every layer. Behind the layers of an entity
    agent little is left but the biases, its first values hardly depend on what it sees, and attention starts out as a
    plain mean: its logits are products of two such shrunken vectors.

    Args:
        relu: a ReLU follows.
    """
    layer = Linear(in_dim, out_dim, bias=bias)
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu" if relu else "linear")
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def normalised(width: int, norm: bool) -> nn.Module:
    """What stands between a linear layer and its ReLU: layer normalisation (Ba et al., 2016), of each row by itself, or
    nothing.
    """
    return nn.LayerNorm(width) if norm else nn.Identity()

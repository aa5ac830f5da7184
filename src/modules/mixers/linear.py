"""Linear mixers: three readings of `Q_tot = sum_a w_a(s) Q_a + b(s)` with `w_a >= 0` (MIPI, section 4).

The paper says that weights come from attention and not how they are made of it; docs/mipi.md compares the readings.
"""

import torch
from torch import Tensor

from modules.mixers.base import HyperNet, Imagined, Mixer, MixerInputs, MixerSizes
from modules.mixers.flex_qmix import FlexMixer
from utils.masking import masked_softmax


class LinearMixer(FlexMixer):
    """The flexible mixer without its non-linearity, `Q_tot = (q w1 + b1) w_final + V` (MIPI, appendix B.2): an agent's
    weight is the product of its soft-max over hidden units with that of the team, between 0 and 1.
    """

    RAISED_BY = 0.0  # nothing is flat here

    def activate(self, hidden: Tensor) -> Tensor:
        return hidden


class WeightedMixer(Mixer):
    """`Q_tot = sum_a w_a Q_a + b` with one hyper-network for `w` and one for `b`; subclasses say how `w` is made."""

    def __init__(self, sizes: MixerSizes) -> None:
        super().__init__(sizes)
        self.weight = HyperNet(sizes)
        self.bias = HyperNet(sizes)

    def mix(self, q: Tensor, inputs: MixerInputs, imagined: Imagined | None) -> tuple[Tensor, Tensor | None]:
        agents = q.shape[-1]
        masks = () if imagined is None else imagined.masks
        raw = self.weight.per_agent(inputs, agents, masks).mean(dim=-1)  # (1 + K, M, A)
        present = inputs.entity_mask[:, :agents]
        bias = self.bias.mean(inputs, agents).mean(dim=-1)
        q_tot = (q * self.weights(raw[0], present)).sum(dim=-1) + bias
        if imagined is None:
            return q_tot, None
        weights = self.weights(torch.cat([raw[1], raw[2]], dim=-1), present.repeat(1, 2))
        return q_tot, (imagined.q * weights).sum(dim=-1) + bias

    def weights(self, raw: Tensor, present: Tensor) -> Tensor:
        """`raw (M, K)`, one of each value that is mixed, and whose agents are `present (M, K)` -> weights (M, K)."""
        raise NotImplementedError


class AbsoluteMixer(WeightedMixer):
    """Weights are absolute values: about 0.03 before anything is learnt, free to become as large as they must."""

    def weights(self, raw: Tensor, present: Tensor) -> Tensor:
        return raw.abs()


class AveragingMixer(WeightedMixer):
    """Weights are a soft-max over present agents (REFIL's code): a mean of values, 1 / n of each at first. The 2n
    values of an imagined split share one soft-max.
    """

    def weights(self, raw: Tensor, present: Tensor) -> Tensor:
        return masked_softmax(raw, present)

"""A linear mixer whose weights come from attention (REFIL's code; MIPI, section 4)."""

import torch
from torch import Tensor

from modules.mixers.base import HyperNet, Imagined, Mixer, MixerInputs, MixerSizes


class LinearMixer(Mixer):
    """`Q_tot = sum_a w_a(s) Q_a + b(s)` with `w_a >= 0`."""

    def __init__(self, sizes: MixerSizes) -> None:
        super().__init__(sizes)
        self.weight = HyperNet(sizes)
        self.bias = HyperNet(sizes)

    def mix(self, q: Tensor, inputs: MixerInputs, imagined: Imagined | None) -> tuple[Tensor, Tensor | None]:
        agents = q.shape[-1]
        masks = () if imagined is None else imagined.masks
        weights = self.weight.per_agent(inputs, agents, masks).mean(dim=-1).abs()  # (1 + K, M, A)
        bias = self.bias.mean(inputs, agents).mean(dim=-1)
        q_tot = (q * weights[0]).sum(dim=-1) + bias
        if imagined is None:
            return q_tot, None
        return q_tot, (imagined.q * torch.cat([weights[1], weights[2]], dim=-1)).sum(dim=-1) + bias

"""The flexible mixer of A-QMIX (COPA, section 2; REFIL, section 3.1)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from modules.mixers.base import HyperNet, Imagined, Mixer, MixerInputs, MixerSizes


class FlexMixer(Mixer):
    """`Q_tot = ELU(q w1 + b1) w_final + V`, monotone in every q, for any number of agents.

    `w1 (A, M)` is a soft-max over the M hidden units; `b1 (M)`, `w_final (M)` and the scalar `V` are means over the
    present agents, so that no value depends on how many slots are empty. An imagined split changes `w1` only.
    """

    def __init__(self, sizes: MixerSizes) -> None:
        super().__init__(sizes)
        self.w1 = HyperNet(sizes)
        self.b1 = HyperNet(sizes)
        self.w_final = HyperNet(sizes)
        self.v = HyperNet(sizes)

    def mix(self, q: Tensor, inputs: MixerInputs, imagined: Imagined | None) -> tuple[Tensor, Tensor | None]:
        agents = q.shape[-1]
        masks = () if imagined is None else imagined.masks
        w1 = torch.softmax(self.w1.per_agent(inputs, agents, masks), dim=-1)  # (1 + K, M, A, embed)
        b1 = self.b1.mean(inputs, agents)
        w_final = torch.softmax(self.w_final.mean(inputs, agents), dim=-1)
        v = self.v.mean(inputs, agents).mean(dim=-1)

        def team_value(values: Tensor, weights: Tensor) -> Tensor:
            hidden = F.elu(torch.matmul(values.unsqueeze(1), weights).squeeze(1) + b1)
            return (hidden * w_final).sum(dim=-1) + v

        q_tot = team_value(q, w1[0])
        if imagined is None:
            return q_tot, None
        return q_tot, team_value(imagined.q, torch.cat([w1[1], w1[2]], dim=1))

"""QMIX's own mixer, on the whole state laid end to end (Rashid et al., 2018, section 4 and appendix)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modules.layers.slots import SlotLinear
from modules.mixers.base import Imagined, Mixer, MixerInputs, MixerSizes


class StateNet(nn.Module):
    """The state in fixed slots -> linear, or linear, ReLU, linear; absent entities are zeros."""

    def __init__(self, sizes: MixerSizes, outputs: int, hidden: int = 0) -> None:
        """`hidden`: units between the two layers; 0: there is one."""
        super().__init__()
        self.read = SlotLinear(sizes.entities, sizes.inputs, hidden or outputs)
        self.final = nn.Linear(hidden, outputs) if hidden else None

    def forward(self, inputs: MixerInputs) -> Tensor:
        """(M, outputs)"""
        read: Tensor = self.read(inputs.entities, inputs.entity_mask[None, :, None])[0, :, 0]
        return read if self.final is None else self.final(F.relu(read))


class QmixMixer(Mixer):
    """`Q_tot = ELU(q |W1| + b1) |w2| + V`, where `W1 (A, M)`, `b1 (M)`, `w2 (M)` and `V` are made from the state.

    It knows of no groups: the two parts of an imagined split get the same weights.
    """

    FIXED_SLOTS = True

    def __init__(self, sizes: MixerSizes) -> None:
        super().__init__(sizes)
        embed, hyper = sizes.embed, sizes.hypernet
        self.w1, self.b1 = StateNet(sizes, sizes.agents * embed, hyper), StateNet(sizes, embed)
        self.w2, self.v = StateNet(sizes, embed, hyper), StateNet(sizes, 1, embed)

    def mix(self, q: Tensor, inputs: MixerInputs, imagined: Imagined | None) -> tuple[Tensor, Tensor | None]:
        w1 = self.w1(inputs).abs().unflatten(-1, (self.sizes.agents, self.sizes.embed))
        b1, w2, v = self.b1(inputs), self.w2(inputs).abs(), self.v(inputs).squeeze(-1)

        def team_value(values: Tensor, weights: Tensor) -> Tensor:
            hidden = F.elu(torch.matmul(values.unsqueeze(1), weights).squeeze(1) + b1)
            return (hidden * w2).sum(dim=-1) + v

        return team_value(q, w1), None if imagined is None else team_value(imagined.q, w1.repeat(1, 2, 1))

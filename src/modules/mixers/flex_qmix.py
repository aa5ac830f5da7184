"""The flexible mixer of A-QMIX (COPA, section 2; REFIL, section 3.1)."""

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from modules.mixers.base import HyperNet, Imagined, Mixer, MixerInputs, MixerSizes

#: What the first hidden unit gets of each soft-max before anything is learnt.
FIRST_SHARE = 0.75


class FlexMixer(Mixer):
    """`Q_tot = ELU(q w1 + b1) w_final + V`, monotone in every q, for any number of agents.

    `w1 (A, M)` is a soft-max over the M hidden units; `b1 (M)`, `w_final (M)` and the scalar `V` are means over the
    present agents, so that no value depends on how many slots are empty. An imagined split changes `w1` only.

    It starts near a sum: both soft-maxes favour the first hidden unit. Were they even, as from a common initialisation,
    `Q_tot` would take 1 / M of every q; the agents would have to learn values M times too large before their choices
    showed in `Q_tot`, while `V`, which knows nothing of choices, learns at once. And it starts so for sums below zero,
    too: the ELU's slope at x < 0 is e^x, so that what agents do would hardly show where returns begin below zero. `b1`
    lifts the first hidden unit by `RAISED_BY`, and `V` takes that back.
    """

    #: how far below zero a sum of values may lie, in hidden units, before the ELU flattens it
    RAISED_BY: ClassVar[float] = 16.0

    def __init__(self, sizes: MixerSizes) -> None:
        super().__init__(sizes)
        self.w1 = HyperNet(sizes)
        self.b1 = HyperNet(sizes)
        self.w_final = HyperNet(sizes)
        self.v = HyperNet(sizes)
        self.start()

    def start(self) -> None:
        """Set the biases that a mixer of this kind begins with."""
        share = 1.0
        if self.sizes.embed > 1:
            share = FIRST_SHARE
            odds = share / (1 - share) * (self.sizes.embed - 1)
            for weights in (self.w1, self.w_final):
                weights.start_at(math.log(odds))
        if self.RAISED_BY > 0:
            self.b1.start_at(self.RAISED_BY)
            with torch.no_grad():
                self.v.final.bias.sub_(share * self.RAISED_BY)

    def activate(self, hidden: Tensor) -> Tensor:
        """What becomes of the hidden units."""
        return F.elu(hidden)

    def mix(self, q: Tensor, inputs: MixerInputs, imagined: Imagined | None) -> tuple[Tensor, Tensor | None]:
        agents = q.shape[-1]
        masks = () if imagined is None else imagined.masks
        w1 = torch.softmax(self.w1.per_agent(inputs, agents, masks), dim=-1)  # (1 + K, M, A, embed)
        b1 = self.b1.mean(inputs, agents)
        w_final = torch.softmax(self.w_final.mean(inputs, agents), dim=-1)
        v = self.v.mean(inputs, agents).mean(dim=-1)

        def team_value(values: Tensor, weights: Tensor) -> Tensor:
            hidden = self.activate(torch.matmul(values.unsqueeze(1), weights).squeeze(1) + b1)
            return (hidden * w_final).sum(dim=-1) + v

        q_tot = team_value(q, w1[0])
        if imagined is None:
            return q_tot, None
        return q_tot, team_value(imagined.q, torch.cat([w1[1], w1[2]], dim=1))


class LowFlexMixer(FlexMixer):
    """The same function from a start near sums above zero alone, as this project had it up to revision 02b876b."""

    RAISED_BY = 0.0


class EvenFlexMixer(FlexMixer):
    """The same function from the public code's start: both soft-maxes about even, 1 / M of every q in `Q_tot`."""

    def start(self) -> None:
        pass

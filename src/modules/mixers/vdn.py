"""VDN: the team value is the sum of its members' (Sunehag et al., 2018)."""

from torch import Tensor

from modules.mixers.base import Imagined, Mixer, MixerInputs


class VDNMixer(Mixer):
    """`Q_tot = sum_a Q_a` over present agents; an imagined split sums both groups' parts."""

    def mix(self, q: Tensor, inputs: MixerInputs, imagined: Imagined | None) -> tuple[Tensor, Tensor | None]:
        return q.sum(dim=-1), None if imagined is None else imagined.q.sum(dim=-1)

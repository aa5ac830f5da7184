"""Mixers: from individual values to the team's. `none` trains every agent on its own value (IQL)."""

from modules.mixers.base import Mixer
from modules.mixers.flex_qmix import EvenFlexMixer, FlexMixer, LowFlexMixer
from modules.mixers.linear import AbsoluteMixer, AveragingMixer, LinearMixer
from modules.mixers.qmix import QmixMixer
from modules.mixers.vdn import VDNMixer

REGISTRY: dict[str, type[Mixer] | None] = {
    "flex_qmix": FlexMixer,
    "flex_qmix_even": EvenFlexMixer,
    "flex_qmix_low": LowFlexMixer,
    "linear": LinearMixer,
    "linear_abs": AbsoluteMixer,
    "linear_softmax": AveragingMixer,
    "qmix": QmixMixer,
    "vdn": VDNMixer,
    "none": None,
}

"""Mixers: from individual values to the team's. `none` trains every agent on its own value (IQL)."""

from modules.mixers.base import Mixer
from modules.mixers.flex_qmix import FlexMixer
from modules.mixers.linear import LinearMixer
from modules.mixers.vdn import VDNMixer

REGISTRY: dict[str, type[Mixer] | None] = {
    "flex_qmix": FlexMixer,
    "linear": LinearMixer,
    "vdn": VDNMixer,
    "none": None,
}

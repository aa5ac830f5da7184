"""What a mixer is: individual values of a team of any size -> the value of the team."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from modules.layers.attention import EntityAttention
from modules.layers.linear import Linear, scaled_linear
from utils.masking import full_view


@dataclass(frozen=True)
class MixerSizes:
    """Widths of a mixer."""

    #: I + P: a row with private features
    inputs: int
    #: N
    heads: int
    #: width of the attention in the hyper-networks
    hypernet: int
    #: hidden units of the mixing network
    embed: int
    #: width of a coach's encoding that replaces the mixer's own attention; 0 for none
    encoding: int = 0
    #: A and E, for mixers with weights for each slot
    agents: int = 0
    entities: int = 0


class MixerInputs(NamedTuple):
    """The state that mixing weights are made from, at M steps."""

    #: (M, E, I + P)
    entities: Tensor
    #: (M, E)
    entity_mask: Tensor
    #: (M, A, C) a coach's encoding of every agent; None without a coach
    encoding: Tensor | None = None


class Imagined(NamedTuple):
    """The individual values of an imagined split, to be mixed with the same weights (REFIL, section 3.2)."""

    #: (M, 2A) values within the agent's own group, then towards the other group
    q: Tensor
    #: two masks (M, A, E): same group, other group; observability plays no part
    masks: tuple[Tensor, Tensor]


class Mixed(NamedTuple):
    """Team values."""

    #: (M,)
    q_tot: Tensor
    #: (M,); None without an imagined split
    imagined: Tensor | None


class Mixer(nn.Module):
    """Checks shapes once and silences absent agents; subclasses implement `mix`."""

    #: as in `EntityController`
    FIXED_SLOTS: ClassVar[bool] = False

    def __init__(self, sizes: MixerSizes) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, q: Tensor, inputs: MixerInputs, imagined: Imagined | None = None) -> Mixed:
        """
        Args:
            q (M, A): individual values; those of absent agents do not matter.
            inputs: the state at the same steps.
            imagined: an imagined split to mix as well.
        """
        steps, agents = q.shape
        if inputs.entity_mask.shape[0] != steps or inputs.entity_mask.shape[1] < agents:
            raise ValueError(f"q is {tuple(q.shape)} but entity_mask is {tuple(inputs.entity_mask.shape)}")
        if imagined is not None and imagined.q.shape != (steps, 2 * agents):
            raise ValueError(f"imagined values must be {(steps, 2 * agents)}, got {tuple(imagined.q.shape)}")
        absent = ~inputs.entity_mask[:, :agents]
        if imagined is not None:
            imagined = imagined._replace(q=imagined.q.masked_fill(absent.repeat(1, 2), 0.0))
        return Mixed(*self.mix(q.masked_fill(absent, 0.0), inputs, imagined))

    def mix(self, q: Tensor, inputs: MixerInputs, imagined: Imagined | None) -> tuple[Tensor, Tensor | None]:
        """The team values (M,) of `q` and of the imagined split."""
        raise NotImplementedError


class HyperNet(nn.Module):
    """Entities or a coach's encoding -> one vector per agent, or their mean over present agents.

    Without an encoding: linear, ReLU, attention over all present entities, linear (A-QMIX). With one: a two-layer
    network on each agent's encoding, since the coach has attended already (COPA, section 3.2).
    """

    def __init__(self, sizes: MixerSizes) -> None:
        super().__init__()
        self.encoded = sizes.encoding > 0
        if self.encoded:
            self.embed = scaled_linear(sizes.encoding, sizes.hypernet, relu=True)
        else:
            self.embed = scaled_linear(sizes.inputs, sizes.hypernet, relu=True)
            self.attention = EntityAttention(sizes.hypernet, sizes.hypernet, sizes.hypernet, sizes.heads)
        self.final = Linear(sizes.hypernet, sizes.embed)

    def start_at(self, value: float) -> None:
        """Let the first entry of the vectors start around `value`."""
        with torch.no_grad():
            self.final.bias[0] = value

    def per_agent(self, inputs: MixerInputs, agents: int, masks: tuple[Tensor, ...] = ()) -> Tensor:
        """Vectors (1 + K, M, A, embed): under the full view, then under each of the K `masks (M, A, E)`."""
        if self.encoded:
            if inputs.encoding is None or masks:
                raise ValueError(
                    "a mixer on a coach's encoding needs that encoding, and has no view of its own to mask"
                )
            out: Tensor = self.final(torch.relu(self.embed(inputs.encoding)))
            return out.unsqueeze(0)
        x = torch.relu_(self.embed(inputs.entities))
        seen = self.attention.attend(x, (full_view(inputs.entity_mask, agents), *masks))
        return self.attention.read_out(seen, self.final)

    def mean(self, inputs: MixerInputs, agents: int) -> Tensor:
        """Mean over present agents under the full view, (M, embed)."""
        if self.encoded:
            present = inputs.entity_mask[:, :agents].unsqueeze(-1)
            vectors = self.per_agent(inputs, agents)[0].masked_fill(~present, 0.0)
            return vectors.sum(dim=1) / present.sum(dim=1).clamp(min=1)
        x = torch.relu_(self.embed(inputs.entities))
        seen = self.attention.attend_mean(x, full_view(inputs.entity_mask, agents))
        return self.attention.read_out(seen, self.final)

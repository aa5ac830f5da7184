"""Random numbers that follow from the number of an episode, so that it runs the same in any batch.

A generator hands out numbers in the order in which they are asked for: what one world draws depends on how many others
there are and on what happens in them. Here each number is a hash of the episode, of what it is for and of the step. It
is computed only where it is needed, from whole numbers only, so a GPU draws what a CPU draws.
"""

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF


def uniform(episode: Tensor, purpose: int, step: Tensor, count: int) -> Tensor:
    """Random numbers in [0, 1).

    Args:
        episode (W,): int64 numbers of the episodes.
        purpose: which of an episode's streams, at least 0.
        step (W,): int64, the place in the stream.
        count: how many numbers.

    Returns:
        (count, W) float32. The first numbers are the same whatever `count` is.
    """
    stream = _hash(_hash(_hash(episode) + step) + purpose)
    index = torch.arange(1, count + 1, device=episode.device)[:, None]
    # the upper 24 of 32 bits, as many as a float32 holds
    return (_hash(stream + index * 0x9E3779B9) >> 8).float() * 2.0**-24


def _hash(value: Tensor) -> Tensor:
    """A permutation of the 32-bit numbers in which every bit of `value` changes about half of the bits.

    Constants: C. Wellons, "Prospecting for Hash Functions" (2018), the two-round one of lowest bias.
    """
    value = value & _WORD
    value = ((value ^ (value >> 16)) * 0x7FEB352D) & _WORD
    value = ((value ^ (value >> 15)) * 0x846CA68B) & _WORD
    return value ^ (value >> 16)

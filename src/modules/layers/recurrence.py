"""What agents remember, over streams: the uninterrupted presence of one agent in one sequence."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from modules.layers.gru import recur
from modules.layers.linear import normalised, scaled_linear
from modules.layers.products import linear


class Streams(NamedTuple):
    """In which order a GRU reads P steps of many agents, some of which come, go or end earlier than others.

    Streams are sorted by length, longest first, so that those that are still running are always the first ones: no
    step is computed for anybody who is absent.
    """

    #: (P,) int64, the steps to read, position by position (all first steps, all second steps, ...)
    order: Tensor
    #: how many streams reach each position
    counts: list[int]
    #: (counts[0], H) the states that the streams start from; None: empty ones
    start: Tensor | None = None


def make_streams(present: Tensor) -> Streams:
    """`present (B, T, A)` bool -> its streams; `order` indexes the flattened (B * T * A) steps."""
    batch, steps, agents = present.shape
    there = present.permute(0, 2, 1)  # (B, A, T): a stream's steps follow each other
    before = F.pad(there, (1, 0))[..., :-1]
    step = torch.arange(steps, device=present.device).expand_as(there)
    starts = there & ~before
    position = step - torch.where(starts, step, 0).cummax(dim=-1).values
    stream = starts.flatten().cumsum(0) - 1
    where = there.flatten().nonzero().squeeze(1)
    stream, position = stream[where], position.flatten()[where]
    lengths = torch.bincount(stream)
    rank = torch.empty_like(lengths)
    rank[lengths.argsort(descending=True, stable=True)] = torch.arange(len(lengths), device=present.device)
    by_position = (position * len(lengths) + rank[stream]).argsort()
    flat = torch.arange(batch * steps * agents, device=present.device).view(batch, steps, agents).permute(0, 2, 1)
    return Streams(flat.flatten()[where[by_position]], torch.bincount(position).tolist())


class StreamGRU(nn.Module):
    """The equations and parameters of `nn.GRU`, one step at a time or over whole streams."""

    def __init__(self, in_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.gru = nn.GRU(in_dim, hidden_dim)
        for name, parameter in self.gru.named_parameters():  # as in `scaled_linear`
            if name.startswith("weight"):
                nn.init.kaiming_uniform_(parameter, nonlinearity="linear")
            else:
                nn.init.zeros_(parameter)

    def _recur(self, inputs: Tensor, hidden: Tensor | None, counts: list[int]) -> Tensor:
        """As `recur`, of `inputs (R, I)`; an empty state by default."""
        of_input, of_state, input_bias, state_bias = self.gru.all_weights[0]
        gates = linear(inputs, of_input, input_bias)
        if hidden is None:
            hidden = gates.new_zeros(max(counts, default=0), self.gru.hidden_size)
        return recur(gates, hidden.to(gates.dtype), of_state.to(gates.dtype), state_bias.to(gates.dtype), counts)

    def _packed(self, inputs: Tensor, hidden: Tensor | None, counts: list[int]) -> Tensor:
        """As `_recur`, by torch's own GRU, which on a GPU is cuDNN's: one call for all steps, where a walk through them
        starts thousands of kernels. In the weights' type, whatever autocast says.
        """
        kind = self.gru.all_weights[0][0].dtype
        with torch.autocast(inputs.device.type, enabled=False):
            self.gru.flatten_parameters()  # a copied network's are no longer side by side
            start = None if hidden is None else hidden.to(kind).unsqueeze(0)
            states, _ = self.gru(PackedSequence(inputs.to(kind), torch.tensor(counts)), start)
        packed: Tensor = states.data
        return packed

    def step(self, x: Tensor, hidden: Tensor) -> Tensor:
        """One step: `x (..., I)`, `hidden (..., H)` -> the next state (..., H)."""
        state = hidden.reshape(-1, hidden.shape[-1])
        if torch.compiler.is_exporting():  # `recur` takes counts for constants, and writes in place
            return torch.gru_cell(x.reshape(state.shape), state, *self.gru.all_weights[0]).view_as(hidden)
        return self._recur(x.reshape(len(state), -1), state, [len(state)]).view_as(hidden)

    def forward(self, x: Tensor, streams: Streams) -> Tensor:
        """
        Args:
            x (K, M, I): inputs of M steps, seen in K ways that do not know of each other.
            streams: how those steps follow each other; `order` indexes M.

        Returns:
            states (K, M, H), zeros at steps that are in no stream
        """
        views, steps, _ = x.shape
        # stream by stream at each position, the ways of seeing it next to each other
        rows = (streams.order.unsqueeze(1) + torch.arange(views, device=x.device) * steps).flatten()
        counts = [count * views for count in streams.counts]
        start = None if streams.start is None else streams.start.repeat_interleave(views, dim=0)
        walk = self._packed if x.is_cuda and counts else self._recur
        states = walk(x.flatten(0, 1).index_select(0, rows), start, counts)
        result = states.new_zeros(views * steps, self.gru.hidden_size)
        return result.index_copy(0, rows, states).view(views, steps, -1)


class NoMemory(nn.Module):
    """A layer in the GRU's place, for agents that decide by what they see now."""

    def __init__(self, in_dim: int, out_dim: int, norm: bool = False) -> None:
        """`norm`: whether the layer is normalised before its ReLU."""
        super().__init__()
        self.layer = scaled_linear(in_dim, out_dim, relu=True)
        self.norm = normalised(out_dim, norm)

    def step(self, x: Tensor, hidden: Tensor) -> Tensor:
        """As `StreamGRU.step`; `hidden` plays no part."""
        return torch.relu(self.norm(self.layer(x)))

    def forward(self, x: Tensor, streams: Streams) -> Tensor:
        """As `StreamGRU.forward`."""
        result = x.new_zeros(*x.shape[:2], self.layer.out_features)
        states = torch.relu(self.norm(self.layer(x.index_select(1, streams.order))))
        return result.to(states.dtype).index_copy(1, streams.order, states)

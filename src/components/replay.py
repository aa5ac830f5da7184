"""Replay memory for sequences of steps. Shape letters: B episodes, T steps, E entities, A agents."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from components.episodes import EpisodeBatch
from envs.base import EnvSpec

#: The fields of an EpisodeBatch that have one entry more than there are steps.
OBSERVED = ("entities", "private", "entity_mask", "obs_mask", "avail_mask")

#: Of more items than these a sample is drawn without writing down all of their numbers.
LARGE = 100_000


def item_layout(
    spec: EnvSpec, steps: int, dtype: torch.dtype, labelled: bool = False
) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """The shape and type of each field of an item of `steps` steps; `dtype` is that of `entities` and `private`."""
    t, a, e, bools, ints = steps, spec.agents, spec.entities, torch.bool, torch.int64
    labels = {"labels": ((t, a), ints)} if labelled else {}
    return {
        "entities": ((t + 1, e, spec.features), dtype),
        "private": ((t + 1, a, spec.private), dtype),
        "entity_mask": ((t + 1, e), bools),
        "obs_mask": ((t + 1, a, e), bools),
        "avail_mask": ((t + 1, a, spec.actions), bools),
        "actions": ((t, a), ints),
        "reward": ((t,), torch.float32),
        "terminated": ((t,), bools),
        "truncated": ((t,), bools),
        "filled_mask": ((t,), bools),
        "start_actions": ((a,), ints),
        **labels,
    }


class ReplayBuffer:
    """A ring of `capacity` sequences; the oldest go first.

    An item is a whole episode, or, where `sequence_length` T is not 0, a piece of T steps (T + 1 observations) that
    starts at a multiple of T; an episode's last piece may be shorter and is padded.

    Memory on the CPU is mapped when it is first written to, so a large capacity costs nothing until it is used, and
    the steps that episodes never reach cost nothing at all.
    """

    def __init__(
        self,
        spec: EnvSpec,
        capacity: int,
        sequence_length: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        labelled: bool = False,
        keep_slots: bool = False,
    ) -> None:
        """
        Args:
            spec: sizes of the environment; whole episodes get room for `spec.episode_limit` steps.
            capacity: number of items kept.
            sequence_length: 0 for whole episodes, else the steps of a piece.
            dtype: float32, or float16 to halve the memory of `entities` and `private`; samples are float32 always.
            device: where items are kept and samples are made.
            labelled: whether items have `EpisodeBatch.labels`.
            keep_slots: whether samples keep the slots that nobody uses.
        """
        if capacity < 1 or sequence_length < 0:
            raise ValueError(f"capacity {capacity} must be positive, sequence_length {sequence_length} not negative")
        self.capacity = capacity
        self.sequence_length = sequence_length
        self.steps = sequence_length or spec.episode_limit
        self.spec, self.keep_slots = spec, keep_slots
        self.device = torch.device(device)
        layout = item_layout(spec, self.steps, dtype, labelled)
        self._data = {name: _zeros((capacity, *shape), kind, self.device) for name, (shape, kind) in layout.items()}
        #: how many steps of each item are really played: what sampling reads and what overwriting has to clear
        self._lengths = torch.zeros(capacity, dtype=torch.int64)
        self._position = 0
        self._size = 0

    def __len__(self) -> int:
        """How many items are kept now."""
        return self._size

    def can_sample(self, n: int) -> bool:
        """Whether `n` different items are there."""
        return self._size >= n

    def insert(self, batch: EpisodeBatch) -> None:
        """Add whole episodes, in the order of the batch, cut into pieces where the buffer keeps pieces.

        Raises:
            ValueError: the episodes have other sizes than the specification, or are longer than an item.
        """
        if self.sequence_length:
            batch = cut(batch, self.sequence_length)
        values = batch.parts()
        self._check_sizes(values)
        lengths = batch.filled_mask.sum(dim=1).cpu()
        if len(lengths) > self.capacity:  # more at once than fits: the latest stay
            values = {name: value[-self.capacity :] for name, value in values.items()}
            lengths = lengths[-self.capacity :]
        new = len(lengths)
        rows = (torch.arange(new) + self._position) % self.capacity
        longest = int(lengths.max())
        stale = int(self._lengths[rows].max())  # what lies behind the new end must read as padding again
        index = rows.to(self.device)
        for name, value in values.items():
            store = self._data[name]
            if name == "start_actions":
                store[index] = value.to(store.device)
                continue
            extra = int(name in OBSERVED)
            end = longest + extra
            store[index, :end] = value[:, :end].to(store.device, store.dtype)
            if stale > longest:
                store[index, end : stale + extra] = 0
        self._lengths[rows] = lengths
        self._position = (self._position + new) % self.capacity
        self._size = min(self._size + new, self.capacity)

    def sample(self, n: int, generator: torch.Generator) -> EpisodeBatch:
        """Draw `n` different items: float32, on the buffer's device, cut to the longest and (but for `keep_slots`) to
        the slots in use.

        Raises:
            ValueError: fewer than `n` items are there.
        """
        if not self.can_sample(n):
            raise ValueError(f"cannot draw {n} different items out of {self._size}")
        rows = draw(self._size, n, generator).cpu()
        steps = max(int(self._lengths[rows].max()), 1)
        index = rows.to(self.device)
        got: dict[str, Tensor] = {}
        for name, store in self._data.items():
            if name == "start_actions":
                got[name] = store[index]
            else:
                got[name] = store[:, : steps + int(name in OBSERVED)].index_select(0, index)
            if got[name].is_floating_point():
                got[name] = got[name].float()
        # memory that was never written says that nothing is legal; padding has action 0, as everywhere
        avail = got["avail_mask"]
        avail[..., 0] |= ~avail.any(dim=-1)
        return EpisodeBatch(**got).trim(self.spec, self.keep_slots)

    def state_dict(self) -> dict[str, Any]:
        """The part in use, as tensors and plain numbers."""
        data = {}
        for name, store in self._data.items():
            used = store[: self._size]
            if name != "start_actions":
                used = used[:, : self._end(name)]
            data[name] = used.clone().cpu()  # a view would be saved with all of its memory
        return {
            "capacity": self.capacity,
            "sequence_length": self.sequence_length,
            "position": self._position,
            "lengths": self._lengths[: self._size].clone(),
            "data": data,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` saved; what was kept before is dropped.

        Raises:
            ValueError: the state comes from a buffer of another size.
        """
        ours = {"capacity": self.capacity, "sequence_length": self.sequence_length}
        theirs = {name: state[name] for name in ours}
        if ours != theirs:
            raise ValueError(f"the saved replay has {theirs}, this one {ours}: keep buffer_size and sequence_length")
        data = state["data"]
        self._check_sizes(data)
        size = len(state["lengths"])
        for name, store in self._data.items():
            if name == "start_actions":
                store[:size] = data[name].to(store.device)
                continue
            end = data[name].shape[1]
            store[: self._size, : self._end(name)] = 0
            store[:size, :end] = data[name].to(store.device, store.dtype)
        self._lengths.zero_()
        self._lengths[:size] = state["lengths"]
        self._position = int(state["position"])
        self._size = size

    def _end(self, name: str) -> int:
        """Up to where any item has written to field `name`, along its time axis."""
        return int(self._lengths.max()) + int(name in OBSERVED)

    def _check_sizes(self, values: Mapping[str, Tensor]) -> None:
        if set(values) != set(self._data):
            raise ValueError(f"items have {', '.join(self._data)}, not {', '.join(values)}")
        for name, value in values.items():
            want = self._data[name].shape
            rest = 1 if name == "start_actions" else 2
            if value.shape[rest:] != want[rest:]:
                raise ValueError(f"{name} {tuple(value.shape)} does not fit items of {tuple(want[1:])}")
        if values["actions"].shape[1] > self.steps and bool(values["filled_mask"][:, self.steps :].any()):
            raise ValueError(f"an episode is longer than the {self.steps} steps that an item has room for")


def draw(size: int, n: int, generator: torch.Generator) -> Tensor:
    """`n` different numbers below `size`, every set of them as likely as any other: int64 (n,)."""
    device = generator.device
    if size <= LARGE or n > size // 2:
        return torch.randperm(size, generator=generator, device=device)[:n]
    rows = torch.randint(size, (n,), generator=generator, device=device).unique()
    while len(rows) < n:  # those that came twice are drawn anew
        more = torch.randint(size, (n - len(rows),), generator=generator, device=device)
        rows = torch.cat([rows, more]).unique()
    return rows


def cut(batch: EpisodeBatch, length: int) -> EpisodeBatch:
    """Cut whole episodes into pieces of `length` steps that start at multiples of it, episode after episode.

    Neighbouring pieces share one observation: the last of one is the first of the next. `start_actions` of a piece
    are the actions of the step before it, -1 for agents that are not present both then and now.
    """
    steps = batch.filled_mask.shape[1]
    pieces = -(-steps // length)
    missing = pieces * length - steps
    starts = torch.arange(pieces, device=batch.filled_mask.device) * length
    episode, piece = (starts < batch.filled_mask.sum(dim=1, keepdim=True)).nonzero(as_tuple=True)  # of those with steps

    def windows(value: Tensor, size: int) -> Tensor:
        """`value (B, T, ...)` -> `(pieces of all episodes, size, ...)`."""
        value = pad(value, [0, 0] * (value.dim() - 2) + [0, missing])
        return value.unfold(1, size, length).movedim(-1, 2)[episode, piece]

    values: dict[str, Tensor] = {}
    for name, value in batch.parts().items():
        if name != "start_actions":
            values[name] = windows(value, length + int(name in OBSERVED))
    avail = values["avail_mask"]
    avail[..., 0] |= ~avail.any(dim=-1)  # the padding added here
    start = torch.cat([batch.start_actions[:, None], batch.last_actions[:, length : pieces * length : length]], dim=1)
    return EpisodeBatch(**values, start_actions=start[episode, piece])


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros; on the CPU from numpy, whose zeros take no memory until they are written to (torch writes them all)."""
    if device.type == "cpu":
        return torch.from_numpy(np.zeros(shape, dtype=torch.zeros((), dtype=dtype).numpy().dtype))
    return torch.zeros(shape, dtype=dtype, device=device)

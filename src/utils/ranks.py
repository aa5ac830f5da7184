"""The processes of one training, which torchrun starts: each of them, a rank, has a share of the work.

A process by itself is the only rank, to which everything here gives back what it was given.
"""

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from utils.errors import RunFailed
from utils.seeding import derive_seed

T = TypeVar("T")

#: How long a rank waits for the others, who may be in the middle of a long test. A rank that dies is noticed at once.
PATIENCE = timedelta(days=7)
#: where ranks leave words for each other, beside what they do together
_store: dist.Store | None = None


def join() -> None:
    """Meet the other ranks, as torchrun's variables say."""
    global _store
    if os.environ["LOCAL_WORLD_SIZE"] == os.environ["WORLD_SIZE"]:  # all on this machine: nothing listens beyond it
        loopback = next(name for _, name in socket.if_nameindex() if name in ("lo", "lo0"))
        for library in ("GLOO", "NCCL"):
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", loopback)
    gpus = torch.cuda.device_count()
    if local_number() < gpus:
        torch.cuda.set_device(local_number())
    _store, number, count = next(iter(dist.rendezvous("env://", timeout=PATIENCE)))
    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
    dist.init_process_group(backend, store=_store, rank=number, world_size=count, timeout=PATIENCE)


def leave() -> None:
    """Part in good order, when all have come to the end."""
    dist.destroy_process_group()


# --- who is there -----------------------------------------------------------------------------------------------------


def several() -> bool:
    """Whether there are others."""
    return dist.is_available() and dist.is_initialized()


def number() -> int:
    """This rank's number, from 0."""
    return dist.get_rank() if several() else 0


def first() -> bool:
    """Whether this is the rank that writes and speaks for all."""
    return number() == 0


def count() -> int:
    """How many ranks there are."""
    return dist.get_world_size() if several() else 1


def local_number() -> int:
    """This rank's number among those on its machine, from 0."""
    return int(os.environ["LOCAL_RANK"])


def local_count() -> int:
    """How many ranks are on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if several() else 1


def own_seed(seed: int) -> int:
    """`seed` for a stream of numbers of which each rank needs another."""
    return seed if first() else derive_seed(seed, "rank", number())


# --- together: every rank calls these, in the same order --------------------------------------------------------------


def total(value: Tensor) -> Tensor:
    """The sum of all ranks' `value`, without gradient."""
    return add_up([value])[0] if several() else value


def add_up(values: Sequence[Tensor]) -> list[Tensor]:
    """The sums of all ranks' `values`, in one message, without gradients."""
    if not several():
        return list(values)
    flat = torch.cat([value.detach().reshape(-1) for value in values])
    with _in_company():
        dist.all_reduce(flat)
    parts = flat.split([value.numel() for value in values])
    return [part.view_as(value).to(value.dtype) for part, value in zip(parts, values, strict=True)]


def totals(figures: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As `add_up`, by name."""
    return dict(zip(figures, add_up(list(figures.values())), strict=True)) if figures else {}


def anywhere(flag: bool) -> bool:
    """Whether `flag` is set in any rank."""
    return bool(total(torch.tensor(int(flag))))


def everywhere(flag: bool) -> bool:
    """Whether `flag` is set in every rank."""
    return not anywhere(not flag)


def gather(value: T) -> list[T]:
    """Every rank's `value`, by number; anything that pickle takes."""
    if not several():
        return [value]
    values: list[Any] = [None] * count()
    with _in_company():
        dist.all_gather_object(values, value)
    return values


def told(value: T) -> T:
    """Rank 0's `value`, whatever the others'."""
    if not several():
        return value
    values = [value]
    with _in_company():
        dist.broadcast_object_list(values, src=0)
    return values[0]


# --- the end ----------------------------------------------------------------------------------------------------------


def speaks(words: str) -> bool:
    """Whether this rank is the first to end with words; those that follow it have nothing new to say."""
    if _store is None:
        return True
    try:
        if _store.add("ended", 1) > 1:
            return False
        _store.set("words", f"rank {number()}: {words}")
    except RuntimeError:  # whoever keeps the store is gone
        pass
    return True


@contextlib.contextmanager
def _in_company() -> Iterator[None]:
    """While ranks do something together.

    Raises:
        RunFailed: one of them has ended.
    """
    try:
        yield
    except RuntimeError as error:
        raise RunFailed(_why_alone()) from error


def _why_alone() -> str:
    with contextlib.suppress(RuntimeError):
        if _store is not None and _store.check(["words"]):
            return _store.get("words").decode()
    return "another rank has ended without a word, and no rank can go on alone"

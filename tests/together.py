"""Ranks of one training as children of the test, which plays torchrun."""

import contextlib
import multiprocessing
import os
import pickle
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.distributed import TCPStore

from utils import ranks

#: seconds after which a test is taken to hang
PATIENCE = 180.0


class Rank:
    """One of them: `work(*args)` in a process of its own, forked from the test's, which has everything imported."""

    def __init__(self, number: int, count: int, port: int, folder: Path, work: Callable[..., Any], args: tuple) -> None:
        context = multiprocessing.get_context("fork")
        self.here, there = context.Pipe(duplex=False)
        self.out, self.err = folder / f"out{number}", folder / f"err{number}"
        for said in (self.out, self.err):  # a test may read them before the process has come to life
            said.write_text("")
        variables = {
            "RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count,
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": True,
        }  # fmt: skip
        words = {name: str(value) for name, value in variables.items()}
        self.process = context.Process(target=_live, args=(there, words, (self.out, self.err), work, args))
        self.process.start()
        there.close()

    def answer(self) -> tuple[bool, Any]:
        """Whether its work came to its end, and what it returned, or the exception, as text."""
        assert self.here.poll(PATIENCE), f"nothing in {PATIENCE} s: {self.err.read_text()}"
        fine, value = pickle.loads(self.here.recv_bytes())
        return fine, value

    def result(self) -> Any:
        """What its work returned; an exception fails the test."""
        fine, value = self.answer()
        assert fine, value
        return value


@contextlib.contextmanager
def started(folder: Path, count: int, work: Callable[..., Any], *args: Any) -> Iterator[list[Rank]]:
    """`count` ranks that do `work(*args)`, each in its own process; none of them is left afterwards."""
    folder.mkdir(exist_ok=True)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # by itself torch would listen to the whole network
        listener.listen()
        port = listener.getsockname()[1]
        store = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach())
    every = [Rank(number, count, port, folder, work, args) for number in range(count)]
    try:
        yield every
    finally:
        for rank in every:
            rank.process.kill()
            rank.process.join()
        del store


def together(folder: Path, count: int, work: Callable[..., Any], *args: Any) -> list[Any]:
    """What `work(*args)` returns in each of `count` ranks."""
    with started(folder, count, _joined, work, *args) as every:
        results = [rank.answer() for rank in every]
    failed = [value for fine, value in results if not fine]
    assert not failed, "\n".join(failed)  # of all of them: one fails because another has
    return [value for _, value in results]


def _joined(work: Callable[..., Any], *args: Any) -> Any:
    ranks.join()
    value = work(*args)
    ranks.leave()
    return value


def _live(
    pipe: Any, variables: dict[str, str], files: tuple[Path, Path], work: Callable[..., Any], args: tuple
) -> None:
    os.environ.update(variables)
    for stream, file in zip((sys.stdout, sys.stderr), files, strict=True):
        stream.flush()
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1 if stream is sys.stdout else 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115 (not pytest's)
    torch.set_num_threads(1)
    try:
        pipe.send_bytes(pickle.dumps((True, work(*args))))  # tensors as they are, not shared
    except BaseException:
        pipe.send_bytes(pickle.dumps((False, traceback.format_exc())))

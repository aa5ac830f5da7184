"""A job on one of Ray's nodes: an actor that starts its worker there, and brings back its files where no disk is
shared.
"""

import os
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from studies.clusters.parcels import Parcel, changed, unpack
from studies.workers import SRC, Orders, Worker, dismiss

#: Seconds between two parcels.
INTERVAL = 30.0
_TICK = 0.1


@dataclass(frozen=True)
class Origin:
    """What a node knows the driver's disk by."""

    #: a file, and what is in it
    mark: Path
    text: str
    #: the program's folder, and the revision of what is in it, as in MUSTER_REVISION
    src: Path
    revision: str


class Host:
    """Call `begin` first, then `take` where no disk is shared, then `look` until there is an exit code."""

    def __init__(self, orders: Orders, place: str, origin: Origin, threads: int) -> None:
        self._place, self._threads = place, threads
        self._src = origin.src
        if not (origin.src / "studies" / "worker.py").exists():  # what Ray has brought
            self._src = SRC
            os.environ["MUSTER_REVISION"] = origin.revision
        self._shared = _read(origin.mark) == origin.text
        self._own = None if self._shared else Path(tempfile.mkdtemp(prefix="muster-"))
        self._orders = orders if self._own is None else replace(orders, results=self._own)
        self._worker: Worker | None = None
        self._known: dict[str, tuple[int, int]] = {}
        self._sent = time.monotonic()

    @property
    def _folder(self) -> Path:
        return self._orders.results / self._place

    def begin(self) -> bool:
        """Whether the driver's disk is here, too; then the worker is at work now."""
        if self._shared:
            self._start()
        return self._shared

    def take(self, parcel: Parcel) -> None:
        """Start the worker, with what there is of its cell already."""
        unpack(parcel, self._folder)
        changed(self._folder, self._known)
        self._start()

    def _start(self) -> None:
        self._worker = Worker(self._orders, self._folder / "worker.log", self._threads, src=self._src)

    def look(self, patience: float) -> tuple[int | None, Parcel]:
        """The worker's exit code and the files that are to be brought to the driver; None: it is at work.

        Args:
            patience: seconds to wait for its end.
        """
        assert self._worker is not None
        deadline = time.monotonic() + patience
        while (code := self._worker.poll()) is None and time.monotonic() < deadline:
            time.sleep(_TICK)
        parcel: Parcel = {}
        if self._own is not None and (code is not None or time.monotonic() >= self._sent + INTERVAL):
            parcel = changed(self._folder, self._known)
            self._sent = time.monotonic()
        if code is not None:
            dismiss([self._worker])
            if self._own is not None:
                shutil.rmtree(self._own, ignore_errors=True)
        return code, parcel

    def stop(self) -> None:
        """Ask the worker to save and to end."""
        if self._worker is not None:
            self._worker.stop()


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return None

"""What goes wrong with the stand-in, and when.

A fault happens to one launch (counted from 1; 0: to every one), at one request: its `at`-th (from 1), of all that the
launch is sent or, with `request`, of those with that name. A launch that hangs at 0 does not even answer the handshake.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

#: kill: dies on the spot | exit: says something and ends | hang: never answers | error: answers with an error | refuse:
#: carries none of the actions out, and says so | ignore: says that all is well and does nothing, this time and from
#: then on (units that never appear, or never die)
KINDS = ("kill", "exit", "hang", "error", "refuse", "ignore")
#: What a game that ends with `exit` says.
LAST_WORDS = "the stand-in was told to end here"


@dataclass(frozen=True)
class Fault:
    launch: int
    at: int
    kind: str
    request: str = ""


def plan(folder: Path, faults: Iterable[Fault]) -> None:
    """Let these faults happen to the game in `folder`."""
    (folder / "faults.json").write_text(json.dumps([asdict(fault) for fault in faults]))


class Plan:
    """The faults of one launch."""

    def __init__(self, folder: Path, launch: int) -> None:
        path = folder / "faults.json"
        known = [Fault(**entry) for entry in json.loads(path.read_text())] if path.exists() else []
        assert all(fault.kind in KINDS for fault in known), known
        self._faults = [fault for fault in known if fault.launch in (0, launch)]
        self._count: Counter[str] = Counter()

    @property
    def deaf(self) -> bool:
        """Whether not even the handshake is answered."""
        return any(fault.at == 0 and fault.kind == "hang" for fault in self._faults)

    def at(self, request: str) -> str:
        """The fault at this request, "" if there is none."""
        self._count[""] += 1
        self._count[request] += 1
        for fault in self._faults:
            now = self._count[fault.request]
            if fault.request in ("", request) and (now == fault.at or (fault.kind == "ignore" and now > fault.at)):
                return fault.kind
        return ""

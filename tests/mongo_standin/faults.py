"""What goes wrong with the stand-in, and when.

A fault happens at one command: the `at`-th (from 1) of those with its name since the faults were planned, or of all
except hellos, which drivers send on their own, where it names none. `lasting`: also at every later one; without a name,
at hellos too, from then on.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

#: refuse: answers with an error | hang: never answers | drop: closes the connection instead of doing what is asked |
#: drop_after: does it, and closes the connection instead of saying so | kill, kill_after: the same, and the server dies
KINDS = ("refuse", "hang", "drop", "drop_after", "kill", "kill_after")
HELLOS = ("hello", "ismaster", "isMaster")


@dataclass(frozen=True)
class Fault:
    kind: str
    command: str = ""
    at: int = 1
    lasting: bool = False


def write(folder: Path, faults: Iterable[Fault]) -> None:
    """Let these faults, and no earlier ones, happen to the server in `folder`, from now on."""
    known = list(faults)
    assert all(fault.kind in KINDS for fault in known), known
    new = folder / "faults.new"
    new.write_text(json.dumps([asdict(fault) for fault in known]))
    new.replace(folder / "faults.json")


class Plan:
    """The faults of a server, read anew whenever they were changed."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "faults.json"
        self._read = 0
        self._faults: list[Fault] = []
        self._count: Counter[str] = Counter()

    def at(self, command: str) -> str:
        """The fault at this command, "" if there is none."""
        # a new plan is a new file
        if self._path.exists() and (stamp := self._path.stat().st_ino ^ self._path.stat().st_mtime_ns) != self._read:
            self._read, self._count = stamp, Counter()
            self._faults = [Fault(**entry) for entry in json.loads(self._path.read_text())]
        self._count[command] += 1
        self._count[""] += command not in HELLOS
        return next((fault.kind for fault in self._faults if self._is_due(fault, command)), "")

    def _is_due(self, fault: Fault, command: str) -> bool:
        now = self._count[fault.command]
        if fault.lasting:
            return fault.command in ("", command) and now >= fault.at
        return now == fault.at and (fault.command == command or (not fault.command and command not in HELLOS))

"""A stand-in for StarCraft II: a program that speaks the game's protocol and moves units with the embedded engine.

`install(folder)` lays it out as the game would lie there; whoever launches `Versions/Base75689/SC2_x64` in it, as pysc2
does, gets a server that plays one game at a time on the client's requests. It knows the units of the team battles, the
empty map on which debug commands place them, and some of SMAC's maps, whose armies appear by themselves.

Three files in the folder are for tests: `faults.json` says which launch goes wrong, how, and at which request
(`faults.py`); `launches/N` lists the requests that launch N was sent, a line each; `launches/N.pid` is its process.
"""

import os
import sys
from pathlib import Path

#: The build of version 4.10, for which the maps were made.
BUILD = "Base75689"
MAPS = ("empty_passive", "3m", "8m", "2s3z", "3s5z", "MMM")
_TESTS = Path(__file__).resolve().parents[1]


def install(folder: Path, engines: str = "", still: bool = False) -> Path:
    """Lay out a StarCraft II in `folder`, which becomes `SC2PATH`.

    `engines`: where `engines.py` serves, if it does. `still`: units stay as they were placed, for whoever wants to know
    what everything but their motion costs.
    """
    program = folder / "Versions" / BUILD / "SC2_x64"
    program.parent.mkdir(parents=True)
    path = os.pathsep.join([str(_TESTS), str(_TESTS.parent / "src")])
    # whatever parser the client has, ours is the fast one
    parser = "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=upb"
    environment = f'{parser} PYTHONPATH="{path}" SC2_STANDIN_ENGINES="{engines}" SC2_STANDIN_STILL="{"1" * still}"'
    program.write_text(f'#!/bin/sh\n{environment} exec "{sys.executable}" -m sc2_standin.server "$@"\n')
    program.chmod(0o755)
    for name in MAPS:
        place = folder / "Maps" / "SMAC_Maps" / f"{name}.SC2Map"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"a map of the stand-in")
    (folder / "launches").mkdir()
    return folder


def launches(folder: Path) -> int:
    """How often the game in `folder` was started."""
    return len(list((folder / "launches").glob("*.pid")))


def requests(folder: Path, launch: int) -> list[str]:
    """What the given launch, counted from 1, was asked for."""
    return (folder / "launches" / str(launch)).read_text(encoding="utf-8").splitlines()


def running(folder: Path) -> list[int]:
    """The processes of the game in `folder` that still run."""
    pids = [int(path.read_text()) for path in (folder / "launches").glob("*.pid")]
    return [pid for pid in pids if _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False

"""The record of a run, `<results>/sacred/<id>/`: whole files, and a status that tells the dead from the living."""

import contextlib
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RUN_FILE = "run.json"


def process_facts() -> dict[str, Any]:
    """What tells this process from all others; a run keeps it in `run.json` as `meta.process` from its start on.

    A process id is used again, so the process's start belongs to it; that is counted from the system's boot, and
    both are only known inside one space of process ids (a container has its own). None where the system does not tell.
    """
    boot = None
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    space = None
    with contextlib.suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    return {
        "host": platform.node(),
        "boot": boot,
        "pid_space": space,
        "pid": os.getpid(),
        "started": _state_and_start(os.getpid())[1],
    }


def status_of(folder: Path) -> str:
    """The status of the run whose record is `folder`.

    Returns:
        What the record says: RUNNING, COMPLETED, FAILED or INTERRUPTED.
        DIED: it says RUNNING, and its process is gone: killed, or the machine was switched off.
        UNKNOWN: `run.json` is missing, cut short or unreadable: the run is just beginning, or was killed in its
        first moment.

        A RUNNING whose process cannot be looked up stays RUNNING: it is another host's or another container's, or the
        record does not say which process it was.
    """
    try:
        record = json.loads((Path(folder) / RUN_FILE).read_text(encoding="utf-8"))
        status = record["status"]
        process = (record.get("meta") or {}).get("process")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "UNKNOWN"
    if status == "RUNNING" and process and _is_gone(process):
        return "DIED"
    return str(status)


def _is_gone(process: Mapping[str, Any]) -> bool:
    """Whether the process of these `process_facts` has ended for certain."""
    here = process_facts()
    if process["host"] != here["host"]:
        return False
    if process["boot"] != here["boot"]:
        return True
    if process["pid_space"] != here["pid_space"]:
        return False
    try:
        os.kill(process["pid"], 0)  # signal 0 is never delivered: it asks whether there is such a process
    except ProcessLookupError:
        return True
    except PermissionError:  # there is one, of another user
        pass
    state, started = _state_and_start(process["pid"])
    return state in ("Z", "X") or (started is not None and started != process["started"])


def _state_and_start(pid: int) -> tuple[str | None, int | None]:
    """State of a process (Z: ended, and not yet collected by its parent) and its start in clock ticks since boot; None
    and None where the system does not tell.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None, None
    fields = stat.rpartition(")")[2].split()  # the name before them may hold blanks and brackets
    return fields[0], int(fields[19])

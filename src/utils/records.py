"""The record of a run, `<results>/sacred/<id>/`: whole files, and a status that tells the dead from the living."""

import contextlib
import errno
import json
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.errors import UserError

RUN_FILE = "run.json"
#: What a disk answers that was fit for use when the run began: full, quota spent, broken, read-only since then, gone.
DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.ESTALE}
#: Bytes kept free for the end of a record: its status, and the traceback of what went wrong.
_RESERVE = 1 << 16


def make_writable(folders: Sequence[Path], setting: str) -> None:
    """Make `folders` where they are missing, and find out by writing whether runs can write there.

    Permissions and mount options do not tell: root passes the former, and a disk may be full.

    Args:
        folders: what is about to be written to.
        setting: how the user named them, `key=value`.

    Raises:
        UserError: nothing can be written to one of them; nothing is left there then.
    """
    missing = [place for folder in folders for place in (folder, *folder.parents) if not os.path.lexists(place)]
    folder = folders[0]
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".probe-", dir=folder) as probe:
                Path(probe, "file").write_bytes(os.urandom(2 * _RESERVE))  # more than the beginning of a record
    except OSError as error:
        for place in sorted(missing, reverse=True):  # the innermost first
            with contextlib.suppress(OSError):
                place.rmdir()
        no_folder = isinstance(error, FileExistsError | NotADirectoryError)
        reason = "there is something that is no folder" if no_folder else error.strerror
        raise UserError(f"{setting}: {folder} cannot be written to ({reason}): mend that or name another one") from None


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Let an OSError name the file that it is about: one in writing names none, one in renaming another."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # else it has words of its own, and no place for a name
            error.filename = str(path)
        raise


@contextlib.contextmanager
def space_in_reserve(folder: Path) -> Iterator[None]:
    """Hold some of the disk for the time of a `with` statement, so that a record can be closed when it is full."""
    reserve = folder / ".reserve"
    try:
        with named(reserve):
            reserve.write_bytes(os.urandom(_RESERVE))  # zeros may take no space
        yield
    finally:
        with contextlib.suppress(OSError):
            reserve.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write `content` to `path`, whole or not at all: what was there stays until then.

    Raises:
        OSError: the disk refuses; it names `path`.
    """
    write_text(path, json.dumps(content, indent=2, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """As `write_json`."""
    partial = path.with_suffix(".partial")
    try:
        with named(path):
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any]:
    """What `path` holds; an empty dict where it is missing, was cut short or holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


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
    return status_told(read_json(Path(folder) / RUN_FILE))


def status_told(record: Mapping[str, Any]) -> str:
    """The status of a run, as `status_of`, of what its `run.json` says, or its document in a database."""
    try:
        status = record["status"]
        process = (record.get("meta") or {}).get("process")
    except (KeyError, AttributeError):
        return "UNKNOWN"
    with contextlib.suppress(LookupError, TypeError, OverflowError):  # the record names no process after all
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


# --- what a record says, `facts` being its info.json ------------------------------------------------------------------


def parameters(facts: Mapping[str, Any]) -> int:
    """Trained parameters, by the facts of a run; 0 where they do not say."""
    counts = facts.get("parameters")
    total = counts.get("total") if isinstance(counts, dict) else None
    return total if isinstance(total, int) else 0


def revision(facts: Mapping[str, Any]) -> str:
    """The git revision of a run by its facts, with `+` where files differed from it."""
    git = facts.get("git")
    git = git if isinstance(git, dict) else {}
    return str(git.get("commit") or "unknown")[:10] + "+" * bool(git.get("dirty"))

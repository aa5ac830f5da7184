"""Checkpoints: one folder per step, whole or not there at all.

Layout: `<models>/<run id>/<t_env>/` with one `<name>.pt` per part of the state and `manifest.json`, which holds the
size and the SHA-256 of each, of what run it is and after how many updates. A folder gets its final name only when all
of it is on disk.

torch is imported where tensors are: whoever only looks what there is does not wait for it.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.records import named
from utils.version import __version__

FORMAT = 1
MANIFEST = "manifest.json"
# Working folders: `.<step>.partial-*` while it is written, `.<step>.replaced-*` for the one that gives way to it.
_WORK = re.compile(r"\.(.+)\.(partial|replaced)-\w+")
#: Working folders of other runs are taken for dead when nothing was written to them for so many seconds.
_STALE = 3600.0


class Damaged(UserError):
    """A checkpoint is not what was saved; `fault` says which file and how, without the remedy."""

    def __init__(self, fault: str) -> None:
        super().__init__(f"{fault}: take another step with load_step, or another checkpoint")
        self.fault = fault


def save_checkpoint(
    folder: Path, state: Mapping[str, Mapping[str, Any]], run: str | None = None, updates: int | None = None
) -> None:
    """Write each part of `state` as `<folder>/<name>.pt`; whoever looks at `folder` sees all of it or nothing.

    An earlier checkpoint of that name is replaced; what killed runs left half-written is removed. Ranks save together,
    each of them parts of other names.

    Args:
        folder: `<models>/<run id>/<t_env>`; its parents are made.
        state: part name -> nested dict of tensors and plain values (numbers, strings, lists, tuples, dicts, None).
        run: what tells the run from any other that saved, or will save, to a folder of that name.
        updates: that its networks have had, to be read without loading them.

    Raises:
        TypeError: a value could be written, but not read back without running code from the file.
        OSError: the disk refuses (full, read-only), and names `folder`; a checkpoint that was there before stays.
    """
    for name in state:
        if not re.fullmatch(r"\w+", name):
            raise ValueError(f"a part of a checkpoint is named by letters, digits and _, got {name!r}")
        _check_plain(state[name], name)
    folder = Path(folder)
    with named(folder):
        _save(folder, state, {"run": run, "updates": updates})


def _save(folder: Path, state: Mapping[str, Mapping[str, Any]], facts: Mapping[str, Any]) -> None:
    from utils import ranks  # late, as torch

    work = None
    if ranks.first():
        folder.parent.mkdir(parents=True, exist_ok=True)
        _clean_up(folder.parent)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
    try:
        if work is not None:  # mkdtemp makes it private; a checkpoint is as open as its run
            work.chmod(folder.parent.stat().st_mode & 0o777)
        place = ranks.told(work)
        assert place is not None
        every = ranks.gather({name: _write_part(place / f"{name}.pt", part) for name, part in state.items()})
        if work is not None:
            files = {name: entry for own in every for name, entry in own.items()}
            manifest = {"format": FORMAT, "muster": __version__, **facts, "files": files}
            with open(work / MANIFEST, "w", encoding="utf-8") as file:
                json.dump(manifest, file, indent=2)
                _flush(file)
            _sync_folder(work)
            _move_into_place(work, folder)
        ranks.told(None)  # nobody goes on, or away, before it is there
    except BaseException:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)
        raise


def find_checkpoint(path: Path | str, load_step: int = 0, key: str = "checkpoint_path") -> Path:
    """Return the folder of the checkpoint that `path` and `load_step` name.

    Args:
        path: a checkpoint's folder, or the folder of its run, which holds one folder per step.
        load_step: which step of the run; 0 takes the newest.
        key: the setting that `path` comes from, for messages.

    Raises:
        UserError: there is no such checkpoint, it may not be read, or the folder holds those of two runs.
    """
    try:
        return _find(Path(path), load_step, key)
    except OSError as error:
        raise UserError(f"{key}: {str(path)!r} cannot be read ({error.strerror})") from None


def _find(path: Path, load_step: int, key: str) -> Path:
    if not path.is_dir():
        raise UserError(f"{key}: there is no folder {str(path)!r}; runs save to <results>/models/<id>")
    if (path / MANIFEST).is_file():
        if load_step and path.resolve().name != str(load_step):
            raise UserError(f"load_step={load_step}: {str(path)!r} is one checkpoint; give its parent to choose a step")
        return path
    steps = saved_steps(path)
    if not steps:
        raise UserError(f"{key}: {str(path)!r} holds no checkpoint (a folder named by its step)")
    if load_step and load_step not in steps:
        raise UserError(f"load_step={load_step}: {str(path)!r} has the steps {', '.join(map(str, steps))}")
    if not load_step:
        _check_one_run(path, steps, key)
    return path / str(load_step or steps[-1])


def saved_steps(run: Path) -> list[int]:
    """The steps of the checkpoints in a run's folder, ascending; whether they are sound is not looked at."""
    with contextlib.suppress(OSError):  # a read-only folder can be read all the same
        _restore(run)
    return sorted(int(entry.name) for entry in run.iterdir() if entry.is_dir() and entry.name.isdecimal())


def verify_checkpoint(folder: Path) -> None:
    """Compare all files of the checkpoint `folder` with its manifest; nothing is loaded.

    Raises:
        Damaged: a part is missing, cut short or altered, or the manifest is.
        UserError: another version wrote it.
    """
    for name, expected in _read_manifest(folder).items():
        _verify_part(folder / f"{name}.pt", expected)


def load_checkpoint(
    path: Path | str, load_step: int = 0, names: Iterable[str] | None = None, optional: Iterable[str] = ()
) -> tuple[Path, dict[str, dict[str, Any]]]:
    """Read a checkpoint and return its folder and its parts, all tensors on the CPU.

    Args:
        path, load_step: as for `find_checkpoint`.
        names: the parts to read; None reads all that are there.
        optional: further parts, which checkpoints of earlier versions lack; those that are there are read.

    Raises:
        UserError: no such checkpoint, a part is missing, cut short or altered, or another program or version wrote it.
    """
    folder = find_checkpoint(path, load_step)
    files = _read_manifest(folder)
    wanted = list(files) if names is None else list(names)
    missing = [name for name in wanted if name not in files]
    if missing:
        raise UserError(f"checkpoint {str(folder)!r} has no part {missing[0]!r}; it holds {', '.join(files)}")
    wanted += [name for name in optional if name in files and name not in wanted]
    return folder, {name: _read_part(folder / f"{name}.pt", files[name]) for name in wanted}


def not_finite(value: Any, where: str) -> str | None:
    """The place of a floating-point tensor in a nested state that holds NaN or infinity; None where there is none."""
    import torch

    if isinstance(value, torch.Tensor):
        return where if value.is_floating_point() and not bool(value.isfinite().all()) else None
    entries = value.items() if isinstance(value, Mapping) else enumerate(value) if type(value) in (list, tuple) else ()
    places = (not_finite(entry, f"{where}.{key}") for key, entry in entries)
    return next((place for place in places if place is not None), None)


def _check_one_run(path: Path, steps: list[int], key: str) -> None:
    """A run's folder may hold what an earlier one of that number left, whose higher step is not this run's newest."""
    found: dict[str | None, int] = {}  # run -> its last step; those of versions that did not tell runs apart are one
    for step in steps:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # whoever loads such a one is told
            found[json.loads((path / str(step) / MANIFEST).read_text(encoding="utf-8")).get("run")] = step
    if len(found) > 1:
        one, other, *_ = found.values()
        raise UserError(
            f"{key}: {str(path)!r} holds steps of different runs, such as {one} and {other}: choose one"
            + (" with load_step" if key == "checkpoint_path" else ", the folder of a step")
        )


def _check_plain(value: Any, where: str) -> None:
    import torch

    # the exact type counts: a NumPy float is a float, too, but is pickled as something else
    if isinstance(value, Mapping):
        for key, entry in value.items():
            _check_plain(key, f"a key of {where}")
            _check_plain(entry, f"{where}.{key}")
    elif type(value) in (list, tuple):
        for index, entry in enumerate(value):
            _check_plain(entry, f"{where}[{index}]")
    elif not isinstance(value, torch.Tensor) and type(value) not in (bool, int, float, str, bytes, type(None)):
        raise TypeError(f"a checkpoint holds tensors and plain values; {where} is {type(value).__name__}")


def _write_part(path: Path, part: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    with open(path, "wb") as file:
        try:
            torch.save(dict(part), file)
        except RuntimeError as error:  # torch closes its archive after a failed write, which hides what the disk said
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
        _flush(file)
    return {"size": path.stat().st_size, "sha256": _digest(path)}


def _read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["format"]
        files = {
            str(name): {"size": int(entry["size"]), "sha256": str(entry["sha256"])}
            for name, entry in manifest["files"].items()
        }
    except FileNotFoundError:
        raise Damaged(f"{str(folder)!r} is no checkpoint of this program: it has no {MANIFEST}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise _damaged(path, "cannot be read") from None
    if version != FORMAT:
        raise UserError(
            f"{str(path)!r} has format {version}, this version of Muster reads {FORMAT}: load it with Muster "
            f"{manifest.get('muster', 'of its time')}, or train anew"
        )
    return files


def _verify_part(path: Path, expected: Mapping[str, Any]) -> None:
    try:
        size = path.stat().st_size
        if size != expected["size"]:
            raise _damaged(path, f"has {size} of {expected['size']} bytes")
        if _digest(path) != expected["sha256"]:
            raise _damaged(path, "is not what was saved")
    except FileNotFoundError:
        raise _damaged(path, "is missing") from None
    except OSError as error:
        raise _damaged(path, f"cannot be read ({type(error).__name__})") from None


def _read_part(path: Path, expected: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    _verify_part(path, expected)
    try:
        part = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no state can make the reader stumble anywhere
        raise _damaged(path, f"cannot be read ({type(error).__name__})") from None
    if not isinstance(part, dict):
        raise _damaged(path, "holds no state")
    return part


def _damaged(path: Path, what: str) -> Damaged:
    return Damaged(f"checkpoint file {str(path)!r} {what}")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _move_into_place(work: Path, folder: Path) -> None:
    """Give `work` the name `folder`. A folder cannot be renamed over another one, so an older checkpoint steps aside
    first; should the program die between the two renames, `_restore` brings it back.
    """
    replaced = None
    if folder.exists():
        replaced = folder.with_name(work.name.replace(".partial-", ".replaced-"))
        os.replace(folder, replaced)
    try:
        os.replace(work, folder)
    except BaseException:
        if replaced is not None:
            os.rename(replaced, folder)
        raise
    _sync_folder(folder.parent)
    if replaced is not None:
        shutil.rmtree(replaced, ignore_errors=True)


def _restore(parent: Path) -> None:
    """Give checkpoints their names back that stepped aside for one that never came."""
    for entry in parent.iterdir():
        match = _WORK.fullmatch(entry.name)
        if match and match[2] == "replaced" and not (parent / match[1]).exists():
            os.replace(entry, parent / match[1])


def _clean_up(parent: Path) -> None:
    """Remove what killed runs left behind: in this run's own folder all of it, next door what has long been still."""
    _restore(parent)
    for entry in parent.parent.glob("*/.*"):
        if not _WORK.fullmatch(entry.name) or not entry.is_dir():
            continue
        still = ".partial-" in entry.name and time.time() - entry.stat().st_mtime > _STALE
        if entry.parent == parent or still:
            shutil.rmtree(entry, ignore_errors=True)


def _flush(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    """Put the folder's list of names on disk, where the system can do that for folders."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)

"""The files of a cell, on their way between folders that share no disk."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from studies.stored import newest_sound
from utils.checkpoints import MANIFEST

#: Name below the cell's folder -> content.
Parcel = dict[str, bytes]


def changed(folder: Path, known: dict[str, tuple[int, int]]) -> Parcel:
    """What is new below `folder`, or has changed, since `known`, which is brought up to date; a checkpoint is there as
    a whole or not at all.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if hidden or name.name == "lock" or name.suffix == ".partial" or not path.is_file():
            continue
        facts = path.stat()
        mark = (facts.st_size, facts.st_mtime_ns)
        if known.get(str(name)) != mark:
            found[str(name)] = path.read_bytes()
            known[str(name)] = mark
    return found


def needed(folder: Path) -> Parcel:
    """What continues the cell in `folder` elsewhere: all but the checkpoints before the newest sound one."""
    newest = newest_sound(folder)
    kept = changed(folder, {})
    return {
        name: content
        for name, content in kept.items()
        if Path(name).parts[0] != "models" or (newest is not None and newest == (folder / name).parent)
    }


def unpack(parcel: Mapping[str, bytes], folder: Path) -> None:
    """Put what came into `folder`: each file whole or not at all, and each checkpoint, too."""
    checkpoints = {str(Path(name).parent) for name in parcel if Path(name).name == MANIFEST}
    for place in sorted(checkpoints):
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
        work.chmod(target.parent.stat().st_mode & 0o777)
        for name, content in parcel.items():
            if str(Path(name).parent) == place:
                (work / Path(name).name).write_bytes(content)
        if target.exists():  # it came before: a checkpoint is never another one
            for file in work.iterdir():
                file.replace(target / file.name)
            work.rmdir()
        else:
            work.replace(target)
    for name, content in parcel.items():
        path = folder / name
        if str(path.parent.relative_to(folder)) not in checkpoints:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.partial")
            partial.write_bytes(content)
            partial.replace(path)

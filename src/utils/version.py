"""The version of Muster, and the facts that make a run repeatable."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

#: The root of the repository; relative result paths start here.
ROOT = Path(__file__).resolve().parents[2]


def versions() -> dict[str, str | None]:
    """Versions of Python, Muster and the packages that decide what is computed; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version(), "muster": __version__}
    for package in ("torch", "numpy", "sacred"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def git_revision(root: Path = ROOT) -> dict[str, Any]:
    """The checked-out commit, and whether files differ from it; both None outside a git checkout or without git.

    In a container, which has no git, what its image was built of (`docker/build.sh`): MUSTER_REVISION is the commit,
    followed by "dirty" where files differed.
    """
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain")
    except (OSError, subprocess.SubprocessError):
        commit, _, changed = os.environ.get("MUSTER_REVISION", "").partition(" ")
        return {"commit": commit or None, "dirty": bool(changed) if commit else None}
    return {"commit": commit.strip(), "dirty": bool(changed.strip())}


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout

"""Paths that a user gives, in the settings or to a study."""

import os
from pathlib import Path

from utils.errors import UserError
from utils.version import ROOT


def read_path(setting: str, text: str, base: Path | None = None) -> Path:
    """`text`, the value of `setting`, as an absolute path with `~` expanded; a relative one starts at `base`, by
    default the current folder. Nothing needs to be there.

    Raises:
        UserError: the system has no such path: a user that it does not know, a name that is too long.
    """
    try:
        path = (base or Path.cwd()) / Path(text).expanduser()
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except OSError as error:
        raise UserError(f"{setting}={text!r} cannot be a path: {error.strerror}") from None
    except (ValueError, RuntimeError) as error:  # a NUL byte, half a character; `~` without a home
        raise UserError(f"{setting}={text!r} cannot be a path: {error}") from None
    return path


def find_path(setting: str, text: str) -> Path:
    """As `read_path`: as typed, which is how a shell completes it, or else from the repository's root, as results are
    written.
    """
    path = read_path(setting, text)
    return path if os.path.exists(path) else read_path(setting, text, ROOT)

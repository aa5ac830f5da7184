"""Films of episodes, as GIF or MP4. imageio is imported only when something is filmed."""

from collections.abc import Callable, Collection
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from utils.errors import UserError
from utils.paths import read_path

FORMATS = (".gif", ".mp4")
#: What each kind of film needs besides numpy.
PACKAGES = {".gif": ("imageio",), ".mp4": ("imageio", "imageio_ffmpeg")}


def check_video_path(text: str) -> Path:
    """The file that `save_video=text` names; a relative one starts at the current folder.

    Raises:
        UserError: it cannot be written.
    """
    path = read_path("save_video", text)
    if path.suffix not in FORMATS:
        raise UserError(f"save_video={text!r}: the name must end in {' or '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise UserError(f"save_video={text!r}: there is no folder {str(path.parent)!r}; make it first")
    missing = [package for package in PACKAGES[path.suffix] if find_spec(package) is None]
    if missing:
        raise UserError(f"save_video={text!r}: {' and '.join(missing)} is missing: install requirements.txt")
    return path


class Film:
    """Writes pictures to a file, which is there once the film is closed without an error, or not at all."""

    def __init__(self, path: Path, frames_per_second: int) -> None:
        self.path, self.rate = path, frames_per_second
        self.frames = 0
        # hidden, and with the same ending, which decides the format
        self._partial = path.with_name(f".partial-{path.name}")
        self._writer: Any = None

    def shoot(self, render: Callable[[int, Collection[int]], np.ndarray], marked: Collection[int] = ()) -> None:
        """Add a picture of environment 0, drawn by `render(index, marked)`."""
        if self._writer is None:
            self._writer = self._open()
        self._writer.append_data(render(0, marked))
        self.frames += 1

    def _open(self) -> Any:
        import imageio.v2 as imageio

        if self.path.suffix == ".gif":
            return imageio.get_writer(self._partial, mode="I", duration=1000 / self.rate, loop=0)
        # any size of picture, as players want it: even sides
        return imageio.get_writer(self._partial, fps=self.rate, codec="libx264", macro_block_size=2)

    def __enter__(self) -> "Film":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        self._writer.close()
        if kind is None:
            self._partial.replace(self.path)
        else:
            self._partial.unlink(missing_ok=True)

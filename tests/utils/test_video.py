"""Films: what they show, what they are named, what is left of one that failed."""

import imageio.v2 as imageio
import numpy as np
import pytest

from utils.errors import UserError
from utils.video import Film, check_video_path


def pictures(index, marked=()):
    """32 x 48 pixels, as red as there are marks."""
    assert index == 0
    return np.full((32, 48, 3), (60 * len(marked), 0, 0), dtype=np.uint8)


@pytest.mark.parametrize("ending", [".gif", ".mp4"])
def test_a_film_shows_every_picture(tmp_path, ending):
    with Film(tmp_path / f"battle{ending}", frames_per_second=10) as film:
        for marked in ((), (1,), (0, 1, 2), ()):
            film.shoot(pictures, marked)
    assert [path.name for path in tmp_path.iterdir()] == [f"battle{ending}"]
    shown = np.stack(imageio.mimread(film.path))[..., :3].astype(int)
    assert shown.shape == (4, 32, 48, 3)
    # films are compressed
    assert np.abs(shown[..., 0].mean(axis=(1, 2)) - [0, 60, 180, 0]).max() < 12


def test_a_film_that_failed_is_not_there(tmp_path):
    def broken(index, marked=()):
        raise ZeroDivisionError

    def make():
        with Film(tmp_path / "battle.gif", frames_per_second=10) as film:
            film.shoot(pictures)
            film.shoot(broken)

    with pytest.raises(ZeroDivisionError):
        make()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "reason"), [("battle.avi", ".gif or .mp4"), ("none/battle.gif", "no folder")])
def test_names_that_cannot_be(tmp_path, name, reason):
    with pytest.raises(UserError, match=reason):
        check_video_path(str(tmp_path / name))

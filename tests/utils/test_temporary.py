"""Folders that killed processes left."""

from pathlib import Path

from utils.temporary import MARK, clear_away_dead


def test_only_folders_of_this_program_are_cleared_away(tmp_path: Path) -> None:
    (tmp_path / "pymp-of_another_program").mkdir()
    (tmp_path / "precious" / MARK).mkdir(parents=True)
    (tmp_path / "pymp-link").symlink_to(tmp_path / "precious")
    (tmp_path / "pymp-dead" / MARK).mkdir(parents=True)
    clear_away_dead(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"pymp-of_another_program", "precious", "pymp-link"}
    assert list((tmp_path / "precious" / MARK).iterdir()) == []

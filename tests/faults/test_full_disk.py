"""A disk that fills, at moments that its size draws: one line, and everything that was whole before is whole after."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.campaign import ENDLESS, carry_out, drawn, figures, is_one_line, look_at, runs, start_study, status, tries


@contextlib.contextmanager
def disk(folder: Path, pages: int) -> Iterator[Path]:
    """A disk of `pages` times 4096 bytes on `folder`; skips the test where that may not be made."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={pages * 4096}", "muster-faults", str(folder)]
    if os.name != "posix" or os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small disk can only be mounted by root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@tries("a full disk in training", 12)
def test_in_training(tmp_path, seed):
    draw = drawn("disk", seed)
    with disk(tmp_path / "disk", pages=draw.randint(40, 400)) as folder:
        results = folder / "results"
        words = [*ENDLESS, "save_replay_buffer=true", f"save_model_interval={draw.choice([48, 1000])}"]
        code, err = carry_out(*words, results=results)
        assert code == 1
        assert is_one_line(err)
        # the line says so where not even the record's last word had room
        assert status(runs(results)[0]) == "FAILED" or "record" in err
        look_at(results)


@tries("a full disk in a study, and room again", 5)
def test_in_a_study(tmp_path, undisturbed, seed):
    with disk(tmp_path / "disk", pages=drawn("study's disk", seed).randint(20, 400)) as folder:
        results = folder / "results"
        with start_study(results=results) as program:
            code, err = program.finish()
        assert code == 1
        assert "Traceback" not in err
        look_at(results)
        subprocess.run(["mount", "-o", "remount,size=256m", str(folder)], check=True)
        with start_study(results=results) as program:
            assert program.finish() == (0, "")
        assert figures(results) == figures(undisturbed)

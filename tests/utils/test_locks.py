"""Folders that one process works in at a time."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from utils import locks
from utils.locks import Busy, locked

HOLD = """
import sys, pathlib
sys.path.insert(0, sys.argv[1])
from utils.locks import locked
with locked(pathlib.Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_held_folder_is_refused_with_the_holders_name(tmp_path):
    with locked(tmp_path / "cell"):
        with pytest.raises(Busy, match=f"process {os.getpid()} on "), locked(tmp_path / "cell"):
            pass
        with locked(tmp_path / "other"):
            pass


def test_it_is_free_again_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path):
        pass


def test_a_dead_process_holds_nothing(tmp_path):
    words = [sys.executable, "-c", HOLD, str(Path(locks.__file__).parents[1]), str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(Busy, match=f"process {process.pid} on "), locked(tmp_path):
            pass
        process.kill()
    assert str(process.pid) in (tmp_path / "lock").read_text()
    with locked(tmp_path):  # whose holder alone it names now
        assert (tmp_path / "lock").read_text() == f"process {os.getpid()} on {platform.node()}"

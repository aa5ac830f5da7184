"""docs/extending.md, followed to the letter in a copy of the code: its files, its lines, its commands."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import tiny_overrides

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")

#: a fenced block, and the line of text before it
BLOCK = re.compile(r"^([^\n]*)\n\n?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"File: `([^`]+)`")
BELOW = re.compile(r"In `([^`]+)`, below `([^`]+)`:")
BLOCKS = [match.groups() for match in BLOCK.finditer(PAGE)]
COMMANDS = [line for _, language, text in BLOCKS if language == "sh" for line in text.splitlines()]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The code and its tests, extended as the page says."""
    root = tmp_path_factory.mktemp("extended")
    for folder in ("src", "tests"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    for before, language, text in BLOCKS:
        if language != "sh":
            apply(root, before, text)
    return root


def apply(root: Path, before: str, text: str) -> None:
    """Write or insert the block `text`; the line `before` it says where."""
    if match := FILE.fullmatch(before):
        path = root / match[1]
        assert not path.exists(), f"{match[1]} is no new file"
        path.write_text(text, encoding="utf-8")
    elif match := BELOW.fullmatch(before):
        path = root / match[1]
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        places = [number for number, line in enumerate(lines) if line.lstrip().startswith(match[2])]
        assert len(places) == 1, f"{match[1]} has {len(places)} lines that begin with {match[2]!r}"
        lines.insert(places[0] + 1, text)
        path.write_text("".join(lines), encoding="utf-8")
    else:
        raise AssertionError(f"a block without a place, after {before!r}")


def python_words(command: str) -> list[str]:
    """What run.sh makes of the page's `command`, made short where it trains or tests."""
    program, *words = shlex.split(command, comments=True)
    assert program == "./run.sh"
    if words[0] == "tool":
        return ["-m", *words[1:]]
    if "with" not in words:
        words.append("with")
    return ["src/main.py", *words, *tiny_overrides(t_max=60, test_interval=60)]


def test_every_block_was_read():
    assert len(BLOCKS) == PAGE.count("```") / 2
    assert {language for _, language, _ in BLOCKS} == {"python", "yaml", "sh"}
    assert any("pytest" in command for command in COMMANDS)
    assert any("--config" in command for command in COMMANDS)


def test_the_code_on_the_page_is_in_style(copy):
    names = sorted({match[1] for match in [*FILE.finditer(PAGE), *BELOW.finditer(PAGE)] if match[1].endswith(".py")})
    for words in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *words, "--no-cache", *names]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_command(copy, command):
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *python_words(command)],
        cwd=copy,
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    if "pytest" not in command:
        assert "test at" in done.stdout

"""docs/tutorial.md, followed from its first command to its last in a tiny setting; what docs/faq.md has to run."""

import contextlib
import io
import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from conftest import tiny_overrides

import export
import main
import report
import runs
from utils.config import load_config
from utils.records import status_of

DOCS = Path(__file__).parents[1] / "docs"
PAGE, FAQ = ((DOCS / name).read_text(encoding="utf-8") for name in ("tutorial.md", "faq.md"))
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line for _, text in BLOCKS for line in text.splitlines()]
#: what follows ./run.sh, and the program that it starts
PROGRAMS = {"export": export, "python src/runs.py": runs, "python src/report.py": report, "": main}
TINIER = {"t_max": 60, "test_interval": 60, "test_nepisode": 1, "rollout_steps": 4, "env_args.episode_limit": 15}

pytestmark = pytest.mark.slow


def start(command: str, folder: Path) -> tuple[int, str]:
    """Run `command` of the page, made tiny, with `folder` in the place of the checkout; its exit code and its words."""
    run_sh, *words = shlex.split(command)
    assert run_sh == "./run.sh"
    name = next(name for name in PROGRAMS if " ".join(words).startswith(name))
    words = words[len(name.split()) :]
    moved = [re.sub(r"(^|=)(results\b|\w+\.\w+$)", rf"\1{folder}/\2", word) for word in words]
    if PROGRAMS[name] is main:
        algorithm = words[0].removeprefix("--config=")
        moved += [*tiny_overrides(algorithm, **TINIER), f"local_results_path={folder}/results"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        return PROGRAMS[name].main(moved), said.getvalue()


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """Where the page's commands left their files, and what each of them said."""
    folder = tmp_path_factory.mktemp("tutorial")
    said = {}
    for command in COMMANDS:
        code, said[command] = start(command, folder)
        assert code == 0, command
    return folder, said


def test_all_blocks_are_commands():
    assert PAGE.count("```") == 2 * len(BLOCKS)
    assert {language for language, _ in BLOCKS} == {"sh"}


def test_every_command_leaves_what_the_page_says(followed):
    folder, said = followed
    records = folder / "results" / "sacred"
    runs_of_main = [command for command in COMMANDS if "--config=" in command]
    assert [status_of(records / str(number)) for number in range(1, 9)] == ["COMPLETED"] * len(runs_of_main)
    assert said["./run.sh python src/runs.py results"].splitlines()[-1].startswith("1 in all: 1 COMPLETED")
    assert (folder / "battle.gif").read_bytes().startswith(b"GIF8")
    for number in (4, 5):
        found = json.loads((records / str(number) / "evaluation.json").read_text())
        assert set(found) == {"3-5", "8", "16", "8v9"}
    page = (folder / "results" / "report" / "report.html").read_text()
    assert "mappo" in page
    assert "pqn_vdn" in page
    assert {path.suffix for path in (folder / "results" / "report" / "figures").iterdir()} == {".png", ".svg"}
    assert (folder / "policy.md").exists()
    torch.export.load(folder / "policy.pt2")


def test_records_are_read_as_the_faq_says(followed, monkeypatch):
    (snippet,) = re.findall(r"^```python\n(.*?)^```$", FAQ, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(followed[0])
    names: dict[str, list[tuple[int, float]]] = {}
    exec(snippet, names)
    steps = [step for step, _ in names["returns"]]
    assert steps == sorted(steps)
    assert steps[0] == 0
    assert len(steps) > 2


@pytest.mark.parametrize("command", re.findall(r"^    \./run\.sh (--config.*)$", FAQ, re.MULTILINE))
def test_commands_of_the_faq(command):
    load_config([word for word in shlex.split(command) if word != "--print-config" and "checkpoint_path=" not in word])

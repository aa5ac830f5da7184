"""Numbers in docs/ are those of results/published; the commands of docs/reproducing.md are such that there are."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

import report
import study
from studies import REGISTRY
from utils.command_line import config_names
from utils.config import load_config

ROOT = Path(__file__).parents[1]
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
TEXT = PAGES["reproducing"]
PUBLISHED = ROOT / "results" / "published"
COMMANDS = sorted(set(re.findall(r"`(\./run\.sh [^`]+)`", TEXT)))
STUDY = "python src/study.py "


@pytest.fixture
def reproducing(monkeypatch):
    """The script that writes the page's tables."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    import reproducing

    return reproducing


@pytest.fixture
def by_page(reproducing):
    """The script that writes those of algorithms and tasks."""
    import results

    return results


def test_the_numbers_are_the_published_ones(reproducing):
    assert reproducing.page(TEXT) == TEXT, "./run.sh python docs/results.py"
    assert TEXT.count("\n<!-- numbers: ") == TEXT.count("\n<!-- end -->") == len(reproducing.MARK.findall(TEXT))


@pytest.mark.parametrize(
    "line",
    [
        # of 5,000,000 steps and 50,000 updates; an update every 50 steps
        "| A-QMIX (periodic) | 3 | 301,600 (6.0 %) | 6,032 (12.1 %) | 53.1 ± 13.3 (93.1 ± 20.4) | ",
        "| greedy | none | - | - | 7.20 (7.00) | - | - |",
        # of 10,000,000 steps and 190,000 updates
        "| SZ, MIPI | 1 | 661,231 (6.6 %) | 24,120 (12.7 %) | 0.759 (0.659 ± 0.020) | ",
        "| SZ, MAPPO | 3 | 251,360 to 252,568 (2.5 %) | not recorded | 0.286 ± 0.035 (0.256 ± 0.010) | ",
        # on-policy: its updates do not follow from steps_per_update
        "| MAPPO | 3 | 160,080 | not recorded | 1.1 ± 2.9 | 10.2 ± 5.1 | ",
        "| 3 agents: independent DDPG | 3 | 240,000 | 2,392 | -37.1 ± 0.1 | not reached |",
        "No number here: SZ, A-QMIX; SZ, CollaQ; SZ, MAPPO; all of `sc2_csz`; all of `sc2_mmm`.",
    ],
)
def test_lines_by_hand(line):
    assert f"\n{line}" in TEXT


def test_another_number_is_another_page(reproducing, tmp_path):
    copied = Path(shutil.copytree(PUBLISHED / "rescue_table2", tmp_path / "rescue_table2"))
    before = reproducing.numbers(copied)
    table = copied / "table.csv"
    table.write_text(table.read_text(encoding="utf-8").replace(",7.196883132934571,", ",8.25,"), encoding="utf-8")
    assert (
        "| greedy | none | - | - | 7.20 (7.00) | - | - |",
        "| greedy | none | - | - | 8.25 (7.00) | - | - |",
    ) in list(zip(before, reproducing.numbers(copied), strict=True))


def test_every_study_of_a_paper_and_every_published_one_is_there():
    of_studies = {shlex.split(command)[3] for command in COMMANDS if STUDY in command}
    assert {name for name, found in REGISTRY.items() if found.source} <= of_studies <= set(REGISTRY)
    for table in PUBLISHED.glob("*/table.md"):
        place = table.parent.name
        assert f"results/published/{place}/" in TEXT or f"src/study.py {place}`" in TEXT


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command, monkeypatch):
    words = shlex.split(command)[1:]
    if words[0].startswith("--config="):
        no_model = [word for word in words if word != "--print-config" and not word.startswith("checkpoint_path=")]
        load_config(no_model)
    elif words[:2] == ["python", "src/report.py"]:
        assert report._parser().parse_args(words[2:]).results == words[2:]
    elif words[:2] == ["python", "src/study.py"]:
        asked = []
        monkeypatch.setattr(study, "_run", lambda found, options, overrides, *_: asked.append((found, overrides)) or 0)
        assert study.main(words[2:]) == 0
        ((found, overrides),) = asked
        for cell in found.cells:
            load_config([*cell.words(), *overrides])
    else:
        assert command in ("./run.sh queue", "./run.sh python docs/results.py")


@pytest.mark.parametrize(("kind", "folder"), [("algorithms", "algs"), ("tasks", "envs")])
def test_every_algorithm_and_task_has_a_page_with_its_results(by_page, kind, folder):
    marks = {
        name: [match[2] for match in by_page.MARK.finditer(text) if match[1] == kind] for name, text in PAGES.items()
    }
    pages = {page: names[0].split(", ") for page, names in marks.items() if names}
    named = sorted(name for names in pages.values() for name in names)
    assert named == [name for name in config_names(folder) if name != "scripted"]
    for page, names in pages.items():
        assert by_page.page(PAGES[page]) == PAGES[page], "./run.sh python docs/results.py"
        option = "--config=" if kind == "algorithms" else "--env-config="
        assert re.search(rf"{option}({'|'.join(names)})\b", PAGES[page])
        heads = re.findall("^## (.*)$", PAGES[page], re.MULTILINE)
        expected = ["What it is", "Deviations", "Results"] if kind == "algorithms" else ["Results"]
        assert [head for head in heads if head in expected] == expected


@pytest.mark.parametrize(
    ("page", "line"),
    [
        ("aqmix", "In no published study: `vdn`."),
        ("copa", "| `rescue` | COPA, beta 0 | 3 | 100,352 | 2,007 | return | 2-8: 2.25 ± 0.69 (10.70 ± 0.60) |"),
        ("mappo", "| MAPPO | 3 | 160,080 | not recorded | return | 3-5: 1.1 ± 2.9; 6: 10.2 ± 5.1; 7: 12.3 ± 5.7; "),
        ("particle", "| `navigation_6` | 6 agents: one_at_a_time | 3 | 240,000 | 6,000 | return | 6: -71.0 ± 0.3 |"),
    ],
)
def test_results_by_hand(page, line):
    assert line in PAGES[page]


def test_of_several_tests_of_a_training_the_first_is_shown_and_shared_trainings_once():
    assert "COPA, beta 2" not in PAGES["copa"]
    assert PAGES["particle"].count(" 3: -34.3 ± 0.6 |") == 1

"""No published number without its command, seed, revision, steps and updates."""

import csv
import re
import shutil
from pathlib import Path

import pytest

from utils.records import read_json

PUBLISHED = Path(__file__).resolve().parent.parent / "results" / "published"
#: Studies, and runs whose models were not kept, of revisions that did not write their updates down; the page says what
#: is known of them. Nothing new belongs here.
UNCOUNTED = {
    "beyond_slots", "copa_table1", "mipi_resource_collection", "mipi_table1", "rescue_table2",
    "copa_3m_stage1", "copa_3m_stage2", "mappo_3m_low_entropy", "mappo_3m_scaled_stage1", "mappo_no_gae_3m",
    "mipi_sz_no_imagined_critic", "refil_3m_stage1", "refil_sz_pairs_stage1", "refil_sz_stage1", "refil_sz_stage2",
    "refil_sz_stage3", "refil_sz_stage4", "refil_sz_stage5",
}  # fmt: skip
#: Tests of scripted teams, which learn nothing: their command stands on the page.
SCRIPTED = {"scripted_sz"}


def missing(folder: Path, counted: bool) -> list[str]:
    """What is not recorded of the study, or of the runs, in `folder`, which have to say their updates if `counted`."""
    table = folder / "table.md"
    named = (path.parent for name in ("config.json", "run.json") for path in folder.rglob(name))
    runs = sorted({*named, *folder.glob("**/seed*")})
    parts = {run: _of_run(run, counted, steps_elsewhere=table.exists()) for run in runs}
    if table.exists():
        parts[table] = _of_table(table, counted)
    if not parts:
        return [f"{folder.name}: no record"]
    places = {str(part.relative_to(folder.parent)): has for part, has in parts.items()}
    return [f"{place}: no {what}" for place, has in places.items() for what in has if not has[what]]


def _of_run(run: Path, counted: bool, steps_elsewhere: bool) -> dict[str, bool]:
    config, record = read_json(run / "config.json"), read_json(run / "run.json")
    tests = run / "tests.csv"  # a row for each step at which was tested
    tested = tests.exists() and tests.read_text(encoding="utf-8").startswith("step,team,")
    return {
        "seed": isinstance(config.get("seed"), int),
        "command": record.get("command", "").startswith("./run.sh --config="),
        "revision": bool(re.fullmatch("[0-9a-f]{40}", record.get("git", {}).get("commit") or "")),
        "steps": isinstance(record.get("steps"), int) or (not counted and (steps_elsewhere or tested)),
        "updates": isinstance(record.get("updates"), int) or not counted,
    }


def _of_table(table: Path, counted: bool) -> dict[str, bool]:
    text = table.read_text(encoding="utf-8")
    with open(table.with_suffix(".csv"), newline="", encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if list((table.parent / line["cell"]).glob("seed*"))]
    has = {
        "seeds": bool(re.search(r"^Seeds: \d", text, re.MULTILINE)),
        "command": text.splitlines()[-1].startswith("    python src/study.py "),
        "revision": bool(re.search(r"Code: [0-9a-f]{10}", text)),
        "models": bool(lines),
        "steps": all(line["steps_min"] and line["steps_max"] for line in lines),
    }
    if counted:
        has["updates"] = "| updates | batch |" in text and all(line.get("updates_min") for line in lines)
    return has


@pytest.mark.parametrize("folder", sorted(path for path in PUBLISHED.iterdir() if path.is_dir()), ids=lambda p: p.name)
def test_a_published_folder_says_how_its_numbers_came_about(folder):
    assert folder.name in SCRIPTED or missing(folder, folder.name not in UNCOUNTED) == []


@pytest.mark.parametrize("name", sorted(UNCOUNTED))
def test_what_is_excused_needs_it(name):
    assert any(what.endswith("no updates") for what in missing(PUBLISHED / name, counted=True))


RUN, STUDY = "aqmix_rc_300k", "rescue_table2"
MODEL = f"{STUDY}/rescue/copa/seed2"


@pytest.mark.parametrize(
    ("folder", "file", "old", "new", "named"),
    [
        (RUN, "config.json", '"seed"', '"sed"', f"{RUN}: no seed"),
        (RUN, "run.json", '"command": "./run.sh', '"command": "', f"{RUN}: no command"),
        (RUN, "run.json", '"commit": "4', '"commit": "', f"{RUN}: no revision"),
        (RUN, "run.json", '"steps"', '"step"', f"{RUN}: no steps"),
        (RUN, "run.json", '"updates": 6032', '"updates": null', f"{RUN}: no updates"),
        ("refil_3m_stage1", "tests.csv", "step,team,", "team,", "refil_3m_stage1: no steps"),
        (STUDY, "rescue/copa/seed2/config.json", '"seed"', '"sed"', f"{MODEL}: no seed"),
        (STUDY, "table.md", "Seeds: ", "", f"{STUDY}/table.md: no seeds"),
        (STUDY, "table.md", "    python src/study.py ", "", f"{STUDY}/table.md: no command"),
        (STUDY, "table.md", "Code: ", "", f"{STUDY}/table.md: no revision"),
        (STUDY, "table.csv", ",100352,100352", ",,", f"{STUDY}/table.md: no steps"),
    ],
)
def test_what_is_taken_away_is_missed(tmp_path, folder, file, old, new, named):
    copied = Path(shutil.copytree(PUBLISHED / folder, tmp_path / folder))
    text = (copied / file).read_text(encoding="utf-8")
    assert old in text
    (copied / file).write_text(text.replace(old, new), encoding="utf-8")
    assert missing(copied, folder not in UNCOUNTED) == [named]


def test_a_new_study_has_to_say_its_updates(tmp_path):
    copied = Path(shutil.copytree(PUBLISHED / STUDY, tmp_path / "new"))
    assert {"new/table.md: no updates", "new/rescue/copa/seed2: no updates"} <= set(missing(copied, counted=True))
    shutil.rmtree(copied / "rescue")
    assert "new/table.md: no models" in missing(copied, counted=True)


def test_records_that_are_gone_are_missed(tmp_path):
    copied = Path(shutil.copytree(PUBLISHED / STUDY, tmp_path / STUDY))
    for name in ("config", "run"):
        (tmp_path / MODEL / f"{name}.json").unlink()
    assert missing(copied, counted=False) == [f"{MODEL}: no {what}" for what in ("seed", "command", "revision")]
    shutil.rmtree(copied)
    copied.mkdir()
    assert missing(copied, counted=False) == [f"{STUDY}: no record"]


def test_every_table_of_the_page_says_its_updates():
    page = (PUBLISHED / "README.md").read_text(encoding="utf-8")
    sections = [part for part in re.split(r"^##+ ", page, flags=re.MULTILINE) if "\n|---" in part]
    assert len(sections) > 9
    assert [part.splitlines()[0] for part in sections if " updates" not in part] == []

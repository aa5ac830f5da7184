"""Writes what results/published has of algorithms and tasks into their pages, between the marks that these have for it,
and the tables of docs/reproducing.md.

    ./run.sh python docs/results.py

A mark names what a page is about:

    <!-- results of algorithms: aqmix, vdn -->
    <!-- results of tasks: rescue -->

A line is one training of a published study, as it is tested first there.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import reproducing
from reproducing import PUBLISHED, ROOT, Line, column_of, counted, read, share, value

from studies.declaration import Row, Study

MARK = re.compile(r"^<!-- results of (algorithms|tasks): ([\w, ]+) -->\n.*?^<!-- end -->$", re.MULTILINE | re.DOTALL)
READING = (
    "Published studies: mean over seeds ± deviation over seeds, in brackets the paper's, which has trained for longer "
    "([shares](reproducing.md))."
)
HEADS = ("study", "task", "method", "seeds", "steps", "updates", "figure", "by team")


def page(text: str, published: Path = PUBLISHED) -> str:
    """`text`, a page, with the results as `published` has them."""

    def table(match: "re.Match[str]") -> str:
        kind, names = match[1], match[2].split(", ")
        head = match[0].partition("\n")[0]
        return "\n".join([head, *results(kind, names, published), "<!-- end -->"])

    return MARK.sub(table, text)


def results(kind: str, names: list[str], published: Path) -> list[str]:
    """The lines that show what there is of algorithms, or of tasks, called `names`."""
    rows: dict[tuple[str, str], list[str]] = {}  # a training that several studies share is there once
    found = set()
    for folder in sorted(table.parent for table in published.glob("*/table.csv")):
        for study, row, lines in trainings(folder):
            name = row.cell.algorithm if kind == "algorithms" else row.cell.task
            if name in names:
                found.add(name)
                cells = shown(folder, study, row, lines)
                rows.setdefault((row.cell.path, cells[-1]), cells)
    missing = [f"`{name}`" for name in names if name not in found]
    none = [f"In no published study: {', '.join(missing)}.", ""] if missing else []
    table = [" | ".join(cells) for cells in (HEADS, ["---"] * len(HEADS), *rows.values())]
    return ["", READING, "", *(f"| {line} |" for line in table), "", *none] if rows else ["", *none]


def trainings(folder: Path) -> Iterator[tuple[Study, Row, list[Line]]]:
    """Each training of a published study: its first row, and what that was tested to be."""
    study, lines = read(folder)
    tested = {line["method"] for line in lines if line["mean"]}
    first = {row.cell.path: row for row in reversed(study.rows) if row.label in tested}
    for row in study.rows:
        if row in first.values():
            yield study, row, [line for line in lines if line["method"] == row.label and line["mean"]]


def shown(folder: Path, study: Study, row: Row, lines: list[Line]) -> list[str]:
    """The cells of a training's line: its figure is battles won where there are any, else the return."""
    figures = {line["figure"] for line in lines}
    figure = "battle_won" if "battle_won" in figures else "return"
    by_team = [f"{line['team']}: {value(column_of(study, line), line)}" for line in lines if line["figure"] == figure]
    line = counted(folder, lines[0])
    seeds = line["seeds"] if row.cell.learns else "none"
    where = f"[{folder.name}](../results/published/{folder.name}/table.md)"
    learnt = [share(line, what, 0) for what in ("steps", "updates")]
    return [where, f"`{row.cell.task}`", row.label, seeds, *learnt, figure, "; ".join(by_team)]


if __name__ == "__main__":
    for path in sorted((ROOT / "docs").glob("*.md")):
        before = path.read_text(encoding="utf-8")
        if (after := reproducing.page(page(before))) != before:
            path.write_text(after, encoding="utf-8")

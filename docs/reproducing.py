"""The tables of docs/reproducing.md from results/published, between the marks that the page has for them; written by
docs/results.py.

A mark names a folder of results/published and, where a paper does not say how long it trains, whose steps and updates
the shares are of:

    <!-- numbers: copa_table1 -->
    <!-- numbers: mipi_table1 of 10,000,000 steps and 190,000 updates -->
"""

import csv
import math
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from learners import REGISTRY as LEARNERS
from studies import REGISTRY as STUDIES
from studies.declaration import Column, Study
from utils.logging import span
from utils.records import read_json

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = ROOT / "results" / "published"
MARK = re.compile(
    r"^<!-- numbers: (\w+)(?: of ([\d,]+) steps and ([\d,]+) updates)? -->\n.*?^<!-- end -->$", re.MULTILINE | re.DOTALL
)

Line = Mapping[str, str]


def page(text: str, published: Path = PUBLISHED) -> str:
    """`text`, the page, with the tables as `published` has them."""

    def table(match: "re.Match[str]") -> str:
        name, *aims = match.groups()
        steps, updates = (int(aim.replace(",", "")) if aim else 0 for aim in aims)
        head = match[0].partition("\n")[0]
        return "\n".join([head, *numbers(published / name, steps, updates), "<!-- end -->"])

    return MARK.sub(table, text)


def numbers(folder: Path, steps: int = 0, updates: int = 0) -> list[str]:
    """The lines that show the study in `folder`; shares are of `steps` and `updates` where it has none of its own."""
    study, lines = read(folder)
    steps, updates = study.steps or steps, study.updates or updates
    methods: dict[str, list[Line]] = {}
    for line in lines:
        if line["mean"]:
            methods.setdefault(line["method"], []).append(line)
    columns = list(dict.fromkeys(head(study, line, methods) for lines in methods.values() for line in lines))
    heads = ["method", "seeds", "steps", "updates", *columns]
    rows = [" | ".join(heads), " | ".join("---" for _ in heads)]
    for method, found in methods.items():
        cells = {head(study, line, methods): value(column_of(study, line), line) for line in found}
        learns = bool(found[0]["steps_min"])
        seeds = found[0]["seeds"] if learns else "none"
        learnt = [share(found[0], "steps", steps), share(counted(folder, found[0]), "updates", updates)]
        rows.append(" | ".join([method, seeds, *learnt, *(cells.get(column, "-") for column in columns)]))
    missing = [method for method in dict.fromkeys(line["method"] for line in lines) if method not in methods]
    gaps = sorted({row.cell.task for row in study.rows} - {line["cell"].partition("/")[0] for line in lines})
    none = [*missing, *(f"all of `{task}`" for task in gaps)]
    said = [f"No number here: {'; '.join(none)}.", ""] if none else []
    where = f"[table, intervals, command](../results/published/{folder.name}/table.md)"
    return ["", *(f"| {row} |" for row in rows), "", *said, f"From `{folder.name}`: {where}.", ""]


def read(folder: Path) -> tuple[Study, list[Line]]:
    """The study that was published in `folder`, and the lines of its table."""
    command = shlex.split((folder / "table.md").read_text(encoding="utf-8").rstrip().rpartition("\n")[2])
    with open(folder / "table.csv", newline="", encoding="utf-8") as file:
        return STUDIES[command[2]], list(csv.DictReader(file))


def column_of(study: Study, line: Line) -> Column:
    """The study's column that `line` is of."""
    return next(column for column in study.columns if (column.team, column.what) == (line["team"], line["figure"]))


def head(study: Study, line: Line, methods: Mapping[str, Iterable[Line]]) -> str:
    """Of the page's column for `line`: figures of which every method has one team's alone share a column."""
    column = column_of(study, line)
    teams = [[other["team"] for other in found if other["figure"] == column.what] for found in methods.values()]
    title = column.what if max(map(len, teams)) == 1 else column.title
    return f"{title} (median)" if column.until else title


def value(column: Column, line: Line) -> str:
    """Mean ± deviation over seeds, and the paper's in brackets; of steps until something, the median."""
    if column.until:
        median = float(line["median"])
        return f"{median:,.0f}" if math.isfinite(median) else "not reached"
    ours, paper = (spread(column, line[f"{of}mean"], line[f"{of}std"]) for of in ("", "paper_"))
    return f"{ours} ({paper})" if paper else ours


def spread(column: Column, mean: str, std: str) -> str:
    """A number as the study's table writes it; nothing where there is none."""
    return " ± ".join(f"{float(number):.{column.digits}f}" for number in (mean, std) if number)


def counted(folder: Path, line: Line) -> Line:
    """`line` with its updates, where an older table does not tell them and they follow from the settings."""
    configs = sorted((folder / line["cell"]).glob("seed*/config.json"))
    if line.get("updates_min") or not configs:
        return line
    settings = read_json(configs[0])
    every = settings["steps_per_update"]
    if LEARNERS[settings["learner"]].ON_POLICY or not every:
        return line
    return {**line, **{f"updates_{end}": str(int(line[f"steps_{end}"]) // every) for end in ("min", "max")}}


def share(line: Line, what: str, whole: int) -> str:
    """Steps or updates of a method, and their share of `whole`."""
    if not line["steps_min"]:
        return "-"
    if not line.get(f"{what}_min"):
        return "not recorded"
    ends = [int(line[f"{what}_{end}"]) for end in ("min", "max")]
    return span(ends) + (f" ({sum(ends) / 2 / whole * 100:.1f} %)" if whole else "")

"""Making a report: from the words of the command line to the files in its folder."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reports import figures, tables
from reports.groups import Panel, group
from reports.notes import notes_on
from reports.numbers import columns, communication, improvement
from reports.page import build, number, row_label, score_values
from reports.sources import Run, Wanted, read_folder
from reports.trainings import join
from runs import printable
from utils.errors import UserError
from utils.paths import read_path
from utils.records import make_writable
from utils.secrets import without_passwords

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: How an address of a database begins; the word alone means the environment's MONGO_URL.
_DATABASE = re.compile(r"mongodb(\+srv)?://")


def make(words: Sequence[str], keys: Sequence[str], metric: str, database: str, out: Path) -> Path:
    """Write the report of the runs in `words`, folders or addresses of databases, to `out`, and return its page.

    Args:
        keys, metric: as `reports.groups.group` takes them.
        database: the name of the one to read at an address.

    Raises:
        UserError: there is nothing to report on, something that was named is not there, or `out` cannot be written.
    """
    left_out: list[str] = []

    def tell(what: str, why: str) -> None:
        left_out.append(printable(f"{what}: {why}"))
        print("left out:", left_out[-1], file=sys.stderr)

    names: set[str] = set()
    runs = [run for word in words for run in _read(word, len(words) > 1, Wanted(metric), database, names, tell)]
    if not runs:
        raise UserError(f"no run is recorded in {' '.join(map(without_passwords, words))}; name a folder of results")
    trainings, followed = join(runs, tell)
    panels = group(trainings, keys, metric, names)
    notes = {panel.title: notes_on(panel, keys) for panel in panels}
    make_writable([out / "figures"], f"--out {out}")
    pictures = {panel.title: _draw(panel, i, out / "figures") for i, panel in enumerate(panels)}
    lines = tables.runs_table(trainings, runs, followed, panels)
    tables.write_runs(out / "runs.csv", lines)
    tables.write_curves(out / "curves.csv", panels)
    tables.write_scores(out / "scores.csv", panels)
    tables.write_profiles(out / "profiles.csv", panels)
    tables.write_improvements(out / "improvement.csv", panels)
    tables.write_marl_eval(out / "marl_eval.json", panels)
    title = f"Report of {len(runs)} runs: {', '.join(panel.title for panel in panels)}"
    page = out / "report.html"
    page.write_text(build(title, panels, notes, pictures, lines, left_out), encoding="utf-8")
    return page


def _read(
    word: str, several: bool, wanted: Wanted, database: str, names: set[str], tell: Callable[[str, str], None]
) -> list[Run]:
    """The runs of one word; where there are `several`, what they are called says of which."""
    if not _DATABASE.match(word):
        folder = read_path("RESULTS", word)
        if not folder.is_dir():
            raise UserError(f"RESULTS={word}: there is no such folder; name one that runs were recorded in")
        runs = read_folder(Path(os.path.abspath(folder)), wanted, names, tell)
        for run in runs:
            run.id = printable(f"{word.rstrip('/')}/{run.id}") if several else run.id
        return runs
    try:
        from observers.database import find_address
        from reports.database import read_database
    except ImportError as error:
        raise UserError(f"reading a MongoDB needs pymongo and sacred ({error}): install requirements.txt") from None
    url = find_address("RESULTS", "" if _DATABASE.fullmatch(word) else word)
    if not url:
        raise UserError(f"RESULTS={word}: which database? Set MONGO_URL in the environment, or name HOST:PORT after it")
    return read_database(url, database, wanted, names, tell)


def _draw(panel: Panel, place: int, folder: Path) -> dict[str, tuple[str, bytes]]:
    """Draw what there is of a panel: kind -> name without its ending, SVG."""
    slug = f"{place + 1}-{re.sub(r'[^A-Za-z0-9_.-]+', '_', panel.title)[:60]}"
    found: dict[str, tuple[str, bytes]] = {}

    def draw(kind: str, paint: Callable[["Figure"], None]) -> None:
        name = f"{slug}-{kind}"
        found[kind] = name, figures.draw(paint, folder / name)

    if any(not method.tests for method in panel.methods):
        draw("curves", lambda figure: figures.paint_curves(figure, panel))
    draw("scores", lambda figure: _paint_scores(figure, panel))
    if panel.learners:
        draw("profiles", lambda figure: figures.paint_profiles(figure, panel))
    if len(panel.learners) > 1:
        draw("improvement", lambda figure: _paint_improvements(figure, panel))
    if any(True for method in panel.methods for _ in communication(panel, method)):
        draw("communication", lambda figure: figures.paint_communication(figure, panel))
    return found


def _paint_scores(figure: "Figure", panel: Panel) -> None:
    shown, values = columns(panel), score_values(panel)
    several = len(panel.metrics) > 1
    heads = [f"{column.task} " * several + (column.team or column.metric) for column in shown]
    texts = [["" if np.isnan(value) else number(value) for value in line] for line in values]
    figures.paint_matrix(figure, [row_label(method) for method in panel.methods], heads, values, texts)


def _paint_improvements(figure: "Figure", panel: Panel) -> None:
    learners = panel.learners
    found = [[None if a is b else improvement(panel, a, b) for b in learners] for a in learners]
    values = np.array([[np.nan if of is None else of.middle for of in line] for line in found])
    labels = [method.label for method in learners]
    texts = [["" if of is None else number(of.middle) for of in line] for line in found]
    figures.paint_matrix(figure, labels, labels, values, texts)

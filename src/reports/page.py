"""The page of a report: one file without scripts, that loads nothing. A browser is told so by its policy, and whatever
comes from settings and names is text.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from reports.groups import Method, Panel, name_of
from reports.numbers import Score, columns, improvement, is_trained, score
from reports.statistics import RESAMPLINGS, RESAMPLINGS_OF_CURVES
from reports.tables import RUNS_HEAD

#: Shades of a cell, from none to the darkest, as page.css has them.
_SHADES = 8
_HOW = (
    "Curves and scores are interquartile means over trainings: the mean of the middle half, of all tasks together "
    "where there are several. Bands and intervals [in brackets] are those of 95 % of "
    f"{RESAMPLINGS:,} resamplings of the trainings (curves: {RESAMPLINGS_OF_CURVES:,}), each task's among themselves "
    "(stratified bootstrap).",
    "A score is a training's last test. Only trainings that were COMPLETED count; the others are thin dotted lines. "
    "Between two tests a curve is a straight line, and a band goes from where all trainings have begun to where the "
    "first one ends. Hours are those of the run's clock, tests included; updates are counted in the records, or where "
    "these do not, at checkpoints, with straight lines between.",
    "Runs that continue each other are one training. What is tested apart is a model, or a scripted team (dashed "
    "lines), in a run of its own that only tests.",
)


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def build(
    title: str,
    panels: Sequence[Panel],
    notes: Mapping[str, Sequence[str]],
    pictures: Mapping[str, Mapping[str, tuple[str, bytes]]],
    runs: Sequence[Sequence[object]],
    left_out: Sequence[str],
) -> str:
    """The page.

    Args:
        notes: on each panel, by its title.
        pictures: of each panel, by its title: curves, scores, profiles, improvement, communication, where there are
            such; a file's name without its ending, and the SVG.
        runs: lines as `reports.tables.RUNS_HEAD` names their cells.
        left_out: what could not be read, a line each.
    """
    parts = [_tag("h1", title)]
    links = [_link(f"#panel{i}", panel.title) for i, panel in enumerate(panels)]
    parts.append(_tag("nav", _join([*links, _link("#runs", "runs"), _link("#how", "how to read this")])))
    if left_out:
        parts += [_tag("h3", "Left out"), _list(left_out)]
    for number, panel in enumerate(panels):
        parts += _panel(number, panel, notes[panel.title], pictures[panel.title])
    parts += [_tag("h2", "Runs", id="runs"), _tag("p", _files("runs.csv")), _runs(runs)]
    parts.append(_tag("h2", "How to read this", id="how"))
    parts += [_tag("p", text) for text in _HOW]
    tables = ("curves.csv", "scores.csv", "profiles.csv", "improvement.csv", "runs.csv", "marl_eval.json")
    parts.append(_tag("p", _files(*tables), class_="files"))
    return _document(title, _join(parts, "\n"))


def _document(title: str, body: Html) -> str:
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _panel(number: int, panel: Panel, notes: Sequence[str], pictures: Mapping[str, tuple[str, bytes]]) -> list[Html]:
    parts = [_tag("h2", f"{panel.title}: {panel.figure}", id=f"panel{number}")]
    if notes:
        parts.append(_list(notes))
    if not any(method.trainings for method in panel.methods):
        return [*parts, _tag("p", "Nothing here counts.")]
    if "curves" in pictures:
        parts += [_tag("h3", "Learning curves"), _picture("learning curves", pictures["curves"])]
    parts += [_tag("h3", "Last scores by team"), *_scores(panel, pictures["scores"][0])]
    beside = []
    if "profiles" in pictures:
        beside.append([_tag("h3", "Performance profiles"), _picture("performance profiles", pictures["profiles"])])
    if "communication" in pictures:
        heading = _tag("h3", "Score against communication")
        beside.append([heading, _picture("score against communication", pictures["communication"])])
    if "improvement" in pictures:
        beside.append(_improvements(panel, pictures["improvement"][0]))
    parts.append(_tag("div", _join([_tag("div", _join(part)) for part in beside]), class_="beside"))
    return parts


def _scores(panel: Panel, name: str) -> list[Html]:
    shown = columns(panel)
    several = len(panel.metrics) > 1
    heads = [f"{column.task} " * several + (column.team or column.metric) for column in shown]
    values = score_values(panel)
    rows = []
    for method, line in zip(panel.methods, values, strict=True):
        cells = [_tag("th", row_label(method))]
        for column, value in zip(shown, line, strict=True):
            found, trained = score(method, column), is_trained(method, column)
            cells.append(_score(found, _shade(value, values), trained, len(method.counted.get(column.task, ()))))
        rows.append(_join(cells))
    how = "In brackets how many runs count. Framed: teams that were trained with. n: runs, where some lack this team."
    return [_table(["method", *heads], rows), _tag("p", _join([Html(escape(how)), _pictures(name)], " "), class_="how")]


def score_values(panel: Panel) -> np.ndarray:
    """The matrix of scores, (methods, columns), NaN where there is none."""
    found = [[score(method, column) for column in columns(panel)] for method in panel.methods]
    return np.array([[np.nan if of is None else of.middle for of in line] for line in found]).reshape(len(found), -1)


def row_label(method: Method) -> str:
    """A method in the matrix of scores, with how many runs count."""
    return f"{name_of(method)} ({len(method.trainings)})"


def _score(found: Score | None, shade: int, trained: bool = False, every: int | None = None) -> Html:
    if found is None:
        return _tag("td", "-", class_="n")
    kind = f"n s{shade}" + " trained" * trained
    parts = [Html(escape(number(found.middle)))]
    if found.interval is not None:
        parts.append(_tag("small", f"[{number(found.interval[0])}, {number(found.interval[1])}]"))
    if every is not None and found.number < every:
        parts.append(_tag("small", f"n = {found.number}"))
    return _tag("td", _join(parts), class_=kind)


def _improvements(panel: Panel, name: str) -> list[Html]:
    learners = panel.learners
    rows = []
    for ours in learners:
        cells = [_tag("th", ours.label)]
        for theirs in learners:
            found = None if ours is theirs else improvement(panel, ours, theirs)
            shade = 0 if found is None else round(found.middle * (_SHADES - 1))
            cells.append(_score(found, shade))
        rows.append(_join(cells))
    better = "greater" if panel.higher_is_better else "smaller"
    how = (
        f"How probably a training of the row's method has a {better} last score than one of the column's; equal ones "
        "count half."
    )
    return [
        _tag("h3", "Probability of improvement"),
        _table(["method", *(method.label for method in learners)], rows),
        _tag("p", _join([Html(escape(how)), _pictures(name)], " "), class_="how"),
    ]


def _runs(lines: Sequence[Sequence[object]]) -> Html:
    status, counts = RUNS_HEAD.index("status"), RUNS_HEAD.index("counts")
    rows = []
    for line in lines:
        cells = []
        for at, value in enumerate(line):
            kind = "n" if isinstance(value, int | float) else ""
            if at in (status, counts) and line[counts] != "yes":
                kind = "no"
            shown = f"{value:,}" if isinstance(value, int | float) and RUNS_HEAD[at] != "seed" else str(value)
            cells.append(_tag("td", shown, class_=kind) if kind else _tag("td", shown))
        rows.append(_join(cells))
    return _table([name.replace("steps_per_second", "steps/s") for name in RUNS_HEAD], rows)


def number(value: float) -> str:
    """A score, to three digits after its point, or four in all where that are fewer."""
    return f"{value:.3f}" if abs(value) < 1 else f"{value:#.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def _shade(value: float, values: np.ndarray) -> int:
    low, high = np.nanmin(values), np.nanmax(values)
    return 0 if np.isnan(value) or high == low else round((value - low) / (high - low) * (_SHADES - 1))


# --- HTML -------------------------------------------------------------------------------------------------------------


def _tag(name: str, content: str, class_: str = "", **attributes: str) -> Html:
    words = {**({"class": class_} if class_ else {}), **attributes}
    inner = content if isinstance(content, Html) else escape(content)
    said = "".join(f' {key}="{escape(value)}"' for key, value in words.items())
    return Html(f"<{name}{said}>{inner}</{name}>")


def _join(parts: Iterable[Html], between: str = "") -> Html:
    return Html(between.join(parts))


def _link(target: str, text: str) -> Html:
    return _tag("a", text, href=target)


def _files(*names: str) -> Html:
    return _join([_link(name, name) for name in names], " ")


def _pictures(name: str) -> Html:
    return _join([_link(f"figures/{name}.{kind.lower()}", kind) for kind in ("PNG", "SVG")], " ")


def _picture(what: str, picture: tuple[str, bytes]) -> Html:
    name, svg = picture
    source = f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
    image = Html(f'<img alt="{escape(what)}" src="{source}">')
    return _join([_tag("figure", image), _tag("p", _pictures(name), class_="files")])


def _list(items: Iterable[str]) -> Html:
    return _tag("ul", _join([_tag("li", item) for item in items]), class_="notes")


def _table(head: Sequence[str], rows: Sequence[Html]) -> Html:
    first = _tag("tr", _join([_tag("th", name) for name in head]))
    table = _tag("table", _join([first, *(_tag("tr", row) for row in rows)], "\n"))
    return _tag("div", table, class_="wide")

"""One picture of a study. matplotlib is imported here alone, and only when a figure is drawn."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.declaration import Bars, Column, Curves, Study
from studies.engine import Results
from studies.statistics import Summary
from studies.tables import extent, summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(path: Path, study: Study, results: Results) -> None:
    """Write the study's figure as a PNG; what was not measured is left out."""
    from matplotlib.figure import Figure

    bars = isinstance(study.figure, Bars)
    picture = Figure(figsize=(max(6.4, 1.1 * len(study.rows)) if bars else 6.4, 4.8), layout="constrained")
    axes = picture.add_subplot()
    if isinstance(study.figure, Bars):
        _draw_bars(axes, study, study.figure, results)
    else:
        _draw_curves(axes, study, study.figure, results)
    axes.set_title(f"{study.title}\n{extent(results)}")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    if axes.get_legend_handles_labels()[1]:
        axes.legend()
    picture.savefig(path, dpi=150)


def _draw_bars(axes: "Axes", study: Study, figure: Bars, results: Results) -> None:
    width = 0.8 / len(figure.columns)
    marks = []
    for number, column in enumerate(figure.columns):
        places, found = [], []
        for group, row in enumerate(study.rows):
            place = group + (number + 0.5) * width - 0.4
            of = summary(results, row, column)
            if of is not None:
                places.append(place)
                found.append(of)
            if (column.team, column.figure) in row.paper:
                marks.append((place, row.paper[column.team, column.figure][0]))
        axes.bar(places, [of.mean for of in found], width, yerr=_errors(found), capsize=2, label=f"team {column.team}")
    _mark_paper(axes, marks)
    axes.set_xticks(range(len(study.rows)), [row.label for row in study.rows], rotation=30, ha="right")
    axes.set_ylabel(f"{figure.ylabel}, 95 % interval")


def _draw_curves(axes: "Axes", study: Study, figure: Curves, results: Results) -> None:
    if figure.shaded is not None:
        axes.axvspan(*figure.shaded, color="0.9", label="trained on")
    marks = []
    for label, points in figure.lines:
        places, found = [], []
        for point in points:
            row, x, y = study.row(point.row), point.x, point.y
            if isinstance(x, Column):
                across = summary(results, row, x)
                x = float("nan") if across is None else across.mean
            elif not y.relative and (y.team, y.figure) in row.paper:
                marks.append((x, row.paper[y.team, y.figure][0]))
            of = summary(results, row, y)
            if of is not None:
                places.append(x)
                found.append(of)
        if found:
            axes.errorbar(places, [of.mean for of in found], yerr=_errors(found), marker="o", capsize=3, label=label)
    _mark_paper(axes, marks)
    numbers = sorted({point.x for _, points in figure.lines for point in points if not isinstance(point.x, Column)})
    if numbers:
        axes.set_xticks(numbers)
    axes.set_xlabel(figure.xlabel)
    axes.set_ylabel(f"{figure.ylabel}, 95 % interval")


def _mark_paper(axes: "Axes", places: list[tuple[float, float]]) -> None:
    if places:
        axes.plot(*zip(*places, strict=True), "D", color="k", fillstyle="none", markersize=4, label="paper")


def _errors(found: list[Summary]) -> Any:
    """Lengths of the interval below and above each mean; none (NaN) for a single seed."""
    below = [float("nan") if of.low is None else of.mean - of.low for of in found]
    above = [float("nan") if of.high is None else of.high - of.mean for of in found]
    return [below, above]

"""One picture of a study. matplotlib is imported here alone, and only when a figure is drawn."""

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from studies.curves import lay_over
from studies.declaration import Bars, Column, Curves, LearningCurves, LearningPanel, Study, TeamSizes
from studies.engine import Results
from studies.statistics import Summary
from studies.tables import extent, summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Panels of learning curves that stand beside each other; more of them go below.
_ABREAST = 3


def draw(path: Path, study: Study, results: Results) -> None:
    """Write the study's figure as a PNG; what was not measured is left out."""
    from matplotlib.figure import Figure

    figure, width, height, panels = study.figure, 6.4, 4.8, 1
    if isinstance(figure, LearningCurves):
        picture = Figure(layout="constrained")
        picture.suptitle(f"{study.title}\n{extent(results)}")
        _draw_learning_curves(picture, study, figure, results)
        picture.savefig(path, dpi=150)
        return
    if isinstance(figure, Bars):
        width = max(width, 1.1 * len(study.rows))
    elif isinstance(figure, TeamSizes):
        panels = len(figure.panels)
        width, height = max(width, 4.8 * panels), height + 1.0
    picture = Figure(figsize=(width, height), layout="constrained")
    picture.suptitle(f"{study.title}\n{extent(results)}")
    for number, axes in enumerate(picture.subplots(1, panels, sharey=True, squeeze=False)[0]):
        if isinstance(figure, Bars):
            _draw_bars(axes, study, figure, results)
        elif isinstance(figure, Curves):
            _draw_curves(axes, study, figure, results)
        else:
            _draw_team_sizes(axes, study, figure, number, results)
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
        if isinstance(figure, TeamSizes):  # below: lines start at the left edge and may end anywhere
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)
        elif axes.get_legend_handles_labels()[1]:
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


def _draw_team_sizes(axes: "Axes", study: Study, figure: TeamSizes, panel: int, results: Results) -> None:
    title, lines = figure.panels[panel]
    axes.axvspan(*figure.trained_on, color="0.9", label="trained on")
    sizes = [fmean(map(int, column.team.split("-"))) for column in figure.columns]
    for number, (label, name) in enumerate(lines):
        row, colour = study.row(name), f"C{number}"
        beside = 0.04 * (number - (len(lines) - 1) / 2)  # so that intervals do not hide each other
        across = [
            (size + beside, summary(results, row, column)) for size, column in zip(sizes, figure.columns, strict=True)
        ]
        places, found = [size for size, of in across if of], [of for _, of in across if of]
        if found:
            means = [of.mean for of in found]
            axes.errorbar(places, means, yerr=_errors(found), marker="o", capsize=3, color=colour, label=label)
        paper = [row.paper.get((column.team, column.figure)) for column in figure.columns]
        marks = [(size, pair[0]) for size, pair in zip(sizes, paper, strict=True) if pair]
        if marks:
            axes.plot(*zip(*marks, strict=True), "--D", color=colour, fillstyle="none", markersize=4, alpha=0.6)
    if any(study.row(name).paper for _, name in lines):
        axes.plot([], [], "--D", color="0.4", fillstyle="none", markersize=4, label="paper")
    axes.set_xticks(sizes, [column.team for column in figure.columns])
    axes.set_xlabel("team size")
    if panel == 0:  # the panels share the axis
        axes.set_ylabel(f"{figure.ylabel}, 95 % interval")
    axes.set_title(title)


def _draw_learning_curves(picture: "Figure", study: Study, figure: LearningCurves, results: Results) -> None:
    """Tasks have neither an axis nor a legend in common with others, but colours, and the legend that explains them."""
    from matplotlib.ticker import EngFormatter

    abreast = min(len(figure.panels), _ABREAST)
    rows = -(-len(figure.panels) // abreast)
    picture.set_size_inches(max(6.4, 4.0 * abreast), 1.4 + 3.4 * rows)
    labels = dict.fromkeys(line.label for panel in figure.panels for line in panel.lines)
    colours = {label: f"C{number}" for number, label in enumerate(labels)}
    places = picture.subplots(rows, abreast, squeeze=False).ravel()
    for axes, panel in zip(places, figure.panels, strict=False):
        _draw_learning_panel(axes, study, figure, panel, colours, results)
        axes.grid(axis="y", alpha=0.3)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_title(panel.title)
        axes.set_xlabel("environment steps")
        if not axes.lines:  # nobody has been trained there
            axes.text(0.5, 0.5, "no curves", transform=axes.transAxes, horizontalalignment="center")
            axes.set_xticks([])
            axes.set_yticks([])
    for axes in places[len(figure.panels) :]:
        axes.set_axis_off()
    for axes in places[::abreast]:
        axes.set_ylabel(", ".join(filter(None, (figure.ylabel, f"{figure.middle} and range of seeds"))))
    drawn = {label: handle for axes in places for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if drawn:
        picture.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=4)


def _draw_learning_panel(
    axes: "Axes",
    study: Study,
    figure: LearningCurves,
    panel: LearningPanel,
    colours: Mapping[str, str],
    results: Results,
) -> None:
    middle = {"mean": lambda values: values.mean(axis=0), "median": lambda values: np.median(values, axis=0)}
    for line in panel.lines:
        row = study.row(line.row)
        look: dict[str, Any] = {"color": colours[line.label], "linestyle": line.style, "label": line.label}
        if not row.cell.learns:
            of = summary(results, row, panel.column) if panel.column else None
            if of is not None:
                axes.axhline(of.mean, **look)
            continue
        curves = [curve for outcome in results[row.label] if (curve := outcome.curves.get(line.prefix + panel.metric))]
        band = lay_over(curves, middle[figure.middle])
        if band is not None:
            axes.plot(band.steps, band.middle, **look)
            axes.fill_between(band.steps, band.low, band.high, color=look["color"], alpha=0.2, linewidth=0)


def _mark_paper(axes: "Axes", places: list[tuple[float, float]]) -> None:
    if places:
        axes.plot(*zip(*places, strict=True), "D", color="k", fillstyle="none", markersize=4, label="paper")


def _errors(found: list[Summary]) -> Any:
    """Lengths of the interval below and above each mean; none (NaN) for a single seed."""
    below = [float("nan") if of.low is None else of.mean - of.low for of in found]
    above = [float("nan") if of.high is None else of.high - of.mean for of in found]
    return [below, above]

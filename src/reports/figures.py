"""The pictures of a report, each as PNG and as SVG. matplotlib is imported here alone, where a picture is drawn."""

import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.groups import REPEATED, Method, Panel
from reports.numbers import Band, along, band, communication, profile_of, total
from reports.trainings import AXES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Text is text, and not a formula; the same numbers make the same file.
_STYLE: Mapping[str, Any] = {"text.parse_math": False, "svg.fonttype": "path", "svg.hashsalt": "muster"}
_COLOURS = 20
#: Fewer hours than these are shown as minutes.
_SHORT = 2.0


def draw(paint: Callable[["Figure"], None], path: Path) -> bytes:
    """Write what `paint` paints as `path`.png and `path`.svg, and return the SVG."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(dict(_STYLE)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name may be written in any script
        figure = Figure(layout="constrained")
        paint(figure)
        figure.savefig(path.with_name(f"{path.name}.png"), dpi=150, metadata={"Software": None})
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    path.with_name(f"{path.name}.svg").write_bytes(file.getvalue())
    return file.getvalue()


def paint_curves(figure: "Figure", panel: Panel) -> None:
    """Learning curves against steps, hours and, where somebody knows them, updates."""
    bands = {axis: [(method, band(panel, method, axis)) for method in panel.learners] for axis in AXES}
    others = {axis: list(_uncounted(panel, axis)) for axis in AXES}
    shown = [axis for axis in AXES if axis == "steps" or others[axis] or any(found for _, found in bands[axis])]
    figure.set_size_inches(4.4 * len(shown) + 0.6, 4.2)
    looks = colours(panel)
    places = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axis, axes in zip(shown, places, strict=True):
        for method, found in bands[axis]:
            if found is not None:
                _paint_band(axes, found, looks[method.label], f"{method.label} ({found.number})")
        for method, (x, values) in others[axis]:
            label = _name(f"{method.label}, not counted")
            axes.plot(x, values, color=looks[method.label], linestyle=":", linewidth=1.0, label=label)
        for method in panel.methods:
            if method.scripted and method.trainings:
                middle = total(panel, method).middle
                axes.axhline(middle, color=looks[method.label], linestyle="--", label=_name(method.label))
        axes.set_xlabel(AXES[axis])
        _finish(axes, engineering=axis != "hours")
        if axis == "hours" and axes.dataLim.x1 < _SHORT:
            axes.xaxis.set_major_formatter(lambda hours, _: f"{60 * hours:g}")
            axes.set_xlabel("minutes")
    places[0].set_ylabel(panel.figure)
    _legend(figure, places)


def _uncounted(panel: Panel, axis: str) -> Iterator[tuple[Method, tuple[np.ndarray, np.ndarray]]]:
    """Curves of trainings that are in no band."""
    for method in panel.methods:
        for training, reason in method.uncounted:
            curve = along(training.line(panel.metrics[training.run.task]), axis)
            if curve is not None and not method.tests and not reason.startswith(REPEATED):
                yield method, curve


def paint_profiles(figure: "Figure", panel: Panel) -> None:
    """The share of trainings whose score is above what is on the axis."""
    figure.set_size_inches(5.6, 4.6)
    axes, looks = figure.subplots(), colours(panel)
    for method in panel.learners:
        found = profile_of(panel, method)
        _paint_band(axes, found, looks[method.label], f"{method.label} ({found.number})", steps=True)
    axes.set_xlabel(panel.figure)
    axes.set_ylabel("share of trainings above")
    axes.set_ylim(-0.02, 1.02)
    _finish(axes)
    _legend(figure, [axes])


def paint_communication(figure: "Figure", panel: Panel) -> None:
    """Score against how often the coach is heard: a point for each training, or test."""
    figure.set_size_inches(5.6, 4.6)
    axes, looks = figure.subplots(), colours(panel)
    for method in panel.methods:
        found = [(sent, value) for _, sent, value in communication(panel, method)]
        if found:
            sent, values = zip(*found, strict=True)
            axes.plot(sent, values, "o", color=looks[method.label], alpha=0.8, label=_name(method.label))
    axes.set_xlabel("strategies sent / (present agents x steps)")
    axes.set_ylabel(panel.figure)
    _finish(axes)
    _legend(figure, [axes])


def paint_matrix(
    figure: "Figure", rows: Sequence[str], columns: Sequence[str], values: np.ndarray, texts: Sequence[Sequence[str]]
) -> None:
    """A matrix of numbers (rows, columns), NaN where there is none, with a text in each cell."""
    widest = max(map(len, rows), default=0)
    figure.set_size_inches(1.2 + 0.09 * widest + 1.25 * len(columns), 1.2 + 0.5 * len(rows))
    axes = figure.subplots()
    axes.imshow(np.ma.masked_invalid(values), cmap="Blues", aspect="auto", alpha=0.75)
    middle = np.nanmin(values) + 0.75 * (np.nanmax(values) - np.nanmin(values)) if np.isfinite(values).any() else 0.0
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            dark = values[row, column] > middle
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)


def colours(panel: Panel) -> dict[str, Any]:
    """A colour for each method of a panel, by its label; a method's tests have the colour of its trainings."""
    from matplotlib import colormaps

    labels = list(dict.fromkeys(method.label for method in panel.methods))
    wheel = colormaps["tab10" if len(labels) <= 10 else "tab20"]
    return {label: wheel(number % _COLOURS) for number, label in enumerate(labels)}


def _paint_band(axes: "Axes", found: Band, colour: Any, label: str, steps: bool = False) -> None:
    style = "steps-post" if steps else "default"
    axes.plot(found.x, found.middle, color=colour, label=_name(label), drawstyle=style)
    if found.interval is not None:
        low, high = found.interval
        axes.fill_between(found.x, low, high, color=colour, alpha=0.2, linewidth=0, step="post" if steps else None)


def _finish(axes: "Axes", engineering: bool = False) -> None:
    from matplotlib.ticker import EngFormatter

    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.margins(x=0.02)
    if engineering:
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _legend(figure: "Figure", places: Sequence["Axes"]) -> None:
    """One for all of `places`, each label once."""
    found = {label: handle for axes in places for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if found:
        figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=min(len(found), 4))


def _name(label: str) -> str:
    """A label for a legend, which would leave out one that begins with an underscore."""
    return f"\u200a{label}" if label.startswith("_") else label

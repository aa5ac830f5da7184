"""What is drawn, read back from the picture's axes."""

from dataclasses import replace

import matplotlib.figure
import pytest

from studies.declaration import Cell, Column, Row, Study, TeamSizes
from studies.engine import Outcome
from studies.figures import draw

COLUMNS = tuple(Column(team, "battle_won") for team in ("3-5", "6"))
ROWS = (
    Row("one", Cell("one", "refil", "sc2_sz"), paper={("3-5", "battle_won"): (0.75, 0.1)}),
    Row("two", Cell("two", "aqmix", "sc2_sz")),
)
STUDY = Study(
    name="sizes",
    title="Sizes",
    seeds=(0, 1),
    rows=ROWS,
    columns=COLUMNS,
    figure=TeamSizes(COLUMNS, "battles won", (3, 5), (("left", (("One", "one"),)), ("right", (("Two", "two"),)))),
)


def outcome(seed, small, large=None):
    evaluation = {"3-5": {"battle_won": {"mean": small}}}
    if large is not None:
        evaluation["6"] = {"battle_won": {"mean": large}}
    return Outcome(seed, 10, 3, "1 episode", 100, ("abc",), evaluation)


def test_team_sizes(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", lambda self, path, **_: drawn.append(self))
    results = {"one": [outcome(0, 0.25, 0.5), outcome(1, 0.75, 0.0)], "two": [outcome(0, 0.125)]}
    draw(tmp_path / "figure.png", STUDY, results)
    left, right = drawn[0].axes
    assert (left.get_title(), right.get_title()) == ("left", "right")
    for axes in (left, right):
        shade = axes.patches[0].get_bbox()
        assert (shade.x0, shade.x1) == (3, 5)
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["3-5", "6"]
    measured = left.containers[0].lines[0].get_xydata().tolist()
    assert measured == [[4, 0.5], [6, pytest.approx(0.25)]]
    assert right.containers[0].lines[0].get_xydata().tolist() == [[4, 0.125]]  # what was not measured is left out
    dashed = [line.get_xydata().tolist() for line in left.lines if line.get_linestyle() == "--"]
    assert [[4, 0.75]] in dashed
    assert not [line for line in right.lines if line.get_linestyle() == "--"]
    legends = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in (left, right)]
    assert legends == [["trained on", "paper", "One"], ["trained on", "Two"]]  # panels may have lines of their own


def test_intervals_stand_beside_each_other(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", lambda self, path, **_: drawn.append(self))
    lines = (("One", "one"), ("Two", "two"))
    study = replace(STUDY, figure=replace(STUDY.figure, panels=(("", lines),)))
    results = {"one": [outcome(0, 0.25), outcome(1, 0.75)], "two": [outcome(0, 0.125), outcome(1, 0.5)]}
    draw(tmp_path / "figure.png", study, results)
    places = [box.lines[0].get_xdata()[0] for box in drawn[0].axes[0].containers]
    assert places == [pytest.approx(3.98), pytest.approx(4.02)]

"""What is drawn, read back from the picture's axes."""

from dataclasses import replace

import matplotlib.figure
import pytest

from studies.declaration import (
    Bars,
    Cell,
    Column,
    Curves,
    LearningCurves,
    LearningLine,
    LearningPanel,
    Point,
    Row,
    Study,
    TeamSizes,
)
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


#: four tasks' panels, of which the first has everything
LEARNING = Study(
    name="learning",
    title="Learning",
    seeds=(0, 1),
    rows=(*ROWS, Row("rules", Cell("rules", "scripted", "sc2_sz"))),
    columns=COLUMNS,
    figure=LearningCurves(
        "won",
        (
            LearningPanel(
                "first",
                COLUMNS[0],
                (
                    LearningLine("expert", "one", "expert/", "--"),
                    LearningLine("students", "one"),
                    LearningLine("Rules", "rules", style=":"),
                ),
            ),
            LearningPanel("second", COLUMNS[1], (LearningLine("students", "one"), LearningLine("Two", "two"))),
            LearningPanel("third", COLUMNS[1], (LearningLine("Two", "two"),)),
            LearningPanel("fourth", COLUMNS[1], (LearningLine("Two", "two"),)),
        ),
    ),
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


def test_bars(tmp_path, monkeypatch):
    """A group of two of width 0.4 around 0, and of another row, whose second bar was not measured, around 1."""
    drawn = []
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", lambda self, path, **_: drawn.append(self))
    results = {"one": [outcome(0, 0.25, 0.5), outcome(1, 0.75, 0.0)], "two": [outcome(0, 0.125)]}
    draw(tmp_path / "figure.png", replace(STUDY, figure=Bars(COLUMNS, "battles won")), results)
    (axes,) = drawn[0].axes
    bars = [(bar.get_center()[0], bar.get_width(), bar.get_height()) for bar in axes.patches]
    assert bars == [pytest.approx(bar) for bar in ((-0.2, 0.4, 0.5), (0.8, 0.4, 0.125), (0.2, 0.4, 0.25))]
    (paper,) = (line for line in axes.lines if line.get_label() == "paper")
    assert paper.get_xydata().tolist() == [[pytest.approx(-0.2), 0.75]]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["one", "two"]
    # half of a 95 % t interval of two values: 12.706 times their deviation over the root of 2
    ends = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert sorted(ends) == pytest.approx([0.5 - 12.7062 * 0.25, 0.5 + 12.7062 * 0.25])


def test_curves_stand_at_numbers_or_at_what_was_measured(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", lambda self, path, **_: drawn.append(self))
    small, large = COLUMNS
    lines = (
        ("settings", (Point(4, "one", small), Point(8, "two", small), Point(16, "two", large))),
        ("measured", (Point(large, "one", small),)),
        ("nothing", (Point(large, "two", large),)),
    )
    results = {"one": [outcome(0, 0.25, 0.5), outcome(1, 0.75, 0.0)], "two": [outcome(0, 0.125)]}
    draw(tmp_path / "figure.png", replace(STUDY, figure=Curves("setting", "won", lines)), results)
    (axes,) = drawn[0].axes
    settings, measured = (box.lines[0].get_xydata().tolist() for box in axes.containers)
    assert settings == [[4, 0.5], [8, 0.125]]  # what was not measured is left out
    assert measured == [[0.25, 0.5]]
    (paper,) = (line for line in axes.lines if line.get_label() == "paper")
    assert paper.get_xydata().tolist() == [[4, 0.75]]  # at settings alone
    assert axes.get_xticks().tolist() == [4, 8, 16]


def test_learning_curves(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", lambda self, path, **_: drawn.append(self))
    small, large = "test/3-5/battle_won_mean", "test/6/battle_won_mean"
    one = [
        {"expert/" + small: [(0, 0.0), (100, 1.0)], small: [(100, 0.25), (200, 0.5)]},
        {"expert/" + small: [(0, 0.5), (100, 0.5)], small: [(100, 0.75), (200, 1.0)], large: []},
    ]
    results = {
        "one": [replace(outcome(seed, 0.5), curves=curves) for seed, curves in enumerate(one)],
        "two": [replace(outcome(0, 0.5), curves={large: [(0, 0.0), (200, 1.0)]})],
        "rules": [outcome(None, 0.875)],
    }
    draw(tmp_path / "figure.png", LEARNING, results)
    first, second, *_ = axes = drawn[0].axes
    expert, students, rules = first.lines
    assert expert.get_xydata().tolist() == [[0, 0.25], [100, 0.75]]
    assert students.get_xydata().tolist() == [[100, 0.5], [200, 0.75]]  # they begin where the expert ends
    assert [line.get_linestyle() for line in first.lines] == ["--", "-", ":"]
    assert rules.get_ydata() == [0.875, 0.875]
    (envelope,) = first.collections[1].get_paths()
    assert {tuple(corner) for corner in envelope.vertices.tolist()} == {(100, 0.25), (100, 0.75), (200, 0.5), (200, 1)}
    assert [line.get_label() for line in second.lines] == ["Two"]  # what was not measured is left out
    assert second.lines[0].get_xydata().tolist() == [[0, 0], [200, 1]]
    assert [part.get_title() for part in axes if part.axison] == ["first", "second", "third", "fourth"]
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["expert", "students", "Rules", "Two"]
    assert len({line.get_color() for part in axes for line in part.lines if line.get_label() == "Two"}) == 1


def test_learning_curves_may_show_the_median(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", lambda self, path, **_: drawn.append(self))
    figure = replace(LEARNING.figure, panels=LEARNING.figure.panels[2:3], middle="median")
    seeds = [{"test/6/battle_won_mean": [(0, value), (100, value)]} for value in (0.0, 0.25, 1.0)]
    results = {"one": [], "two": [replace(outcome(0, 0.5), curves=curves) for curves in seeds], "rules": []}
    draw(tmp_path / "figure.png", replace(LEARNING, figure=figure), results)
    assert drawn[0].axes[0].lines[0].get_ydata().tolist() == [0.25, 0.25]

"""What a report's pictures show, read back from their axes."""

from pathlib import Path

import matplotlib.figure
import pytest
from recorded import straight, write, write_two_methods

import report

TEAM = "battle_won, team 3-5"


Figures = dict[str, matplotlib.figure.Figure]


def figures_of(place: Path, *words: str) -> Figures:
    """The figures of the report on the runs in `place`, by their kind."""
    found = {}

    def keep(self: matplotlib.figure.Figure, path: object, **_: object) -> None:
        if isinstance(path, Path):
            found[path.stem.rpartition("-")[2]] = self

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matplotlib.figure.Figure, "savefig", keep)
        assert report.main([str(place), "--out", str(place / "out"), *words]) == 0
    return found


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Figures:
    place = tmp_path_factory.mktemp("figures")
    write_two_methods(place)
    return figures_of(place)


def lines(axes):
    return {line.get_label(): line.get_xydata().tolist() for line in axes.lines}


def legend(figure):
    return [text.get_text() for part in figure.legends for text in part.get_texts()]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def ticks(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


def test_learning_curves_against_steps_minutes_and_updates(drawn):
    figure = drawn["curves"]
    steps, minutes, updates = figure.axes
    assert [axes.get_xlabel() for axes in figure.axes] == ["environment steps", "minutes", "updates"]
    assert steps.get_ylabel() == TEAM
    assert legend(figure) == ["refil (3)", "copa (3)", "refil, not counted", "focus_fire (scripted)"]
    for axes, end in ((steps, 100), (minutes, 100 / 3600), (updates, 40)):
        found = lines(axes)
        assert found["refil (3)"] == [pytest.approx(point) for point in ((0, 0), (end / 2, 0.2), (end, 0.4))]
        assert found["copa (3)"] == [pytest.approx(point) for point in ((0, 0), (end / 2, 0.25), (end, 0.5))]
        assert found["focus_fire (scripted)"] == [[0, 0.38], [1, 0.38]]  # from side to side
    assert lines(steps)["refil, not counted"] == [[0, 0], [50, 0.5], [100, 1]]
    assert "refil, not counted" not in lines(updates)  # of it nobody knows them
    ours, theirs = (part.get_paths()[0].vertices[:, 1].max() for part in steps.collections)
    assert (ours, theirs) == (pytest.approx(0.6), pytest.approx(0.7))  # as far as the best one
    assert minutes.xaxis.get_major_formatter()(0.05, 0) == "3"


def test_scores_and_improvements_stand_in_their_rows(drawn):
    (scores,), (improvement,) = drawn["scores"].axes, drawn["improvement"].axes
    assert ticks(scores.yaxis) == ["refil (3)", "copa (3)", "focus_fire (scripted) (1)"]
    assert ticks(scores.xaxis) == ["3-5", "8"]
    assert texts(scores) == ["0.400", "0.200", "0.500", "0.400", "0.380", ""]
    assert [text.get_position() for text in scores.texts[:3]] == [(0, 0), (1, 0), (0, 1)]
    assert scores.images[0].get_array().tolist() == [pytest.approx([0.4, 0.2]), pytest.approx([0.5, 0.4]), [0.38, None]]
    # white where it is dark: above three quarters of the way from 0.2 to 0.5
    assert [text.get_color() for text in scores.texts[:5]] == ["black", "black", "white", "black", "black"]
    assert (ticks(improvement.yaxis), ticks(improvement.xaxis)) == (["refil", "copa"], ["refil", "copa"])
    assert texts(improvement) == ["", "0.333", "0.667", ""]  # of nine pairs copa wins six


def test_profiles_are_shares_above(drawn):
    (axes,) = drawn["profiles"].axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == (TEAM, "share of trainings above")
    assert legend(drawn["profiles"]) == ["refil (3)", "copa (3)"]
    found = lines(axes)
    for label, scores in (("refil (3)", (0.2, 0.4, 0.6)), ("copa (3)", (0.3, 0.5, 0.7))):
        for level, share in found[label][1:-1]:  # equal ones are a matter of rounding
            assert share == pytest.approx(sum(score > level for score in scores) / 3)
    assert all(line.get_drawstyle() == "steps-post" for line in axes.lines)


def test_communication_has_a_point_for_each_training(drawn):
    (axes,) = drawn["communication"].axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("strategies sent / (present agents x steps)", TEAM)
    assert lines(axes) == {"copa": [pytest.approx(point) for point in ((0, 0.3), (0.1, 0.5), (0.2, 0.7))]}
    assert legend(drawn["communication"]) == ["copa"]


def test_a_method_has_one_colour_everywhere(drawn):
    for label in ("refil", "copa"):
        colours = {
            line.get_color()
            for figure in drawn.values()
            for axes in figure.axes
            for line in axes.lines
            if line.get_label().startswith(label)
        }
        assert len(colours) == 1


def test_columns_of_several_tasks_name_them(tmp_path):
    for number, task in enumerate(("a", "b"), start=1):
        write(tmp_path, number, straight(0.5), task=task)
    (scores,) = figures_of(tmp_path, "--group-by", "config")["scores"].axes
    assert ticks(scores.xaxis) == ["a 3-5", "b 3-5"]

"""Tables of outcomes that are made here, so that every number can be seen."""

import csv
from dataclasses import replace

import pytest

from studies.declaration import WORST, Bars, Cell, Column, Row, Study
from studies.engine import Outcome, batch_of
from studies.tables import extent, worst, write_csv, write_markdown
from utils.config import load_config

RETURN, LEFT, SENT = Column("3"), Column("3", "fires_left"), Column("3", "comm_frequency")
ROWS = (Row("copa", Cell("copa", "copa", "rescue")), Row("random", Cell("random", "scripted", "rescue")))
STUDY = Study("made", "Made", (0, 1, 2), ROWS, (RETURN, LEFT, SENT), Bars((RETURN,), "return"), steps=100, updates=50)


def outcome(seed: int | None, value: float, updates: int | None = 50, steps: int = 100) -> Outcome:
    figures = {figure: {"mean": value, "std": 0.0, "n": 9} for figure in ("return", "fires_left", "comm_frequency")}
    return Outcome(seed, steps, updates, "5 pieces of 4 steps", 7, ("abc",), {"3": figures})


RESULTS = {"copa": [outcome(0, 4.0), outcome(1, 1.0), outcome(2, 3.0)], "random": [outcome(None, 2.0, None, 0)]}


def written(tmp_path, results=RESULTS, study=STUDY) -> tuple[str, list[dict[str, str]]]:
    """Both tables."""
    write_markdown(tmp_path / "table.md", study, results, "the command")
    write_csv(tmp_path / "table.csv", study, results)
    with open(tmp_path / "table.csv", newline="", encoding="utf-8") as file:
        return (tmp_path / "table.md").read_text(encoding="utf-8"), list(csv.DictReader(file))


def test_median_and_worst_seed(tmp_path):
    text, lines = written(tmp_path)
    # the worst is the least return, the most fires left, and nothing of how much was sent
    assert "| copa | 3.0 / 1.0 | 3.0 / 4.0 | 3.0 |" in text
    assert [(line["median"], line["worst"]) for line in lines[:3]] == [("3.0", "1.0"), ("3.0", "4.0"), ("3.0", "")]


def test_an_even_number_of_seeds_has_its_median_in_the_middle(tmp_path):
    text, _ = written(tmp_path, {**RESULTS, "copa": RESULTS["copa"][:2]})
    assert "| copa | 2.5 / 1.0 |" in text


def test_relative_figures_are_judged_as_what_they_are_made_of():
    study = replace(STUDY.row("copa"), reference="copa")
    assert worst(RESULTS, study, replace(RETURN, relative=True)) == 1.0
    assert worst(RESULTS, study, replace(SENT, relative=True)) is None


def test_every_figure_with_a_worst_is_one_that_a_task_has():
    from builders import build_env

    known = {"return"}
    for task in ("sc2_3m", "rescue", "resource_collection"):
        with build_env(load_config([f"--env-config={task}", "--config=aqmix", "device=cpu"]), 1, 0, tests=True) as env:
            known |= set(env.spec.info_names)
    assert set(WORST) <= known


def test_how_much_was_learnt(tmp_path):
    text, lines = written(tmp_path)
    assert "| copa | 100 | 50 | 5 pieces of 4 steps | 7 |" in text
    assert "Trained for 100 steps with 50 updates; the paper: 100 with 50." in text
    expected = {"steps_min": "100", "updates_min": "50", "updates_max": "50", "batch": "5 pieces of 4 steps"}
    assert expected.items() <= lines[0].items()
    assert {(line["updates_min"], line["batch"]) for line in lines if line["method"] == "random"} == {("", "")}
    assert extent(RESULTS) == "seeds: 3, training steps: 100, updates: 50"


@pytest.mark.parametrize(
    ("updates", "shown", "said", "written_down"),
    [
        (
            (50, 46, 50),
            "46 to 50",
            "Trained for 100 steps with 46 to 50 updates; the paper: 100 with 50.",
            ("46", "50"),
        ),
        (
            (50, 9, 50),
            "9 to 50",
            "**Trained for 100 steps with 9 to 50 updates, the paper for 100 with 50**",
            ("9", "50"),
        ),
        ((50, 0, 50), "0 to 50", "**Trained for 100 steps with 0 to 50 updates, the paper", ("0", "50")),
        ((50, None, 50), "50 (1 unknown)", "Trained for 100 steps with 50 (1 unknown) updates; the paper", ("", "")),
        ((None, None, None), "-", "Trained for 100 steps with unknown updates; the paper", ("", "")),
    ],
)
def test_updates_that_are_few_or_unknown_are_said_so(tmp_path, updates, shown, said, written_down):
    found = [outcome(seed, 1.0, count) for seed, count in enumerate(updates)]
    text, lines = written(tmp_path, {**RESULTS, "copa": found})
    assert f"| copa | 100 | {shown} |" in text
    assert said in text
    assert (lines[0]["updates_min"], lines[0]["updates_max"]) == written_down


def test_scripted_teams_alone_have_learnt_nothing(tmp_path):
    text, _ = written(tmp_path, {"random": RESULTS["random"]}, replace(STUDY, rows=ROWS[1:]))
    assert "updates" not in text
    assert "Median" not in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--config=copa", "--env-config=resource_collection"], "256 pieces of 4 steps"),
        (["--config=refil", "--env-config=sc2_sz", "env_args.episode_limit=90"], "32 episodes of at most 90 steps"),
        (["--config=mipi", "--env-config=matrix_game"], "64 episodes"),
        (
            ["--config=mappo", "--env-config=sc2_3m", "batch_size_run=64", "num_mini_batch=4"],
            "64 fresh episodes of at most 150 steps, in 4 mini-batches",
        ),
        (
            ["--config=mappo", "--env-config=sc2_sz", "batch_size_run=64", "num_mini_batch=4", "rollout_steps=16"],
            "64 x 16 fresh steps, in 4 mini-batches",
        ),
        (
            ["--config=refil", "--env-config=sc2_sz", "rollout_steps=16", "batch_size=8"],
            "8 episodes of at most 150 steps",
        ),
        (
            ["--config=mappo", "--env-config=resource_collection", "batch_size_run=8"],
            "8 fresh episodes of at most 145 steps",
        ),
    ],
)
def test_what_an_update_learns_from(words, expected):
    assert batch_of(load_config(words).as_dict()) == expected


UNTIL = Column("3", until=True)


def reaching(tmp_path, *curves, aim="random", column=UNTIL, name="test/3/return_mean"):
    """The tables of trainings with `curves`, which wait for what `aim` has in its last test in training: random has a
    return of 2.0 there, and 5.0 in the tests of the table, and 3.0 fires are left.
    """
    rows = (replace(ROWS[0], reference=aim), ROWS[1])
    found = [replace(outcome(seed, 9.0), curves={name: curve}) for seed, curve in enumerate(curves)]
    ends = {"test/3/return_mean": [(0, 9.0), (800, 2.0)], "test/3/fires_left_mean": [(800, 3.0)]}
    random = [replace(outcome(None, 5.0, None, 0), curves=ends)]
    return written(tmp_path, {"copa": found, "random": random}, replace(STUDY, rows=rows, columns=(column,)))


def test_steps_until_another_is_reached(tmp_path):
    text, lines = reaching(tmp_path, [(0, 1.0), (1000, 2.0)], [(0, 1.0), (1000, 1.5), (4000, 3.0)])
    assert "| steps until return, 3 |" in text
    assert "| copa | 2 | 2,500 ± 2,121 [-16,559, 21,559] |" in text
    assert "| copa | 2,500 / 4,000 |" in text
    assert "copa (random)" in text
    assert [lines[0][key] for key in ("figure", "mean", "worst")] == ["steps until return", "2500.0", "4000"]
    assert "| random | none | - |" in text


def test_what_is_never_reached_is_no_number(tmp_path):
    text, lines = reaching(tmp_path, [(0, 1.0), (500, 2.0)], [(0, 1.0), (500, 1.9)], [(0, 3.0)])
    assert "| copa | 3 | not reached by 1 of 3 |" in text
    assert "| copa | 500 / not reached |" in text
    assert [lines[0][key] for key in ("mean", "std", "median", "worst", "seeds")] == ["inf", "", "500", "inf", "3"]


def test_one_may_wait_for_the_end_of_another_training(tmp_path):
    text, _ = reaching(tmp_path, [(0, 1.0), (500, 9.0)], [(0, 1.0), (700, 9.0)], aim="copa")  # 9.0 in the end
    assert "| copa | 600 / 700 |" in text


def test_figures_that_are_better_when_less_are_reached_from_above(tmp_path):
    left = replace(UNTIL, figure="fires_left")
    text, _ = reaching(tmp_path, [(0, 4.0), (500, 2.0)], column=left, name="test/3/fires_left_mean")
    assert "| copa | 500 / 500 |" in text


def test_there_are_no_steps_without_a_curve_or_an_aim(tmp_path):
    assert "| copa | 1 | - |" in reaching(tmp_path, [])[0]
    assert "| copa | 1 | - |" in reaching(tmp_path, [(0, 1.0)], aim="")[0]

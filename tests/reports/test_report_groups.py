"""Which trainings are compared, which count, and what a reader is told of it."""

import numpy as np
import pytest
from recorded import WON, panels, straight, trainings, write

from reports.groups import Method, Panel, group, trained_with
from reports.notes import notes_on
from reports.numbers import band, columns, communication, improvement, is_trained, profile_of, score, total
from utils.errors import UserError


def test_methods_are_told_apart_by_algorithm_and_task(tmp_path):
    for number, (name, task) in enumerate([("refil", "a"), ("copa", "a"), ("refil", "b"), ("refil", "a")], start=1):
        write(tmp_path, number, straight(0.5), name=name, task=task)
    found = {panel.title: {m.label: len(m.trainings) for m in panel.methods} for panel in panels(tmp_path)}
    assert found == {"a": {"refil": 2, "copa": 1}, "b": {"refil": 1}}


def test_settings_may_tell_methods_apart(tmp_path):
    write(tmp_path, 1, straight(0.5), lr=0.1, env_args={"train_team": "3-5", "limit": 9})
    write(tmp_path, 2, straight(0.5), env_args={"train_team": "3-5"})  # of a version without lr
    (panel,) = panels(tmp_path, "config,env,lr,env_args.limit")
    assert [method.label for method in panel.methods] == [
        "refil lr=0.1 env_args.limit=9",
        "refil lr=0.0005 env_args.limit=-",
    ]


def test_without_the_task_scores_are_of_all_tasks_together(tmp_path):
    for number, (task, last) in enumerate([("a", 0.0), ("a", 0.4), ("b", 0.8), ("b", 1.0)], start=1):
        write(tmp_path, number, straight(last), task=task)
    (panel,) = panels(tmp_path, "config")
    (method,) = panel.methods
    assert method.strata == [2, 2]
    assert total(panel, method).middle == pytest.approx((0.4 + 0.8) / 2)
    assert band(panel, method, "steps").middle[-1] == pytest.approx((0.4 + 0.8) / 2)
    assert [(column.task, column.team) for column in columns(panel)] == [("a", "3-5"), ("b", "3-5")]


def test_methods_are_compared_on_the_tasks_that_both_have(tmp_path):
    trained = [("refil", "a", 0.2), ("refil", "b", 0.9), ("copa", "a", 0.4), ("aqmix", "b", 0.1)]
    for number, (name, task, last) in enumerate(trained, start=1):
        write(tmp_path, number, straight(last), name=name, task=task)
    (panel,) = panels(tmp_path, "config")
    found = {method.label: method for method in panel.methods}
    assert improvement(panel, found["refil"], found["copa"]).middle == 0
    assert improvement(panel, found["refil"], found["aqmix"]).middle == 1
    assert improvement(panel, found["copa"], found["aqmix"]) is None


def test_tasks_with_nothing_in_common_are_not_averaged(tmp_path):
    write(tmp_path, 1, straight(0.5), task="a")
    write(tmp_path, 2, straight(0.5, name="test/3/return_mean"), task="b")
    with pytest.raises(UserError, match="a has battle_won, b has return; add env"):
        panels(tmp_path, "config")


def test_battles_won_of_a_team_that_was_trained_with_are_shown(tmp_path):
    names = ["test/8/battle_won_mean", "test/8/return_mean", "test/3-5/return_mean", WON]
    write(tmp_path, 1, {name: [(0, 0.0), (9, 1.0)] for name in names})
    assert panels(tmp_path)[0].metrics == {"sc2_sz": WON}
    write(tmp_path, 2, {"test/4/return_mean": [(0, 0.0)]}, task="other", env_args={"train_team": "9"})
    found = {task: metric for panel in panels(tmp_path) for task, metric in panel.metrics.items()}
    assert found == {"sc2_sz": WON, "other": "test/4/return_mean"}


def test_validations_are_shown_where_there_are_no_tests(tmp_path):
    validated = "validation/3-5/battle_won_mean"
    write(tmp_path, 1, {**straight(0.2, name=validated), "validation/8/battle_won_mean": [(0, 0.1)]})
    (panel,) = panels(tmp_path)
    assert (panel.metrics, panel.figure) == ({"sc2_sz": validated}, "battle_won, team 3-5 (validation)")
    assert [column.metric for column in columns(panel)] == [validated, "validation/8/battle_won_mean"]
    write(tmp_path, 2, straight(0.4))
    (panel,) = panels(tmp_path)
    assert panel.metrics == {"sc2_sz": WON}
    assert [reason for _, reason in panel.methods[0].uncounted] == [f"has no {WON}"]


@pytest.mark.parametrize(
    ("train_team", "team", "trained"),
    [("3-5", "3-5", True), ("3-5", "4", True), ("3-5", "6", False), ("3-5", "5-6", False), ("8", "8v9", True),
     ("3-5", "8v4", False), ("AB/BA", "BA", True), ("AB/BA", "BB", False), ("varying", "5", False),
     ("3-5", "train", True)],
)  # fmt: skip
def test_teams_that_were_trained_with(tmp_path, train_team, team, trained):
    write(tmp_path, 1, straight(0.5), env_args={"train_team": train_team})
    assert trained_with(trainings(tmp_path)[0].run, team) is trained


@pytest.mark.parametrize("status", ["FAILED", "INTERRUPTED", "RUNNING"])
def test_only_what_is_complete_counts(tmp_path, status):
    for number, last in enumerate([0.2, 0.4], start=1):
        write(tmp_path, number, straight(last))
    write(tmp_path, 3, straight(1.0), status=status)
    (panel,) = panels(tmp_path)
    assert total(panel, panel.methods[0]).middle == pytest.approx(0.3)
    assert notes_on(panel, ["config", "env"])[0] == (
        f"refil: 2 of 3 trainings count. Left out: 3 (seed 3) {status} at 100 steps."
    )


def test_a_run_without_the_metric_does_not_count(tmp_path):
    write(tmp_path, 1, straight(0.2))
    write(tmp_path, 2, straight(0.4, name="test/8/battle_won_mean"))
    (panel,) = panels(tmp_path, metric=WON)
    assert [reason for _, reason in panel.methods[0].uncounted] == [f"has no {WON}"]


def test_the_same_training_once_more_is_no_other_sample(tmp_path):
    write(tmp_path, 1, straight(0.2), seed=0)
    write(tmp_path, 2, straight(0.4), seed=0, device="cuda")  # says nothing of what is learned
    write(tmp_path, 3, straight(0.6), seed=0, lr=0.25)
    (panel,) = panels(tmp_path)
    method = panel.methods[0]
    assert sorted(training.run.number for training in method.trainings) == ["2", "3"]
    notes = notes_on(panel, ["config", "env"])
    assert notes[0] == "refil: 2 of 3 trainings count. Left out: 1 that were repeated with the same settings."
    assert "refil on sc2_sz: what is averaged differs in lr (0.0005, 0.25); --group-by tells them apart." in notes
    assert not [note for note in notes_on(panel, ["config", "env", "lr"]) if "differs" in note]


def test_tests_by_themselves_stand_beside_trainings_and_count_once_per_model(tmp_path):
    for number in (1, 2):
        write(tmp_path, number, straight(0.2), seed=0)
    for number, (model, value) in enumerate([(1, 0.1), (1, 0.3), (2, 0.5)], start=3):
        path = str(tmp_path / "models" / str(model) / "100")
        write(tmp_path, number, {WON: [(100, value)]}, evaluate=True, checkpoint_path=path, seed=0)
    (panel,) = panels(tmp_path)
    learned, tested = panel.methods
    assert (learned.tests, tested.tests) == (False, True)
    assert sorted(training.run.number for training in tested.trainings) == ["4", "5"]
    assert panel.learners == [learned]


def test_scripted_teams_are_named_by_their_policy_and_have_no_seeds(tmp_path):
    write(tmp_path, 1, straight(0.2))
    for number, (policy, seed) in enumerate([("focus_fire", 0), ("focus_fire", 1), ("random", 0)], start=2):
        write(tmp_path, number, {WON: [(0, 0.4)]}, name="scripted", policy=policy, seed=seed, evaluate=True)
    (panel,) = panels(tmp_path)
    found = {method.label: len(method.trainings) for method in panel.methods}
    assert found == {"refil": 1, "focus_fire (scripted)": 1, "random (scripted)": 1}
    assert not is_trained(panel.methods[1], columns(panel)[0])


def test_unequal_steps_and_updates_are_said_in_words(tmp_path):
    write(tmp_path, 1, {**straight(0.5, end=1000), "updates": [(1000, 50)]})
    write(tmp_path, 2, {**straight(0.5, end=1010), "updates": [(1010, 50)]})  # rounds end where they end
    assert not [note for note in notes_on(panels(tmp_path)[0], []) if "unequal" in note]
    write(tmp_path, 3, {**straight(0.5, end=2000), "updates": [(2000, 80)]}, name="copa")
    notes = notes_on(panels(tmp_path)[0], [])
    assert "Trained with unequal steps: refil 1,000 to 1,010, copa 2,000." in notes
    assert "Trained with unequal updates: refil 50, copa 80." in notes


def test_unknown_updates_engines_devices_and_revisions_are_said(tmp_path):
    git = {"commit": "a" * 40, "dirty": True}
    write(tmp_path, 1, straight(0.5), facts={"backend": "skirmish", "device": "cpu", "git": git})
    write(tmp_path, 2, {**straight(0.5), "updates": [(100, 3)]}, facts={"backend": "sc2", "device": "cuda:0"})
    notes = notes_on(panels(tmp_path)[0], [])
    assert "Not all updates are known, so nothing says that they are equal: refil 3 (1 unknown)." in notes
    assert "These ran on several engines, sc2, skirmish: scores of different engines are not comparable." in notes
    assert "These ran on several devices, cpu, cuda:0: hours of different devices are not comparable." in notes
    assert "The code is of 2 revisions: aaaaaaaaaa+, unknown." in notes
    assert "Of fewer than 4 trainings the interquartile mean is the mean: refil." in notes


def test_a_band_goes_from_where_all_have_begun_to_where_the_first_one_ends(tmp_path):
    write(tmp_path, 1, {WON: [(0, 0.0), (100, 1.0)]})
    write(tmp_path, 2, {WON: [(20, 0.5), (60, 0.5), (400, 0.5)]})
    (panel,) = panels(tmp_path)
    found = band(panel, panel.methods[0], "steps")
    assert found.x.tolist() == [20, 60, 100]
    assert found.middle.tolist() == pytest.approx([0.35, 0.55, 0.75])
    assert np.stack(found.interval) == pytest.approx(np.array([[0.2, 0.5, 0.5], [0.5, 0.6, 1.0]]))
    assert band(panel, panel.methods[0], "updates") is None


def test_trainings_that_were_never_under_way_together_have_no_band(tmp_path):
    write(tmp_path, 1, {WON: [(0, 0.0), (100, 1.0)]})
    write(tmp_path, 2, {WON: [(200, 0.0), (300, 1.0)]})
    notes = notes_on(panels(tmp_path)[0], [])
    assert "refil: no steps at which all of its trainings had begun and none had ended." in notes


def test_scores_by_team_say_how_many_they_are_of(tmp_path):
    eight = "test/8/battle_won_mean"
    write(tmp_path, 1, {**straight(0.2), **straight(0.1, name=eight), "test/10/battle_won_mean": [(0, 1.0)]})
    write(tmp_path, 2, {**straight(0.4), **straight(0.3, name=eight)})
    (panel,) = panels(tmp_path)
    found = {column.team: score(panel.methods[0], column) for column in columns(panel)}
    assert list(found) == ["3-5", "8", "10"]
    assert [(of.middle, of.number) for of in found.values()] == [
        (pytest.approx(0.3), 2),
        (pytest.approx(0.2), 2),
        (1, 1),
    ]
    assert found["10"].interval is None
    assert [is_trained(panel.methods[0], column) for column in columns(panel)] == [True, False, False]


def test_less_is_better_of_fires_left(tmp_path):
    name = "test/3-5/fires_left_mean"
    for number, (method, last) in enumerate([("copa", 1.0), ("copa", 3.0), ("refil", 2.0), ("refil", 4.0)], start=1):
        write(tmp_path, number, straight(last, name=name), name=method)
    (panel,) = panels(tmp_path, metric=name)
    copa, refil = panel.learners
    assert improvement(panel, copa, refil).middle == pytest.approx(0.75)
    assert improvement(panel, refil, copa).middle == pytest.approx(0.25)


def test_profiles_go_from_the_least_to_the_greatest_score_of_all_methods(tmp_path):
    for number, (method, last) in enumerate([("copa", 0.0), ("refil", 0.5), ("refil", 1.0)], start=1):
        write(tmp_path, number, straight(last), name=method)
    (panel,) = panels(tmp_path)
    found = profile_of(panel, panel.learners[1])
    assert (found.x[0], found.x[-1]) == (0, 1)
    assert found.middle[0] == 1
    assert found.middle[-1] == 0
    assert np.all(found.middle[(found.x > 0.5) & (found.x < 1)] == 0.5)


def test_communication_is_that_of_the_team_shown(tmp_path):
    sent = {"test/3-5/comm_frequency": [(0, 0.9), (100, 0.2)], "test/8/comm_frequency": [(100, 0.7)]}
    write(tmp_path, 1, {**straight(0.5), **straight(0.1, name="test/8/battle_won_mean"), **sent}, name="copa")
    write(tmp_path, 2, straight(0.5))
    (panel,) = panels(tmp_path)
    assert [(s, v) for method in panel.methods for _, s, v in communication(panel, method)] == [(0.2, 0.5)]


def test_what_nobody_has_is_refused_in_a_line(tmp_path):
    write(tmp_path, 1, straight(0.5))
    with pytest.raises(
        UserError, match=r"--metric test/3-5/won: no run has recorded it; the nearest is 'test/3-5/batt"
    ):
        group(trainings(tmp_path), ["config", "env"], "test/3-5/won", {WON, "loss"})
    with pytest.raises(UserError, match="--group-by learn_rate: no run has such a setting; the nearest is"):
        panels(tmp_path, "config,learn_rate")


def test_a_panel_of_nothing_that_counts_is_none_to_learn_from():
    assert Panel("a", {"a": WON}, [Method("refil", False, False)]).learners == []

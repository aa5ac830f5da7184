"""Curves read from records, laid over each other, and counted by."""

import json
import math

import numpy as np

from studies.curves import Band, lay_over, read_curves, read_written, steps_until, write_curves

RETURN, EXPERT = "test/3/return_mean", "expert/test/3/return_mean"


def record(folder, number, source, *entries):
    """A run's record: what it continues, and (metric, step, value) of what it recorded."""
    run = folder / "sacred" / str(number)
    run.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"checkpoint_path": source}))
    lines = [json.dumps({"name": name, "step": step, "value": value, "time": 0.0}) for name, step, value in entries]
    (run / "metrics.jsonl").write_text("".join(line + "\n" for line in lines))


def test_runs_that_continue_each_other_are_one_curve(tmp_path):
    record(tmp_path, 1, "", (RETURN, 0, 1.0), ("loss", 50, 9.0), (RETURN, 100, 2.0), (RETURN, 200, 3.0))
    record(tmp_path, 2, "/models/1/100", (RETURN, 100, 2.5), (RETURN, 150, 4.0))  # what came after 100 is lost
    record(tmp_path, 9, "")
    (tmp_path / "sacred" / "9" / "config.json").unlink()  # killed before it wrote down what it continues
    record(tmp_path, 10, "/models/2/150", (RETURN, 300, 5.0))  # later than 9
    assert read_curves(tmp_path, [RETURN]) == {RETURN: [(0, 1.0), (100, 2.5), (150, 4.0), (300, 5.0)]}


def test_what_starts_anew_takes_nothing_over(tmp_path):
    record(tmp_path, 1, "", (RETURN, 0, 1.0), (RETURN, 100, 2.0))
    record(tmp_path, 2, "", (RETURN, 0, 3.0))
    assert read_curves(tmp_path, [RETURN]) == {RETURN: [(0, 3.0)]}


def test_an_expert_and_its_students_are_two_curves_of_one_run(tmp_path):
    record(tmp_path, 1, "", (EXPERT, 0, 1.0), (EXPERT, 100, 8.0), (RETURN, 100, 2.0), (RETURN, 200, 7.0))
    record(tmp_path, 2, "/models/1/150", (RETURN, 250, 7.5))
    found = read_curves(tmp_path, [RETURN, EXPERT, "test/4/return_mean"])
    assert found[EXPERT] == [(0, 1.0), (100, 8.0)]
    assert found[RETURN] == [(100, 2.0), (250, 7.5)]
    assert found["test/4/return_mean"] == []


def test_a_line_cut_short_is_named_and_left_out(tmp_path, capsys):
    record(tmp_path, 1, "", (RETURN, 0, 1.0))
    path = tmp_path / "sacred" / "1" / "metrics.jsonl"
    path.write_text(path.read_text() + '{"name": "test/3/ret')
    assert read_curves(tmp_path, [RETURN]) == {RETURN: [(0, 1.0)]}
    assert f"{path}: line 2 cannot be read" in capsys.readouterr().out


def mean(values):
    return values.mean(axis=0)


def test_curves_are_laid_over_each_other_where_all_have_values():
    one, two = [(0, 0.0), (100, 10.0), (200, 30.0)], [(50, 7.0), (150, 9.0)]
    # 5, 10 and 20 on the one, 7, 8 and 9 on the other
    assert lay_over([one, two], mean) == Band([50, 100, 150], [6.0, 9.0, 14.5], [5.0, 8.0, 9.0], [7.0, 10.0, 20.0])
    third = [(0, 0.0), (200, 0.0)]
    median = lay_over([one, two, third], lambda values: np.median(values, axis=0))
    assert median.middle == [5.0, 8.0, 9.0]
    assert median.low == [0.0, 0.0, 0.0]
    assert lay_over([one, [(300, 1.0)]], mean) is None
    assert lay_over([], mean) is None


def test_steps_until_a_level():
    curve = [(0, 1.0), (100, 5.0), (200, 3.0), (300, 6.0)]
    assert steps_until(curve, 5.0, rising=True) == 100
    assert steps_until(curve, 5.5, rising=True) == 300
    assert steps_until(curve, 7.0, rising=True) == math.inf
    assert steps_until([(0, 9.0), (100, 4.0)], 5.0, rising=False) == 100


def test_curves_are_read_as_they_were_written(tmp_path):
    curves = {("sc2_3m/a/seed0", RETURN): [(0, -1.5), (100, 0.333333)], ("sc2_3m/a/seed1", EXPERT): [(0, 2.0)]}
    write_curves(tmp_path / "curves.csv", curves)
    assert read_written(tmp_path / "curves.csv") == curves

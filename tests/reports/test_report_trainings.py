"""Records read, runs that continue each other joined, and their curves against steps, hours and updates."""

import json
import math
import shutil

import numpy as np
import pytest
from recorded import START, WON, read, straight, trainings, write

from reports.trainings import join
from utils.checkpoints import MANIFEST


def save(results, number, step, updates):
    """A checkpoint that says how many updates it has had."""
    folder = results / "models" / str(number) / str(step)
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text(json.dumps({"updates": updates}))


def test_a_curve_has_steps_values_and_hours(tmp_path):
    write(tmp_path, 1, {WON: [(0, 0.1), (3600, 0.2), (7200, 0.4)], "updates": [(3600, 30), (7200, 70)]})
    (training,) = trainings(tmp_path)
    line = training.line(WON)
    assert line.steps.tolist() == [0, 3600, 7200]
    assert line.values.tolist() == [0.1, 0.2, 0.4]
    assert line.hours.tolist() == [0, 1, 2]
    assert line.updates.tolist() == [0, 30, 70]
    assert (training.updates, training.final(WON), training.line("loss")) == (70, 0.4, None)


def test_a_test_made_twice_at_a_step_counts_once(tmp_path):
    write(tmp_path, 1, {WON: [(0, 0.1), (100, 0.2)]})
    path = tmp_path / "sacred" / "1" / "metrics.jsonl"
    path.write_text(path.read_text() + json.dumps({"name": WON, "step": 100, "value": 0.3, "time": 2e9}) + "\n")
    assert trainings(tmp_path)[0].line(WON).values.tolist() == [0.1, 0.3]


def test_runs_that_continue_each_other_are_one_training(tmp_path):
    write(tmp_path, 1, {WON: [(0, 0.0), (1800, 0.2), (3600, 0.9)], "updates": [(1800, 10), (3600, 20)]}, status="DIED")
    source = str(tmp_path / "models" / "1" / "1800")
    write(tmp_path, 2, {WON: [(5400, 0.5)], "updates": [(5400, 40)]}, start=1800, checkpoint_path=source)
    (training,) = trainings(tmp_path)
    line = training.line(WON)
    assert line.steps.tolist() == [0, 1800, 5400]  # what came after the checkpoint is lost
    assert line.values.tolist() == [0, 0.2, 0.5]
    assert line.hours.tolist() == [0, 0.5, 1.5]  # the pause in between does not count
    assert line.updates.tolist() == [0, 10, 40]
    assert training.run.number == "2"
    assert join(read(tmp_path)[0], print)[1] == {"1": "2"}


def test_the_newest_checkpoint_is_the_last_before_the_run_began(tmp_path):
    write(tmp_path, 1, {WON: [(0, 0.0), (100, 0.2), (150, 0.3), (200, 0.4)]})
    for step in (100, 160, 900):  # the last one is of another run that had this number
        save(tmp_path, 1, step, step)
    write(tmp_path, 2, {WON: [(180, 0.5), (300, 0.6)]}, checkpoint_path=str(tmp_path / "models" / "1"))
    assert trainings(tmp_path)[0].line(WON).steps.tolist() == [0, 100, 150, 180, 300]


def test_folders_may_have_been_moved_since(tmp_path):
    write(tmp_path / "a", 1, {WON: [(0, 0.0), (100, 0.2)]})
    write(tmp_path / "a", 2, {WON: [(200, 0.5)]}, checkpoint_path=str(tmp_path / "a" / "models" / "1" / "100"))
    (tmp_path / "a").rename(tmp_path / "b")
    assert len(trainings(tmp_path / "b")) == 1


def test_a_run_that_ended_before_its_first_figure_continues_nothing(tmp_path):
    write(tmp_path, 1, straight(0.5))
    write(tmp_path, 2, {}, status="FAILED", checkpoint_path=str(tmp_path / "models" / "1" / "100"))
    assert [training.run.number for training in trainings(tmp_path)] == ["1", "2"]


def test_runs_that_name_each_other_are_no_endless_chain(tmp_path):
    for mine, other in ((1, 2), (2, 1)):
        write(tmp_path, mine, straight(0.5), checkpoint_path=str(tmp_path / "models" / str(other) / "50"))
    assert [training.run.number for training in trainings(tmp_path)] == ["2"]  # numbers rise


def test_updates_of_checkpoints_serve_where_the_run_tells_none(tmp_path):
    write(tmp_path, 1, {WON: [(0, 0.0), (50, 0.1), (100, 0.2), (300, 0.3), (301, 0.4)]})
    save(tmp_path, 1, 100, 10)
    save(tmp_path, 1, 300, 50)
    line = trainings(tmp_path)[0].line(WON)
    assert line.updates[:4].tolist() == [0, 5, 10, 50]
    assert math.isnan(line.updates[4])  # nobody knows


def test_students_do_not_have_their_experts_updates(tmp_path):
    expert = "expert/test/3-5/battle_won_mean"
    write(tmp_path, 1, {expert: [(0, 0.0), (100, 1.0)], WON: [(100, 0.0), (200, 0.5)]})
    save(tmp_path, 1, 100, 77)
    save(tmp_path, 1, 200, 20)
    assert trainings(tmp_path)[0].line(WON).updates.tolist() == [0, 20]


def test_a_copy_of_a_record_counts_once(tmp_path):
    record = write(tmp_path / "a", 1, straight(0.5))
    run = json.loads((record / "run.json").read_text())
    (record / "run.json").write_text(json.dumps({**run, "meta": {"uuid": "f00"}}))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    told = []
    found, _ = join(read(tmp_path)[0], lambda what, why: told.append(f"{what} {why}"))
    assert [training.run.id for training in found] == ["a/1"]
    assert told == ["b/1 is the same run as a/1"]


def test_what_is_no_record_is_named_and_left_out(tmp_path):
    write(tmp_path, 1, straight(0.5))
    write(tmp_path, 2, straight(0.5))
    (tmp_path / "sacred" / "2" / "config.json").write_text('{"name": "re')
    write(tmp_path, 3, straight(0.5))
    (tmp_path / "sacred" / "3" / "run.json").unlink()
    write(tmp_path, 4, straight(0.5), env=7)
    (tmp_path / "sacred" / "notes.txt").write_text("mine")
    (tmp_path / "sacred" / "_sources").mkdir()
    (tmp_path / "sacred" / "5").write_text("a file")
    runs, told = read(tmp_path)
    assert [run.id for run in runs] == ["1"]
    assert told == [
        "5: is no record of a run",
        "notes.txt: is no record of a run",
        "2: config.json is missing or cannot be read",
        "3: run.json is missing or cannot be read",
        "4: is no run of Muster (its settings have no name and env)",
    ]


def test_lines_that_cannot_be_read_are_counted_and_left_out(tmp_path):
    path = write(tmp_path, 1, straight(0.5)) / "metrics.jsonl"
    whole = path.read_text()
    broken = [b"{", b"\xff\xfe", b'{"name": "test/3-5/battle_won_mean", "step": "x"}', b'{"name": "loss", "ste']
    path.write_bytes(whole.encode() + b"\n".join(broken) + b"\n" + b'{"name": "test/3-5/batt')
    runs, told = read(tmp_path)
    assert told == ["metrics.jsonl: 4 lines that cannot be read"]  # the last one, without an end, is being written
    assert runs[0].curves[WON].values.tolist() == [0, 0.25, 0.5]


def test_values_that_are_not_finite_are_told(tmp_path):
    write(tmp_path, 1, {WON: [(0, 0.5), (100, math.nan), (200, math.inf)]})
    runs, told = read(tmp_path)
    assert runs[0].curves[WON].values.tolist() == [0.5]
    assert told == ["battle_won_mean: 2 values that are not finite"]


def test_one_record_may_be_named_by_itself(tmp_path):
    write(tmp_path, 7, straight(0.5))
    assert [run.id for run in read(tmp_path / "sacred" / "7")[0]] == ["7"]


@pytest.mark.parametrize("metric", ["", WON, "loss"])
def test_only_what_is_needed_is_kept(tmp_path, metric):
    names = [WON, "test/8/return_mean", "test/8/comm_frequency", "loss", "test/8/ep_length_mean", "updates"]
    write(tmp_path, 1, {name: [(0, 1.0)] for name in names})
    kept = set(read(tmp_path, metric)[0][0].curves)
    needed = {"": names[:3], WON: [WON, "test/8/comm_frequency"], "loss": ["test/8/comm_frequency", "loss"]}
    assert kept == {*needed[metric], "updates"}


def test_hours_begin_with_the_run_and_not_with_its_first_test(tmp_path):
    record = write(tmp_path, 1, {WON: [(0, 0.0), (3600, 1.0)]})
    run = json.loads((record / "run.json").read_text())
    early = START.replace(hour=START.hour - 2)
    (record / "run.json").write_text(json.dumps({**run, "start_time": early.isoformat()}))
    assert np.allclose(trainings(tmp_path)[0].line(WON).hours, [2, 3])

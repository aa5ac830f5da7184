"""What a study finds of its own: sound or named, never silently used."""

import json
from pathlib import Path

import pytest

from studies.stored import checkpoints, fingerprint, newest_sound, read_settings, read_test, updates
from utils.checkpoints import save_checkpoint
from utils.errors import UserError

SUMMARY = {"mean": 1.5, "std": 0.5, "n": 2}
EVALUATION = {"3": {"return": SUMMARY}, "4": {"return": SUMMARY}}
IDENTITY = {"settings": {"gamma": 0.9}, "checkpoint": {"step": 20, "sha256": "abc"}}


@pytest.fixture
def cell(tmp_path) -> Path:
    """Two trainings: the second one went on from the first one's step 10, and came as far."""
    for run, step in ((1, 10), (1, 20), (2, 20), (10, 5)):
        save_checkpoint(tmp_path / "models" / str(run) / str(step), {"learner": {"run": run}, "progress": {"t": step}})
    (tmp_path / "models" / "notes").mkdir()
    (tmp_path / "models" / "3").mkdir()
    return tmp_path


def below(cell: Path, path: Path | None) -> str:
    return "" if path is None else str(path.relative_to(cell / "models"))


def test_the_most_steps_come_first_and_of_equal_ones_the_latest_run(cell):
    assert [below(cell, path) for path in checkpoints(cell)] == ["2/20", "1/20", "1/10", "10/5"]
    assert fingerprint(cell / "models" / "2" / "20") != fingerprint(cell / "models" / "1" / "20")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda folder: flip(folder / "progress.pt"), "progress.pt' is not what was saved"),
        (lambda folder: (folder / "learner.pt").unlink(), "learner.pt' is missing"),
        (lambda folder: (folder / "learner.pt").write_bytes(b""), "learner.pt' has 0 of"),
        (lambda folder: (folder / "manifest.json").unlink(), "has no manifest.json"),
        (lambda folder: (folder / "manifest.json").write_text('{"format": 1, "fi'), "manifest.json' cannot be read"),
    ],
)
def test_damaged_checkpoints_are_named_and_passed_over(cell, capsys, damage, named):
    assert below(cell, newest_sound(cell)) == "2/20"
    assert capsys.readouterr().out == ""
    damage(cell / "models" / "2" / "20")
    damage(cell / "models" / "1" / "20")
    assert below(cell, newest_sound(cell)) == "1/10"
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(named in line for line in lines)
    for rest in ("1/10", "10/5"):
        damage(cell / "models" / rest)
    assert newest_sound(cell) is None


def test_a_checkpoint_of_another_version_is_not_passed_over(cell):
    path = cell / "models" / "2" / "20" / "manifest.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 7'))
    with pytest.raises(UserError, match="format 7"):
        newest_sound(cell)


@pytest.mark.parametrize(
    ("learner", "expected"),
    [
        ({"counters": {"updates": 7}}, 7),
        ({"counters": {"updates": 0}}, 0),
        ({"counters": {"updates": "7"}}, None),
        ({"counters": [7]}, None),
        ({"counters": {}}, None),
        ({}, None),
    ],
)
def test_a_checkpoint_says_how_many_updates_its_networks_had(tmp_path, learner, expected):
    save_checkpoint(tmp_path / "20", {"learner": learner})
    assert updates(tmp_path / "20") == expected


def test_updates_are_read_without_loading_networks(tmp_path):
    save_checkpoint(tmp_path / "20", {"learner": {}}, updates=7)
    (tmp_path / "20" / "learner.pt").unlink()
    assert updates(tmp_path / "20") == 7


def test_a_checkpoint_that_is_not_what_was_saved_says_nothing(tmp_path):
    save_checkpoint(tmp_path / "20", {"learner": {"counters": {"updates": 7}}})
    flip(tmp_path / "20" / "learner.pt")
    assert updates(tmp_path / "20") is None
    assert updates(tmp_path / "30") is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (None, "is missing"),
        ('{"t_max": 9, "env_', "cannot be read"),
        ("[1, 2]", "cannot be read"),
        ('{"env_args": {}}', "has no 't_max'"),
        ('{"t_max": 9}', "has no 'env_args'"),
        ('{"t_max": "9", "env_args": {}}', "has t_max='9'"),
        ('{"t_max": 9, "env_args": 3}', "has env_args=3"),
    ],
)
def test_settings_that_do_not_say_how_models_were_trained(tmp_path, text, named):
    if text is not None:
        (tmp_path / "settings.json").write_text(text)
    with pytest.raises(UserError, match=f"settings.json {named}.*config.json.*--results"):
        read_settings(tmp_path)


@pytest.fixture
def tested(tmp_path) -> Path:
    """The folder of a test that is done."""
    run = tmp_path / "sacred" / "2"
    run.mkdir(parents=True)
    (run / "evaluation.json").write_text(json.dumps(EVALUATION))
    (run / "info.json").write_text('{"parameters": {"total": 7}}')
    (tmp_path / "test.json").write_text(json.dumps({**IDENTITY, "run": "2", "evaluation": EVALUATION}))
    return tmp_path


def test_a_test_that_is_done_is_read(tested, capsys):
    assert read_test(tested, IDENTITY, ["3", "4"])["evaluation"] == EVALUATION
    assert read_test(tested, {**IDENTITY, "settings": {"gamma": 1.0}}, ["5"]) is None
    assert capsys.readouterr().out == ""  # another test is no damage


def test_a_setting_that_is_newer_than_a_test_had_its_default(tested):
    newer = {"gamma": 0.9, "test_episodes": "test"}
    assert read_test(tested, {**IDENTITY, "settings": newer}, ["3", "4"])["evaluation"] == EVALUATION
    assert read_test(tested, {**IDENTITY, "settings": {**newer, "test_episodes": "validation"}}, ["3", "4"]) is None
    assert read_test(tested, {**IDENTITY, "settings": {"test_episodes": "test"}}, ["3", "4"]) is None


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("test.json", "}}}}", "", "cannot be read"),
        ("test.json", '"run"', '"ran"', "has no 'run'"),
        ("test.json", '"evaluation"', '"evaluations"', "has no 'evaluation'"),
        ("test.json", json.dumps(EVALUATION), "{}", "no figures of team 3"),
        ("test.json", json.dumps(EVALUATION), "[]", "no figures of team 3"),
        ("test.json", '"4": ' + json.dumps(EVALUATION["4"]), '"4": {}', "no figures of team 4"),
        ("test.json", '"4"', '"5"', "no figures of team 4"),
        ("test.json", '"n"', '"m"', "no figures of team 3"),
        ("test.json", "1.5", '"1.5"', "no figures of team 3"),
        ("test.json", "1.5", "1.7", "evaluation.json"),
        ("test.json", '"run": "2"', '"run": "3"', "evaluation.json"),
        ("sacred/2/evaluation.json", "1.5", "1.7", "evaluation.json"),
        ("sacred/2/info.json", "parameters", "parameter", "info.json"),
        ("sacred/2/info.json", '{"total": 7}', "7", "info.json"),
    ],
)
def test_a_test_that_is_not_to_be_trusted_is_named(tested, capsys, file, old, new, named):
    text = (tested / file).read_text()
    assert old in text
    (tested / file).write_text(text.replace(old, new))
    assert read_test(tested, IDENTITY, ["3", "4"]) is None
    out = capsys.readouterr().out
    assert out.startswith(f"{tested / 'test.json'} ")
    assert named in out
    assert out.endswith(": the test is made again\n")

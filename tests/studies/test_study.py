"""Studies from the command line to the table: a toy study in this process, killed and stopped ones too."""

import ast
import contextlib
import csv
import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import matplotlib.figure
import pytest
import toy_study
from conftest import tiny_overrides

import main as single_run
import study
from studies.engine import Engine
from training import Training
from utils.interrupt import StopSignal
from utils.locks import locked

SRC = Path(study.__file__).parent
TINY = [word for word in tiny_overrides() if not word.startswith("t_max")]
ALL = ("toy", "--t-max=60", "--seeds", "0", "1")


def carry_out(*words, results: Path, more=()) -> int:
    return study.main([*words, f"--results={results}", "with", *TINY, *more], toy_study.REGISTRY)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The results of a complete toy study; read them, or copy them."""
    results = tmp_path_factory.mktemp("studies") / "results"
    assert carry_out(*ALL, results=results) == 0
    return results


@pytest.fixture
def copied(finished, results) -> Path:
    return Path(shutil.copytree(finished, results))


@pytest.fixture
def nothing_runs(monkeypatch):
    monkeypatch.setattr(single_run, "main", lambda words: pytest.fail(f"runs {words}"))


def table(results: Path, name: str = "toy") -> dict[tuple[str, str], dict[str, str]]:
    """(method, figure) -> line of the CSV."""
    with open(results / name / "table.csv", newline="", encoding="utf-8") as file:
        return {(line["method"], line["figure"]): line for line in csv.DictReader(file)}


MEANS, MEDIANS, LESSONS = range(3)


def markdown(results: Path, method: str, name: str = "toy", part: int = MEANS) -> list[str]:
    """The cells of a method's line in a table for readers."""
    text = (results / name / "table.md").read_text(encoding="utf-8")
    lines = [block for block in text.split("\n\n") if block.startswith("|")][part].splitlines()
    return next(line for line in lines if line.startswith(f"| {method} |")).strip("| ").split(" | ")


def runs(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "sacred").glob("[0-9]*"))


def newest(folder: Path) -> int:
    return max(int(path.name) for path in folder.glob("models/*/[0-9]*"))


# --- the table ------------------------------------------------------------------------------------------------------


def test_numbers_are_those_of_the_evaluation_files(finished):
    found = table(finished)
    for method, place, figure in (
        ("A-QMIX", "aqmix/seed{}/tests/plain", "return"),
        ("COPA, beta 1000", "copa/seed{}/tests/beta=1000", "comm_frequency"),
    ):
        means = []
        for seed in (0, 1):
            path = finished / "sc2_3m" / place.format(seed) / "sacred" / "1" / "evaluation.json"
            means.append(json.loads(path.read_text())["3"][figure]["mean"])
        mean = sum(means) / 2
        std = math.sqrt(sum((value - mean) ** 2 for value in means))  # / (n - 1) = 1
        half = 12.7062 * std / math.sqrt(2)
        line = found[method, figure]
        expected = [mean, std, mean - half, mean + half]
        assert [float(line[key]) for key in ("mean", "std", "ci95_low", "ci95_high")] == pytest.approx(expected)
        assert (line["seeds"], line["episodes_per_seed"]) == ("2", "2")
        cell = "{:.{d}f} ± {:.{d}f} [{:.{d}f}, {:.{d}f}]".format(*expected, d=1 if figure == "return" else 3)
        assert cell in markdown(finished, method)


def test_a_scripted_team_has_a_mean_alone(finished):
    path = finished / "sc2_3m" / "random" / "tests" / "plain" / "sacred" / "1" / "evaluation.json"
    mean = json.loads(path.read_text())["3"]["return"]["mean"]
    assert markdown(finished, "random") == ["random", "none", f"{mean:.1f}", "1.5", "-", "-"]
    for part in (MEDIANS, LESSONS):
        with pytest.raises(StopIteration):
            markdown(finished, "random", part=part)


def test_what_there_is_not_is_a_dash(finished):
    line = table(finished)["A-QMIX", "comm_frequency"]
    assert (line["mean"], line["std"], line["seeds"]) == ("", "", "0")
    assert markdown(finished, "A-QMIX")[-3:] == ["12.2 ± 0.5", "-", "-"]


def test_relative_columns_divide_seed_by_seed(finished):
    found = table(finished)
    assert float(found["COPA, beta 0", "comm_frequency"]["mean"]) == pytest.approx(0.25)
    relative = found["COPA, beta 1000", "relative comm_frequency"]
    ratio = float(found["COPA, beta 1000", "comm_frequency"]["mean"]) / 0.25
    assert float(relative["mean"]) == pytest.approx(ratio)
    assert float(relative["std"]) == pytest.approx(0)


def test_the_caption_says_how_the_numbers_came_about(finished):
    text = (finished / "toy" / "table.md").read_text(encoding="utf-8")
    steps = newest(finished / "sc2_3m" / "aqmix" / "seed0")
    assert f"**Trained for {steps} steps with 4 updates, the paper for 1,000 with 500**" in text
    assert "Seeds: 0, 1. Code: " in text
    assert "A note." in text
    assert "python src/study.py toy --t-max=60" in text
    facts = json.loads((finished / "sc2_3m" / "copa" / "seed0" / "sacred" / "1" / "info.json").read_text())
    learnt = [str(steps), "4", "2 episodes of at most 8 steps", f"{facts['parameters']['total']:,}"]
    assert markdown(finished, "COPA, beta 0", part=LESSONS)[1:] == learnt
    if facts["git"]["commit"]:
        assert facts["git"]["commit"][:10] in text


def test_the_figure_is_a_picture(finished):
    assert (finished / "toy" / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_every_run_is_recorded_as_if_it_had_been_started_alone(finished):
    folder = finished / "sc2_3m" / "aqmix" / "seed1"
    record, config, facts = (
        json.loads((folder / "sacred" / "1" / f"{name}.json").read_text()) for name in ("run", "config", "info")
    )
    assert record["status"] == "COMPLETED"
    assert (config["seed"], config["t_max"]) == (1, 60)
    assert facts["arguments"][:2] == ["--config=aqmix", "--env-config=sc2_3m"]


def test_publishing(finished, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SRC.parent / "benchmarks")
    import publish

    monkeypatch.setattr(publish, "PUBLISHED", tmp_path)
    target = publish.publish_study(finished / "toy", "mine", toy_study.REGISTRY)
    models = [f"sc2_3m/{cell}/seed{seed}/" for cell in ("aqmix", "copa") for seed in (0, 1)]
    expected = {"table.md", "table.csv", "figure.png", "sc2_3m/random/evaluation.json"}
    expected |= {place + name for place in models for name in ("config.json", "run.json")}
    expected |= {place + "evaluation.json" for place in models if "aqmix" in place}
    expected |= {f"{place}evaluation_beta={beta}.json" for place in models if "copa" in place for beta in (0, 1000)}
    assert {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()} == expected
    model = target / "sc2_3m" / "copa" / "seed1"
    record, config = (json.loads((model / f"{name}.json").read_text()) for name in ("run", "config"))
    assert record["status"] == "COMPLETED"
    assert (record["steps"], record["updates"]) == (newest(finished / "sc2_3m" / "copa" / "seed1"), 4)
    assert (config["seed"], config["controller"]) == (1, "coach")
    test = json.loads((finished / "sc2_3m" / "copa" / "seed1" / "tests" / "beta=1000" / "test.json").read_text())
    assert json.loads((model / "evaluation_beta=1000.json").read_text()) == test["evaluation"]
    # the machine's folders are not published
    table = (target / "table.md").read_text(encoding="utf-8")
    assert table.splitlines()[-1].startswith("    python src/study.py toy --t-max=60 --seeds 0 1 with device=cpu ")
    for path in (path for path in target.rglob("*.*") if path.suffix != ".png"):
        assert str(finished) not in path.read_text(encoding="utf-8")


def test_learning_curves_are_published_and_drawn_again(copied, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SRC.parent / "benchmarks")
    import publish
    import redraw

    assert carry_out("toy_learning", "--t-max=60", results=copied) == 0
    with open(copied / "toy_learning" / "curves.csv", newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    for seed in (0, 1):
        metrics = (copied / f"sc2_3m/aqmix/seed{seed}/sacred/1/metrics.jsonl").read_text().splitlines()
        tests = [entry for line in metrics if (entry := json.loads(line))["name"] == "test/3/return_mean"]
        assert len(tests) > 1
        found = [line for line in lines if line["model"] == f"sc2_3m/aqmix/seed{seed}"]
        assert {line["metric"] for line in found} == {"test/3/return_mean"}
        assert [int(line["step"]) for line in found] == [entry["step"] for entry in tests]
        assert [float(line["value"]) for line in found] == pytest.approx([entry["value"] for entry in tests], rel=1e-5)
    assert table(copied, "toy_learning")["A-QMIX", "steps until return"]["seeds"] == "2"

    monkeypatch.setattr(publish, "PUBLISHED", tmp_path)
    target = publish.publish_study(copied / "toy_learning", "mine", toy_study.REGISTRY)
    drawn = []
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", lambda self, path, **_: drawn.append(self))
    redraw.draw(tmp_path / "again.png", *redraw.published(target, toy_study.REGISTRY))
    assert carry_out("toy_learning", "--t-max=60", results=copied) == 0
    again, first = drawn
    assert again.get_suptitle() == first.get_suptitle()
    line, other = (figure.axes[0].lines for figure in drawn)
    assert [len(line), len(other)] == [2, 2]
    for number in range(2):
        assert line[number].get_label() == other[number].get_label()
        assert list(line[number].get_ydata()) == pytest.approx(list(other[number].get_ydata()), rel=1e-5)


def test_an_expert_and_its_students_are_drawn_one_after_the_other(results, monkeypatch):
    drawn = []
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", lambda self, path, **_: drawn.append(self))
    assert carry_out("toy_taught", "--t-max=60", "--seeds", "0", results=results) == 0
    expert, students = (line.get_xdata() for line in drawn[0].axes[0].lines)
    assert expert[0] == 0
    assert expert[-1] == students[0] > 0
    assert students[-1] == newest(results / "sc2_3m" / "cesma" / "seed0") >= 60


def test_publishing_a_run(finished, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SRC.parent / "benchmarks")
    import publish

    monkeypatch.setattr(publish, "PUBLISHED", tmp_path)
    seed = finished / "sc2_3m" / "aqmix" / "seed0"
    for checkpoint in (None, seed / "models" / "1" / str(newest(seed))):
        target = publish.publish(seed / "sacred" / "1", f"run {checkpoint is None}", checkpoint)
        record = json.loads((target / "run.json").read_text())
        assert (record["steps"], record["updates"]) == (newest(seed), 4)
        assert (target / "checkpoint").exists() == (checkpoint is not None)
    test = publish.publish(seed / "tests" / "plain" / "sacred" / "1", "test", None)
    assert "steps" not in json.loads((test / "run.json").read_text())  # it trained nothing


# --- once more ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_runs")
def test_what_is_done_is_not_done_again(copied):
    before = (copied / "toy" / "table.csv").read_text()
    shutil.rmtree(copied / "toy")
    assert carry_out(*ALL, results=copied) == 0
    assert (copied / "toy" / "table.csv").read_text() == before


@pytest.mark.usefixtures("nothing_runs")
def test_studies_share_cells(copied):
    assert carry_out("toy_curves", "--t-max=60", results=copied) == 0
    whole = markdown(copied, "COPA, beta 0")
    assert markdown(copied, "COPA, beta 0", "toy_curves") == [*whole[:3], whole[4]]  # without the paper's column
    assert (copied / "toy_curves" / "figure.png").exists()


def test_longer_training_goes_on_from_the_checkpoint(copied):
    folder = copied / "sc2_3m" / "aqmix" / "seed0"
    before = newest(folder)
    assert carry_out("single", "--t-max=90", "--seeds", "0", results=copied) == 0
    assert runs(folder) == ["1", "2"]
    assert json.loads((folder / "sacred" / "2" / "config.json").read_text())["checkpoint_path"].endswith(str(before))
    assert newest(folder) >= 90 > before
    assert runs(folder / "tests" / "plain") == ["1", "2"]
    steps, updates = markdown(copied, "A-QMIX", "single", LESSONS)[1:3]
    assert steps == str(newest(folder))
    assert int(updates) > 4  # with those before


def test_tests_are_made_again_when_their_settings_change(copied):
    folder = copied / "sc2_3m" / "aqmix" / "seed0"
    assert carry_out("single", "--t-max=60", "--seeds", "0", results=copied, more=["test_nepisode=3"]) == 0
    assert runs(folder) == ["1"]
    assert runs(folder / "tests" / "plain") == ["1", "2"]
    assert table(copied, "single")["A-QMIX", "return"]["episodes_per_seed"] == "3"


@pytest.mark.usefixtures("nothing_runs")
def test_other_settings_are_refused(copied, capsys):
    folder = str(copied / "sc2_3m" / "aqmix" / "seed0")
    for words, more, named in (
        (["--t-max=60"], ["lr=0.25"], "lr=0.25"),
        (["--t-max=60"], ["env_args.episode_limit=9"], "env_args.episode_limit=9"),
        (["--t-max=20"], [], "t_max=60"),
    ):
        assert carry_out("single", *words, results=copied, more=more) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert folder in err
        assert named in err
    assert not (copied / "single").exists()


@pytest.mark.usefixtures("nothing_runs")
def test_a_study_shows_tests(results, capsys):
    assert carry_out("single", results=results, more=["test_episodes=validation"]) == 2
    assert "test_episodes=validation: what a study shows are tests" in capsys.readouterr().err


@pytest.mark.usefixtures("nothing_runs")
def test_a_setting_that_is_newer_than_the_models_had_its_default(copied):
    path = copied / "sc2_3m" / "aqmix" / "seed0" / "settings.json"
    settings = json.loads(path.read_text())
    del settings["td_lambda"]
    path.write_text(json.dumps(settings))
    assert carry_out("single", "--t-max=60", results=copied) == 0
    assert carry_out("single", "--t-max=60", results=copied, more=["td_lambda=0.5"]) == 2


# --- stopped, killed, failed ----------------------------------------------------------------------------------------


def test_a_stopped_study_continues(results, monkeypatch, capsys):
    words = ("single", "--t-max=60", "--seeds", "0", "1")
    whole = Training.round

    def stopped(training):
        if training.config.seed == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return whole(training)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "round", stopped)
        assert carry_out(*words, results=results) == 143
    assert capsys.readouterr().err.endswith("the study was stopped; the same command continues it\n")
    first, second = (results / "sc2_3m" / "aqmix" / f"seed{seed}" for seed in (0, 1))
    assert json.loads((second / "sacred" / "1" / "run.json").read_text())["status"] == "INTERRUPTED"
    assert 0 < newest(second) < 60
    assert not (results / "single").exists()

    assert carry_out(*words, results=results) == 0
    assert f"resuming {second}" in capsys.readouterr().out
    assert (runs(first), runs(second)) == (["1"], ["1", "2"])
    assert newest(second) >= 60
    assert markdown(results, "A-QMIX", "single")[1] == "2"


def test_a_signal_between_two_runs_stops_too(results):
    stop = StopSignal()
    stop.requested = True
    with pytest.raises(KeyboardInterrupt):
        Engine(toy_study.SINGLE, [0], results, stop, TINY, t_max=60).run()
    assert not list(results.glob("**/sacred"))


def start(*words: str) -> subprocess.Popen:
    """A toy study in a process of its own."""
    code = "import sys; sys.path[:0] = sys.argv[1:3]; import study, toy_study"
    code += "; sys.exit(study.main(sys.argv[3:], toy_study.REGISTRY))"
    return subprocess.Popen(
        [sys.executable, "-c", code, str(SRC), str(Path(toy_study.__file__).parent), *words],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_a_killed_training_is_resumed(results, capsys):
    words = ["single", "--t-max=120", "--seeds", "0", f"--results={results}", "with", *TINY, "save_model_interval=16"]
    folder = results / "sc2_3m" / "aqmix" / "seed0"
    with start(*words) as program:
        watch = threading.Timer(240, program.kill)
        watch.start()
        next(line for line in program.stdout if line.startswith("checkpoint"))
        watch.cancel()
        program.send_signal(signal.SIGSTOP)  # nobody else trains what it holds, even while it stands still
        try:
            assert study.main(words, toy_study.REGISTRY) == 1
        finally:
            program.kill()
    out, err = capsys.readouterr()
    assert out.count(f"sc2_3m/aqmix/seed0 is being worked on by process {program.pid} on ") == 2
    assert err.startswith(f"missing: sc2_3m/aqmix/seed0 is being worked on by process {program.pid} on ")
    assert runs(folder) == ["1"]
    assert json.loads((folder / "sacred" / "1" / "run.json").read_text())["status"] == "RUNNING"
    killed_at = newest(folder)
    assert killed_at < 120
    assert study.main(words, toy_study.REGISTRY) == 0
    line = f"sc2_3m/aqmix/seed0: its latest run died, training goes on from step {killed_at}\n"
    assert capsys.readouterr().out.count(line) == 1
    source = json.loads((folder / "sacred" / "2" / "config.json").read_text())["checkpoint_path"]
    assert source.endswith(f"models/1/{killed_at}")
    assert newest(folder) >= 120


def test_what_another_process_is_at_is_left_to_it(results):
    words = ("single", "--t-max=60", "--seeds", "0", "1")
    first, second = (results / "sc2_3m" / "aqmix" / f"seed{seed}" for seed in (0, 1))
    with locked(first):
        assert carry_out(*words, results=results) == 1
    assert (runs(first), runs(second)) == ([], ["1"])
    assert markdown(results, "A-QMIX", "single")[1] == "1"
    assert carry_out(*words, results=results) == 0
    assert (runs(first), runs(second)) == (["1"], ["1"])
    assert markdown(results, "A-QMIX", "single")[1] == "2"


def test_what_another_process_was_at_is_done_in_the_end(results, monkeypatch):
    whole = single_run.main
    with contextlib.ExitStack() as other:
        other.enter_context(locked(results / "sc2_3m" / "aqmix" / "seed0"))

        def freeing(words):
            other.close()
            return whole(words)

        monkeypatch.setattr(single_run, "main", freeing)
        assert carry_out("single", "--t-max=60", "--seeds", "0", "1", results=results) == 0
    assert markdown(results, "A-QMIX", "single")[1] == "2"


@pytest.mark.usefixtures("nothing_runs")
def test_unfinished_models_are_tested_while_they_are_trained(copied):
    with locked(copied / "sc2_3m" / "aqmix" / "seed0"):
        assert carry_out("single", f"--evaluate-only={copied}", results=copied) == 0
    assert markdown(copied, "A-QMIX", "single")[1] == "2"


def test_processes_share_a_study(results):
    words = ["toy", "--t-max=60", f"--results={results}", "with", *TINY]
    programs = [start(*words) for _ in range(2)]
    codes = []
    for program in programs:
        with program:
            watch = threading.Timer(240, program.kill)
            watch.start()
            program.communicate()
            watch.cancel()
        codes.append(program.returncode)
    assert 0 in codes  # the last to finish has everything
    assert set(codes) <= {0, 1}
    for cell in ("aqmix", "copa"):
        for seed in (0, 1):
            assert runs(results / "sc2_3m" / cell / f"seed{seed}") == ["1"]
    assert [markdown(results, method)[1] for method in ("A-QMIX", "COPA, beta 0")] == ["2", "2"]


def test_a_failed_run_is_a_gap_and_not_the_end(finished, results, monkeypatch, capsys):
    whole = single_run.main

    def broken(words):
        if "--config=aqmix" in words:
            raise ZeroDivisionError("by nothing")
        return whole(words)

    monkeypatch.setattr(single_run, "main", broken)
    assert carry_out("toy", f"--evaluate-only={finished}", results=results) == 1
    assert "failed: sc2_3m/aqmix/seed0, A-QMIX\n" in capsys.readouterr().err
    assert markdown(results, "A-QMIX") == ["A-QMIX", "-", "-", "12.2 ± 0.5", "-", "-"]
    assert markdown(results, "A-QMIX", part=MEDIANS) == ["A-QMIX", "-", "-", "-"]
    assert markdown(results, "A-QMIX", part=LESSONS) == ["A-QMIX", "-", "-", "-", "-"]
    assert table(results)["A-QMIX", "return"]["mean"] == ""
    assert markdown(results, "COPA, beta 0")[1] == "2"


# --- damaged --------------------------------------------------------------------------------------------------------


def test_a_damaged_checkpoint_gives_way_to_the_newest_sound_one(copied, results, capsys):
    words = ("single", "--t-max=90", "--seeds", "0")
    folder = copied / "sc2_3m" / "aqmix" / "seed0"
    sound = newest(folder)
    assert carry_out(*words, results=copied) == 0
    damaged = folder / "models" / "2" / str(newest(folder)) / "learner.pt"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    capsys.readouterr()
    assert carry_out("single", "--seeds", "0", f"--evaluate-only={copied}", results=results.with_name("other")) == 0
    assert markdown(results.with_name("other"), "A-QMIX", "single", LESSONS)[1] == str(sound)
    assert capsys.readouterr().out.count(f"checkpoint file '{damaged}' has ") == 1
    assert carry_out(*words, results=copied) == 0
    assert capsys.readouterr().out.count(f"checkpoint file '{damaged}' has ") == 1
    source = json.loads((folder / "sacred" / "3" / "config.json").read_text())["checkpoint_path"]
    assert source == str(folder / "models" / "1" / str(sound))
    assert newest(folder) >= 90
    assert markdown(copied, "A-QMIX", "single")[1] == "1"
    assert markdown(copied, "A-QMIX", "single", LESSONS)[1] == str(newest(folder))


def test_where_all_checkpoints_are_damaged_training_starts_anew(copied):
    folder = copied / "sc2_3m" / "aqmix" / "seed0"
    (folder / "models" / "1" / str(newest(folder)) / "manifest.json").unlink()
    assert carry_out("single", "--t-max=60", "--seeds", "0", results=copied) == 0
    assert json.loads((folder / "sacred" / "2" / "config.json").read_text())["checkpoint_path"] == ""
    assert markdown(copied, "A-QMIX", "single")[1] == "1"


@pytest.mark.parametrize("text", ["", '{"run": "1"}', "[]"])
def test_a_damaged_test_is_made_again(copied, capsys, text):
    before = (copied / "toy" / "table.csv").read_text()
    folder = copied / "sc2_3m" / "aqmix" / "seed0" / "tests" / "plain"
    (folder / "test.json").write_text(text)
    assert carry_out(*ALL, results=copied) == 0
    assert f"{folder / 'test.json'} " in capsys.readouterr().out
    assert runs(folder) == ["1", "2"]
    assert (copied / "toy" / "table.csv").read_text() == before


@pytest.mark.parametrize("left", [None, "{}", '{"3": {'])
def test_a_test_without_an_evaluation_failed(copied, monkeypatch, capsys, left):
    folder = copied / "sc2_3m" / "aqmix" / "seed0" / "tests" / "plain"
    (folder / "test.json").unlink()
    whole = single_run.main

    def spoiled(words):
        code = whole(words)
        path = folder / "sacred" / "2" / "evaluation.json"
        path.unlink() if left is None else path.write_text(left)
        return code

    with monkeypatch.context() as patch:
        patch.setattr(single_run, "main", spoiled)
        assert carry_out("single", "--t-max=60", "--seeds", "0", results=copied) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"failed: sc2_3m/aqmix/seed0, A-QMIX: the test {folder / 'sacred' / '2'} holds no figures")
    assert markdown(copied, "A-QMIX", "single")[1] == "-"
    assert carry_out("single", "--t-max=60", "--seeds", "0", results=copied) == 0
    assert markdown(copied, "A-QMIX", "single")[1] == "1"


@pytest.mark.usefixtures("nothing_runs")
def test_models_of_unknown_settings_are_refused(copied, capsys):
    path = copied / "sc2_3m" / "aqmix" / "seed0" / "settings.json"
    settings = json.loads(path.read_text())
    del settings["env_args"]
    path.write_text(json.dumps(settings))
    assert carry_out("single", "--t-max=60", results=copied) == 2
    err = capsys.readouterr().err
    assert f"{path} has no 'env_args'" in err
    assert err.count("\n") == 1
    shutil.copy(path.parent / "sacred" / "1" / "config.json", path)  # the remedy that the line names
    assert carry_out("single", "--t-max=60", results=copied) == 0


def test_settings_without_models_are_written_anew(results, capsys):
    path = results / "sc2_3m" / "aqmix" / "seed0" / "settings.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    assert carry_out("single", "--t-max=20", "--seeds", "0", results=results) == 0
    assert f"{path} cannot be read: written anew" in capsys.readouterr().out
    assert json.loads(path.read_text())["t_max"] == 20


def test_a_full_disk_is_one_line(copied, monkeypatch, capsys):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    (copied / "sc2_3m" / "aqmix" / "seed0" / "tests" / "plain" / "test.json").unlink()
    monkeypatch.setattr("studies.engine.write_json", full)
    assert carry_out("single", "--t-max=60", "--seeds", "0", results=copied) == 1
    assert capsys.readouterr().err == (
        "error: a file of the study cannot be written (No space left on device): make room, and give the same command; "
        "what is done is not done again\n"
    )


def test_a_table_names_trainings_that_died(copied, capsys):
    path = copied / "sc2_3m" / "aqmix" / "seed1" / "sacred" / "1" / "run.json"
    record = json.loads(path.read_text())
    record["status"] = "RUNNING"
    record["meta"]["process"]["started"] += 1  # the process id is another one's now
    path.write_text(json.dumps(record))
    assert carry_out(*ALL[:1], f"--evaluate-only={copied}", results=copied) == 0
    text = (copied / "toy" / "table.md").read_text(encoding="utf-8")
    steps = newest(copied / "sc2_3m" / "aqmix" / "seed1")
    assert f"died before its end, and was not continued: A-QMIX (seed 1, {steps} steps)**." in text


# --- evaluating alone -----------------------------------------------------------------------------------------------


def test_evaluating_alone_trains_nothing(finished, copied, results, tmp_path):
    shutil.rmtree(copied / "sc2_3m" / "copa" / "seed1")
    other = tmp_path / "other"
    assert carry_out("toy", f"--evaluate-only={copied}", results=other) == 0
    assert not list(other.glob("**/models"))
    assert markdown(other, "COPA, beta 0")[1] == "1"
    assert "±" not in markdown(other, "COPA, beta 0")[2]
    same = table(finished)["A-QMIX", "return"]["mean"], table(other)["A-QMIX", "return"]["mean"]
    assert same[0] == same[1]


def test_results_cannot_be_written(results, capsys):
    results.touch()
    assert carry_out("toy", results=results) == 2
    assert capsys.readouterr().err.startswith(f"error: --results {results}: ")


def test_evaluating_alone_needs_models(results, tmp_path, capsys):
    assert carry_out("toy", f"--evaluate-only={tmp_path}", results=results) == 2
    assert "sc2_3m/aqmix/seed0/models" in capsys.readouterr().err
    assert not results.exists()


# --- words ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["toi"], "'toy'"),
        (["toy", "--sedes", "1"], "--sedes"),
        (["toy", "--seeds", "one"], "'one'"),
        (["toy", "--seeds", "1", "1"], "each seed once"),
        (["toy", "--seeds", "-1"], "--seeds"),
        (["toy", "--t-max", "0"], "at least 1"),
        (["toy", "--tasks", "sc2_sz"], "sc2_3m"),
        (["toy", "--evaluate-only", "/nonesuch"], "/nonesuch"),
        (["toy", "--t-max=9", f"--evaluate-only={SRC}"], "--t-max"),
        (["toy", "with", "gama=0.9"], "'gamma'"),
        (["toy", "with", "gamma"], "KEY=VALUE"),
        (["toy", "with", "seed=3"], "--seeds"),
        (["toy", "with", "t_max=3"], "--t-max"),
        (["toy", "with", "beta=3"], "beta"),
        (["toy", "with", "--config=vdn"], "settings alone"),
        (["toy", "with", "mixer=none", "learner=refil"], "learner=refil"),
    ],
)
@pytest.mark.usefixtures("nothing_runs")
def test_wrong_words_end_in_one_line(results, capsys, words, named):
    assert study.main([words[0], f"--results={results}", *words[1:]], toy_study.REGISTRY) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert named in err
    assert not results.exists()


def test_help_lists_the_studies(capsys):
    assert study.main(["--help"]) == 0
    page = capsys.readouterr().out
    assert "copa_table1" in page
    assert "--evaluate-only" in page


def test_matplotlib_is_missing(results, monkeypatch, capsys):
    monkeypatch.setattr(study, "find_spec", lambda name: None)
    assert carry_out(*ALL, results=results) == 2
    assert "requirements.txt" in capsys.readouterr().err


def test_only_drawing_imports_matplotlib():
    for path in SRC.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:  # what runs when the module is imported
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.startswith("matplotlib")], path


# --- docs/studies.md ------------------------------------------------------------------------------------------------


def test_the_page_adds_a_study_that_runs(results):
    page = (SRC.parent / "docs" / "studies.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    exec(page.partition("```python\n")[2].partition("```")[0], names)
    example = names["BATTLE_SIZES"]
    words = [example.name, "--t-max=10", "--seeds", "0", f"--results={results}", "with", *TINY]
    assert study.main([*words, "env_args.episode_limit=5"], {example.name: example}) == 0
    assert not any("-" in markdown(results, "REFIL", example.name, part) for part in (MEANS, MEDIANS, LESSONS))
    assert "paper" not in (results / example.name / "table.md").read_text(encoding="utf-8")
    assert (results / example.name / "figure.png").exists()

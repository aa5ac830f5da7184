"""kill -9 at moments that a seed draws: nobody is left to tidy up, and nothing may be lost but the last moments."""

import contextlib
import multiprocessing
import os
import time
from pathlib import Path

import torch
from conftest import tiny_overrides
from test_cli import Program

from faults.campaign import (
    ENDLESS,
    TASK,
    all_end,
    carry_out,
    descendants,
    drawn,
    figures,
    goes_on,
    look_at,
    newest,
    recorded,
    runs,
    start_study,
    status,
    tries,
)
from utils.checkpoints import load_checkpoint, save_checkpoint, saved_steps


def kill(program: Program) -> None:
    """End a program without warning, and see that nothing that it started outlives it."""
    started = list(descendants(program.process.pid))
    program.process.kill()
    program.process.wait()
    all_end(started)


@tries("kill -9 in the start of a run", 6)
def test_in_the_start(results, seed):
    with Program(*ENDLESS, results=results) as program:
        time.sleep(drawn("start", seed).uniform(0.0, 4.0))
        kill(program)
    before = runs(results)
    words = [word for word in ENDLESS if not word.startswith("t_max")]
    assert carry_out(*words, "t_max=40", results=results) == (0, "")
    [after] = set(runs(results)) - set(before)  # an id of its own
    assert status(after) == "COMPLETED"


@tries("kill -9 in training", 10)
def test_in_training(results, seed):
    draw = drawn("training", seed)
    with Program(*ENDLESS, results=results) as program:
        for _ in range(draw.randint(1, 6)):
            program.wait_for("checkpoint")
        time.sleep(draw.uniform(0.0, 0.3))
        kill(program)
    look_at(results)
    goes_on(results)


@tries("kill -9 in training, with worker processes", 3)
def test_in_training_with_workers(results, seed):
    draw = drawn("workers", seed)
    with Program(*ENDLESS, "runner=parallel", results=results) as program:
        program.wait_for("checkpoint")
        time.sleep(draw.uniform(0.0, 0.5))
        kill(program)
    look_at(results)
    goes_on(results, "runner=parallel")


@tries("the record of a killed run says that it died", 2)
def test_the_record_says_so(results, seed):
    from utils.records import status_of

    with Program(*ENDLESS, results=results) as program:
        program.wait_for("checkpoint" if seed else "test at 0 steps")
        assert status_of(runs(results)[0]) == "RUNNING"
        kill(program)
    assert status_of(runs(results)[0]) == "DIED"


@tries("kill -9 in a test", 6)
def test_in_a_test(results, trained, seed):
    words = [*TASK, *tiny_overrides(evaluate=True, checkpoint_path=trained / "models" / "1")]
    with Program(*words, "test_nepisode=1000000", results=results) as program:
        program.wait_for("evaluating")
        time.sleep(drawn("test", seed).uniform(0.0, 1.0))
        kill(program)
    look_at(results)
    assert not (results / "sacred" / "1" / "evaluation.json").exists()  # half a test is no result
    assert carry_out(*words, results=results) == (0, "")
    assert recorded(results / "sacred" / "2", "evaluation")["3"]["return"]["n"] == 2


def _save_for_ever(run: Path) -> None:
    """Save as a training does, only more often: the step is in every tensor, now and then a step is replaced."""
    step = 0
    while True:
        step += 1
        value = torch.full((50_000,), float(step))
        state = {"learner": {"weights": value}, "replay": {"values": value}, "progress": {"t_env": step}}
        save_checkpoint(run / str(step), state)
        if step % 3 == 0:
            save_checkpoint(run / str(step), state)


@tries("kill -9 in a save", 100, always=5)
def test_in_a_save(tmp_path, seed):
    run = tmp_path / "models" / "1"
    saver = multiprocessing.get_context("fork").Process(target=_save_for_ever, args=(run,), daemon=True)
    saver.start()
    while not (run / "1").exists():
        time.sleep(0.001)
    time.sleep(drawn("save", seed).uniform(0.0, 0.1))
    saver.kill()
    saver.join()
    folder, state = load_checkpoint(run)
    steps = saved_steps(run)
    assert steps == list(range(1, len(steps) + 1))  # none is missing
    assert int(folder.name) == steps[-1]
    for step in steps:
        _, state = load_checkpoint(run, step)
        assert state["progress"]["t_env"] == step
        assert state["learner"]["weights"].eq(step).all()
        assert state["replay"]["values"].eq(step).all()
    save_checkpoint(run / "1000", {"progress": {"t_env": 1000}})
    assert not [entry for entry in os.listdir(run) if not entry.isdecimal()]  # the next save tidies up


@tries("kill -9 in a study", 10)
def test_in_a_study(results, undisturbed, seed):
    _kill_and_complete(results, undisturbed, seed)


@tries("kill -9 in a study, with worker processes", 2)
def test_in_a_study_with_workers(results, undisturbed_with_workers, seed):
    _kill_and_complete(results, undisturbed_with_workers, seed, "runner=parallel")


def _kill_and_complete(results: Path, undisturbed: Path, seed: int, *more: str) -> None:
    draw = drawn("study", seed)
    with start_study(*more, results=results) as program:
        with contextlib.suppress(AssertionError):  # ended before that line
            for _ in range(draw.randint(1, 25)):
                program.wait_for("")
            time.sleep(draw.uniform(0.0, 0.3))
        kill(program)
    look_at(results)
    with start_study(*more, results=results) as program:
        assert program.finish() == (0, "")
    look_at(results)
    assert figures(results) == figures(undisturbed)
    for place in (results / "sc2_3m" / "aqmix" / f"seed{k}" for k in (0, 1)):
        assert newest(place)[1] == newest(undisturbed / place.relative_to(results))[1]

"""Signals, once and more often, at moments that a seed draws: the run ends in order, and says so."""

import os
import signal
import time

import pytest
from conftest import tiny_overrides
from test_cli import STOPPING, Program

from faults.campaign import ENDLESS, TASK, all_end, descendants, drawn, goes_on, look_at, runs, status, tries

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def send(program: Program, signum: int, times: int, pause: float) -> None:
    for _ in range(times):
        program.process.send_signal(signum)
        time.sleep(pause)


@pytest.mark.parametrize("signum", SIGNALS)
@tries("SIGINT, SIGTERM, SIGHUP in training", 2)
def test_once(results, signum, seed):
    with Program(*ENDLESS, results=results) as program:
        program.wait_for("/1,000,000 steps")
        time.sleep(drawn(f"once {signum}", seed).uniform(0.0, 0.5))
        send(program, signum, times=1, pause=0.0)
        assert program.finish() == (128 + signum, f"{STOPPING}stopped by {signal.Signals(signum).name}\n")
    assert status(runs(results)[0]) == "INTERRUPTED"
    look_at(results)
    goes_on(results)


@pytest.mark.parametrize("times", [2, 4])
@pytest.mark.parametrize("signum", SIGNALS)
@tries("the same, two and four times", 2)
def test_more_often(results, signum, times, seed):
    draw = drawn(f"{times} times {signum}", seed)
    with Program(*ENDLESS, results=results) as program:
        program.wait_for("/1,000,000 steps")
        time.sleep(draw.uniform(0.0, 0.5))
        send(program, signum, times, pause=draw.choice([0.0, 0.005, 0.05]))
        code, err = program.finish()
    assert code == 128 + signum
    # the second may come before the first has said what a second one does
    assert err.removeprefix(STOPPING) == f"stopped by {signal.Signals(signum).name}\n"
    assert status(runs(results)[0]) == "INTERRUPTED"
    look_at(results)


@pytest.mark.parametrize("signum", SIGNALS)
@tries("a signal in a long test", 1)
def test_in_a_long_test(results, trained, signum, seed):
    words = [*TASK, *tiny_overrides(evaluate=True, checkpoint_path=trained / "models" / "1", test_nepisode=1_000_000)]
    with Program(*words, results=results) as program:
        program.wait_for("evaluating")
        time.sleep(drawn(f"long test {signum}", seed).uniform(0.1, 1.0))
        send(program, signum, times=1, pause=0.0)
        # patience alone would let it be killed: the test would take hours
        assert program.finish()[0] == 128 + signum
    assert status(runs(results)[0]) == "INTERRUPTED"
    assert not (runs(results)[0] / "evaluation.json").exists()


@pytest.mark.parametrize("signum", SIGNALS)
@tries("a signal to a run and its worker processes", 2)
def test_to_the_whole_group(results, signum, seed):
    with Program(*ENDLESS, "runner=parallel", results=results) as program:
        if seed:
            program.wait_for("/1,000,000 steps")
        else:  # while the workers start
            program.wait_for("record in")
            time.sleep(drawn(f"group {signum}", seed).uniform(0.0, 1.0))
        started = list(descendants(program.process.pid))
        os.killpg(program.process.pid, signum)
        assert program.finish() == (128 + signum, f"{STOPPING}stopped by {signal.Signals(signum).name}\n")
    all_end(started)
    assert status(runs(results)[0]) == "INTERRUPTED"
    look_at(results)

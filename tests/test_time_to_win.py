"""The benchmark of trainings that win: when a rate was reached, and what a training's process tells."""

import json
import math
import sys
from pathlib import Path

import pytest
from conftest import tiny_overrides

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import time_to_win
from time_to_win import Score, first_reached, follow, row

#: wins as much as it says after 10, 20, ... CPU seconds
FAST = [Score(100 * i, 10.0 * i, 2.0 * i, won) for i, won in enumerate((0.1, 0.4, 0.5, 0.3, 0.8), 1)]
SLOW = [Score(100 * i, 20.0 * i, 1.0 * i, won) for i, won in enumerate((0.0, 0.2, 0.5, 0.6), 1)]
LOST = [Score(100, 30.0, 3.0, 0.0), Score(200, 101.0, 6.0, 0.0)]


def test_a_rate_is_reached_by_the_first_test_that_shows_it_in_time():
    assert first_reached(FAST, 0.5, limit=100) == Score(300, 30.0, 6.0, 0.5)
    assert first_reached(FAST, 0.45, limit=30) == Score(300, 30.0, 6.0, 0.5)
    assert first_reached(FAST, 0.5, limit=29) is None
    assert first_reached(SLOW, 0.8, limit=100) is None


def test_a_row_tells_the_median_seed_and_the_worst():
    assert row("a", 0.5, [SLOW, FAST, FAST], 100) == "| a | 0.5 | 30 | 6 | 300 | 60 | 3 | 300 | 3 of 3 |"
    # a training that never reaches it is the worst; cut off by the limit, or over before it
    assert row("b", 0.5, [LOST, SLOW, FAST], 100) == "| b | 0.5 | 60 | 3 | 300 | not within 100 | 6 | 200 | 2 of 3 |"
    assert (
        row("c", 0.8, [FAST, SLOW], 100) == "| c | 0.8 | not within 80 | 4 | 400 | not within 80 | 4 | 400 | 1 of 2 |"
    )


def told(*lines: str, code: int = 0) -> list[str]:
    """A command that prints `lines` and ends with `code`."""
    return [sys.executable, "-c", f"import sys; print({chr(10).join(lines)!r}, flush=True); sys.exit({code})"]


FIRST = '{"step": 0, "cpu": 3.0, "testing": 1.0, "won": 0.0}'
SECOND = '{"step": 50, "cpu": 9.0, "testing": 2.0, "won": 0.5}'
THIRD = '{"step": 99, "cpu": 12.0, "testing": 2.5, "won": 0.75}'


@pytest.mark.parametrize(
    ("rates", "limit", "steps"), [((0.5, 0.9), 100, [0, 50, 99]), ((0.25, 0.5), 100, [0, 50]), ((0.9,), 8, [0, 50])]
)
def test_a_training_is_followed_until_it_wins_or_its_time_is_over(rates, limit, steps):
    tests = follow(told("noise", FIRST, SECOND, THIRD), rates, limit)
    assert [test.step for test in tests] == steps
    assert tests[1] == Score(50, 9.0, 2.0, 0.5)


@pytest.mark.parametrize("command", [told(FIRST, code=2), told("nothing")])
def test_a_training_that_fails_ends_it_all(command):
    with pytest.raises(SystemExit, match="failed: "):
        follow(command, (0.9,), 100)


@pytest.mark.slow
def test_a_training_of_ours_tells_its_tests(results):
    words = ["--config=mappo", "--env-config=sc2_3m", "--recipe=fast", "env_args.episode_limit=20", "save_model=False"]
    words += [*tiny_overrides("mappo", t_max=80, test_interval=40), f"local_results_path={results}"]
    tests = follow([sys.executable, time_to_win.__file__, "--train", "3", *words], (1.1,), math.inf)
    recorded = (results / "sacred" / "1" / "metrics.jsonl").read_text().splitlines()
    won = [entry for line in recorded if (entry := json.loads(line))["name"] == "test/3/battle_won_mean"]
    assert [(test.step, test.won) for test in tests] == [(entry["step"], entry["value"]) for entry in won]
    assert len(tests) > 2
    assert all(0 < test.testing < test.cpu for test in tests)

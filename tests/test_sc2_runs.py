"""Whole runs on StarCraft II, on the stand-in: training with faults, tests, transfer to the other engine and back."""

import json
import math
import time

import pytest
import sc2_standin
from conftest import tiny_overrides
from sc2_standin.faults import Fault, plan
from test_cli import PATIENCE, Program, complete, metrics, status

from utils.config import load_config

pytestmark = pytest.mark.slow

TASK = ["--config=copa", "--env-config=sc2_sz", "env_args.episode_limit=40", "test_teams=3-5,8", "batch_size_run=2"]
SHORT = tiny_overrides("copa", t_max=2000, test_interval=1000, log_interval=500, save_model_interval=1000)
ON_SC2 = "env_args.backend=sc2"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, engines):
    """The results of a training of 2,000 steps in two games, of which some went wrong, and their folder."""
    folder = sc2_standin.install(tmp_path_factory.mktemp("trained") / "StarCraftII", engines)
    # a launch that fails, crashes while the battle is prepared and later, and one that hangs
    faults = [Fault(1, 2, "exit"), Fault(2, 9, "kill"), Fault(3, 700, "kill"), Fault(4, 150, "hang")]
    plan(folder, [*faults, Fault(5, 14, "refuse"), Fault(6, 33, "kill")])
    results = folder.parent / "results"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SC2PATH", str(folder))
        complete(*TASK, *SHORT, ON_SC2, "env_args.game_timeout=15", results=results)
    return results, folder


def evaluation(results, run):
    return json.loads((results / "sacred" / str(run) / "evaluation.json").read_text())


def test_a_training_completes_whatever_its_games_do(trained):
    results, folder = trained
    assert status(results, 1) == "COMPLETED"
    recorded = metrics(results, 1)
    assert all(math.isfinite(value) for _, _, value in recorded)
    restarts = [value for name, _, value in recorded if name == "env/restarts"]
    assert restarts[-1] == sc2_standin.launches(folder) - 2 >= 6
    assert sc2_standin.running(folder) == []
    # every episode that counts was played to its end: cut at 40 steps, or before that because an army was beaten
    tested = evaluation(results, 1)
    assert set(tested) == {"3-5", "8"}
    assert all(figures["battle_won"]["n"] == 2 for figures in tested.values())


def test_a_policy_plays_the_same_on_both_engines(trained, monkeypatch):
    results, folder = trained
    plan(folder, [])
    monkeypatch.setenv("SC2PATH", str(folder))
    test = [*TASK, *SHORT, "evaluate=True", f"checkpoint_path={results / 'models' / '1'}", "runner=parallel"]
    complete(*test, ON_SC2, results=results)
    complete(*test, "env_args.backend=skirmish", results=results)
    assert evaluation(results, 2) == evaluation(results, 3)


def test_a_policy_of_the_embedded_engine_plays_on_starcraft(starcraft, results):
    words = [*TASK, *tiny_overrides("copa", t_max=100, test_interval=1000)]
    complete(*words, "env_args.backend=skirmish", results=results)
    complete(*words, "evaluate=True", f"checkpoint_path={results / 'models' / '1'}", results=results)
    assert [json.loads((results / "sacred" / run / "info.json").read_text())["backend"] for run in "12"] == [
        "skirmish",
        "sc2",  # auto: it is installed
    ]
    assert sc2_standin.launches(starcraft) == 2


def test_no_game_outlives_a_run_that_is_killed(starcraft, results):
    with Program(*TASK, *SHORT, ON_SC2, "t_max=1000000", results=results) as program:
        deadline = time.monotonic() + PATIENCE
        while len(sc2_standin.running(starcraft)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        program.process.kill()
        program.wait_until_gone()
    assert sc2_standin.running(starcraft) == []


def test_settings_follow_the_engine(starcraft, monkeypatch):
    config = load_config(["--env-config=sc2_sz"])
    assert (config.env_args.backend, config.runner) == ("auto", "parallel")
    assert load_config(["--env-config=sc2_sz", "runner=episode"]).runner == "episode"
    config = load_config(["--env-config=sc2_sz", "env_args.backend=skirmish"])
    assert (config.env_args.backend, config.runner) == ("skirmish", "vector")
    monkeypatch.setenv("SC2PATH", "/nonexistent")
    config = load_config(["--env-config=sc2_sz"])
    assert (config.env_args.backend, config.runner) == ("auto", "vector")


def test_games_of_a_run_without_workers(starcraft, results):
    """Training and tests take turns in the same games, two of which go wrong."""
    plan(starcraft, [Fault(1, 100, "kill"), Fault(3, 33, "exit")])
    complete(*TASK, *SHORT, ON_SC2, "t_max=300", "runner=vector", results=results)
    restarts = [value for name, _, value in metrics(results, 1) if name == "env/restarts"]
    assert restarts[-1] == 2
    assert sc2_standin.launches(starcraft) == 4
    assert sc2_standin.running(starcraft) == []
    assert all(figures["battle_won"]["n"] == 2 for figures in evaluation(results, 1).values())


def test_a_run_without_the_game_ends_in_one_line(results):
    with Program("--config=copa", "--env-config=sc2_sz", ON_SC2, results=results) as program:
        code, err = program.finish()
    assert (code, err.count("\n")) == (2, 1)
    assert "there is no StarCraft II in /nonexistent (SC2PATH): ./install_sc2.sh" in err


def test_games_that_all_fail_end_a_run_in_one_line(starcraft, results):
    plan(starcraft, [Fault(0, 2, "exit")])
    with Program(*TASK, *SHORT, ON_SC2, results=results) as program:
        code, err = program.finish()
        program.wait_until_gone()
    assert code == 1
    assert err.count("\n") == 1
    assert "StarCraft II went wrong 6 times in a row" in err
    assert "the stand-in was told to end here" in err
    assert status(results, 1) == "FAILED"

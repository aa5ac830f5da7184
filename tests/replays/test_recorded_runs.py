"""Runs that record, by the command line: what they leave, and that their figures are those of any other run."""

import json

import pytest
from conftest import tiny_overrides

import evaluating
import main

TASK = ("--env-config=navigation_teams", "test_teams=2-4,5", "env_args.episode_limit=6")


def play(results, *words):
    """Carry out a run and return its folder."""
    before = set(results.glob("sacred/[0-9]*"))
    assert main.main([*TASK, *words, f"local_results_path={results}"]) == 0
    (folder,) = set(results.glob("sacred/[0-9]*")) - before
    return folder


def test_a_checkpoint_with_and_without(results):
    words = ["--config=copa", *tiny_overrides("copa", t_max=40, test_teams="2-4,5", test_nepisode=4, test_batch_size=2)]
    play(results, *words)
    tested = [*words, "evaluate=True", f"checkpoint_path={results}/models/1"]
    without, recorded = play(results, *tested), play(results, *tested, "record=3")
    assert not (without / "replays").exists()
    figures = json.loads((recorded / "evaluation.json").read_text())
    assert figures == json.loads((without / "evaluation.json").read_text())
    assert sorted(path.name for path in (recorded / "replays").iterdir()) == ["replays.html", "replays.json"]
    record = json.loads((recorded / "replays" / "replays.json").read_text(encoding="utf-8"))
    episodes = record["episodes"]
    assert [(e["team"], e["number"]) for e in episodes] == [(team, n) for team in ("2-4", "5") for n in range(3)]
    told = {"name": "copa", "run": recorded.name, "episodes": "test", "task": "navigation"}
    assert {key: record["about"][key] for key in told} == told
    assert record["about"]["steps"] >= 40
    assert all("attention" in episode and "sent" in episode for episode in episodes)


@pytest.mark.parametrize("runner", ["parallel", "episode"])
def test_other_hosts_record_as_well(results, runner):
    words = ["--config=scripted", "policy=greedy", "evaluate=True", "test_nepisode=2", "batch_size_run=2"]
    folder = play(results, *words, "test_teams=2", f"runner={runner}", "record=2", "device=cpu")
    record = json.loads((folder / "replays" / "replays.json").read_text(encoding="utf-8"))
    assert [len(episode["bodies"]) for episode in record["episodes"]] == [7, 7]
    assert record["about"]["name"] == "greedy"


def test_a_test_that_is_stopped_leaves_no_replays(results, monkeypatch):
    real = evaluating.test

    def stopped(config, recorder, stop, runner, t_env):
        real(config, recorder, stop, runner, t_env)
        return {}

    monkeypatch.setattr(evaluating, "test", stopped)
    words = ["--config=scripted", "policy=greedy", "evaluate=True", "test_nepisode=2", "record=2", "device=cpu"]
    main.main([*TASK, *words, f"local_results_path={results}"])
    assert (results / "sacred" / "1").is_dir()
    assert not (results / "sacred" / "1" / "replays").exists()

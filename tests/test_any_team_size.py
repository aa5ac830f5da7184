"""Networks with values of pairs know no slot: what they do, learn and keep does not depend on how many there are."""

import json
from pathlib import Path

import pytest
import torch
from conftest import tiny_overrides

import builders
import main
from envs.starcraft.env import StarCraftEnv
from runners.runner import Runner
from utils.config import load_config

WORDS = ("--env-config=sc2_sz", "target_values=pairs", "env_args.episode_limit=30", "device=cpu", "test_teams=3-5")


@pytest.mark.parametrize("algorithm", ["refil", "copa", "collaq", "mipi", "mappo"])
def test_figures_do_not_depend_on_slots(algorithm):
    """The same weights, the same episodes: in as many slots as the team needs, and in many more."""
    words = [*WORDS, *tiny_overrides(algorithm, sequence_length=8, test_teams="3-5"), "env_args.train_team=3-5"]
    config = load_config([f"--config={algorithm}", *words])
    figures = []
    for slots, rivals in ((5, 5), (16, 16), (5, 20), (11, 6)):
        args = StarCraftEnv.Args("sz", "3-5", max_team=slots, max_enemies=rivals, episode_limit=30)
        env = StarCraftEnv(args, 8, 0)
        assert (env.spec.agents, env.spec.entities) == (slots, slots + rivals)
        controller = builders.build_controller(config, env.spec)
        with torch.no_grad():  # fresh networks would hardly care whom they attack
            for name, parameter in controller.named_parameters():
                parameter.mul_(1.5)
                if name.endswith("attention.pair"):
                    parameter.fill_(1.0)
        figures.append(Runner(env, controller, seed=0).evaluate("3-5", 16, seed=4))
    assert figures[0]["enemies_killed"].sum() + figures[0]["return"].sum() > 0
    for other in figures[1:]:
        assert set(other) == set(figures[0])
        for name, values in other.items():
            torch.testing.assert_close(values, figures[0][name], rtol=1e-4, atol=1e-4, msg=name)


def run(*words: str, results: Path) -> None:
    assert main.main([*words, f"local_results_path={results}"]) == 0


def test_trained_on_few_it_plays_with_many(results, capsys):
    """One command each; training had slots for 5 a side."""
    learn = ["--config=refil", *WORDS, *tiny_overrides("refil", t_max=60)]
    run(*learn, results=results)
    for number, team in enumerate(("8", "12", "16", "8v11", "8v+1"), start=2):
        again = [f"checkpoint_path={results / 'models' / '1'}", "evaluate=True", f"test_teams={team}"]
        run("--config=refil", *WORDS, *tiny_overrides("refil"), *again, results=results)
        found = json.loads((results / "sacred" / str(number) / "evaluation.json").read_text())
        assert found[team]["team_size"]["mean"] == int(team.split("v")[0])


def test_an_output_per_target_knows_no_larger_team(results, capsys):
    words = ["--config=refil", "--env-config=sc2_sz", "env_args.episode_limit=30", "device=cpu"]
    run(*words, *tiny_overrides("refil", t_max=60), results=results)
    capsys.readouterr()
    again = [f"checkpoint_path={results / 'models' / '1'}", "evaluate=True", "test_teams=12"]
    assert main.main([*words, *tiny_overrides("refil"), *again, f"local_results_path={results}"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "is one of targets=slots for up to 8 a side, these settings have targets=slots for up to 12 a side" in err

"""Games of StarCraft II (the stand-in) that crash or hang: the run completes, and nothing of a lost battle counts."""

import json

import sc2_standin
from conftest import tiny_overrides
from sc2_standin.faults import Fault, plan

from faults.campaign import TASK, carry_out, look_at, recorded, runs, status, tries

#: each of a game's first 20 requests, and three later ones
MOMENTS = [*range(1, 21), 40, 77, 160]
#: of which at these the game hangs
HANGS = [3, 12, 77]


def completes_as_if_nothing_had_happened(starcraft, results, *more):
    words = tiny_overrides(t_max=100, test_interval=60, save_model_interval=60)
    code, err = carry_out(*TASK, "env_args.backend=sc2", *words, *more, results=results)
    assert (code, err) == (0, "")
    (run,) = runs(results)
    assert status(run) == "COMPLETED"
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    figures = [json.loads(line) for line in lines]
    # within its 8 steps no battle is decided: a shorter one would be one that was lost
    lengths = [entry["value"] for entry in figures if entry["name"].endswith("ep_length_mean")]
    assert lengths
    assert set(lengths) == {8.0}
    won = [entry["value"] for entry in figures if entry["name"].endswith("battle_won_mean")]
    assert set(won) == {0.0}
    assert [entry["value"] for entry in figures if entry["name"] == "env/restarts"][-1] == 1
    assert sc2_standin.launches(starcraft) == 3
    assert recorded(run, "evaluation")["3"]["ep_length"]["n"] == 2
    assert sc2_standin.running(starcraft) == []
    look_at(results)


@tries("kill -9 of a game of StarCraft II (the stand-in)", len(MOMENTS))
def test_a_game_is_killed(starcraft, results, seed):
    plan(starcraft, [Fault(1, MOMENTS[seed], "kill")])
    completes_as_if_nothing_had_happened(starcraft, results)


@tries("a game of StarCraft II hangs (the stand-in)", len(HANGS))
def test_a_game_hangs(starcraft, results, seed):
    plan(starcraft, [Fault(1, HANGS[seed], "hang")])
    completes_as_if_nothing_had_happened(starcraft, results, "env_args.game_timeout=20")

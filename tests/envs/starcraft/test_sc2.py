"""StarCraft II as an engine, on the stand-in: the same battles as on the embedded engine, and what faults do."""

import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sc2_standin
import torch
from sc2_standin.faults import LAST_WORDS, Fault, plan

from controllers.scripted import ScriptedController
from envs.check import check_env
from envs.starcraft import sc2
from envs.starcraft.engine import Order, Orders
from envs.starcraft.env import StarCraftEnv
from envs.starcraft.game import GameFault
from envs.starcraft.scenarios import UNITS
from runners.runner import Runner
from utils.errors import RunFailed, UserError

#: requests before the first battle's first step: ping, create_game, join_game, game_info, observation, debug (units),
#: step, observation, debug (control), action (enemy); then action, step and observation for every step
BEFORE = 10


@pytest.fixture
def game(starcraft, monkeypatch):
    """The folder of a StarCraft II that is started anew at once."""
    monkeypatch.setattr(sc2, "PAUSES", (0.0,) * sc2.RETRIES)
    return starcraft


def make(scenario="3m", team="3", backend="sc2", seed=3, **settings):
    return StarCraftEnv(StarCraftEnv.Args(scenario, team, backend=backend, **settings), 1, seed)


def rollouts(env, rounds=1, policy="random"):
    runner = Runner(env, ScriptedController(env.SCRIPTED[policy](env.spec)), seed=1)
    return [runner.play() for _ in range(rounds)]


# --- the same on both engines -----------------------------------------------------------------------------------------


def test_contract(game):
    args = StarCraftEnv.fit(StarCraftEnv.Args("3m", "3", backend="sc2", episode_limit=8), ["3"])
    with StarCraftEnv(args, 1, 0) as env:
        check_env(env, steps=10, teams=["3"])


@pytest.mark.parametrize(("scenario", "team"), [("sz", "3-5"), ("csz", "8"), ("mmm", "3-5")])
def test_a_random_episode_is_the_same_on_both_engines(game, scenario, team):
    settings = {"scenario": scenario, "team": team, "episode_limit": 45}
    with make(**settings) as ours, make(**settings, backend="skirmish") as embedded:
        act = ours.SCRIPTED["random"](ours.spec)
        generator = torch.Generator().manual_seed(0)
        for _ in range(2):
            seen, expected = ours.reset(), embedded.reset()
            while True:
                for name in ("entities", "reward"):
                    assert torch.allclose(getattr(seen, name), getattr(expected, name), atol=1e-5), name
                for name in ("entity_mask", "obs_mask", "avail_mask", "terminated", "truncated"):
                    assert torch.equal(getattr(seen, name), getattr(expected, name)), name
                assert {n: v.item() for n, v in seen.info.items()} == {n: v.item() for n, v in expected.info.items()}
                if bool(expected.done):
                    break
                actions = act(expected, generator)
                seen, expected = ours.step(actions), embedded.step(actions)


class Double:
    """A game that notes orders, and whose units a test has placed, on a map of 64 x 48."""

    def __init__(self, units=(), results=()):
        self.seen, self.results, self.orders = list(units), list(results), []

    def play(self, commands, loops):
        assert loops == 8
        self.orders += commands
        return self.results or [1] * len(commands), self.seen

    def units(self):
        return self.seen

    def close(self, kill=False):
        pass


def unit(tag, x, y, **figures):
    shown = sc2.raw_pb2.Unit(tag=tag, health=figures.pop("health", 40.0), **figures)
    shown.pos.x, shown.pos.y = x, y
    return shown


@pytest.fixture
def engine():
    """On the larger map: Stalkers in slots 0 and 1 (who is dead), a Medivac in slot 2, an enemy Stalker in slot 4."""
    made = sc2.Sc2Engine(4, 2, [UNITS["stalker"], UNITS["medivac"]], seed=0, timeout=5.0)
    made._shift = sc2.np.array([16.0, 8.0], dtype=sc2.np.float32)
    made._corners = ((17.0, 8.0), (48.0, 40.0))
    made._tags = {0: 70, 1: 71, 2: 72, 4: 74}
    made._game = Double(
        [
            unit(74, 40.0, 30.0, shield=12.0, weapon_cooldown=22.4),
            unit(70, 20.0, 9.0, shield=80.0, weapon_cooldown=11.2),
            unit(72, 21.0, 9.0, energy=55.0),
            unit(99, 1.0, 1.0),
        ]
    )
    types = torch.tensor([[0], [0], [1], [-1], [0], [-1]])
    made._units = made._read(made._game.units(), types)
    return made


def test_units_by_hand(engine):
    units = engine._units
    assert units.alive[:, 0].tolist() == [True, False, True, False, True, False]
    assert units.owner[:, 0].tolist() == [0, 0, 0, 0, 1, 1]
    assert units.position[:, [0, 2, 4], 0].T.tolist() == [[4.0, 1.0], [5.0, 1.0], [24.0, 22.0]]
    assert units.health[:, 0].tolist() == [40.0, 0.0, 40.0, 0.0, 40.0, 0.0]
    assert units.shield[:, 0].tolist() == [80.0, 0.0, 0.0, 0.0, 12.0, 0.0]
    assert units.energy[:, 0].tolist() == [0.0, 0.0, 55.0, 0.0, 0.0, 0.0]
    assert units.cooldown[:, 0].tolist() == pytest.approx([0.5, 0.0, 0.0, 0.0, 1.0, 0.0])


def test_a_unit_without_health_is_dead_though_the_game_still_shows_it(engine):
    """The first one, at the same place as before."""
    seen = engine._game.units()
    dying = next(unit for unit in seen if unit.tag == engine._tags[0])
    dying.health = 0.0
    units = engine._read(seen, engine._units.type)
    assert units.alive[:, 0].tolist() == [False, False, True, False, True, False]
    assert units.shield[0, 0] == units.position[0, 0, 0] == 0.0


def order(engine, *orders):
    """Give orders to the team: (kind, target slot or point)."""
    kind = torch.tensor([[int(kind)] for kind, _ in orders] + [[0]] * (4 - len(orders)))
    target = torch.zeros(4, 1, dtype=torch.int64)
    point = torch.zeros(2, 4, 1)
    for slot, (what, where) in enumerate(orders):
        if what == Order.MOVE:
            point[:, slot, 0] = torch.tensor(where)
        elif where is not None:
            target[slot] = where
    return engine.advance(Orders(kind, point, target), torch.tensor([True]))


def test_orders_by_hand(engine):
    order(engine, (Order.ATTACK, 4), (Order.STOP, None), (Order.HEAL, 0))
    order(engine, (Order.MOVE, (6.0, 1.0)), (Order.MOVE, (1.0, 1.0)), (Order.STOP, None))
    order(engine, (Order.MOVE, (-2.0, 33.0)))  # the playable part of the map ends before
    told = [(o.ability_id, list(o.unit_tags), o.target_unit_tag) for o in engine._game.orders]
    moves = [(o.target_world_space_pos.x, o.target_world_space_pos.y) for o in engine._game.orders]
    assert told[:2] == [(23, [70], 74), (386, [72], 70)]
    assert (told[2], moves[2]) == ((16, [70], 0), (22.0, 9.0))
    assert told[3] == (4, [72], 0)
    assert moves[4] == (17.0, 40.0)
    assert not any(o.queue_command for o in engine._game.orders)


def test_a_refused_order_loses_the_battle_but_not_one_to_heal(engine):
    orders = (Order.ATTACK, 4), (Order.STOP, None), (Order.HEAL, 0)
    engine._game.results = [1, 17]
    order(engine, *orders)
    engine._game.results = [2, 1]
    with pytest.raises(GameFault, match="refuses the order 23"):
        order(engine, *orders)


def test_units_are_told_apart_by_where_they_were_placed():
    units = [unit(8, 1.2, 0.0), unit(9, 3.1, 0.0), unit(7, 0.9, 5.0)]
    assert sc2._nearest([2, 5, 6], [None, None, (3.0, 0.0), None, None, (0.0, 0.0), (0.0, 5.0)], units) == {
        2: 9,
        5: 8,
        6: 7,
    }


def test_the_enemy_is_commanded_once_and_sent_to_the_team(game):
    with make(episode_limit=3) as env:
        rollouts(env, 3)
    asked = sc2_standin.requests(game, 1)
    assert asked[:BEFORE] == [
        *("ping", "create_game", "join_game", "game_info", "observation"),
        *("debug", "step", "observation", "debug", "action"),
    ]
    assert asked[BEFORE : BEFORE + 6] == ["action", "step", "observation"] * 2
    # further battles: kill, wait, place, wait, send the enemy
    later = ["observation", "debug", "step", "observation", "debug", "step", "observation", "action"]
    assert asked[BEFORE + 9 : BEFORE + 17] == later
    assert asked.count("create_game") == 1
    assert asked[-1] == "quit"


# --- what is there and what is not ------------------------------------------------------------------------------------


def test_auto_takes_the_game_where_it_is_installed(game, monkeypatch):
    args = StarCraftEnv.resolve_args({}, [])
    assert (args.backend, StarCraftEnv.fit(args, []).backend, StarCraftEnv.alone(args)) == ("auto", "sc2", True)
    (game / "Maps" / "SMAC_Maps" / "empty_passive.SC2Map").unlink()
    assert (StarCraftEnv.fit(args, []).backend, StarCraftEnv.alone(args)) == ("skirmish", False)
    with pytest.raises(UserError, match="the map SMAC_Maps/empty_passive.SC2Map is not in .*install_sc2.sh"):
        StarCraftEnv.resolve_args({"backend": "sc2"}, [])
    (game / "Versions" / sc2_standin.BUILD / "SC2_x64").unlink()
    with pytest.raises(UserError, match=re.escape(f"no StarCraft II in {game} (SC2PATH): ./install_sc2.sh")):
        StarCraftEnv.resolve_args({"backend": "sc2"}, [])


def test_missing_packages_are_named(game, monkeypatch):
    found = sys.modules["envs.starcraft.installation"]
    monkeypatch.setattr(found, "find_spec", lambda name: None if name == "pysc2" else name)
    with pytest.raises(UserError, match=r"the Python package pysc2 is not installed: .*requirements-sc2.txt"):
        StarCraftEnv.resolve_args({"backend": "sc2"}, [])


def test_no_proxy_comes_between(game, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "example.org")
    with make(game_timeout=20.0) as env:
        env.reset()
        assert env.restarts == 0


def test_replays(game, tmp_path):
    with make(episode_limit=2, save_replay=str(tmp_path / "replays")) as env:
        rollouts(env)
    (replay,) = (tmp_path / "replays").glob("*.SC2Replay")
    assert replay.read_bytes() == b"a replay of the stand-in"


# --- faults -----------------------------------------------------------------------------------------------------------


def is_the_same_battle(rollout, expected):
    """Random actions differ after a fault, but the battle is the one that was drawn, and it was played whole."""
    assert torch.equal(rollout.batch.entities[:, 0], expected.batch.entities[:, 0])
    assert rollout.lengths.tolist() == expected.lengths.tolist()
    assert not bool(rollout.batch.terminated.any())


FAULTS = [
    *(Fault(1, at, "kill") for at in (1, 4, 7, 10, 11, 12, 13, 20)),
    Fault(1, 12, "exit"),
    Fault(1, 13, "hang"),
    Fault(1, 0, "hang"),
    Fault(1, 2, "refuse"),
    Fault(1, 3, "error"),
    Fault(1, 1, "error", "action"),
    Fault(1, 1, "refuse", "action"),
    Fault(1, 3, "refuse", "action"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.kind}-{fault.request}{fault.at}")
def test_a_fault_costs_a_restart_and_no_episode(game, fault):
    plan(game, [fault])
    limit = 5  # nobody dies within so few steps
    with make(backend="skirmish", episode_limit=limit) as env:
        undisturbed = rollouts(env, 2)
    with make(episode_limit=limit, game_timeout=8.0 if fault.kind == "hang" else 60.0) as env:
        for rollout, expected in zip(rollouts(env, 2), undisturbed, strict=True):
            is_the_same_battle(rollout, expected)
        assert env.lost.tolist() == [False]
        assert env.restarts == 1
    assert sc2_standin.launches(game) == 2


@pytest.mark.parametrize(("at", "message"), [(1, "do not appear"), (3, "still there")])
def test_units_that_never_appear_or_never_die(game, monkeypatch, at, message):
    monkeypatch.setattr(sc2, "WAITS", 3)
    reasons = []
    recover = sc2.Sc2Engine._recover
    monkeypatch.setattr(
        sc2.Sc2Engine, "_recover", lambda self, fault: (reasons.append(str(fault)), recover(self, fault))
    )
    plan(game, [Fault(1, at, "ignore", "debug")])
    with make(episode_limit=2) as env:
        rollouts(env, 2)
        assert env.restarts == 1
    assert [message in reason for reason in reasons] == [True]


def test_a_lost_battle_is_neither_won_nor_stored_and_is_drawn_again(game):
    plan(game, [Fault(1, BEFORE + 5, "kill")])
    with make() as env:
        first = env.reset()
        still = torch.where(first.avail_mask[..., 1], 1, 0)
        env.step(still)
        seen = env.step(still)
        assert env.lost.tolist() == [True]
        assert (seen.truncated.tolist(), seen.terminated.tolist(), seen.reward.tolist()) == ([True], [False], [0.0])
        assert seen.info["battle_won"].tolist() == [0.0]
        assert torch.equal(env.step(still).entities, seen.entities)  # it stays as it ended
        again = env.reset()
        assert env.lost.tolist() == [False]
        assert torch.equal(again.entities, first.entities)
        assert not torch.equal(env.reset().entities, first.entities)


def test_too_many_faults_end_the_run_with_the_last_words(game):
    plan(game, [Fault(0, 2, "exit")])
    message = (
        f"went wrong 6 times in a row, the last time at launch: it ended with exit code 1; its last words: {LAST_WORDS}"
    )
    with make() as env, pytest.raises(RunFailed, match=message) as error:
        env.reset()
    assert "\n" not in str(error.value)
    assert sc2_standin.launches(game) == 1 + sc2.RETRIES


def test_faults_between_whole_battles_are_no_row(game, monkeypatch):
    monkeypatch.setattr(sc2, "RETRIES", 1)
    plan(game, [Fault(launch, 21, "kill") for launch in (1, 2, 3)])  # in the second battle of each game
    with make(episode_limit=2) as env:
        assert len(rollouts(env, 4)) == 4
        assert env.restarts == 3


def test_pauses_grow(monkeypatch):
    slept = []
    monkeypatch.setattr(sc2.time, "sleep", slept.append)

    def fails(*words):
        raise GameFault("launch: no")

    monkeypatch.setattr(sc2, "Game", fails)
    engine = sc2.Sc2Engine(1, 1, [UNITS["marine"]], seed=0, timeout=5.0)
    with pytest.raises(RunFailed):
        engine.spawn(torch.tensor([0]), torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, 2, 1))
    assert slept == [0.0, 1.0, 2.0, 4.0, 8.0]
    assert sc2.patience(5.0) == 5 * 2 * 5.0 + math.fsum(slept)


_HOLDS_A_GAME = """
import sys, time
sys.path.insert(0, sys.argv[1])
from envs.starcraft.env import StarCraftEnv
env = StarCraftEnv(StarCraftEnv.Args("3m", "3", backend="sc2"), 1, 0)
env.reset()
print("ready", flush=True)
time.sleep(600)
"""


def test_a_game_dies_with_who_started_it(game, monkeypatch):
    """By the kernel's hand: this game does not look at its connection any more."""
    plan(game, [Fault(1, BEFORE, "hang")])
    source = str(Path(sc2.__file__).parents[2])
    with subprocess.Popen([sys.executable, "-c", _HOLDS_A_GAME, source], stdout=subprocess.PIPE) as program:
        deadline = time.monotonic() + 60
        while len(sc2_standin.running(game)) == 0 or len(asked(game)) < BEFORE:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        (pid,) = sc2_standin.running(game)
        os.kill(pid, signal.SIGSTOP)
        program.kill()
    while sc2_standin.running(game):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def asked(game):
    return sc2_standin.requests(game, 1) if (game / "launches" / "1").exists() else []

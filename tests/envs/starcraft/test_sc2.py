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
from envs.starcraft import battlefield
from envs.starcraft.battlefield import Battlefield
from envs.starcraft.engine import Order
from envs.starcraft.env import StarCraftEnv
from envs.starcraft.game import GameFault, together
from envs.starcraft.sc2 import Sc2Engine
from envs.starcraft.scenarios import UNITS
from runners.runner import Runner
from utils.errors import RunFailed, UserError

#: requests before the first battle's first step: ping, create_game, join_game, game_info, observation, debug (units),
#: step, observation, debug (control), action (enemy); then action, step and observation for every step
BEFORE = 10


@pytest.fixture
def game(starcraft, monkeypatch):
    """The folder of a StarCraft II that is started anew at once."""
    monkeypatch.setattr(battlefield, "PAUSES", (0.0,) * battlefield.RETRIES)
    return starcraft


def make(scenario="3m", team="3", backend="sc2", seed=3, games=1, **settings):
    return StarCraftEnv(StarCraftEnv.Args(scenario, team, backend=backend, **settings), games, seed)


def rollouts(env, rounds=1, policy="random"):
    runner = Runner(env, ScriptedController(env.SCRIPTED[policy](env.spec)), seed=1)
    return [runner.play() for _ in range(rounds)]


# --- the same on both engines -----------------------------------------------------------------------------------------


def test_contract(game):
    args = StarCraftEnv.fit(StarCraftEnv.Args("3m", "3", backend="sc2", episode_limit=8), ["3"])
    with StarCraftEnv(args, 2, 0) as env:
        check_env(env, steps=10, teams=["3"])


@pytest.mark.parametrize(
    ("scenario", "team", "games"), [("sz", "3-5", 1), ("csz", "8", 1), ("mmm", "3-5", 1), ("sz", "3-5", 3)]
)
def test_a_random_episode_is_the_same_on_both_engines(game, scenario, team, games):
    settings = {"scenario": scenario, "team": team, "games": games, "episode_limit": 45}
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
                assert {n: v.tolist() for n, v in seen.info.items()} == {
                    n: v.tolist() for n, v in expected.info.items()
                }
                if bool(expected.done.all()):
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
        yield
        return self.results or [1] * len(commands), self.seen

    def close(self, kill=False):
        pass


def unit(tag, x, y, **figures):
    shown = battlefield.raw_pb2.Unit(tag=tag, health=figures.pop("health", 40.0), **figures)
    shown.pos.x, shown.pos.y = x, y
    return shown


@pytest.fixture
def field():
    """On the larger map: Stalkers in slots 0 and 1 (who is dead), a Medivac in slot 2, an enemy Stalker in slot 4."""
    made = Battlefield(4, 6, ["stalker", "medivac"], seed=0, timeout=5.0, replay_folder="")
    made._shift = (16.0, 8.0)
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
    made._read(made._game.seen)
    return made


def test_units_by_hand(field):
    """x, y, health, shield, energy, cooldown in game loops, alive."""
    nobody = (0.0,) * 7
    assert field.units == [
        (4.0, 1.0, 40.0, 80.0, 0.0, pytest.approx(11.2), 1.0),
        nobody,
        (5.0, 1.0, 40.0, 0.0, 55.0, 0.0, 1.0),
        nobody,
        (24.0, 22.0, 40.0, 12.0, 0.0, pytest.approx(22.4), 1.0),
        nobody,
    ]


def test_units_of_all_games_make_one_batch():
    """As they stood in two games; a weapon's cooldown in seconds."""
    engine = Sc2Engine(2, 1, 1, [UNITS["stalker"]], seed=0, timeout=5.0)
    engine.fields[0].units = [(4.0, 1.0, 40.0, 80.0, 0.0, 11.2, 1.0), (0.0,) * 7]
    engine.fields[1].units = [(0.0,) * 7, (24.0, 22.0, 30.0, 12.0, 5.0, 22.4, 1.0)]
    units = engine._units()
    assert units.owner.tolist() == [[0], [1]]
    assert units.alive.tolist() == [[True, False], [False, True]]
    assert units.position.tolist() == [[[4.0, 0.0], [0.0, 24.0]], [[1.0, 0.0], [0.0, 22.0]]]
    assert units.health.tolist() == [[40.0, 0.0], [0.0, 30.0]]
    assert units.shield.tolist() == [[80.0, 0.0], [0.0, 12.0]]
    assert units.energy.tolist() == [[0.0, 0.0], [0.0, 5.0]]
    assert units.cooldown.flatten().tolist() == pytest.approx([0.5, 0.0, 0.0, 1.0])


def test_a_unit_without_health_is_dead_though_the_game_still_shows_it(field):
    """The first one, at the same place as before."""
    seen = field._game.seen
    dying = next(unit for unit in seen if unit.tag == field._tags[0])
    dying.health = 0.0
    field._read(seen)
    assert [figures[-1] for figures in field.units] == [0.0, 0.0, 1.0, 0.0, 1.0, 0.0]
    assert field.units[0] == (0.0,) * 7


def order(field, *orders):
    """Give orders to the team: (kind, target slot or point)."""
    orders += ((Order.STOP, None),) * (4 - len(orders))
    points = [where if kind == Order.MOVE else (0.0, 0.0) for kind, where in orders]
    targets = [where if kind in (Order.ATTACK, Order.HEAL) else 0 for kind, where in orders]
    faults = together([field.play([int(kind) for kind, _ in orders], points, targets)])
    if faults:
        raise faults[0]


def test_orders_by_hand(field):
    order(field, (Order.ATTACK, 4), (Order.STOP, None), (Order.HEAL, 0))
    order(field, (Order.MOVE, (6.0, 1.0)), (Order.MOVE, (1.0, 1.0)), (Order.STOP, None))
    order(field, (Order.MOVE, (-2.0, 33.0)))  # the playable part of the map ends before
    told = [(o.ability_id, list(o.unit_tags), o.target_unit_tag) for o in field._game.orders]
    moves = [(o.target_world_space_pos.x, o.target_world_space_pos.y) for o in field._game.orders]
    assert told[:2] == [(23, [70], 74), (386, [72], 70)]
    assert (told[2], moves[2]) == ((16, [70], 0), (22.0, 9.0))
    assert told[3] == (4, [72], 0)
    assert moves[4] == (17.0, 40.0)
    assert not any(o.queue_command for o in field._game.orders)


def test_the_enemy_is_sent_to_the_middle_of_the_team(field):
    field._team, field._leads_enemy = 4, True
    field._tags |= {5: 75}
    sent = []

    def act(commands):
        sent.extend(commands)
        yield
        return [1]

    field._game.act = act
    together([field._send_enemies(field._game, [(20.0, 9.0), (24.0, 15.0)])])
    (order,) = sent
    assert (order.ability_id, list(order.unit_tags)) == (23, [74, 75])
    assert (order.target_world_space_pos.x, order.target_world_space_pos.y) == (22.0, 12.0)


def test_a_refused_order_loses_the_battle_but_not_one_to_heal(field):
    orders = (Order.ATTACK, 4), (Order.STOP, None), (Order.HEAL, 0)
    field._game.results = [1, 17]
    order(field, *orders)
    field._game.results = [2, 1]
    with pytest.raises(GameFault, match="refuses the order 23"):
        order(field, *orders)


def test_units_are_told_apart_by_where_they_were_placed():
    units = [unit(8, 1.2, 0.0), unit(9, 3.1, 0.0), unit(7, 0.9, 5.0)]
    assert battlefield._nearest([2, 5, 6], [None, None, (3.0, 0.0), None, None, (0.0, 0.0), (0.0, 5.0)], units) == {
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


def test_games_are_asked_before_the_first_is_waited_for():
    said = []

    def asks(name, times, fault=None):
        for _ in range(times):
            said.append(f"{name} asks")
            yield
            said.append(f"{name} hears")
        if fault is not None:
            raise fault

    broken = GameFault("step: it broke")
    assert together([asks("a", 2), asks("b", 1, broken), asks("c", 1)]) == {1: broken}
    assert said[:6] == ["a asks", "b asks", "c asks", "a hears", "a asks", "b hears"]
    assert said[6:] == ["c hears", "a hears"]


# --- what is there and what is not ------------------------------------------------------------------------------------


def test_auto_takes_the_game_where_it_is_installed(game, monkeypatch):
    args = StarCraftEnv.resolve_args({}, [])
    assert (args.backend, StarCraftEnv.fit(args, []).backend, StarCraftEnv.external(args)) == ("auto", "sc2", True)
    (game / "Maps" / "SMAC_Maps" / "empty_passive.SC2Map").unlink()
    assert (StarCraftEnv.fit(args, []).backend, StarCraftEnv.external(args)) == ("skirmish", False)
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


@pytest.mark.parametrize("fault", [Fault(2, 19, "kill"), Fault(1, 12, "hang"), Fault(2, 3, "error")], ids=str)
def test_a_fault_of_one_game_is_not_the_others_affair(game, fault):
    """Of three in one process: all episodes are what they would have been."""

    def played():
        with make(games=3, episode_limit=5, game_timeout=8.0 if fault.kind == "hang" else 60.0) as env:
            still = ScriptedController(lambda seen, generator: torch.where(seen.avail_mask[..., 1], 1, 0))
            return Runner(env, still, seed=1).play(), env.restarts

    undisturbed, none = played()
    plan(game, [Fault(fault.launch + sc2_standin.launches(game), fault.at, fault.kind)])
    rollout, one = played()
    assert (none, one) == (0, 1)
    for name, values in vars(undisturbed.batch).items():
        again = getattr(rollout.batch, name)
        assert again is None if values is None else torch.equal(again, values), name
    assert rollout.returns.tolist() == undisturbed.returns.tolist()
    assert sc2_standin.running(game) == []


@pytest.mark.parametrize(("at", "message"), [(1, "do not appear"), (3, "still there")])
def test_units_that_never_appear_or_never_die(game, monkeypatch, at, message):
    monkeypatch.setattr(battlefield, "WAITS", 3)
    reasons = []
    recover = Battlefield.recover
    monkeypatch.setattr(Battlefield, "recover", lambda self, fault: (reasons.append(str(fault)), recover(self, fault)))
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
    assert sc2_standin.launches(game) == 1 + battlefield.RETRIES


def test_faults_between_whole_battles_are_no_row(game, monkeypatch):
    monkeypatch.setattr(battlefield, "RETRIES", 1)
    plan(game, [Fault(launch, 21, "kill") for launch in (1, 2, 3)])  # in the second battle of each game
    with make(episode_limit=2) as env:
        assert len(rollouts(env, 4)) == 4
        assert env.restarts == 3


def test_pauses_grow(monkeypatch):
    slept = []
    monkeypatch.setattr(battlefield.time, "sleep", slept.append)

    def fails(*words):
        raise GameFault("launch: no")

    monkeypatch.setattr(battlefield, "Game", fails)
    field = Battlefield(1, 2, ["marine"], seed=0, timeout=5.0, replay_folder="")
    with pytest.raises(RunFailed):
        together([field.begin([0, 0], [(1.0, 1.0), (2.0, 2.0)])])
    assert slept == [0.0, 1.0, 2.0, 4.0, 8.0]
    assert battlefield.patience(5.0) == 5 * 2 * 5.0 + math.fsum(slept)


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
    source = str(Path(battlefield.__file__).parents[2])
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

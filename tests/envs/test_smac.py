"""SMAC's battles over doubles of SMAC and SMACv2 (tests/doubles): what agents see and do, ends, faults of the game."""

import random
import runpy
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.check import check_env
from envs.hosts import WorkerEnv
from envs.smac import games
from envs.smac.env import ATTEMPTS, SmacEnv
from envs.starcraft import installation
from utils.config import load_config
from utils.errors import RunFailed, UserError

STOP = torch.ones(1, 3, dtype=torch.int64)


def resolve(**env_args):
    return SmacEnv.resolve_args({"map_name": "3m", **env_args}, ["all"])


def make(num_envs=1, seed=0, **env_args) -> SmacEnv:
    return SmacEnv(resolve(**env_args), num_envs, seed)


def version_two(**changes):
    """SMACv2's settings, with other ones for what it draws."""
    args = load_config(["--env-config=smacv2"]).env_args
    return {**args.kwargs, "capability_config": {**args.kwargs["capability_config"], **changes}}


def fault() -> Exception:
    """An error as pysc2's connection raises it."""
    return type("ConnectionError", (Exception,), {"__module__": "pysc2.lib.protocol"})("the game is gone")


@pytest.fixture
def small(smac):
    """Three Marines against three; the game stands at a place by hand."""
    with make() as env:
        env.reset()
        game = env.games[0]
        for a, (ally, enemy) in enumerate(zip(game.agents.values(), game.enemies.values(), strict=True)):
            ally.pos.x, ally.pos.y = 10, 10 + a
            enemy.pos.x, enemy.pos.y = 15 + 4 * a, 10
        yield env


def shown(env: SmacEnv):
    """What the environment shows of its games as they are now."""
    for i in range(env.num_envs):
        env._note(i)
    return env._show(np.zeros(env.num_envs))


# --- what agents see and do -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["3m", "3s5z", "MMM2"])
def test_contract(smac, name):
    with make(3, map_name=name) as env:
        check_env(env, teams=["all"], repeatable=False)


def test_contract_with_units_that_are_drawn(smac):
    drawn = {"dist_type": "weighted_teams", "unit_types": ["marine", "medivac"], "weights": [0.5, 0.5]}
    for name, kwargs in (("10gen_protoss", version_two()), ("10gen_terran", version_two(team_gen=drawn))):
        with make(2, package="smacv2", map_name=name, kwargs=kwargs) as env:
            check_env(env, teams=["all"], repeatable=False)


def test_contract_in_worker_processes(smac, monkeypatch):
    monkeypatch.setattr(WorkerEnv, "POINTS", True)  # as those that it hosts
    with WorkerEnv(SmacEnv, resolve(), num_envs=2, seed=3) as env:
        check_env(env, teams=["all"], repeatable=False)


def test_features_by_hand(small):
    game = small.games[0]
    game.agents[0].health, game.agents[0].weapon_cooldown = 9, 3
    game.enemies[2].health = 0
    seen = shown(small)
    slices = small.spec.feature_slices
    assert {name: part.stop - part.start for name, part in slices.items()} == {
        "name": 1, "ally_type": 1, "enemy_type": 1, "health": 1, "shield": 1, "energy": 1, "cooldown": 1, "position": 2,
        "relative": 2,
    }  # fmt: skip
    # the living: (10, 10), (10, 11), (10, 12), (15, 10), (19, 10), on average (12.8, 10.6)
    first = [1, 1, 0, 9 / 45, 0, 0, 3 / 15, -6 / 32, -6 / 32, -2.8, -0.6]
    assert seen.entities[0, 0].tolist() == pytest.approx(first, abs=1e-5)
    enemy = [1, 0, 1, 1, 0, 0, 0, -1 / 32, -6 / 32, 2.2, -0.6]
    assert seen.entities[0, 3].tolist() == pytest.approx(enemy, abs=1e-5)
    assert seen.entities[0, 5].tolist() == [-3] + [0] * 10  # the dead have a name alone
    assert seen.entity_mask.all()


def test_types_shields_and_energy(smac):
    with make(map_name="3s5z") as env:
        env.reset()
        env.games[0].agents[0].shield = 20
        part = env.spec.feature_slices
        rows = shown(env).entities[0]
        kinds = rows[:, part["ally_type"].start : part["enemy_type"].stop].tolist()
        # the package numbers Zealots before Stalkers among enemies alone: sides have columns of their own
        assert kinds == [[1, 0, 0, 0]] * 3 + [[0, 1, 0, 0]] * 5 + [[0, 0, 1, 0]] * 5 + [[0, 0, 0, 1]] * 3
        assert rows[0, part["shield"]].item() == pytest.approx(20 / 80)
    with make(map_name="MMM2") as env:
        rows = env.reset().entities[0]
        assert rows[9, part["energy"].start + 2].item() == pytest.approx(50 / 200)  # two types more than in 3s5z
        assert not rows[10:, part["energy"].start + 2].any()  # nobody sees the enemies'


def test_who_sees_and_may_attack_whom(small):
    # allies at x = 10, enemies at 15, 19 and 23 in the first one's line; sight 9, range 6
    seen = shown(small)
    assert seen.obs_mask[0].tolist() == [
        [True, True, True, True, False, False],
        [True, True, True, True, False, False],
        [True, True, True, True, False, False],
    ]
    basic = small.spec.basic
    assert seen.avail_mask[0, 0].tolist() == [False] + [True] * 5 + [False] * 3 + [True, False, False]
    small.games[0].agents[1].health = 0
    seen = shown(small)
    assert seen.obs_mask[0, :, 1].tolist() == [False, True, False]  # the dead see themselves, nobody else sees them
    assert seen.obs_mask[0, 1].tolist() == [False, True] + [False] * 4
    assert seen.avail_mask[0, 1].tolist() == [True] + [False] * (basic + 5)


def test_nobody_may_point_at_what_it_is_not_shown(small, monkeypatch):
    monkeypatch.setattr(small.games[0], "get_obs", lambda: [np.zeros(4 + 3 * 2 + 2 * 3 + 1)] * 3)
    seen = shown(small)
    assert not seen.avail_mask[0, :, small.spec.basic :].any()
    assert seen.avail_mask[0, :, 1].all()


def test_the_game_hears_its_own_numbers(small):
    small._note(0)
    seen = small.step(torch.tensor([[6 + 3, 2, 1]]))  # attack the first enemy, north, stop
    assert small.games[0].heard == [[6, 2, 1]]
    assert seen.reward.item() == pytest.approx(20 / 10)


def test_medivacs_point_at_allies(smac):
    with make(map_name="MMM2") as env:
        seen = env.reset()
        game = env.games[0]
        assert game.agents[9].kind == "h"
        targets = seen.avail_mask[0, 9, env.spec.basic :]
        assert targets[:9].any()
        assert not targets[9:].any()  # neither itself nor enemies
        game.agents[0].health = 100
        game.agents[0].pos.x, game.agents[0].pos.y = game.agents[9].pos.x, game.agents[9].pos.y
        shown(env)
        env.step(torch.tensor([[1] * 9 + [6 + 0]]))
        assert game.heard == [[1] * 9 + [6]]
        assert game.agents[0].health in (110, 90)  # healed, and perhaps hit


# --- ends and figures -----------------------------------------------------------------------------------------------


def test_a_win_ends_and_a_time_limit_cuts_short(small):
    for enemy in small.games[0].enemies.values():
        enemy.health, enemy.pos.x = 5, 12
    small._note(0)
    seen = small.step(torch.tensor([[9, 10, 11]]))
    assert (seen.terminated.item(), seen.truncated.item()) == (True, False)
    assert {name: value.item() for name, value in seen.info.items()} == {
        "battle_won": 1, "enemies_killed": 3, "allies_alive": 3
    }  # fmt: skip
    assert small.step(STOP * 0).reward.item() == 0
    assert len(small.games[0].heard) == 1  # one that is over is not played
    seen = small.reset()
    assert [value.item() for value in seen.info.values()] == [0, 0, 0]
    for enemy in small.games[0].enemies.values():
        enemy.pos.x = 1000
    for step in range(1, 21):
        seen = small.step(STOP)
        assert (seen.terminated.item(), seen.truncated.item()) == (False, step == 20)
    assert seen.info["battle_won"].item() == 0
    assert seen.entity_mask.all()
    assert not small.lost.any()


def test_a_defeat_is_an_end(small):
    for ally in small.games[0].agents.values():
        ally.health, ally.pos.x = 5, 12
    seen = shown(small)
    while not seen.done.any():
        seen = small.step((~seen.avail_mask[:, :, 0]).long())  # the dead do nothing, the others stop
    assert (seen.terminated.item(), seen.truncated.item(), seen.info["allies_alive"].item()) == (True, False, 0)


# --- chance ---------------------------------------------------------------------------------------------------------


def test_games_have_seeds_of_their_own(smac):
    with make(3) as env:
        seeds = [game.seed_given for game in env.games]
        assert len(set(seeds)) == 3
    with make(3) as env:
        assert [game.seed_given for game in env.games] == seeds


def test_what_is_drawn_follows_from_the_seed(smac):
    with make(2, package="smacv2", map_name="10gen_protoss", kwargs=version_two()) as env:
        env.seed(5)
        before = random.getstate()
        first = env.reset().entities
        assert random.getstate() == before  # nobody else's chance is touched
        assert not torch.equal(env.reset().entities, first)
        env.seed(5)
        assert torch.equal(env.reset().entities, first)
        assert not torch.equal(first[0], first[1])


def test_settings_are_given_and_not_written_to(smac):
    args = resolve(package="smacv2", map_name="10gen_protoss", kwargs=version_two())
    before = repr(args)
    with SmacEnv(args, 1, 0) as env:
        env.reset()
    assert repr(args) == before
    with make(kwargs={"difficulty": "9"}) as env:
        assert (env.games[0].difficulty, env.games[0].continuing_episode) == ("9", True)


# --- faults of the game ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", [True, fault()], ids=["started-anew", "client-fails"])
def test_a_battle_that_a_fault_ends_is_lost_and_no_defeat(small, what):
    small._note(0)
    before = small.step(STOP)
    old = small.games[0]
    old.errors["step"] = what
    seen = small.step(STOP)
    assert (seen.terminated.item(), seen.truncated.item(), seen.reward.item()) == (False, True, 0)
    assert torch.equal(seen.entities, before.entities)  # as it was last seen
    assert (small.lost.tolist(), small.restarts) == ([True], 1)
    assert old.closed == old.started
    assert not small.reset().done.any()
    assert (small.lost.tolist(), small.restarts) == ([False], 1)
    assert small.games[0] is not old


@pytest.mark.parametrize("what", [True, fault()], ids=["started-anew", "client-fails"])
@pytest.mark.parametrize("episode", [1, 2])
def test_an_episode_that_does_not_begin_is_begun_in_another_game(smac, what, episode):
    with make() as env:
        old = env.games[0]
        for _ in range(episode - 1):
            env.reset()
            old.enemies[0].health = old.enemies[1].health = old.enemies[2].health = 0
            assert env.step(STOP).terminated.all()
        old.errors["reset"] = what
        assert not env.reset().done.any()
        assert (env.restarts, env.lost.tolist()) == (1, [False])
        assert env.games[0] is not old
        assert old.closed == old.started
        assert not env.step(STOP).done.any()


def test_a_game_that_never_begins_ends_the_run(smac, monkeypatch):
    with make() as env:

        def broken(game, *words):
            raise fault()

        monkeypatch.setattr(type(env.games[0]), "reset", broken)
        with pytest.raises(RunFailed, match=f"of 3m, {ATTEMPTS} times in a row: the game is gone"):
            env.reset()
        assert env.restarts == ATTEMPTS


@pytest.mark.parametrize("call", ["reset", "step"])
def test_other_errors_keep_their_traceback(small, call):
    small._note(0)
    small._first[0] = False
    small.games[0].errors[call] = KeyError("a bug")
    with pytest.raises(KeyError, match="a bug"):
        small.reset() if call == "reset" else small.step(STOP)


def test_an_episode_may_be_left(smac):
    with make() as env:
        env.reset()
        first = env.games[0]
        env.reset()  # in the first episode, in which the package would start a second game beside it
        assert (first.started, first.closed, env.restarts) == (1, 1, 0)
        second = env.games[0]
        for enemy in second.enemies.values():
            enemy.health = 0
        assert env.step(STOP).terminated.all()
        for _ in range(2):
            env.reset()
            assert env.games[0] is second
        env.close()
        env.close()
        assert (second.started, second.closed) == (1, 1)


# --- what cannot be -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env_args", "message"),
    [
        ({"map_name": "3s5zz"}, "map_name='3s5zz' is no map of smac; did you mean '3s5z'"),
        ({"package": "smac2"}, "package='smac2': must be one of smac, smacv2"),
        ({"kwargs": 3}, "kwargs=3: must be a mapping"),
        ({"kwargs": {"difficult": "9"}}, "smac does not take them: TypeError: .*'difficult'"),
        ({"kwargs": {"obs_all_health": False}}, "'obs_all_health' cannot be set"),
        ({"kwargs": {"continuing_episode": False}}, "'continuing_episode' cannot be set"),
        ({"package": "smacv2"}, "needs kwargs.capability_config, as in --env-config=smacv2"),
        (
            {"package": "smacv2", "kwargs": version_two(enemy_mask={})},
            "'enemy_mask' is not possible here; only n_units",
        ),
        ({"package": "smacv2", "kwargs": {**version_two(), "action_mask": False}}, "action_mask=False is not possible"),
    ],
)
def test_what_cannot_be_is_named(smac, env_args, message):
    with pytest.raises(UserError, match=message):
        make(**env_args)


@pytest.mark.parametrize("package", ["smac", "smacv2"])
def test_a_package_that_is_missing_is_named(monkeypatch, package):
    monkeypatch.setattr(games, "find_spec", lambda name: None)
    kwargs = version_two() if package == "smacv2" else {}
    with pytest.raises(UserError) as caught:
        make(package=package, kwargs=kwargs)
    assert str(caught.value) == (
        f"env_args.package={package!r} is not installed: ./run.sh python -m pip install --no-deps "
        f"-r requirements-sc2.txt {games.SOURCES[package]}"
    )


def test_another_project_of_that_name_is_named(monkeypatch, tmp_path):
    found = ModuleSpec("smac", None, is_package=True)
    found.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(games, "find_spec", lambda name: found)
    with pytest.raises(UserError, match=r"another project \(PyPI's is\): ./run.sh python -m pip uninstall smac, then "):
        make()
    assert "smac" not in sys.modules  # it was not imported


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("No module named 'pysc2'"), r"cannot be imported \(No module named 'pysc2'\): ./run.sh"),
        (
            TypeError("Descriptors cannot be created directly."),
            r"too old for this protobuf \(Descriptors .*\): ./run.sh",
        ),
    ],
)
def test_what_the_package_needs_is_named(smac, monkeypatch, error, message):
    def broken(name):
        raise error

    monkeypatch.setattr(games.importlib, "import_module", broken)
    with pytest.raises(UserError, match=message):
        make()


def test_a_game_or_a_map_that_is_missing_is_named(smac, monkeypatch, tmp_path):
    (smac / "Maps/SMAC_Maps/3s5z.SC2Map").unlink()
    with pytest.raises(UserError, match=r"map_name='3s5z': Maps/SMAC_Maps/3s5z.SC2Map is not in \S+: ./install_sc2.sh"):
        make(map_name="3s5z")
    monkeypatch.setenv("SC2PATH", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"no StarCraft II in \S+/nowhere \(SC2PATH\): ./install_sc2.sh fetches it"):
        make()


def test_the_game_is_looked_for_where_it_is_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(installation, "ROOT", tmp_path)
    monkeypatch.delenv("SC2PATH", raising=False)
    assert installation.game_folder() == Path.home() / "StarCraftII"
    (tmp_path / "3rdparty" / "StarCraftII").mkdir(parents=True)
    assert installation.game_folder() == tmp_path / "3rdparty" / "StarCraftII"
    monkeypatch.setenv("SC2PATH", "~/games")
    assert installation.game_folder() == Path.home() / "games"


@pytest.mark.parametrize("teams", ["3-5", "all,3"])
def test_there_is_one_team(teams):
    with pytest.raises(UserError, match="a map has one team, 'all'"):
        load_config(["--env-config=smac", f"test_teams={teams}"])


@pytest.mark.parametrize("module", ["env", "games"])
def test_nothing_of_it_is_imported_before_a_game_is_built(monkeypatch, module):
    for package in ("smac", "smacv2", "pysc2", "s2clientprotocol"):
        monkeypatch.setitem(sys.modules, package, None)  # not installed
    assert runpy.run_path(str(Path(games.__file__).with_name(f"{module}.py")))


def test_how_it_looks(small):
    small.games[0].agents[1].health = 0
    small.games[0].enemies[2].shield = 0
    scene = small.scene()
    assert sorted(scene.bodies) == [0, 2, 3, 4, 5]
    ally, enemy = scene.bodies[2], scene.bodies[5]
    assert (ally.look.side, ally.x, ally.y) == ("team", 10, 12)
    assert (enemy.look.side, enemy.x, enemy.y) == ("enemy", 23, 10)
    assert ally.levels[0] == ally.look.gauges[0].full == 45
    assert scene.arena.right == small.games[0].map_x
    assert make().scene() is None

"""PettingZoo's games: the contract on real ones; masks, ends, rewards and actions by hand on one that has a script."""

import runpy
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Sequence
from pettingzoo import ParallelEnv
from pettingzoo.classic import rps_v2

from envs.check import check_env
from envs.hosts import WorkerEnv
from envs.pettingzoo import games
from envs.pettingzoo.env import PettingZooEnv
from utils.config import load_config
from utils.errors import UserError

SPREAD = "mpe2.simple_spread_v3"
SPEAKER = "mpe2.simple_speaker_listener_v4"
TICTACTOE = "pettingzoo.classic.tictactoe_v3"
ZOMBIES = "pettingzoo.butterfly.knights_archers_zombies_v11"


def make(num_envs=1, seed=0, **env_args) -> PettingZooEnv:
    return PettingZooEnv(PettingZooEnv.resolve_args(env_args, ["all"]), num_envs, seed)


# --- real games -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "env_args",
    [
        {"env": SPREAD, "kwargs": {"N": 4}},
        {"env": SPEAKER, "reward": "sum"},
        {"env": TICTACTOE, "episode_limit": 9},
        {"env": ZOMBIES, "episode_limit": 12, "kwargs": {"spawn_delay": 2}},
    ],
    ids=lambda env_args: env_args["env"],
)
def test_contract(env_args):
    with make(3, **env_args) as env:
        check_env(env, teams=["all"], varied=env_args["env"] != TICTACTOE)


def test_contract_in_worker_processes():
    with WorkerEnv(PettingZooEnv, PettingZooEnv.resolve_args({}, []), num_envs=2, seed=3) as env:
        check_env(env, teams=["all"])
        assert env.render(1).shape == (700, 700, 3)


def test_in_a_game_of_turns_the_others_wait():
    with make(env=TICTACTOE, episode_limit=9) as env:
        seen = env.reset()
        waiting, anywhere = [True] + [False] * 8, [True] * 9
        assert seen.avail_mask[0].tolist() == [anywhere, waiting]
        for moves in ([0, 0], [0, 3], [1, 0], [0, 4]):  # marks in fields 0, 3, 1, 4
            seen = env.step(torch.tensor([moves]))
            assert not seen.done.any()
        assert seen.avail_mask[0].tolist() == [[False, False, True, False, False, True, True, True, True], waiting]
        seen = env.step(torch.tensor([[2, 0]]))
        assert (seen.terminated.item(), seen.truncated.item(), seen.reward.item()) == (True, False, 0.0)
        assert not seen.agent_mask.any()


def test_agents_that_die_are_gone():
    with make(env=ZOMBIES, kwargs={"line_death": True}) as env:
        seen = env.reset()
        while seen.agent_mask.all():
            assert not seen.done.any()
            seen = env.step(torch.zeros(1, 4, dtype=torch.int64))  # up, to the line
        dead = [agent not in env.games[0].agents for agent in env.agents]
        assert (~seen.agent_mask[0]).tolist() == dead
        assert not seen.entities[0, dead].any()
        assert seen.avail_mask[0, dead].tolist() == [[True] + [False] * 5] * sum(dead)


def test_a_game_of_turns_in_which_all_may_act_at_once(monkeypatch):
    module = ModuleType("only_turns")
    module.env = rps_v2.env
    monkeypatch.setitem(sys.modules, "only_turns", module)
    with make(env="only_turns") as env:
        assert env.spec.episode_limit == 15  # its rounds
        env.reset()
        seen = env.step(torch.tensor([[1, 2]]))  # paper and scissors, in one step
        assert seen.entities[0].tolist() == [[0, 0, 1, 0], [0, 1, 0, 0]]  # each sees what the other did


# --- by hand --------------------------------------------------------------------------------------------------------


class Scripted(ParallelEnv):
    """Three agents of different spaces; each step tells who acts from then on, who has ended, whose time is up."""

    metadata = {"render_modes": []}  # noqa: RUF012
    possible_agents = ["a", "b", "c"]  # noqa: RUF012
    observations = {  # noqa: RUF012
        "a": Box(-9, 9, (2, 2), int),
        "b": Discrete(3),
        "c": Dict({"observation": Box(-9, 9, (2,)), "action_mask": Box(0, 1, (4,), np.int8)}),
    }
    actions = {"a": Discrete(2), "b": Discrete(3, start=5), "c": Discrete(4)}  # noqa: RUF012

    def __init__(self, script=(), masks=None, start="abc", max_cycles=9):
        self.script, self.masks, self.start, self.max_cycles = script, masks or {}, start, max_cycles
        self.heard, self.seeds, self.closed = [], [], False

    def observation_space(self, agent):
        return self.observations[agent]

    def action_space(self, agent):
        return self.actions[agent]

    def reset(self, seed=None, options=None):
        self.seeds.append(seed)
        self.agents, self.left = list(self.start), list(self.script)
        return self.show(self.agents)

    def step(self, actions):
        self.heard.append(actions)
        agents, ended, cut = self.left.pop(0)
        shown = self.show({*self.agents, *agents})
        rewards = {"a": 1.0, "b": 2.0, "c": 3.0}  # also of those that are gone
        said = [{agent: agent in over for agent in self.agents} for over in (ended, cut)]
        self.agents = list(agents)
        return shown[0], rewards, *said, shown[1]

    def show(self, agents):
        mask = np.array(self.masks.get("c", [1, 1, 1, 1]), dtype=np.int8)
        rows = {"a": np.array([[0.5, 2], [3, 4]]), "b": 1, "c": {"observation": np.array([7, 8]), "action_mask": mask}}
        infos = {agent: {"action_mask": self.masks[agent]} if agent in self.masks else {} for agent in agents}
        return {agent: rows[agent] for agent in agents}, {agent: infos[agent] for agent in agents if agent != "c"}

    def close(self):
        self.closed = True


@pytest.fixture
def scripted(monkeypatch):
    """Builds an environment of scripted games; its keywords are `env_args`, or else the game's."""

    def build(num_envs=1, game=Scripted, reward="mean", episode_limit=0, **kwargs):
        module = ModuleType("scripted")
        module.parallel_env = game
        monkeypatch.setitem(sys.modules, "scripted", module)
        return make(num_envs, env="scripted", reward=reward, episode_limit=episode_limit, kwargs=kwargs)

    return build


ACT = torch.tensor([[1, 2, 3]])
#: nobody leaves
GO_ON = ("abc", "", "")


def present(seen) -> str:
    return "".join(agent for agent, here in zip("abc", seen.agent_mask[0].tolist(), strict=True) if here)


def test_observations_are_padded_and_kinds_told(scripted):
    env = scripted()
    assert (env.spec.agents, env.spec.entities, env.spec.actions, env.spec.episode_limit) == (3, 3, 4, 9)
    seen = env.reset()
    assert seen.entities[0].tolist() == [[0.5, 2, 3, 4, 1, 0, 0], [0, 1, 0, 0, 0, 1, 0], [7, 8, 0, 0, 0, 0, 1]]
    assert seen.obs_mask[0].tolist() == torch.eye(3).bool().tolist()
    assert seen.avail_mask[0].tolist() == [[True, True, False, False], [True, True, True, False], [True] * 4]


def test_legal_actions_stand_in_observations_or_in_infos(scripted):
    seen = scripted(masks={"b": [0, 0, 1], "c": [0, 1, 0, 1]}).reset()
    legal = [[True, True, False, False], [False, False, True, False], [False, True, False, True]]
    assert seen.avail_mask[0].tolist() == legal
    seen = scripted(masks={"b": [0, 0, 0]}).reset()
    assert seen.avail_mask[0, 1].tolist() == [True, False, False, False]  # it must wait


def test_the_game_hears_its_own_numbers_from_who_is_there(scripted):
    env = scripted(script=[("bc", "a", ""), ("bc", "", "")])
    env.reset()
    env.step(ACT)
    env.step(torch.tensor([[0, 1, 2]]))
    assert env.games[0].heard == [{"a": 1, "b": 7, "c": 3}, {"b": 6, "c": 2}]


def test_agents_leave_and_join(scripted):
    env = scripted(script=[("bc", "a", ""), ("abc", "", ""), ("abc", "b", ""), ("ab", "b", "c")], start="abc")
    assert present(env.reset()) == "abc"
    seen = env.step(ACT)
    assert present(seen) == "bc"
    assert seen.entities[0, 0].tolist() == [0] * 7
    assert seen.avail_mask[0, 0].tolist() == [True, False, False, False]
    assert not seen.done.any()
    assert present(env.step(ACT * torch.tensor([0, 1, 1]))) == "abc"
    assert present(env.step(ACT)) == "ac"  # the game goes on naming one that has ended
    seen = env.step(ACT * torch.tensor([1, 0, 1]))
    assert present(seen) == "a"  # c's own time was up; the others play on
    assert not seen.done.any()


@pytest.mark.parametrize(
    ("last", "terminated", "shown"),
    [
        (("", "abc", ""), True, ""),
        (("abc", "abc", ""), True, ""),  # a game that keeps its list of agents
        (("", "", "abc"), False, "abc"),
        (("", "abc", "abc"), True, ""),  # an end in the last step is an end
        (("", "ac", "b"), False, "b"),  # b's value is left
        (("", "", ""), True, ""),
    ],
)
def test_ends_and_time_limits_are_kept_apart(scripted, last, terminated, shown):
    env = scripted(script=[GO_ON, last])
    env.reset()
    assert not env.step(ACT).done.any()
    seen = env.step(ACT)
    assert (seen.terminated.item(), seen.truncated.item()) == (terminated, not terminated)
    assert present(seen) == shown
    assert env.step(ACT * seen.agent_mask).reward.item() == 0
    assert len(env.games[0].heard) == 2  # one that is over is not played


def test_an_episode_limit_of_ones_own(scripted):
    env = scripted(script=[GO_ON] * 3, episode_limit=2)
    for _ in range(2):  # in each episode anew
        env.reset()
        assert not env.step(ACT).done.any()
        seen = env.step(ACT)
        assert (seen.terminated.item(), seen.truncated.item(), present(seen)) == (False, True, "abc")


@pytest.mark.parametrize(("reward", "expected"), [("mean", [2.0, 2.5]), ("sum", [6.0, 5.0])])
def test_the_teams_reward_is_of_those_that_acted(scripted, reward, expected):
    env = scripted(script=[("bc", "a", ""), ("", "bc", "")], reward=reward)
    env.reset()
    assert [env.step(ACT).reward.item(), env.step(ACT * torch.tensor([0, 1, 1])).reward.item()] == expected


def test_every_episode_of_every_game_has_a_seed_of_its_own(scripted):
    env = scripted(3)
    env.reset()
    state = env.state_dict()
    env.reset()
    env.load_state_dict(state)
    env.reset()
    first, second, again = zip(*(game.seeds for game in env.games), strict=True)
    assert len({*first, *second}) == 6
    assert again == second


def test_a_shape_that_the_space_does_not_have_is_no_observation(scripted):
    class Longer(Scripted):
        def show(self, agents):
            shown, infos = super().show(agents)
            return {**shown, "a": np.zeros(5)}, infos

    with pytest.raises(ValueError, match="has 5 numbers, its space"):
        scripted(game=Longer).reset()
    with pytest.raises(ValueError, match=r"action_mask has the shape \(2,\) for 3 actions"):
        scripted(masks={"b": [1, 1]}).reset()


def test_closing_closes_all_games(scripted):
    env = scripted(2)
    built = list(env.games)
    env.close()
    env.close()
    assert [game.closed for game in built] == [True, True]


# --- pictures -------------------------------------------------------------------------------------------------------


def test_pictures_are_the_games_own(scripted):
    with make(2) as env:
        env.reset()
        picture = env.render(1)
        assert picture.dtype == np.uint8
        assert picture.shape == (700, 700, 3)
        assert not np.array_equal(picture, env.render(0))
    with pytest.raises(UserError, match="'scripted' draws no pictures"):
        scripted(game=type("Blank", (Scripted,), {"render": lambda self: None})).render()


# --- what cannot be -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env_args", "message"),
    [
        ({"env": "mpe2.simple_sprea_v3"}, "no module 'mpe2.simple_sprea_v3'; the nearest is 'mpe2.simple_spread_v3'"),
        ({"env": "mpe2.simple_spread"}, r"has no parallel_env.*; the nearest is 'mpe2.simple_spread_v3'"),
        ({"env": "no_such_package.game_v1"}, "no package 'no_such_package'; ./run.sh python -m pip install no_such_pa"),
        ({"env": "pettingzoo.mpe.simple_spread_v3"}, "cannot be imported: MPE has been moved .* `pip install mpe2`"),
        ({"env": "os.path; import evil"}, "no name of a module: write package.module"),
        ({"env": "mpe2..simple"}, "no name of a module"),
        ({"env": TICTACTOE}, r"episode_limit=0: pettingzoo.classic.tictactoe_v3 does not tell"),
        ({"kwargs": {"continuous_actions": True}}, r"agent 'agent_0' has actions Box.*only Discrete"),
        ({"kwargs": {"n": 3}}, r"kwargs={'n': 3}: mpe2.simple_spread_v3 does not take them: TypeError: .*'n'"),
        ({"kwargs": {"local_ratio": 3}}, "does not take them: AssertionError: local_ratio is a proportion"),
        ({"kwargs": 3}, "kwargs=3: must be a mapping"),
        ({"reward": "max"}, "reward='max': must be one of mean, sum"),
        ({"episode_limit": -1}, "episode_limit=-1: must be 0"),
    ],
)
def test_what_cannot_be_is_named(env_args, message):
    with pytest.raises(UserError, match=message):
        make(**env_args)


def test_a_package_that_a_game_needs_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "multi_agent_ale_py", None)  # not installed
    monkeypatch.delitem(sys.modules, "pettingzoo.atari.pong_v3", raising=False)
    with pytest.raises(UserError, match=r"needs 'multi_agent_ale_py'.*pip install 'pettingzoo\[atari\]'"):
        make(env="pettingzoo.atari.pong_v3")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"actions": dict.fromkeys("abc", MultiDiscrete([2, 3]))}, r"agent 'a' has actions MultiDiscrete\(\[2 3\]\)"),
        (
            {"observations": dict.fromkeys("abc", Sequence(Discrete(2)))},
            "'a' has observations Sequence.*no fixed number",
        ),
        ({"possible_agents": []}, "does not name its possible_agents"),
    ],
)
def test_games_that_cannot_be_learnt_are_named(scripted, changes, message):
    with pytest.raises(UserError, match=message):
        scripted(game=type("Other", (Scripted,), changes))


def test_an_error_in_a_game_keeps_its_traceback(scripted):
    def broken():
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        scripted(game=broken)


@pytest.mark.parametrize("teams", ["3-5", "all,3"])
def test_there_is_one_team(teams):
    with pytest.raises(UserError, match="a PettingZoo game has one team, 'all'"):
        load_config(["--env-config=pettingzoo", f"test_teams={teams}"])


@pytest.mark.parametrize("module", ["env", "games"])
def test_nothing_of_it_is_imported_before_a_game_is_built(monkeypatch, module):
    for package in ("pettingzoo", "gymnasium", "mpe2"):
        monkeypatch.setitem(sys.modules, package, None)  # not installed
    assert runpy.run_path(str(Path(games.__file__).with_name(f"{module}.py")))

"""Rounds of the first so many episodes: which ones, what is recorded of them and how stale they are, by hand."""

from collections.abc import Collection, Iterable
from functools import partial
from typing import Any

import pytest
import torch
from test_runner import Spy
from torch import Tensor

import builders
from components.episodes import EpisodeBatch
from controllers.base import Controller
from envs.base import EntityEnv, EnvSpec, TimeStep
from envs.hosted import FOREVER, HostedEnv
from envs.worker import Worker
from runners.asynchronous import Asynchronous
from runners.runner import Rollout, Runner
from utils.config import load_config
from utils.errors import UserError

#: steps of an episode of environment 0 and of environment 1
LENGTHS = (2, 3)


class Counter(EntityEnv):
    """Step t of episode k of environment i pays 100 * i + 10 * k + t; the observation after it shows t + 1."""

    spec = EnvSpec("counter", 2, 2, 1, 0, 3, episode_limit=3, feature_slices={"t": slice(0, 1)}, info_names=("number",))
    restarts = 0

    def __init__(self, number: int, args: Any, num_envs: int, seed: int, device: str) -> None:
        super().__init__(num_envs, seed, device)
        self.number, self.k, self.t = number, -1, 0
        #: episodes that are lost after their first step
        self.faults: list[int] = []
        self.lost = torch.tensor([False])

    def _reset(self, env_mask: Tensor, team: str | None) -> TimeStep:
        self.k, self.t, self.lost = self.k + 1, 0, torch.tensor([False])
        return self._show(0)

    def _step(self, actions: Tensor) -> TimeStep:
        assert self.t < LENGTHS[self.number]
        assert actions.tolist() == [[1 + self.t % 2, 2 - self.t % 2]]  # the spy's: it counts the steps of this episode
        reward = 100 * self.number + 10 * self.k + self.t
        self.t += 1
        self.lost = torch.tensor([self.k in self.faults])
        return self._show(reward)

    def _show(self, reward: int) -> TimeStep:
        there = torch.ones(1, 2, dtype=torch.bool)
        return TimeStep(
            entities=torch.full((1, 2, 1), float(self.t)),
            private=torch.zeros(1, 2, 0),
            entity_mask=there,
            obs_mask=there.expand(1, 2, 2),
            avail_mask=torch.tensor([False, True, True]).expand(1, 2, 3),
            reward=torch.tensor([float(reward)]),
            terminated=torch.tensor([self.t == LENGTHS[self.number] and not bool(self.lost)]),
            truncated=self.lost,
            info={"number": torch.tensor([float(self.k)])},
        )

    def state_dict(self) -> dict[str, Any]:
        return {"k": self.k}

    def load_state_dict(self, state: Any) -> None:
        self.k = state["k"]


class Here(HostedEnv):
    """Workers in this process, which answer when they are told to."""

    TOGETHER = True
    _active = True

    def __init__(self) -> None:
        super().__init__(2, 0, "cpu", FOREVER)
        self.workers = [Worker(partial(Counter, i), None, seed=0) for i in range(2)]
        self.answers: dict[int, bytes] = {}
        #: who answers next, in turn; in the end all
        self.turns: list[set[int]] = []
        self._meet()

    def _exchange(self, command: str, values: Any) -> dict[int, Any]:
        turns, self.turns = self.turns, list[set[int]]()  # of those alone who do not wait for all
        answers = super()._exchange(command, values)
        self.turns = turns
        return answers

    def _send(self, i: int, command: str, value: Any) -> None:
        assert i not in self.answers
        self.answers[i] = self.workers[i].answer(command, value)

    def _ready(self, workers: Collection[int], seconds: float) -> Collection[int]:
        turn = self.turns.pop(0) if self.turns else {0, 1}
        return turn & self.answers.keys() & set(workers)

    def _take(self, i: int) -> bytes:
        return self.answers.pop(i)

    def _hang(self, workers: Collection[int], limit: float) -> None:
        raise AssertionError

    def _name(self, i: int) -> str:
        return f"worker {i}"

    def env(self, i: int) -> Counter:
        env = self.workers[i].env
        assert isinstance(env, Counter)
        return env


def played_by(
    turns: Iterable[Iterable[int]], episodes: int = 1, max_staleness: int = 9, spy: Controller | None = None
) -> tuple[Asynchronous, Here]:
    env = Here()
    env.turns = [set(turn) for turn in turns]
    return Asynchronous(env, spy or Spy(sends=False), 0, episodes, max_staleness), env


def rewards(rollout: Rollout) -> list[list[float]]:
    batch = rollout.batch
    assert batch is not None
    return [row[:length].tolist() for row, length in zip(batch.reward, rollout.lengths, strict=True)]


#: environment 1 is silent for a round; in the second round both play two steps, in the third it ends its episode
SLOW = [{0}, {0}, {0}, {0, 1}, {0, 1}, {0, 1}, {1}]


def test_nobody_waits_for_the_slowest() -> None:
    player, _ = played_by(SLOW)
    rounds = [player.play() for _ in range(3)]
    assert [rewards(played) for played in rounds] == [[[0, 1]], [[10, 11]], [[100, 101, 102]]]
    assert [played.returns.tolist() for played in rounds] == [[1], [21], [303]]
    assert [played.steps for played in rounds] == [2, 2, 3]
    assert [played.info["number"].tolist() for played in rounds] == [[0], [1], [0]]
    # its first action was chosen in the second round
    assert [played.info["staleness"].tolist() for played in rounds] == [[0], [0], [1]]


def test_an_episode_is_as_old_as_its_first_step() -> None:
    # environment 1 plays a step in each round
    player, _ = played_by([{0, 1}, {0, 1}, {0}, {0}, {0, 1}, {0}, {1}])
    rounds = [player.play() for _ in range(3)]
    assert [rewards(played) for played in rounds] == [[[0, 1]], [[10, 11]], [[100, 101, 102]]]
    assert rounds[-1].info["staleness"].tolist() == [2]


def test_a_round_of_two_takes_what_comes_first() -> None:
    player, _ = played_by([{0}] * 6, episodes=2)
    assert rewards(player.play()) == [[0, 1], [10, 11]]
    # both answer in every turn from here on
    assert rewards(player.play()) == [[20, 21], [100, 101, 102]]
    # a third would have been left behind had it not ended in the same turn
    assert rewards(player.play()) == [[30, 31], [110, 111, 112]]


def test_what_is_recorded_of_an_episode() -> None:
    player, _ = played_by(SLOW)
    for _ in range(3):
        batch = player.play().batch
    assert isinstance(batch, EpisodeBatch)
    assert batch.entities[0, :, 0, 0].tolist() == [0, 1, 2, 3]
    assert batch.actions[0, :, 0].tolist() == [1, 2, 1]
    assert batch.terminated.tolist() == [[False, False, True]]
    assert batch.filled_mask.tolist() == [[True] * 3]
    assert batch.start_actions.tolist() == [[-1, -1]]


def test_the_controller_is_told_of_those_alone_who_are_asked() -> None:
    spy = Spy()
    player, _ = played_by(SLOW, spy=spy)
    rounds = [player.play(t_env=7 * number) for number in range(3)]
    assert [len(call["last_actions"]) for call in spy.calls] == [1, 1, 2, 2, 1]
    assert [call["last_actions"][:, 0].tolist() for call in spy.calls] == [[-1], [1], [-1, -1], [1, 1], [2]]
    assert [call["t_env"] for call in spy.calls] == [0, 0, 7, 7, 7]
    assert all(call["explore"] and not call["grad"] for call in spy.calls)
    # it sends in steps 0 and 2
    assert [played.comm_frequency.tolist() for played in rounds if played.comm_frequency is not None] == [
        pytest.approx([share]) for share in (1 / 2, 1 / 2, 2 / 3)
    ]


def test_episodes_that_are_too_stale_are_dropped() -> None:
    # environment 1 plays its first step in round 1, and says nothing more before round 3
    player, env = played_by([{0, 1}, {0}, {0}, *[{0}] * 3, {0, 1}], max_staleness=1)
    assert [rewards(player.play()) for _ in range(2)] == [[[0, 1]], [[10, 11]]]
    assert player.dropped == 0
    assert rewards(player.play()) == [[20, 21]]
    assert player.dropped == 1
    assert env.env(1).k == 1  # it has begun another
    assert rewards(player.play()) == [[110, 111, 112]]


def test_lost_episodes_count_for_nothing() -> None:
    player, env = played_by([])
    env.env(0).faults = [0]
    assert [rewards(player.play()) for _ in range(2)] == [[[100, 101, 102]], [[10, 11]]]
    assert player.dropped == 0


def test_a_checkpoint_loses_no_answer() -> None:
    player, _ = played_by(SLOW)
    rounds = [rewards(player.play())]
    player.state_dict()
    player.state_dict()
    rounds += [rewards(player.play()) for _ in range(2)]
    # environment 1 has been waited for, so it is in step with the other
    assert rounds == [[[0, 1]], [[10, 11]], [[100, 101, 102]]]


def test_a_test_takes_the_environments_over() -> None:
    player, env = played_by(SLOW)
    player.play()
    figures = Runner(env, Spy(sends=False), 0).evaluate(None, 2, seed=0)
    assert figures["ep_length"].tolist() == [2, 3]
    env.turns = []
    # whatever ran is forgotten, and new episodes begin where the saved streams are
    assert rewards(player.play()) == [[20, 21]]


def test_a_resumed_one_begins_new_episodes() -> None:
    player, _ = played_by(SLOW)
    player.play()
    state = player.state_dict()
    other, _ = played_by([])
    other.load_state_dict(state)
    assert rewards(other.play()) == [[20, 21]]
    assert torch.equal(other.generator.get_state(), player.generator.get_state())


class Endless(Counter):
    def _step(self, actions: Tensor) -> TimeStep:
        self.t = min(self.t + 1, 1)
        return self._show(0)


def test_an_episode_beyond_its_limit_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    player, env = played_by([])
    for worker in env.workers:
        monkeypatch.setattr(type(worker.env), "_step", Endless._step)
    with pytest.raises(RuntimeError, match="counter plays on after its limit of 3 steps"):
        player.play()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runner=vector"], "round_episodes=2 needs environments that do not wait for each other: runner=parallel or"),
        (["batch_size_run=1"], "round_episodes=2 is more than batch_size_run=1"),
        (["rollout_steps=8"], "rollout_steps"),
        (["--config=mappo"], "round_episodes=2: learner=mappo learns from episodes of its newest policy alone"),
    ],
)
def test_what_does_not_fit_is_refused(words: list[str], message: str) -> None:
    config = load_config(["--env-config=sc2_3m", "runner=parallel", "round_episodes=2", *words])
    with pytest.raises(UserError, match=message):
        builders.check(config)

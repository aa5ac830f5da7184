"""Rounds of so many steps: what is returned of which episodes, by hand; pieces against whole episodes; resuming."""

import io
from collections.abc import Iterator
from typing import Any

import batches
import pytest
import torch
from conftest import tiny_overrides
from test_runner import Spy, assert_equal
from torch import Tensor
from toy_env import ToyEnv, make_toy

from components.episodes import EpisodeBatch
from controllers.base import Controller, ControllerState, Decision
from controllers.entity import EntityController
from controllers.scripted import ScriptedController
from envs import REGISTRY
from envs.base import EntityEnv, EnvSpec, TimeStep
from runners.runner import Rollout, Runner
from runners.stream import Stream
from utils.config import load_config

#: episodes of environment 0 and of environment 1, which come round again: steps, whether they terminate, and for each
#: observation whether agent 1 is there, as agent 0 always is
EPISODES = (
    ((4, False, (1, 1, 0, 1, 1)), (1, True, (1, 1)), (3, True, (1, 0, 1, 1))),
    ((2, True, (0, 1, 1)), (2, False, (1, 1, 1)), (4, False, (1, 1, 1, 0, 1))),
)


class ScriptEnv(EntityEnv):
    """Step t of episode k of environment i pays 100 * i + 10 * k + t, and shows one more than that before."""

    suspends = True
    RUNNING = ("k", "t")
    spec = EnvSpec("script", 2, 3, 1, 1, 3, episode_limit=4, feature_slices={"x": slice(0, 1)}, info_names=("number",))

    def __init__(self) -> None:
        super().__init__(2, 0)
        self.k = torch.full((2,), -1)
        self.t = torch.full((2,), 99)

    def _reset(self, env_mask: Tensor, team: str | None) -> TimeStep:
        assert team is None
        assert bool((self._over() | ~env_mask).all())
        self.k, self.t = self.k + env_mask, self.t.masked_fill(env_mask, 0)
        return self._show(torch.zeros(2))

    def _step(self, actions: Tensor) -> TimeStep:
        assert not bool(self._over().any())  # nobody waits
        reward = self._number().float()
        self.t = self.t + 1
        return self._show(reward)

    def _now(self) -> list[tuple[int, bool, tuple[int, ...]]]:
        return [EPISODES[i][k % 3] for i, k in enumerate(self.k.tolist())]

    def _number(self) -> Tensor:
        return 100 * torch.arange(2) + 10 * self.k + self.t

    def _over(self) -> Tensor:
        return self.t >= torch.tensor([length for length, _, _ in self._now()])

    def _show(self, reward: Tensor) -> TimeStep:
        there = [present[t % len(present)] for (_, _, present), t in zip(self._now(), self.t.tolist(), strict=True)]
        present = torch.tensor([[1, x] for x in there]).bool()
        entity_mask = torch.cat([present, torch.ones(2, 1, dtype=torch.bool)], dim=1)
        number, ends = 1.0 + self._number()[:, None, None], torch.tensor([end for _, end, _ in self._now()])
        return TimeStep(
            entities=number * entity_mask[:, :, None],
            private=-number * present[:, :, None],
            entity_mask=entity_mask,
            obs_mask=present[:, :, None] & entity_mask[:, None],
            avail_mask=present[:, :, None] ^ torch.tensor([True, False, False]),
            reward=reward,
            terminated=self._over() & ends,
            truncated=self._over() & ~ends,
            info={"number": self.k.float()},
        )


class Counting(Spy):
    """As the spy, and remembers how many steps each agent has been there, the last one included."""

    def initial_state(self, num_envs: int, agents: int) -> ControllerState:
        nobody = torch.zeros(num_envs, agents, dtype=torch.bool)
        hidden = torch.zeros(num_envs, agents, 1)
        return {**super().initial_state(num_envs, agents), "hidden": hidden, "present": nobody}

    def act(self, timestep: TimeStep, last_actions: Tensor, state: ControllerState, **how: Any) -> Decision:
        decision = super().act(timestep, last_actions, state, **how)
        present = timestep.agent_mask
        hidden = state["hidden"].masked_fill(~(present & state["present"])[..., None], 0) + 1
        return decision._replace(state={**decision.state, "hidden": hidden, "present": present})


def script(steps: int, pieces: bool, spy: Controller | None = None) -> Stream:
    return Stream(ScriptEnv(), spy or Counting(), 0, steps, pieces=pieces)


def batch_of(rollout: Rollout) -> EpisodeBatch:
    assert rollout.batch is not None
    return rollout.batch


# --- whole episodes, by hand ---


def test_whole_episodes_come_as_they_end() -> None:
    stream = script(3, pieces=False)
    rounds = [stream.play() for _ in range(3)]
    # environment after environment, and in each as they were played
    assert [batch_of(played).reward.tolist() for played in rounds] == [
        [[100, 101]],
        [[0, 1, 2, 3], [10, 0, 0, 0], [110, 111, 0, 0]],
        [[20, 21, 22, 0], [120, 121, 122, 123]],
    ]
    assert [played.returns.tolist() for played in rounds] == [[201], [6, 10, 221], [63, 486]]
    assert [played.lengths.tolist() for played in rounds] == [[2], [4, 1, 2], [3, 4]]
    assert [played.info["number"].tolist() for played in rounds] == [[0], [0, 1, 1], [2, 2]]
    assert [played.steps for played in rounds] == [6, 6, 6]
    assert rounds[0].lengths.dtype == torch.int64


def test_the_figures_are_in_the_order_of_the_episodes() -> None:
    """Two environments end in the same round, the second one first."""
    played = script(8, pieces=False).play()
    assert batch_of(played).reward[:, 0].tolist() == [0, 10, 20, 100, 110, 120]
    assert played.returns.tolist() == batch_of(played).reward.sum(dim=1).tolist()
    assert played.lengths.tolist() == batch_of(played).filled_mask.sum(dim=1).tolist()
    assert played.info["number"].tolist() == [0, 1, 2, 0, 1, 2]


def test_what_is_recorded_of_a_whole_episode() -> None:
    stream = script(3, pieces=False)
    stream.play()
    batch = batch_of(stream.play())
    assert batch.filled_mask.int().tolist() == [[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0]]
    assert batch.terminated.int().tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert batch.truncated.int().tolist() == [[0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]]
    # up to the last observation of each, which is not the first one of the next
    assert batch.entities[:, :, 2, 0].tolist() == [[1, 2, 3, 4, 5], [11, 12, 0, 0, 0], [111, 112, 113, 0, 0]]
    assert batch.entities[:, :, 1, 0].tolist() == [[1, 2, 0, 4, 5], [11, 12, 0, 0, 0], [111, 112, 113, 0, 0]]
    assert torch.equal(batch.private[:, :, 1], -batch.entities[:, :, 1])
    assert batch.entity_mask[:, :, 2].int().tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]
    assert batch.agent_mask[:, :, 1].int().tolist() == [[1, 1, 0, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]
    assert torch.equal(batch.obs_mask, batch.agent_mask[..., None] & batch.entity_mask[:, :, None])
    assert torch.equal(batch.avail_mask, batch.agent_mask[..., None] ^ torch.tensor([True, False, False]))
    # the steps so far decide, which begin anew with an episode
    assert batch.actions.tolist() == [
        [[1, 2], [2, 1], [1, 0], [2, 1]],
        [[1, 2], [0, 0], [0, 0], [0, 0]],
        [[1, 2], [2, 1], [0, 0], [0, 0]],
    ]
    assert batch.start_actions.tolist() == [[-1, -1]] * 3
    assert batch.start_memory is None
    assert batch.start_steps is None


def test_a_round_in_which_nothing_ends() -> None:
    stream = script(1, pieces=False)
    played = stream.play()
    assert played.batch is None
    assert played.steps == 2
    assert (played.returns.tolist(), played.lengths.tolist(), played.info) == ([], [], {})
    assert played.comm_frequency is None
    assert batch_of(stream.play()).reward.tolist() == [[100, 101]]


def test_communication_is_counted_over_the_episode() -> None:
    """Strategies in steps 0 and 2; present agents over the steps played, of rounds before, too."""
    stream = script(3, pieces=False)
    first, second = stream.play(), stream.play()
    assert first.comm_frequency is not None
    assert second.comm_frequency is not None
    assert first.comm_frequency.tolist() == pytest.approx([1 / 3])
    assert second.comm_frequency.tolist() == pytest.approx([(2 + 1) / 7, 2 / 2, 2 / 4])
    assert script(3, False, Spy(sends=False)).play().comm_frequency is None


@pytest.mark.parametrize("pieces", [False, True])
def test_the_controller_is_told_how_to_play(pieces: bool) -> None:
    spy = Counting()
    stream = script(5, pieces, spy)
    stream.play(t_env=77)
    assert len(spy.calls) == 5
    for call in spy.calls:
        assert call["explore"] is True
        assert call["t_env"] == 77
        assert call["generator"] is stream.generator
        assert call["grad"] is False
    # environment 0 begins anew before steps 4 and 5, environment 1 before 2 and 4; agent 1 goes and comes
    shown = torch.stack([call["last_actions"] for call in spy.calls], dim=1)
    assert shown.tolist() == [
        [[-1, -1], [1, 2], [2, -1], [1, -1], [-1, -1]],
        [[-1, -1], [1, -1], [-1, -1], [1, 2], [-1, -1]],
    ]


# --- pieces, by hand ---


def test_every_step_is_in_a_piece() -> None:
    stream = script(3, pieces=True)
    rounds = [stream.play() for _ in range(3)]
    assert [batch_of(played).reward.tolist() for played in rounds] == [
        [[0, 1, 2], [100, 101, 0], [110, 0, 0]],
        [[3, 0], [10, 0], [20, 0], [111, 0], [120, 121]],
        [[21, 22], [30, 0], [122, 123], [130, 0]],
    ]
    assert [batch_of(played).filled_mask.sum(dim=1).tolist() for played in rounds] == [
        [3, 2, 1],
        [1, 1, 1, 1, 2],
        [2, 1, 2, 1],
    ]
    # figures are those of whole episodes all the same
    assert [played.returns.tolist() for played in rounds] == [[201], [6, 10, 221], [63, 486]]
    assert [played.steps for played in rounds] == [6, 6, 6]


def test_a_piece_ends_as_its_last_step_did() -> None:
    stream = script(3, pieces=True)
    first, second = batch_of(stream.play()), batch_of(stream.play())
    assert first.terminated.int().tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert not first.truncated.any()  # cut, by whoever wants to learn
    assert second.terminated.int().tolist() == [[0, 0], [1, 0], [0, 0], [0, 0], [0, 0]]
    assert second.truncated.int().tolist() == [[1, 0], [0, 0], [0, 0], [1, 0], [0, 0]]
    # a piece that is cut ends with what the next one begins with, one that ended with the last of its episode
    assert first.entities[:, :, 2, 0].tolist() == [[1, 2, 3, 4], [101, 102, 103, 0], [111, 112, 0, 0]]
    assert second.entities[:, :, 2, 0].tolist() == [[4, 5, 0], [11, 12, 0], [21, 22, 0], [112, 113, 0], [121, 122, 123]]


def test_a_piece_begins_with_what_was_remembered() -> None:
    stream = script(3, pieces=True)
    first, second, third = (batch_of(stream.play()) for _ in range(3))
    for batch in (first, second, third):
        assert batch.start_memory is not None
        assert batch.start_memory.shape == (len(batch.reward), 2, 1)
        assert batch.start_steps is not None
        assert batch.start_steps.dtype == torch.int64

    def starts(batch: EpisodeBatch) -> list[Any]:
        assert batch.start_memory is not None
        assert batch.start_steps is not None
        memory = batch.start_memory[..., 0].int()
        return list(zip(batch.start_steps.tolist(), memory.tolist(), batch.start_actions.tolist(), strict=True))

    new = (0, [0, 0], [-1, -1])
    assert starts(first) == [new, new, new]
    assert starts(second) == [
        (3, [3, 0], [1, -1]),  # agent 1 comes at this very moment
        new,
        new,
        (1, [1, 1], [1, 2]),
        new,
    ]
    assert starts(third) == [
        (1, [1, 0], [1, -1]),  # agent 1 has left at this very moment
        new,
        (2, [2, 2], [2, 1]),
        new,
    ]
    # which is what a learner is told of the steps before
    assert third.last_actions[0, 0].tolist() == [1, -1]
    assert third.last_actions[2, 0].tolist() == [2, 1]


def test_an_episode_may_end_with_the_round() -> None:
    stream = script(4, pieces=True)
    assert batch_of(stream.play()).reward.tolist() == [[0, 1, 2, 3], [100, 101, 0, 0], [110, 111, 0, 0]]
    second = batch_of(stream.play())
    assert second.reward.tolist() == [[10, 0, 0, 0], [20, 21, 22, 0], [120, 121, 122, 123]]
    assert second.start_steps is not None
    assert second.start_steps.tolist() == [0, 0, 0]


def test_one_piece_may_be_longer_than_an_episode() -> None:
    assert batch_of(script(9, pieces=True).play()).reward[:, 0].tolist() == [0, 10, 20, 30, 100, 110, 120, 130]


@pytest.mark.parametrize("pieces", [False, True])
def test_an_endless_episode_is_an_error(pieces: bool) -> None:
    class Endless(ScriptEnv):
        def _over(self) -> Tensor:
            return self.t > 90

    stream = Stream(Endless(), Counting(), 0, 20, pieces=pieces)
    with pytest.raises(RuntimeError, match="script plays on after its limit of 4 steps"):
        stream.play()


# --- pieces against whole episodes, with networks ---

STEPS = 5


def toy(seed: int = 5, num_envs: int = 4) -> ToyEnv:
    return make_toy(num_envs, seed, team="varying", slots=3, private=1, episode_limit=9)


def exact(controller: EntityController) -> EntityController:
    """The same in double precision, for what is played in single precision."""
    controller.double()
    act, initial_state = controller.act, controller.initial_state

    def act_on(seen: TimeStep, *args: Any, **how: Any) -> Decision:
        return act(seen._replace(entities=seen.entities.double(), private=seen.private.double()), *args, **how)

    def begin(num_envs: int, agents: int) -> ControllerState:
        state = initial_state(num_envs, agents)
        return {**state, "hidden": state["hidden"].double()}

    controller.act, controller.initial_state = act_on, begin  # type: ignore[method-assign]
    return controller


def make_stream(pieces: bool, kind: str = "entity", **settings: Any) -> Stream:
    env = toy()
    torch.manual_seed(0)
    controller = batches.make_controller(env.spec, kind, **settings)
    controller.selector.schedule = lambda t_env: 0.3  # now and then at random
    return Stream(env, exact(controller), 7, STEPS, pieces=pieces)


def values(stream: Stream, batch: EpisodeBatch) -> Tensor:
    """(R, T+1, A, U) of what was played."""
    precise = {name: value.double() for name, value in batch.parts().items() if name in ("entities", "private")}
    batch = EpisodeBatch(**{**batch.parts(), **precise})
    assert isinstance(stream.controller, EntityController)
    data = stream.controller.prepare(batch)
    return data.unpack(stream.controller.unroll(data).q[0].detach())


def laid_end_to_end(stream: Stream, rounds: int) -> Iterator[tuple[list[list[dict[str, Tensor]]], EpisodeBatch]]:
    """For each round the episodes that ended in it, each as its pieces, cut to what was played, environment after
    environment; and the batch of all pieces.
    """
    envs = stream.env.num_envs
    running: list[list[dict[str, Tensor]]] = [[] for _ in range(envs)]
    for _ in range(rounds):
        batch = batch_of(stream.play())
        parts, lengths = {**batch.parts(), "q": values(stream, batch)}, batch.filled_mask.sum(dim=1).tolist()
        env, played, ended = 0, 0, []
        for row, length in enumerate(lengths):
            more = dict.fromkeys(("entities", "private", "entity_mask", "obs_mask", "avail_mask", "q"), length + 1)
            piece = {
                name: x[row] if name.startswith("start_") else x[row, : more.get(name, length)]
                for name, x in parts.items()
            }
            running[env].append(piece)
            if bool(piece["terminated"][-1] | piece["truncated"][-1]):
                ended.append(running[env])
                running[env] = []
            played += length
            if played == stream.steps:
                env, played = env + 1, 0
        assert env == envs  # nothing is lost, nothing is there twice
        yield ended, batch


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("entity", {}),
        ("entity", {"view": "periodic", "interval": 3}),
        ("entity", {"recurrent": False}),
        ("entity", {"norm": True, "view": "full"}),
        ("flat", {}),
    ],
)
def test_pieces_laid_end_to_end_are_the_episodes(kind: str, settings: dict[str, Any]) -> None:
    """The same decisions, the same records, and the same values, those of the border included."""
    cut, whole = make_stream(True, kind, **settings), make_stream(False, kind, **settings)
    rounds, borders, joins = 40, 0, 0
    for ended, _ in laid_end_to_end(cut, rounds):
        rollout = whole.play()
        if rollout.batch is None:
            assert not ended
            continue
        batch, q = rollout.batch, values(whole, rollout.batch)
        assert len(ended) == len(q)
        assert rollout.lengths.tolist() == batch.filled_mask.sum(dim=1).tolist()
        for row, pieces in enumerate(ended):
            at = 0
            for piece in pieces:
                length = len(piece["reward"])
                for name in ("actions", "reward", "terminated", "truncated"):
                    assert torch.equal(getattr(batch, name)[row, at : at + length], piece[name]), name
                for name in ("entities", "private", "entity_mask", "obs_mask", "avail_mask"):
                    assert torch.equal(getattr(batch, name)[row, at : at + length + 1], piece[name]), name
                assert int(piece["start_steps"]) == at
                assert torch.equal(batch.last_actions[row, at], piece["start_actions"])
                torch.testing.assert_close(piece["q"], q[row, at : at + length + 1], rtol=0, atol=1e-10)
                if at:
                    borders += 1
                    agents = batch.agent_mask[row]
                    comes = agents[at] & ~agents[at - 1]
                    joins += int(comes.sum())
                    assert (piece["start_memory"][~agents[at] | comes] == 0).all()
                at += length
            assert at == int(rollout.lengths[row])
    assert borders > 20
    assert joins > 3


def test_values_at_the_border_need_what_was_remembered() -> None:
    """Else the test above could not fail."""
    stream = make_stream(True)
    stream.play()
    batch = batch_of(stream.play())
    assert batch.start_memory is not None
    forgetful = EpisodeBatch(**{**batch.parts(), "start_memory": torch.zeros_like(batch.start_memory)})
    assert (values(stream, batch)[:, 0] - values(stream, forgetful)[:, 0]).abs().max() > 0.01


def test_the_policy_that_acted_is_that_of_the_pieces() -> None:
    """The actions that were chosen greedily are the best of the values that a learner computes."""
    stream = make_stream(True)
    stream.controller.selector.schedule = lambda t_env: 0.0  # type: ignore[attr-defined]
    for _ in range(6):
        batch = batch_of(stream.play())
        best = values(stream, batch).masked_fill(~batch.avail_mask, -torch.inf).argmax(dim=-1)[:, :-1]
        counts = batch.filled_mask[..., None] & batch.agent_mask[:, :-1]
        assert torch.equal(batch.actions[counts], best[counts])


# --- resuming ---

#: tasks whose episodes can be saved in the middle, in settings in which a lot happens
TASKS: dict[str, list[str]] = {
    "sc2_mmm": ["env_args.train_team=5-7"],
    "sc2_3s5z": ["env_args.reward_scale=army"],
    "resource_collection": ["env_args.train_team=varying"],
    "navigation": ["env_args.train_team=2-4"],
    "speaker_listener": [],
    "reference": [],
    "rescue": ["env_args.ignition_rate=0.05"],
    "matrix_game": [],
}


def test_every_task_that_can_be_saved_is_tried() -> None:
    tried = {load_config([f"--env-config={task}"]).env for task in TASKS}
    assert tried == {name for name, env_class in REGISTRY.items() if env_class.suspends}


def task_env(task: str, seed: int) -> EntityEnv:
    if task == "toy":
        return toy(seed, num_envs=3)
    words = [f"--env-config={task}", *tiny_overrides(), *TASKS[task]]
    words += ["env_args.episode_limit=12"] * (task != "matrix_game")
    config = load_config(words)
    return REGISTRY[config.env](config.env_args, num_envs=3, seed=seed)


def same(one: Rollout, other: Rollout) -> None:
    if one.batch is None:
        assert other.batch is None
    else:
        assert_equal(one.batch, other.batch)
    for name in ("returns", "lengths", "comm_frequency"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=0)
    assert list(one.info) == list(other.info)
    for name, figure in one.info.items():
        assert torch.equal(figure, other.info[name]), name


def saved(state: dict[str, Any]) -> dict[str, Any]:
    """As a checkpoint gives it back."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


@pytest.mark.parametrize(("kind", "pieces"), [("coach", False), ("entity", True)])
@pytest.mark.parametrize("task", ["toy", *TASKS])
def test_a_saved_stream_goes_on_in_the_middle_of_episodes(task: str, kind: str, pieces: bool) -> None:
    env = task_env(task, 1)
    torch.manual_seed(0)
    controller = batches.make_controller(env.spec, kind)
    controller.selector.schedule = lambda t_env: 0.3
    stream = Stream(env, controller, 7, STEPS, pieces=pieces)
    for _ in range(3):
        stream.play()
    assert stream._now is not None
    running = stream._now.lengths.clone()
    state = stream.state_dict()
    expected = [stream.play() for _ in range(4)]
    state = saved(state)  # late: what was played since is none of its business
    assert (running > 0).any() or task == "matrix_game"
    assert sum(len(rollout.lengths) for rollout in expected) > 0

    for _ in range(2):  # and the state is not used up
        again = Stream(task_env(task, 99), controller, 8, STEPS, pieces=pieces)
        again.load_state_dict(state)
        for rollout in expected:
            same(again.play(), rollout)


@pytest.mark.parametrize("pieces", [False, True])
def test_a_stream_that_has_played_can_be_sent_back(pieces: bool) -> None:
    stream = make_stream(pieces)
    start = stream.state_dict()
    first = [stream.play() for _ in range(3)]
    later = stream.state_dict()
    stream.load_state_dict(start)
    for rollout in first:
        same(stream.play(), rollout)
    following = stream.play()
    stream.load_state_dict(later)
    same(stream.play(), following)


def test_a_checkpoint_between_whole_rounds_is_taken_up() -> None:
    """The sequence of episodes goes on; and a runner begins new ones where a stream was in the middle."""
    controller = ScriptedController(ToyEnv.SCRIPTED["random"](toy().spec))
    runner = Runner(toy(), controller, 7)
    runner.play()
    state = saved(runner.state_dict())
    stream = Stream(toy(99), controller, 8, 9, pieces=False)
    stream.load_state_dict(state)
    expected = runner.play()
    assert torch.equal(batch_of(stream.play()).entities[0, 0], batch_of(expected).entities[0, 0])
    back = Runner(toy(98), controller, 9)
    back.load_state_dict(saved(stream.state_dict()))
    assert len(back.play().lengths) == 4


def test_episodes_of_another_batch_are_refused() -> None:
    stream = make_stream(True)
    stream.play()
    other = Stream(toy(num_envs=3), stream.controller, 7, STEPS, pieces=True)
    with pytest.raises(ValueError, match=r"running in 4 environments, here are 3: take batch_size_run=4, or"):
        other.load_state_dict(stream.state_dict())


@pytest.mark.parametrize("pieces", [False, True])
def test_rounds_may_have_another_length_from_here_on(pieces: bool) -> None:
    """Of the same episodes: those that end in 2 rounds of 5 steps, and in 5 of 2."""
    stream = make_stream(pieces)
    stream.play()
    longer = Stream(toy(99), stream.controller, 8, 2 * STEPS, pieces=pieces)
    longer.load_state_dict(saved(stream.state_dict()))
    figures = [stream.play().returns for _ in range(2)]
    assert sorted(torch.cat(figures).tolist()) == sorted(longer.play().returns.tolist())


def test_seeds_of_actions_matter() -> None:
    env, other = toy(), toy()
    controller = ScriptedController(ToyEnv.SCRIPTED["random"](env.spec))
    first = Stream(env, controller, 1, 9, pieces=False).play()
    assert not torch.equal(first.returns, Stream(other, controller, 2, 9, pieces=False).play().returns)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("kind", "pieces"), [("coach", False), ("entity", True)])
@pytest.mark.parametrize(("env_device", "device"), [("cpu", "cuda"), ("cuda", "cuda"), ("cuda", "cpu")])
def test_environment_and_controller_on_their_own_devices(env_device: str, device: str, kind: str, pieces: bool) -> None:
    env = make_toy(4, 5, env_device, team="varying", slots=3, private=1)
    controller = batches.make_controller(env.spec, kind).to(device)
    stream = Stream(env, controller, 7, STEPS, pieces=pieces)
    for _ in range(3):
        stream.play()
    state = stream.state_dict()
    assert {value.device.type for value in state["now"]["state"].values()} == {"cpu"}
    expected = [stream.play() for _ in range(3)]
    again = Stream(make_toy(4, 99, env_device, team="varying", slots=3, private=1), controller, 8, STEPS, pieces=pieces)
    again.load_state_dict(saved(state))
    for rollout in expected:
        same(again.play(), rollout)
        assert {value.device.type for value in batch_of(rollout).parts().values()} == {env_device}

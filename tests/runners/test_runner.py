"""The collection loop: what it records, recomputed by hand, on every host; tests that leave training alone."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy_env import ToyEnv, make_toy, random_team, reading_team

from components.episodes import EpisodeBatch
from controllers.base import Controller, ControllerState, Decision
from controllers.scripted import ScriptedController
from envs.base import EntityEnv, EnvSpec, TimeStep
from runners import REGISTRY
from runners.runner import Rollout, Runner
from utils.interrupt import GivenUp
from utils.seeding import derive_seed, make_generator

#: who is present at each observation, per environment: agent 0 of the first leaves and comes back
PRESENT = torch.tensor(
    [
        [[1, 1], [0, 1], [1, 1], [1, 0], [1, 0]],
        [[1, 0], [1, 1], [1, 0], [0, 0], [0, 0]],
        [[0, 1], [0, 1], [1, 1], [1, 1], [1, 1]],
    ]
).bool()
LENGTHS = [4, 2, 3]
TERMINATED = [False, True, False]


class TableEnv(EntityEnv):
    """Three episodes that are written down: environment i pays 10 * i + t for step t."""

    spec = EnvSpec("table", 2, 3, 1, 1, 3, episode_limit=4, feature_slices={"t": slice(0, 1)}, info_names=("steps",))

    def __init__(self, *, endless: bool = False) -> None:
        super().__init__(3, 0)
        self.lengths = torch.tensor([99] * 3 if endless else LENGTHS)
        self.t = torch.zeros(3, dtype=torch.int64)

    def _reset(self, env_mask: Tensor, team: str | None) -> TimeStep:
        self.team = team
        self.t = torch.zeros(3, dtype=torch.int64)
        return self.show(torch.zeros(3))

    def _step(self, actions: Tensor) -> TimeStep:
        active = self.t < self.lengths
        reward = (10.0 * torch.arange(3) + self.t) * active
        self.t = self.t + active.long()
        return self.show(reward)

    def show(self, reward: Tensor) -> TimeStep:
        present = PRESENT[torch.arange(3), self.t.clamp(max=4)]
        entity_mask = torch.cat([present, torch.ones(3, 1, dtype=torch.bool)], dim=1)
        avail = present[:, :, None] ^ torch.tensor([True, False, False])
        over = self.t >= self.lengths
        return TimeStep(
            entities=(1.0 + self.t[:, None, None]) * entity_mask[:, :, None],
            private=-(1.0 + self.t[:, None, None]) * present[:, :, None],
            entity_mask=entity_mask,
            obs_mask=present[:, :, None] & entity_mask[:, None],
            avail_mask=avail,
            reward=reward,
            terminated=over & torch.tensor(TERMINATED),
            truncated=over & ~torch.tensor(TERMINATED),
            info={"steps": self.t.float()},
        )


class Spy(Controller):
    """Plays action 1 + (steps so far + agent) % 2, sends a strategy to present agents in even steps, takes notes."""

    def __init__(self, sends: bool = True) -> None:
        self.sends = sends
        self.calls: list[dict[str, Any]] = []

    def initial_state(self, num_envs: int, agents: int) -> ControllerState:
        return {"steps": torch.zeros(num_envs, dtype=torch.int64)}

    def act(self, timestep: TimeStep, last_actions: Tensor, state: ControllerState, **how: Any) -> Decision:
        self.calls.append({"timestep": timestep, "last_actions": last_actions, "grad": torch.is_grad_enabled(), **how})
        steps = state["steps"]
        actions = 1 + (steps[:, None] + torch.arange(2)) % 2
        sent = (steps % 2 == 0)[:, None].expand(-1, 2) if self.sends else None
        return Decision(actions * timestep.agent_mask, {"steps": steps + 1}, sent)


def assert_equal(one: EpisodeBatch | None, other: EpisodeBatch | None) -> None:
    assert one is not None
    assert other is not None
    for f in fields(one):
        torch.testing.assert_close(getattr(one, f.name), getattr(other, f.name), rtol=0, atol=0, msg=f.name)


# --- what is recorded, by hand ---


@pytest.fixture
def table() -> Rollout:
    return Runner(TableEnv(), Spy(), seed=0).play()


def test_figures(table: Rollout) -> None:
    assert table.lengths.tolist() == LENGTHS
    assert table.lengths.dtype == torch.int64
    assert table.returns.tolist() == [0 + 1 + 2 + 3, 10 + 11, 20 + 21 + 22]
    assert {name: value.tolist() for name, value in table.info.items()} == {"steps": [4, 2, 3]}


def test_steps(table: Rollout) -> None:
    batch = table.batch
    assert batch is not None
    assert batch.filled_mask.int().tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]]
    assert batch.reward.tolist() == [[0, 1, 2, 3], [10, 11, 0, 0], [20, 21, 22, 0]]
    assert batch.terminated.int().tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert batch.truncated.int().tolist() == [[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0]]
    assert batch.actions.tolist() == [
        [[1, 2], [0, 1], [1, 2], [2, 0]],
        [[1, 0], [2, 1], [0, 0], [0, 0]],
        [[0, 2], [0, 1], [1, 2], [0, 0]],
    ]
    assert batch.actions.dtype == torch.int64
    assert batch.start_actions.tolist() == [[-1, -1]] * 3


def test_observations(table: Rollout) -> None:
    batch = table.batch
    assert batch is not None
    # the last observation of each is there, behind it nothing is
    assert batch.entities[:, :, 2, 0].tolist() == [[1, 2, 3, 4, 5], [1, 2, 3, 0, 0], [1, 2, 3, 4, 0]]
    assert batch.entities[:, :, 0, 0].tolist() == [[1, 0, 3, 4, 5], [1, 2, 3, 0, 0], [0, 0, 3, 4, 0]]
    assert batch.private[:, :, 0, 0].tolist() == [[-1, 0, -3, -4, -5], [-1, -2, -3, 0, 0], [0, 0, -3, -4, 0]]
    assert batch.entity_mask[:, :, 2].int().tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]
    seen = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]).bool()
    present = PRESENT & seen[:, :, None]
    assert torch.equal(batch.agent_mask, present)
    assert torch.equal(batch.obs_mask, present[..., None] & batch.entity_mask[:, :, None])
    assert torch.equal(batch.avail_mask[..., 0], ~present)
    assert torch.equal(batch.avail_mask[..., 1], present)


def test_last_actions_know_who_has_just_come() -> None:
    spy = Spy()
    batch = Runner(TableEnv(), spy, seed=0).play().batch
    assert batch is not None
    shown = torch.stack([call["last_actions"] for call in spy.calls], dim=1)
    assert shown.dtype == torch.int64
    assert shown[0].tolist() == [[-1, -1], [-1, 2], [-1, 1], [1, -1]]
    assert shown[1, :2].tolist() == [[-1, -1], [1, -1]]
    assert shown[2, :3].tolist() == [[-1, -1], [-1, 2], [-1, 1]]
    # a learner that reads the batch is told the same
    for i, length in enumerate(LENGTHS):
        assert torch.equal(batch.last_actions[i, :length], shown[i, :length])


def test_communication_is_counted_for_present_agents_in_played_steps(table: Rollout) -> None:
    # strategies in steps 0 and 2; present agents over the steps played
    assert table.comm_frequency is not None
    expected = [(2 + 2) / (2 + 1 + 2 + 1), 1 / (1 + 2), (1 + 2) / (1 + 1 + 2)]
    assert table.comm_frequency.tolist() == pytest.approx(expected)
    assert Runner(TableEnv(), Spy(sends=False), seed=0).play().comm_frequency is None


def test_the_controller_is_told_how_to_play() -> None:
    spy = Spy()
    env = TableEnv()
    runner = Runner(env, spy, seed=0)
    rollout = runner.play("5", explore=False, t_env=77, record=False)
    assert rollout.batch is None
    assert rollout.lengths.tolist() == LENGTHS
    assert env.team == "5"
    assert len(spy.calls) == 4
    for call in spy.calls:
        assert call["explore"] is False
        assert call["t_env"] == 77
        assert call["generator"] is runner.generator
        assert call["grad"] is False
    assert torch.equal(spy.calls[1]["timestep"].entities[:, 2, 0], torch.tensor([2.0, 2.0, 2.0]))


class BreakingTableEnv(TableEnv):
    """The same episodes, but at first the first is lost in its step 3, and the last twice in its step 1."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = torch.zeros(3, dtype=torch.bool)
        self.over = torch.zeros(3, dtype=torch.bool)
        self.faults = {0: [3], 2: [1, 1]}

    def _reset(self, env_mask: Tensor, team: str | None) -> TimeStep:
        assert self.lost is not None
        self.t, self.lost = self.t.masked_fill(env_mask, 0), self.lost & ~env_mask
        return self.show(torch.zeros(3))

    def _step(self, actions: Tensor) -> TimeStep:
        seen = super()._step(actions * ~self.lost[:, None])
        for i, steps in self.faults.items():
            if steps and not self.lost[i] and self.t[i] == steps[0]:
                steps.pop(0)
                self.lost = self.lost | (torch.arange(3) == i)
        return seen._replace(
            truncated=(seen.truncated | self.lost) & ~seen.terminated, reward=seen.reward.masked_fill(self.lost, 0)
        )


@pytest.mark.parametrize("record", [True, False])
def test_lost_episodes_are_played_again(table: Rollout, record: bool) -> None:
    env = BreakingTableEnv()
    rollout = Runner(env, Spy(), seed=0).play(record=record)
    assert env.faults == {0: [], 2: []}
    for name in ("returns", "lengths", "comm_frequency"):
        assert torch.equal(getattr(rollout, name), getattr(table, name)), name
    assert torch.equal(rollout.info["steps"], table.info["steps"])
    assert (rollout.batch is not None) == record
    if rollout.batch is not None and table.batch is not None:
        for name, value in table.batch.parts().items():
            assert torch.equal(rollout.batch.parts()[name], value), name


def test_an_endless_episode_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="table plays on after its limit of 4 steps"):
        Runner(TableEnv(endless=True), Spy(), seed=0).play()


# --- the three hosts ---

SETTINGS: dict[str, Any] = {"team": "varying", "slots": 3, "private": 1}


@pytest.fixture(scope="module", params=["vector", "parallel", "episode"])
def host(request: pytest.FixtureRequest) -> Iterator[EntityEnv]:
    args = ToyEnv.resolve_args(SETTINGS, [])
    with REGISTRY[request.param](ToyEnv, args, 3, 5, "cpu") as env:
        assert env.num_envs == (1 if request.param == "episode" else 3)
        yield env


def test_every_host_gives_correct_batches(host: EntityEnv) -> None:
    runner = Runner(host, ScriptedController(random_team(host.spec)), seed=1)
    for _ in range(3):
        rollout = runner.play()
        batch = rollout.batch
        assert batch is not None
        b, t = batch.filled_mask.shape
        assert b == host.num_envs
        assert t == int(rollout.lengths.max()) <= host.spec.episode_limit
        assert torch.equal(batch.filled_mask, torch.arange(t) < rollout.lengths[:, None])
        # the reward is the share of present agents that say what the sign they see shows
        signs = batch.obs_mask[..., 3:].float() @ batch.entities[:, :, 3:, :3]
        present = batch.agent_mask[:, :-1]
        hits = ((batch.actions == signs.argmax(dim=-1)[:, :-1] + 1) & present).sum(dim=2)
        reward = hits / present.sum(dim=2).clamp(min=1)
        torch.testing.assert_close(batch.reward, reward * batch.filled_mask)
        torch.testing.assert_close(rollout.returns, batch.reward.sum(dim=1))
        torch.testing.assert_close(rollout.info["hits"], (hits * batch.filled_mask).sum(dim=1).float())
        # one end each, in the last step
        end = torch.arange(t) == rollout.lengths[:, None] - 1
        assert torch.equal(batch.terminated ^ batch.truncated, end)
        assert not (batch.terminated & batch.truncated).any()
        at_limit = (rollout.lengths == host.spec.episode_limit)[:, None] & end
        assert (batch.truncated <= at_limit).all()
        legal = batch.avail_mask[:, :-1].gather(3, batch.actions[..., None])[..., 0]
        assert legal[batch.filled_mask].all()
        assert (batch.actions[present & batch.filled_mask[..., None]] > 0).all()
        behind = torch.arange(t + 1) > rollout.lengths[:, None]
        for name in ("entities", "private", "entity_mask", "obs_mask"):
            assert not getattr(batch, name)[behind].any(), name
        assert batch.avail_mask[behind][..., 0].all()
        assert not batch.avail_mask[behind][..., 1:].any()
        assert batch.entity_mask[~behind][:, :3].any(dim=1).all()
        for name in ("actions", "reward", "terminated", "truncated"):
            assert not getattr(batch, name)[~batch.filled_mask].any(), name


def test_every_host_evaluates_without_a_trace(host: EntityEnv) -> None:
    runner = Runner(host, ScriptedController(random_team(host.spec)), seed=1)
    start = runner.state_dict()
    runner.play()
    undisturbed = runner.play()
    runner.load_state_dict(start)
    runner.play()
    first = runner.evaluate("1-3", 4, seed=3)
    assert_equal(runner.play().batch, undisturbed.batch)
    second = runner.evaluate("1-3", 4, seed=3)
    assert set(first) == {"return", "ep_length", "hits", "team_size"}
    for name in first:
        assert first[name].shape == (4,)
        assert torch.equal(first[name], second[name])


# --- tests ---


def toy_runner(num_envs: int = 4, seed: int = 1, **settings: Any) -> Runner:
    env = make_toy(num_envs, seed=5, **{**SETTINGS, **settings})
    return Runner(env, ScriptedController(random_team(env.spec)), seed=seed)


def test_evaluation_keeps_the_first_by_position() -> None:
    figures = toy_runner().evaluate("2", 10, seed=3)
    # the same three rounds of four, played by hand
    other = toy_runner()
    other.env.seed(derive_seed(3, "evaluate", "env"))
    other.generator = make_generator(derive_seed(3, "evaluate", "actions"))
    rounds = [other.play("2", explore=False, record=False) for _ in range(3)]
    assert torch.equal(figures["return"], torch.cat([r.returns for r in rounds])[:10])
    assert torch.equal(figures["ep_length"], torch.cat([r.lengths for r in rounds])[:10].float())
    assert torch.equal(figures["hits"], torch.cat([r.info["hits"] for r in rounds])[:10])
    assert len(set(figures["ep_length"].tolist())) > 1


@pytest.mark.parametrize("episodes", [1, 3, 4, 5, 9])
def test_evaluation_plays_exactly_as_many_as_asked(episodes: int) -> None:
    figures = toy_runner().evaluate(None, episodes, seed=3)
    assert {len(value) for value in figures.values()} == {episodes}
    assert {value.dtype for value in figures.values()} == {torch.float32}


def test_evaluation_follows_its_seed_and_team() -> None:
    runner = toy_runner()
    one, other = runner.evaluate("1", 8, seed=3), runner.evaluate("1", 8, seed=4)
    assert not torch.equal(one["return"], other["return"])
    assert one["team_size"].tolist() == [1] * 8
    assert runner.evaluate("3", 8, seed=3)["team_size"].tolist() == [3] * 8


def test_evaluation_does_not_depend_on_training() -> None:
    runner, fresh = toy_runner(), toy_runner(seed=2)
    runner.play()
    for name, value in runner.evaluate("2", 6, seed=1).items():
        assert torch.equal(value, fresh.evaluate("2", 6, seed=1)[name])


def test_evaluation_is_greedy_and_counts_communication() -> None:
    spy = Spy()
    figures = Runner(TableEnv(), spy, seed=0).evaluate(None, 5, seed=0, t_env=9)
    assert figures["comm_frequency"].tolist() == pytest.approx([4 / 6, 1 / 3, 3 / 4, 4 / 6, 1 / 3])
    assert not any(call["explore"] for call in spy.calls)
    assert all(call["t_env"] == 9 for call in spy.calls)


def test_a_failed_evaluation_leaves_training_alone_too() -> None:
    runner = toy_runner()
    before = runner.env.state_dict()["generator"]

    def fails(*_: Any) -> Tensor:
        raise ArithmeticError

    runner.controller = ScriptedController(fails)
    with pytest.raises(ArithmeticError):
        runner.evaluate("1", 3, seed=0)
    assert torch.equal(runner.env.state_dict()["generator"], before)


def test_a_test_is_given_up_between_two_steps_without_a_trace() -> None:
    runner, asked = toy_runner(), []
    before = runner.env.state_dict()["generator"]

    def stopped() -> bool:
        asked.append(True)
        return len(asked) == 5

    with pytest.raises(GivenUp):
        runner.evaluate("1", 40, seed=0, stopped=stopped)
    assert len(asked) == 5
    assert torch.equal(runner.env.state_dict()["generator"], before)


def test_no_episodes_are_no_evaluation() -> None:
    with pytest.raises(ValueError, match="0 episodes"):
        toy_runner().evaluate(None, 0, seed=0)


# --- resuming, devices ---


def test_a_saved_runner_goes_on_with_the_same_episodes() -> None:
    runner, other = toy_runner(), toy_runner(seed=9)
    runner.play()
    state = runner.state_dict()
    expected = runner.play(), runner.play()
    assert not torch.equal(expected[0].returns, expected[1].returns)
    other.load_state_dict(state)
    for rollout in expected:
        assert_equal(other.play().batch, rollout.batch)


def test_seeds_of_actions_matter() -> None:
    assert not torch.equal(toy_runner(seed=1).play().returns, toy_runner(seed=2).play().returns)


class WithParameters(Spy, nn.Module):
    def __init__(self, device: str) -> None:
        nn.Module.__init__(self)
        Spy.__init__(self, sends=False)
        self.weight = nn.Parameter(torch.zeros(1, device=device))


def test_actions_are_drawn_where_the_controller_lives() -> None:
    assert Runner(TableEnv(), Spy(), seed=0).device.type == "cpu"
    assert Runner(TableEnv(), WithParameters("cpu"), seed=0).device.type == "cpu"
    assert Runner(TableEnv(), WithParameters("meta"), seed=0, device="cpu").device.type == "cpu"


def test_nothing_is_copied_on_one_device() -> None:
    class Remembers(TableEnv):
        def show(self, reward: Tensor) -> TimeStep:
            self.shown = super().show(reward)
            return self.shown

    env, spy = Remembers(), Spy()
    runner = Runner(env, spy, seed=0)
    act = spy.act

    def checked(timestep: TimeStep, *args: Any, **how: Any) -> Decision:
        assert timestep is env.shown
        return act(timestep, *args, **how)

    spy.act = checked  # type: ignore[method-assign]
    runner.play()
    assert spy.calls


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("env_device", "device"), [("cpu", "cuda"), ("cuda", "cuda"), ("cuda", "cpu")])
def test_environment_and_controller_on_their_own_devices(env_device: str, device: str) -> None:
    env = make_toy(4, 5, env_device, **SETTINGS)
    team = reading_team(env.spec)

    def policy(seen: TimeStep, generator: torch.Generator) -> Tensor:
        tensors = [seen.entities, seen.obs_mask, seen.reward, *seen.info.values()]
        assert {x.device.type for x in tensors} == {device}
        assert generator.device.type == device
        return team(seen, generator)

    rollout = Runner(env, ScriptedController(policy), 0, device).play()
    batch = rollout.batch
    assert batch is not None
    assert {value.device.type for value in batch.parts().values()} == {env_device}
    assert torch.allclose(rollout.returns, rollout.lengths.float())  # reading gets every point

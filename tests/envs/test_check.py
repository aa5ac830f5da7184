"""The contract test accepts the toy environment, and complains about each rule that a variant breaks."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from toy_env import PointingToyEnv, TalkingToyEnv, ToyEnv

from envs.base import EntityEnv, EnvSpec, TimeStep
from envs.check import check_env
from utils.errors import UserError


def build(env_class: type[EntityEnv], num_envs: int = 3, seed: int = 0, **env_args: Any) -> EntityEnv:
    settings = {"team": "1-3", "private": 2, "slots": 4, **env_args}
    return env_class(env_class.resolve_args(settings, []), num_envs=num_envs, seed=seed)


@pytest.mark.parametrize("team", ["2", "1-3", "varying"])
@pytest.mark.parametrize(("num_envs", "private"), [(1, 0), (4, 2)])
def test_toy_environment_keeps_the_contract(team: str, num_envs: int, private: int) -> None:
    check_env(build(ToyEnv, num_envs, team=team, private=private), teams=("1", "2-4", "varying"))


def broken(change: Callable[[TimeStep, EntityEnv], TimeStep]) -> type[EntityEnv]:
    """A toy environment whose every time step is spoiled by `change`."""

    class Broken(ToyEnv):
        def _reset(self, env_mask: torch.Tensor, team: str | None) -> TimeStep:
            return change(super()._reset(env_mask, team), self)

        def _step(self, actions: torch.Tensor) -> TimeStep:
            return change(super()._step(actions), self)

    return Broken


def with_info(seen: TimeStep, **figures: torch.Tensor) -> TimeStep:
    return seen._replace(info={**seen.info, **figures})


A, E = 4, 6
#: what is wrong -> (how a time step is spoiled, what the message says)
WRONG_STEPS = {
    "shape": (lambda s, e: s._replace(entities=s.entities[:, :-1]), r"entities has shape"),
    "private shape": (lambda s, e: s._replace(private=s.private[:, :, :1]), r"private has shape"),
    "dtype": (lambda s, e: s._replace(reward=s.reward.double()), r"reward has dtype"),
    "mask dtype": (lambda s, e: s._replace(entity_mask=s.entity_mask.float()), r"entity_mask has dtype"),
    "device": (lambda s, e: s._replace(private=s.private.to("meta")), r"private is on meta"),
    "no tensor": (lambda s, e: s._replace(reward=s.reward.numpy()), r"reward is no tensor"),
    "gradient": (lambda s, e: s._replace(entities=s.entities.requires_grad_()), r"entities requires a gradient"),
    "nan": (lambda s, e: s._replace(entities=s.entities / 0), r"entities has infinite or undefined"),
    "absent entity": (lambda s, e: s._replace(entities=s.entities + 1), r"entities of absent slots"),
    "absent private": (lambda s, e: s._replace(private=s.private + 1), r"private features of absent"),
    "blind": (lambda s, e: s._replace(obs_mask=s.obs_mask & ~torch.eye(A, E).bool()), r"does not see itself"),
    "ghost sees": (lambda s, e: s._replace(obs_mask=s.obs_mask | s.entity_mask[:, None]), r"absent agent sees"),
    "ghost seen": (
        lambda s, e: s._replace(obs_mask=s.obs_mask | s.agent_mask[:, :, None]),
        r"an absent entity is seen",
    ),
    "nothing legal": (lambda s, e: s._replace(avail_mask=s.avail_mask & s.agent_mask[..., None]), r"no legal action"),
    "ghost acts": (lambda s, e: s._replace(avail_mask=torch.ones_like(s.avail_mask)), r"more than action 0"),
    "two ends": (lambda s, e: s._replace(terminated=s.done, truncated=s.done), r"terminated and truncated"),
    "over at once": (lambda s, e: s._replace(terminated=~s.truncated), r"over before its first step"),
    "reward at start": (lambda s, e: s._replace(reward=s.reward + 1), r"reward is not 0 \(after reset"),
    "empty team": (
        lambda s, e: TimeStep(*(torch.zeros_like(x) for x in s[:4]), torch.eye(1, 4).bool().expand(3, A, 4), *s[5:]),
        r"starts without agents",
    ),
    "info name": (lambda s, e: with_info(s, more=s.reward), r"info has"),
    "info shape": (lambda s, e: with_info(s, hits=s.reward.sum()), r"info\['hits'\] has shape"),
    "never over": (lambda s, e: s._replace(terminated=s.done & False, truncated=s.done & False), r"plays on after"),
    "reward after the end": (lambda s, e: s._replace(reward=s.reward + s.done.float()), r"not 0 after the episode"),
}


@pytest.mark.parametrize("what", WRONG_STEPS)
def test_a_wrong_time_step_is_noticed(what: str) -> None:
    change, message = WRONG_STEPS[what]
    with pytest.raises(AssertionError, match=message):
        check_env(build(broken(change)))


def wrong_spec(**changes: Any) -> type[EntityEnv]:
    class Broken(ToyEnv):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.spec = replace(self.spec, **changes)

    return Broken


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"entities": 3}, "cannot hold 4 agents"),
        ({"agents": 0}, "at least one slot"),
        ({"symbols": 1}, r"messages have 1 symbols: 0, or at least 2"),
        ({"basic": 0}, "basic must be positive"),
        ({"episode_limit": 0}, "episode_limit is 0"),
        ({"feature_slices": {"number": slice(0, 7)}}, "feature_slices cover"),
        ({"feature_slices": {"number": slice(0, 8), "id": slice(7, 8)}}, "feature_slices cover"),
        ({"feature_slices": {"number": slice(None)}}, "not slice"),
        ({"action_names": ("none",)}, "1 action_names for 4 basic actions"),
    ],
)
def test_a_wrong_specification_is_noticed(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_env(build(wrong_spec(**changes)))


class NotFrozen(ToyEnv):
    """New signs after the end."""

    def _turn(self, env_mask: torch.Tensor) -> None:
        super()._turn(torch.ones_like(env_mask))


class Overwriting(ToyEnv):
    """Hands out the same memory again and again."""

    def _show(self, reward: torch.Tensor) -> TimeStep:
        seen = super()._show(reward)
        if not hasattr(self, "memory"):
            self.memory = seen.entities
        self.memory.copy_(seen.entities)
        return seen._replace(entities=self.memory)


class ResetsAll(ToyEnv):
    def _reset(self, env_mask: torch.Tensor, team: str | None) -> TimeStep:
        return super()._reset(torch.ones_like(env_mask), team)


class IgnoresTeam(ToyEnv):
    def _reset(self, env_mask: torch.Tensor, team: str | None) -> TimeStep:
        return super()._reset(env_mask, None)


class GlobalChance(ToyEnv):
    def _rand(self, *shape: int) -> torch.Tensor:
        return torch.rand(self.num_envs, *shape)


class IgnoresSeed(ToyEnv):
    def seed(self, seed: int) -> None:
        super().seed(0)


class AlwaysTheSame(ToyEnv):
    def _reset(self, env_mask: torch.Tensor, team: str | None) -> TimeStep:
        self.generator.manual_seed(0)
        return super()._reset(env_mask, team)


class ForgetsState(ToyEnv):
    def load_state_dict(self, state: Any) -> None:
        pass


class StrangeState(ToyEnv):
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "args": self.args}


class ForgetsPlace(ToyEnv):
    RUNNING = tuple(name for name in ToyEnv.RUNNING if name != "t")


class ForgetsChance(ToyEnv):
    def running(self) -> dict[str, Any]:
        return {**super().running(), "generator": torch.Generator().manual_seed(3).get_state()}


class SavesWhatChanges(ToyEnv):
    """What it saves is what it goes on with."""

    def _step(self, actions: torch.Tensor) -> TimeStep:
        seen, hits = super()._step(actions), self.hits
        self.hits = self.saved.copy_(hits) if hasattr(self, "saved") else hits
        return seen

    def running(self) -> dict[str, Any]:
        self.saved = self.hits
        return {**super().running(), "hits": self.saved}


class StrangeRunning(ToyEnv):
    def running(self) -> dict[str, Any]:
        return {**super().running(), "args": self.args}


class IllegalScript(ToyEnv):
    SCRIPTED = {"bad": lambda spec: lambda seen, generator: seen.agent_mask.long()}  # noqa: RUF012


class WildScript(ToyEnv):
    SCRIPTED = {"wild": lambda spec: lambda seen, generator: seen.agent_mask.long() * 9}  # noqa: RUF012


@pytest.mark.parametrize(
    ("env_class", "message"),
    [
        (NotFrozen, "changes after the episode is over"),
        (Overwriting, "overwrites entities"),
        (ResetsAll, "left out"),
        (IgnoresTeam, "team 4 has"),
        (GlobalChance, "load_state_dict does not continue"),
        (IgnoresSeed, "another seed gives the same"),
        (AlwaysTheSame, "repeats the first"),
        (ForgetsState, "load_state_dict does not continue"),
        (StrangeState, "state_dict holds more"),
        (ForgetsPlace, "resume does not go on .* truncated differs"),
        (ForgetsChance, "resume does not go on"),
        (SavesWhatChanges, r"resume does not go on .* info\['hits'\] differs"),
        (StrangeRunning, "running holds more"),
        (IllegalScript, "an illegal action"),
        (WildScript, "is not one of 4"),
    ],
)
def test_a_wrong_behaviour_is_noticed(env_class: type[EntityEnv], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_env(build(env_class), teams=("4",))


class SeedOnlyForgets(ToyEnv):
    """Equal states continue equally, equal seeds do not."""

    count = 0

    def seed(self, seed: int) -> None:
        SeedOnlyForgets.count += 1
        super().seed(seed + SeedOnlyForgets.count)


def test_a_seed_that_does_not_repeat_is_noticed() -> None:
    with pytest.raises(AssertionError, match="the same seed gives other episodes"):
        check_env(build(SeedOnlyForgets))


def test_unrepeatable_and_unvaried_environments_can_be_excused() -> None:
    check_env(build(GlobalChance), repeatable=False)
    check_env(build(AlwaysTheSame), varied=False)


def test_messages_name_the_environment() -> None:
    with pytest.raises(AssertionError, match=r"^toy: "):
        check_env(build(ResetsAll))


class PointsBlindly(PointingToyEnv):
    def _show(self, reward):
        seen = super()._show(reward)
        everywhere = torch.ones_like(seen.obs_mask) & seen.agent_mask[:, :, None]
        everywhere[:, :, : self.spec.agents] = False
        return seen._replace(avail_mask=torch.cat([seen.avail_mask[..., : self.spec.basic], everywhere], dim=-1))


class PointsAtAgents(PointingToyEnv):
    def _show(self, reward):
        seen = super()._show(reward)
        return seen._replace(avail_mask=torch.cat([seen.avail_mask[..., : self.spec.basic], seen.obs_mask], dim=-1))


class SameNames(PointsAtAgents):
    """Signs and agents have the same names, and agents point at both."""

    def __init__(self, *words, **settings):
        super().__init__(*words, **settings)
        self.spec = replace(self.spec, points="anybody")


class NamesTooMany(PointingToyEnv):
    def __init__(self, *words, **settings):
        super().__init__(*words, **settings)
        self.spec = replace(self.spec, names=1)


@pytest.mark.parametrize(
    ("env_class", "message"),
    [
        (PointsBlindly, "may point at an entity that it does not see"),
        (PointsAtAgents, "may point at more than others"),
        (SameNames, "two entities of one name"),
        (NamesTooMany, "names are not 1 to 1"),
    ],
)
def test_actions_that_point_where_they_may_not_are_noticed(env_class, message):
    check_env(build(PointingToyEnv))
    with pytest.raises(AssertionError, match=message):
        check_env(build(env_class))


class PointsBlindlyWithOneSymbol(TalkingToyEnv):
    """At everybody, though only while saying symbol 1."""

    def _show(self, reward: torch.Tensor) -> TimeStep:
        seen = super()._show(reward)
        avail_mask = seen.avail_mask.clone()
        avail_mask[..., -1] |= seen.agent_mask
        return seen._replace(avail_mask=avail_mask)


def test_actions_with_symbols() -> None:
    check_env(build(TalkingToyEnv, team="varying"))
    with pytest.raises(AssertionError, match="points? at an entity that it does not see"):
        check_env(build(PointsBlindlyWithOneSymbol))


def test_whether_actions_point_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PointingToyEnv, "POINTS", False)
    with pytest.raises(AssertionError, match="points is 'others', POINTS False"):
        check_env(build(PointingToyEnv))


def test_a_specification_that_points_at_nobody_is_refused() -> None:
    with pytest.raises(UserError, match="alone: actions point at others, but there are no entities beside the agents"):
        EnvSpec("alone", 2, 2, 3, 0, 4, 9, points="others")
    with pytest.raises(ValueError, match="points='enemies' is not one of"):
        EnvSpec("odd", 2, 4, 3, 0, 4, 9, points="enemies")
    assert EnvSpec("team", 2, 2, 3, 0, 4, 9, points="teammates").actions == 6


def test_what_cannot_be_saved_in_the_middle_says_so() -> None:
    class CannotSuspend(ToyEnv):
        suspends = False

    check_env(build(CannotSuspend))
    for act in (lambda env: env.running(), lambda env: env.resume({})):
        with pytest.raises(NotImplementedError, match="CannotSuspend cannot"):
            act(build(CannotSuspend))


@pytest.mark.parametrize("sizes", [{"num_envs": 4}, {"slots": 5}])
def test_episodes_of_other_sizes_are_not_taken_up(sizes: dict[str, int]) -> None:
    state = build(ToyEnv).running()
    with pytest.raises(ValueError, match=r"saved was torch.bool \(3, 4\), here is torch.bool"):
        build(ToyEnv, **sizes).resume(state)

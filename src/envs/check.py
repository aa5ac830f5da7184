"""The contract that every environment keeps, as one test. Shape letters: B environments, A agent slots, E entity slots,
D entity features, P private features, U actions.
"""

import io
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from components.action_selectors import random_legal
from envs.base import NAME, OWN_MOVE, EntityEnv, EnvSpec, TimeStep
from envs.scene import SHAPES
from utils.seeding import make_generator


def check_env(
    env: EntityEnv, steps: int = 60, teams: Sequence[str] = (), *, repeatable: bool = True, varied: bool = True
) -> None:
    """Play `env` with random legal actions and check everything that `EntityEnv` and `TimeStep` promise.

    Args:
        env: with more than one environment where it can, so that partial resets are seen to leave others alone. It is
            left in the middle of an episode, and not closed.
        steps: how long to play; at least until the episode limit has been reached.
        teams: teams to draw besides the training team. A size or a range ("2", "3-5") must hold in the first step.
        repeatable: False leaves out the comparison of equal seeds, and of episodes that are taken up again (for a game
            that promises no such thing).
        varied: False leaves out that other seeds give other episodes (for an environment without chance).

    Raises:
        AssertionError: says which promise is broken.
    """
    checker = _Checker(env, steps)
    checker.check_spec()
    checker.check_episodes()
    checker.check_partial_reset()
    for team in teams:
        checker.check_team(team)
    for name in env.SCRIPTED:
        checker.check_scripted(name)
    checker.check_seeding(repeatable, varied)
    if env.suspends and repeatable:
        checker.check_running()


class _Checker:
    def __init__(self, env: EntityEnv, steps: int) -> None:
        self.env = env
        self.spec: EnvSpec = env.spec
        self.steps = max(steps, env.spec.episode_limit + 3)
        self.generator = make_generator(0, env.device)

    def demand(self, holds: object, message: str) -> None:
        if not bool(holds):
            raise AssertionError(f"{self.spec.name}: {message}")

    # --- the specification ---

    def check_spec(self) -> None:
        spec = self.spec
        self.demand(spec.agents >= 1, f"agents is {spec.agents}, at least one slot is needed")
        self.demand(
            spec.entities >= spec.agents, f"{spec.entities} entity slots cannot hold {spec.agents} agents first"
        )
        self.demand(spec.basic >= 1 and spec.private >= 0, "basic must be positive, private not negative")
        self.demand(spec.symbols == 0 or spec.symbols > 1, f"messages have {spec.symbols} symbols: 0, or at least 2")
        self.demand(spec.episode_limit >= 1, f"episode_limit is {spec.episode_limit}")
        columns: list[int] = []
        for name, part in spec.feature_slices.items():
            known = part.start is not None and part.stop is not None and part.step in (None, 1)
            self.demand(known, f"feature_slices[{name!r}] is {part}, not slice(start, stop)")
            columns += range(part.start, part.stop)
        exact = sorted(columns) == list(range(spec.features))
        self.demand(exact, f"feature_slices cover columns {sorted(columns)}, not each of {spec.features} exactly once")
        named = len(spec.action_names) in (0, spec.basic)
        self.demand(named, f"{len(spec.action_names)} action_names for {spec.basic} basic actions")
        told = spec.legal_from is None or 0 <= spec.legal_from <= spec.basic
        self.demand(told, f"legal_from is {spec.legal_from}, not one of {spec.basic} basic actions")
        self.demand(bool(spec.points) == self.env.POINTS, f"points is {spec.points!r}, POINTS {self.env.POINTS}")
        if spec.names:
            first = spec.feature_slices.get(NAME) == slice(0, 1)
            self.demand(first, f"there are names: column 0 of the entities must be the feature {NAME!r}")

    # --- one time step ---

    def check_step(self, seen: TimeStep, when: str) -> None:
        """Everything that holds in any single time step."""
        spec, b = self.spec, self.env.num_envs
        a, e = spec.agents, spec.entities
        self.check_tensor("entities", seen.entities, torch.float32, (b, e, spec.features), when)
        self.check_tensor("private", seen.private, torch.float32, (b, a, spec.private), when)
        self.check_tensor("entity_mask", seen.entity_mask, torch.bool, (b, e), when)
        self.check_tensor("obs_mask", seen.obs_mask, torch.bool, (b, a, e), when)
        self.check_tensor("avail_mask", seen.avail_mask, torch.bool, (b, a, spec.actions), when)
        self.check_tensor("reward", seen.reward, torch.float32, (b,), when)
        self.check_tensor("terminated", seen.terminated, torch.bool, (b,), when)
        self.check_tensor("truncated", seen.truncated, torch.bool, (b,), when)
        names = set(spec.info_names)
        self.demand(set(seen.info) == names, f"info has {sorted(seen.info)}, info_names {sorted(names)} ({when})")
        for name, figure in seen.info.items():
            self.check_tensor(f"info[{name!r}]", figure, torch.float32, (b,), when)

        here, agents = seen.entity_mask, seen.agent_mask
        self.demand((seen.entities[~here] == 0).all(), f"entities of absent slots are not zero ({when})")
        self.demand((seen.private[~agents] == 0).all(), f"private features of absent agents are not zero ({when})")
        itself = seen.obs_mask[:, :, :a].diagonal(dim1=1, dim2=2)
        self.demand((itself | ~agents).all(), f"obs_mask: a present agent does not see itself ({when})")
        self.demand(not seen.obs_mask[~agents].any(), f"obs_mask: an absent agent sees something ({when})")
        absent = ~here[:, None, :].expand(b, a, e)
        self.demand(not seen.obs_mask[absent].any(), f"obs_mask: an absent entity is seen ({when})")
        self.demand(seen.avail_mask.any(dim=2).all(), f"avail_mask: an agent has no legal action ({when})")
        first_only = seen.avail_mask[..., 0] & ~seen.avail_mask[..., 1:].any(dim=2)
        self.demand((first_only | agents).all(), f"avail_mask: an absent agent has more than action 0 ({when})")
        if spec.points:
            self.check_targets(seen, when)
        both = seen.terminated & seen.truncated
        self.demand(not both.any(), f"terminated and truncated at once ({when})")

    def check_targets(self, seen: TimeStep, when: str) -> None:
        """Agents point at entities that they see, of the specification's kind, and names tell them apart."""
        spec = self.spec
        at = spec.legal_acts(seen.avail_mask)[..., spec.basic :]
        self.demand((seen.obs_mask | ~at).all(), f"an agent may point at an entity that it does not see ({when})")
        outside = {"others": at[..., : spec.agents], "teammates": at[..., spec.agents :]}.get(spec.points)
        self.demand(outside is None or not outside.any(), f"an agent may point at more than {spec.points} ({when})")
        if not spec.names:
            return
        name = seen.entities[..., 0]
        whole = (name == name.round()) & (name.abs() <= spec.names) & ((name != 0) == seen.entity_mask)
        self.demand(whole.all(), f"names are not 1 to {spec.names}, or minus that, where somebody is ({when})")
        codes = torch.arange(1, spec.names + 1, device=name.device)
        count = at.float() @ (name[..., None] == codes).float()  # (B, A, names)
        told = (count <= 1).all() & (count.sum(dim=-1) == at.sum(dim=-1)).all()
        self.demand(told, f"an agent may point at two entities of one name, or at one that shows none ({when})")

    def check_tensor(self, name: str, value: Any, dtype: torch.dtype, shape: tuple[int, ...], when: str) -> None:
        self.demand(isinstance(value, Tensor), f"{name} is no tensor but {type(value).__name__} ({when})")
        self.demand(value.dtype == dtype, f"{name} has dtype {value.dtype}, not {dtype} ({when})")
        self.demand(tuple(value.shape) == shape, f"{name} has shape {tuple(value.shape)}, not {shape} ({when})")
        where, want = value.device, self.env.device
        same = where.type == want.type and (where.index == want.index or None in (where.index, want.index))
        self.demand(same, f"{name} is on {where}, not on {want} ({when})")
        self.demand(not value.requires_grad, f"{name} requires a gradient ({when})")
        if value.is_floating_point():
            self.demand(value.isfinite().all(), f"{name} has infinite or undefined values ({when})")

    def check_start(self, seen: TimeStep, fresh: Tensor, when: str) -> None:
        """What holds where an episode has just begun, `fresh (B,)`."""
        self.check_step(seen, when)
        self.demand((seen.reward[fresh] == 0).all(), f"reward is not 0 ({when})")
        self.demand(not seen.done[fresh].any(), f"an episode is over before its first step ({when})")
        self.demand(seen.agent_mask[fresh].any(dim=1).all(), f"an episode starts without agents ({when})")

    # --- whole episodes ---

    def check_episodes(self) -> None:
        """Single steps, the episode limit, rest after the end, resets of those that have ended."""
        env = self.env
        everywhere = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
        seen = env.reset()
        self.check_start(seen, everywhere, "after reset")
        age = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)
        for step in range(self.steps):
            kept = _copy(seen)
            new = env.step(random_legal(seen.avail_mask, self.generator))
            self.check_step(new, f"after step {step}")
            self.check_scene(new, f"after step {step}")
            changed = _difference(seen, kept, everywhere)
            self.demand(not changed, f"a step overwrites {changed} of the time step before")
            over = seen.done
            changed = _difference(new, seen, over, leave_out="reward")
            self.demand(not changed, f"{changed} changes after the episode is over")
            self.demand((new.reward[over] == 0).all(), "reward is not 0 after the episode is over")
            age += ~over
            limit = self.spec.episode_limit
            self.demand((new.done | (age < limit)).all(), f"an episode plays on after episode_limit={limit} steps")
            seen = new
            if step % 3 == 2 and bool(seen.done.any()):  # not at once: rest after the end must be seen as well
                age = age.masked_fill(seen.done, 0)
                seen = self.reset_some(seen, seen.done)

    def check_scene(self, seen: TimeStep, when: str) -> None:
        """How the last of the environments looks, where it says so."""
        scene = self.env.scene(self.env.num_envs - 1)
        if scene is None:
            return
        present = seen.entity_mask[-1].nonzero()[:, 0].tolist()
        self.demand(set(scene.bodies) <= set(present), f"the scene has bodies of absent entities {when}")
        for slot, body in scene.bodies.items():
            self.demand(body.look.shape in SHAPES, f"entity {slot} has the unknown shape {body.look.shape!r} {when}")
            told = len(body.levels) == len(body.look.gauges) and all(gauge.full > 0 for gauge in body.look.gauges)
            self.demand(told, f"entity {slot} has gauges {body.look.gauges} and levels {body.levels} {when}")
            self.demand((body.look.side == "team") == (slot < self.spec.agents), f"entity {slot} is on no side {when}")
        arena, known = scene.arena, set(range(self.spec.entities))
        self.demand(arena.left < arena.right and arena.bottom < arena.top, f"the scene has no size {when}")
        self.demand(known >= {*scene.aims, *scene.aims.values()}, f"aims at unknown entities {when}: {scene.aims}")

    def check_partial_reset(self) -> None:
        """Running environments that are left out of a reset stay as they are."""
        env = self.env
        seen = env.reset()
        seen = env.step(random_legal(seen.avail_mask, self.generator))
        nobody = torch.zeros(env.num_envs, dtype=torch.bool, device=env.device)
        seen = self.reset_some(seen, nobody)
        every_other = torch.arange(env.num_envs, device=env.device) % 2 == 1
        self.reset_some(seen, every_other)

    def reset_some(self, seen: TimeStep, env_mask: Tensor) -> TimeStep:
        kept = _copy(seen)
        new = self.env.reset(env_mask.clone())
        self.check_start(new, env_mask, "after a partial reset")
        changed = _difference(seen, kept, torch.ones_like(env_mask))
        self.demand(not changed, f"a reset overwrites {changed} of the time step before")
        changed = _difference(new, kept, ~env_mask, leave_out="reward")
        self.demand(not changed, f"a partial reset changes {changed} of an environment that was left out")
        return new

    def check_team(self, team: str) -> None:
        env = self.env
        everywhere = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
        for _ in range(3):
            seen = env.reset(team=team)
            self.check_start(seen, everywhere, f"team {team}")
            size = seen.agent_mask.sum(dim=1)
            match = re.fullmatch(r"(\d+)(?:-(\d+))?", team)
            if match:
                low, high = int(match[1]), int(match[2] or match[1])
                fits = (size >= low) & (size <= high)
                self.demand(fits.all(), f"team {team} has {size.tolist()} agents")
        for step in range(min(self.steps, self.spec.episode_limit)):
            seen = env.step(random_legal(seen.avail_mask, self.generator))
            self.check_step(seen, f"team {team}, step {step}")

    def check_scripted(self, name: str) -> None:
        env = self.env
        policy = env.SCRIPTED[name](self.spec)
        seen = env.reset()
        for step in range(min(self.steps, self.spec.episode_limit)):
            actions = policy(seen, self.generator)
            when = f"scripted {name}, step {step}"
            self.check_tensor("actions", actions, torch.int64, (env.num_envs, self.spec.agents), when)
            own = (actions == OWN_MOVE) & seen.agent_mask & self.spec.own_moves
            inside = (actions >= 0) & (actions < self.spec.actions)
            self.demand((inside | own).all(), f"an action is not one of {self.spec.actions} ({when})")
            legal = seen.avail_mask.gather(2, actions.clamp(min=0)[..., None])[..., 0]
            self.demand((legal | own).all(), f"an illegal action ({when})")
            seen = env.step(actions)

    # --- chance ---

    def check_seeding(self, repeatable: bool, varied: bool) -> None:
        env = self.env
        env.seed(11)
        first = self.record()
        state = _stored("state_dict", env.state_dict(), self)
        following = self.record()
        if repeatable:
            env.load_state_dict(state)
            changed = _differences(following, self.record())
            self.demand(not changed, f"load_state_dict does not continue the same episodes: {changed} differs")
            env.seed(11)
            changed = _differences(first, self.record())
            self.demand(not changed, f"the same seed gives other episodes: {changed} differs")
        if varied:
            self.demand(_differences(first, following), "the second round of episodes repeats the first")
            env.seed(12)
            self.demand(_differences(first, self.record()), "another seed gives the same episodes")

    def record(self) -> list[TimeStep]:
        """Two rounds of episodes with the same choices for equal legal actions."""
        generator = make_generator(5, self.env.device)
        seen = []
        for _ in range(2):
            seen.append(_copy(self.env.reset()))
            for _ in range(min(self.spec.episode_limit, 20)):
                seen.append(_copy(self.env.step(random_legal(seen[-1].avail_mask, generator))))
        return seen

    def check_running(self) -> None:
        """Episodes that were saved in the middle go on as they would have, and so do those that follow."""
        env = self.env
        env.seed(11)
        seen = self.go_on(env.reset(), 5)[-1]
        state = env.running()
        nobody = torch.zeros_like(seen.done)
        expected = [_copy(env.reset(nobody)), *self.go_on(seen, self.steps)]
        state = _stored("running", state, self)  # late: what was played since is none of its business
        env.seed(12)
        self.go_on(env.reset(), 4)  # not 5, after which the last choices would be the same
        env.resume(state)
        changed = _differences(expected, [_copy(env.reset(nobody)), *self.go_on(seen, self.steps)])
        self.demand(not changed, f"resume does not go on with the episodes that running saved: {changed} differs")

    def go_on(self, seen: TimeStep, steps: int) -> list[TimeStep]:
        """Steps after `seen` with the same choices for equal legal actions; where an episode ends, another begins."""
        generator = make_generator(5, self.env.device)
        shown = []
        for _ in range(steps):
            shown.append(_copy(self.env.step(random_legal(seen.avail_mask, generator))))
            seen = _copy(self.env.reset(shown[-1].done))
            shown.append(seen)
        return shown


def _fields(seen: TimeStep) -> dict[str, Tensor]:
    flat = {name: value for name, value in seen._asdict().items() if name != "info"}
    return {**flat, **{f"info[{name!r}]": value for name, value in seen.info.items()}}


def _copy(seen: TimeStep) -> TimeStep:
    info = {name: value.clone() for name, value in seen.info.items()}
    return TimeStep(**{n: v.clone() for n, v in seen._asdict().items() if n != "info"}, info=info)


def _difference(one: TimeStep, other: TimeStep, rows: Tensor, leave_out: str = "") -> str:
    """The first field in which two time steps differ in environments `rows (B,)`; empty where they agree."""
    second = _fields(other)
    for name, value in _fields(one).items():
        if name != leave_out and not torch.equal(value[rows], second[name][rows]):
            return name
    return ""


def _differences(one: list[TimeStep], other: list[TimeStep]) -> str:
    for first, second in zip(one, other, strict=True):
        everywhere = torch.ones_like(first.terminated)
        name = _difference(first, second, everywhere)
        if name:
            return name
    return ""


def _stored(what: str, state: dict[str, Any], checker: _Checker) -> dict[str, Any]:
    """The state, which is from `what`, as a checkpoint gives it back."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    try:
        loaded: dict[str, Any] = torch.load(file, weights_only=True, map_location="cpu")
    except Exception as error:
        raise AssertionError(
            f"{checker.spec.name}: {what} holds more than tensors and plain values: {error}"
        ) from error
    return loaded

"""A tiny environment without a game, for tests. Each of a few signs shows a number; an agent that plays the action of
the sign it sees gains a point.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from components.action_selectors import random_legal
from envs.base import NAME, EntityEnv, EnvSpec, ScriptedPolicy, TimeStep
from utils.errors import UserError


@dataclass(frozen=True)
class Args:
    """Settings of the toy environment."""

    #: training team: "2", "1-3", or "varying" (agents join and leave inside an episode)
    team: str = "1-3"
    #: agent slots A; 0: as many as the largest team needs
    slots: int = 0
    #: signs, of which each agent sees exactly one; only the first is sure to be there
    signs: int = 2
    #: numbers a sign can show; the actions are 0 (for absent agents) and one per number
    numbers: int = 3
    #: width of the private features
    private: int = 0
    #: chance in each step that the episode ends by itself
    end_chance: float = 0.1
    episode_limit: int = 8
    #: chance that an action other than the best is illegal for an agent in a step
    forbid_chance: float = 0.3


class ToyEnv(EntityEnv):
    """Signs that show numbers, and agents that should play them.

    Features: "number" (one-hot, signs only), "id" (one-hot slot, agents only), "agent" (1 for agents). The signs show
    new numbers after each step. Reward: the share of present agents that played what their sign shows.
    """

    Args = Args
    suspends = True
    RUNNING = (
        *("present", "sign_present", "varying", "shown", "sign_of", "allowed", "secret"),
        *("t", "hits", "terminated", "truncated"),
    )

    def __init__(self, args: Args, num_envs: int = 1, seed: int = 0, device: torch.device | str = "cpu") -> None:
        self.args = args
        agents, numbers = args.slots, args.numbers
        self.spec = EnvSpec(
            name="toy",
            agents=agents,
            entities=agents + args.signs,
            features=numbers + agents + 1,
            private=args.private,
            basic=numbers + 1,
            episode_limit=args.episode_limit,
            feature_slices={
                "number": slice(0, numbers),
                "id": slice(numbers, numbers + agents),
                "agent": slice(numbers + agents, numbers + agents + 1),
            },
            action_names=("none", *(f"say_{n}" for n in range(numbers))),
            info_names=("hits", "team_size"),
        )
        super().__init__(num_envs, seed, device)
        b, s = num_envs, args.signs
        self.present = torch.zeros(b, agents, dtype=torch.bool, device=self.device)
        self.sign_present = torch.zeros(b, s, dtype=torch.bool, device=self.device)
        self.varying = torch.zeros(b, dtype=torch.bool, device=self.device)
        self.shown = torch.zeros(b, s, dtype=torch.int64, device=self.device)
        self.sign_of = torch.zeros(b, agents, dtype=torch.int64, device=self.device)
        self.allowed = torch.zeros(b, agents, numbers, dtype=torch.bool, device=self.device)
        self.secret = torch.zeros(b, agents, args.private, device=self.device)
        self.t = torch.zeros(b, dtype=torch.int64, device=self.device)
        self.hits = torch.zeros(b, device=self.device)
        self.terminated = torch.zeros(b, dtype=torch.bool, device=self.device)
        self.truncated = torch.zeros(b, dtype=torch.bool, device=self.device)

    @classmethod
    def resolve_args(cls, env_args: Mapping[str, Any], test_teams: Sequence[str]) -> Args:
        unknown = set(env_args) - set(Args.__dataclass_fields__)
        if unknown:
            raise UserError(f"toy does not know {sorted(unknown)}")
        args = Args(**env_args)
        largest = max(parse_team(team, args.slots or 3)[1] for team in [args.team, *test_teams])
        if args.slots and args.slots < largest:
            raise UserError(f"a team of {largest} does not fit slots={args.slots}")
        return replace(args, slots=args.slots or largest)

    def _rand(self, *shape: int) -> Tensor:
        return torch.rand(self.num_envs, *shape, generator=self.generator, device=self.device)

    def _reset(self, env_mask: Tensor, team: str | None) -> TimeStep:
        low, high, varying = parse_team(team or self.args.team, self.spec.agents)
        if high > self.spec.agents:
            raise UserError(f"team {team} does not fit {self.spec.agents} slots")
        size = low + (self._rand() * (high - low + 1)).long()
        # a random choice of slots, so that absent agents are not always the last ones
        rank = self._rand(self.spec.agents).argsort(dim=1).argsort(dim=1)
        new = env_mask[:, None]
        self.present = torch.where(new, rank < size[:, None], self.present)
        signs = self._rand(self.args.signs) < 0.7
        signs[:, 0] = True
        self.sign_present = torch.where(new, signs, self.sign_present)
        self.varying = torch.where(env_mask, varying, self.varying)
        secret = self._rand(self.spec.agents, self.args.private)
        self.secret = torch.where(new[:, :, None], secret, self.secret)
        self.t = self.t.masked_fill(env_mask, 0)
        self.hits = self.hits.masked_fill(env_mask, 0)
        self.terminated = self.terminated & ~env_mask
        self.truncated = self.truncated & ~env_mask
        self._turn(env_mask)
        return self._show(torch.zeros(self.num_envs, device=self.device))

    def _step(self, actions: Tensor) -> TimeStep:
        active = ~(self.terminated | self.truncated)
        best = self.shown.gather(1, self.sign_of) + 1
        hit = ((actions == best) & self.present).sum(dim=1)
        reward = hit / self.present.sum(dim=1).clamp(min=1) * active
        self.hits = self.hits + hit * active
        self.t = self.t + active.long()
        self.terminated = self.terminated | (active & (self._rand() < self.args.end_chance))
        self.truncated = self.truncated | (active & ~self.terminated & (self.t >= self.spec.episode_limit))
        flip = (self._rand(self.spec.agents) < 0.3) & (self.varying & active)[:, None]
        changed = self.present ^ flip
        self.present = torch.where(changed.any(dim=1, keepdim=True), changed, self.present)
        self._turn(active)
        return self._show(reward)

    def _turn(self, env_mask: Tensor) -> None:
        """New numbers, new assignment and new forbidden actions where `env_mask (B,)`."""
        b, a, s, n = self.num_envs, self.spec.agents, self.args.signs, self.args.numbers
        new = env_mask[:, None]
        self.shown = torch.where(new, (self._rand(s) * n).long(), self.shown)
        sign_of = random_legal(self.sign_present[:, None].expand(b, a, s), self.generator)
        self.sign_of = torch.where(new, sign_of, self.sign_of)
        allowed = self._rand(a, n) >= self.args.forbid_chance
        allowed.scatter_(2, self.shown.gather(1, self.sign_of)[:, :, None], True)
        self.allowed = torch.where(new[:, :, None], allowed, self.allowed)

    def _show(self, reward: Tensor) -> TimeStep:
        b, a, spec = self.num_envs, self.spec.agents, self.spec
        entities = torch.zeros(b, spec.entities, spec.features, device=self.device)
        number, ident, agent = (spec.feature_slices[name] for name in ("number", "id", "agent"))
        entities[:, a:, number] = torch.nn.functional.one_hot(self.shown, self.args.numbers).float()
        entities[:, :a, ident] = torch.eye(a, device=self.device)
        entities[:, :a, agent] = 1
        entity_mask = torch.cat([self.present, self.sign_present], dim=1)
        itself = torch.eye(a, dtype=torch.bool, device=self.device).expand(b, a, a)
        sign = torch.nn.functional.one_hot(self.sign_of, self.args.signs).bool()
        obs_mask = torch.cat([itself, sign], dim=2) & entity_mask[:, None] & self.present[:, :, None]
        avail_mask = torch.cat([~self.present[:, :, None], self.allowed & self.present[:, :, None]], dim=2)
        return TimeStep(
            entities=entities * entity_mask[:, :, None],
            private=self.secret * self.present[:, :, None],
            entity_mask=entity_mask,
            obs_mask=obs_mask,
            avail_mask=avail_mask,
            reward=reward.float(),
            terminated=self.terminated,
            truncated=self.truncated,
            info={"hits": self.hits, "team_size": self.present.sum(dim=1).float()},
        )


class PointingToyEnv(ToyEnv):
    """Instead of the number of its sign, an agent may say which sign it sees by pointing at it."""

    POINTS = True

    def __init__(self, args: Args, num_envs: int = 1, seed: int = 0, device: torch.device | str = "cpu") -> None:
        super().__init__(args, num_envs, seed, device)
        moved = {name: slice(part.start + 1, part.stop + 1) for name, part in self.spec.feature_slices.items()}
        self.spec = replace(
            self.spec,
            features=self.spec.features + 1,
            feature_slices={NAME: slice(0, 1), **moved},
            points="others",
            names=max(args.slots, args.signs),
            legal_from=1,
        )

    def _step(self, actions: Tensor) -> TimeStep:
        basic, best = self.spec.basic, self.shown.gather(1, self.sign_of) + 1
        right = actions - basic - self.spec.agents == self.sign_of
        return super()._step(torch.where(actions < basic, actions, best * right))

    def _show(self, reward: Tensor) -> TimeStep:
        b, a, signs = self.num_envs, self.args.slots, self.args.signs
        spec, self.spec = self.spec, replace(self.spec, features=self.spec.features - 1, feature_slices=self._plain)
        seen = super()._show(reward)
        self.spec = spec
        names = torch.cat([torch.arange(1.0, a + 1), torch.arange(1.0, signs + 1)]).expand(b, -1) * seen.entity_mask
        nobody = torch.zeros(b, a, a, dtype=torch.bool)
        return seen._replace(
            entities=torch.cat([names.unsqueeze(-1), seen.entities], dim=-1),
            avail_mask=torch.cat([seen.avail_mask, nobody, seen.obs_mask[:, :, a:]], dim=-1),
        )

    @property
    def _plain(self) -> Mapping[str, slice]:
        parts = self.spec.feature_slices.items()
        return {name: slice(part.start - 1, part.stop - 1) for name, part in parts if name != NAME}


class TalkingToyEnv(PointingToyEnv):
    """Beside its act an agent says one of two symbols; acts count with the parity of the number on the sign alone."""

    def __init__(self, args: Args, num_envs: int = 1, seed: int = 0, device: torch.device | str = "cpu") -> None:
        super().__init__(args, num_envs, seed, device)
        self.spec = replace(self.spec, symbols=2)

    def _step(self, actions: Tensor) -> TimeStep:
        acts, symbols = self.spec.split(actions)
        return super()._step(acts * (symbols == self.shown.gather(1, self.sign_of) % 2))

    def _show(self, reward: Tensor) -> TimeStep:
        seen = super()._show(reward)
        avail_mask = seen.avail_mask.repeat_interleave(2, dim=-1)
        avail_mask[..., 1] = False  # acts are 0 for absent agents alone, who say nothing either
        return seen._replace(avail_mask=avail_mask)


def parse_team(team: str, slots: int) -> tuple[int, int, bool]:
    """The smallest and largest team, and whether it changes inside an episode."""
    if team == "varying":
        return 1, slots, True
    low, _, high = team.partition("-")
    if not low.isdigit() or (high and not high.isdigit()):
        raise UserError(f"team {team!r} is neither a size such as 2, nor a range such as 1-3, nor 'varying'")
    return int(low), int(high or low), False


def random_team(spec: EnvSpec) -> ScriptedPolicy:
    """Any legal action."""
    return lambda seen, generator: random_legal(seen.avail_mask, generator)


def reading_team(spec: EnvSpec) -> ScriptedPolicy:
    """Plays what the visible sign shows, which is always best."""
    number = spec.feature_slices["number"]

    def act(seen: TimeStep, generator: torch.Generator) -> Tensor:
        signs = seen.obs_mask[:, :, spec.agents :].float() @ seen.entities[:, spec.agents :, number]
        return (signs.argmax(dim=-1) + 1) * seen.agent_mask

    return act


def telling_team(spec: EnvSpec) -> ScriptedPolicy:
    """As the reading team, with the symbol that makes it count."""
    read = reading_team(spec)

    def act(seen: TimeStep, generator: torch.Generator) -> Tensor:
        number = read(seen, generator) - 1
        return spec.join(number + 1, number % 2) * seen.agent_mask

    return act


ToyEnv.SCRIPTED = {"random": random_team, "reading": reading_team}
TalkingToyEnv.SCRIPTED = {"random": random_team, "telling": telling_team}


def make_toy(num_envs: int = 4, seed: int = 0, device: torch.device | str = "cpu", **env_args: Any) -> ToyEnv:
    """A toy environment with resolved settings."""
    return ToyEnv(ToyEnv.resolve_args(env_args, []), num_envs=num_envs, seed=seed, device=device)


def make_pointing_toy(num_envs: int = 4, seed: int = 0, **env_args: Any) -> PointingToyEnv:
    """A toy environment whose actions point."""
    return PointingToyEnv(PointingToyEnv.resolve_args(env_args, []), num_envs=num_envs, seed=seed)

"""The matrix game (MIPI, section 5.1). Shape letters: B games, A = 2 agents, E = 4 entities (agents, then types)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from components.action_selectors import random_legal
from envs.base import EntityEnv, EnvSpec, ScriptedPolicy, TimeStep
from envs.teams import refuse_repeats
from utils.errors import UserError

TYPES = "AB"
AGENTS = ACTIONS = 2
#: team (the types of both agents) -> pay-off of each joint action; rows are the first agent's actions
PAYOFFS: Mapping[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "AB": ((5.0, 5.2), (0.0, 0.2)),
    "BA": ((5.0, 0.0), (5.2, 0.2)),
    "BB": ((5.0, 5.2), (0.0, 0.2)),
}


@dataclass(frozen=True)
class MatrixGameArgs:
    """The settings of `MatrixGameEnv`, `env_args` in the configuration."""

    #: teams that training draws from, joined by slashes
    train_team: str = "AB/BA"


class MatrixGameEnv(EntityEnv):
    """A batch of games of one step: both agents act, the team has its pay-off, the game has come to its end.

    An agent's own entity says which agent it is and nothing else. Its type is an entity of its own, which it sees; it
    does not see the type of its team-mate.
    """

    Args = MatrixGameArgs
    FIXED_TESTS = True
    suspends = True
    RUNNING = ("_types", "_payoff", "_consistent", "_over")

    def __init__(self, args: MatrixGameArgs, num_envs: int, seed: int, device: torch.device | str = "cpu") -> None:
        super().__init__(num_envs, seed, device)
        self.train_team = parse_team(args.train_team, "env_args.train_team")
        self.spec = EnvSpec(
            name="matrix_game",
            agents=AGENTS,
            entities=2 * AGENTS,
            features=AGENTS + len(TYPES),
            private=0,
            basic=ACTIONS,
            episode_limit=1,
            feature_slices={"agent": slice(0, AGENTS), "type": slice(AGENTS, AGENTS + len(TYPES))},
            action_names=("0", "1"),
            info_names=("consistent", "team_size"),
        )
        self._types = torch.zeros(num_envs, AGENTS, dtype=torch.int64, device=self.device)
        self._payoff = torch.zeros(num_envs, ACTIONS, ACTIONS, device=self.device)
        self._consistent = torch.zeros(num_envs, device=self.device)
        # games that have never been reset are over
        self._over = torch.ones(num_envs, dtype=torch.bool, device=self.device)

    @classmethod
    def resolve_args(cls, env_args: Mapping[str, Any], test_teams: Sequence[str]) -> MatrixGameArgs:
        args = MatrixGameArgs(**env_args)  # unknown keys and wrong types were refused before
        parse_team(args.train_team, "env_args.train_team")
        refuse_repeats(test_teams, lambda team: tuple(sorted(parse_team(team, "test_teams"))))
        return args

    def _reset(self, env_mask: Tensor, team: str | None) -> TimeStep:
        teams = self.train_team if team is None else parse_team(team)
        types = torch.tensor([[TYPES.index(letter) for letter in name] for name in teams], device=self.device)
        payoffs = torch.tensor([PAYOFFS[name] for name in teams], device=self.device)
        # drawn for all games, then kept for some: which ones are reset changes nothing that comes later
        drawn = torch.randint(len(teams), (self.num_envs,), generator=self.generator, device=self.device)
        self._types = torch.where(env_mask[:, None], types[drawn], self._types)
        self._payoff = torch.where(env_mask[:, None, None], payoffs[drawn], self._payoff)
        self._consistent = self._consistent.masked_fill(env_mask, 0)
        self._over = self._over & ~env_mask
        return self._show(torch.zeros(self.num_envs, device=self.device))

    def _step(self, actions: Tensor) -> TimeStep:
        running = ~self._over
        first, second = actions.unbind(dim=1)
        payoff = self._payoff[torch.arange(self.num_envs, device=self.device), first, second]
        self._consistent = torch.where(running, (actions == 0).all(dim=1).float(), self._consistent)
        self._over = torch.ones_like(self._over)
        return self._show(payoff * running)

    def _show(self, reward: Tensor) -> TimeStep:
        agents = torch.eye(AGENTS, device=self.device).expand(self.num_envs, -1, -1)
        types = F.one_hot(self._types, len(TYPES)).float()
        # a type's row says whose type it is
        entities = torch.cat([F.pad(agents, (0, len(TYPES))), torch.cat([agents, types], dim=2)], dim=1)
        entity_mask = torch.ones(entities.shape[:2], dtype=torch.bool, device=self.device)
        own_type = torch.eye(AGENTS, dtype=torch.bool, device=self.device)
        obs_mask = torch.cat([torch.ones_like(own_type), own_type], dim=1)
        return TimeStep(
            entities=entities,
            private=entities.new_zeros(self.num_envs, AGENTS, 0),
            entity_mask=entity_mask,
            obs_mask=obs_mask.repeat(self.num_envs, 1, 1),
            avail_mask=torch.ones(self.num_envs, AGENTS, ACTIONS, dtype=torch.bool, device=self.device),
            reward=reward,
            terminated=self._over,
            truncated=torch.zeros_like(self._over),
            info={"consistent": self._consistent, "team_size": torch.full_like(reward, AGENTS)},
        )


def parse_team(text: str, key: str = "team") -> tuple[str, ...]:
    """Read "AB", or several teams such as "AB/BA", of which each episode draws one; a `UserError` names `key`."""
    teams = tuple(text.strip().upper().split("/"))
    for team in teams:
        if team not in PAYOFFS:
            known = ", ".join(PAYOFFS)
            raise UserError(f"{key} = {text!r} is not possible: there are {known}, or several joined by a slash")
    return teams


def random_team(spec: EnvSpec) -> ScriptedPolicy:
    """Both actions with the same probability."""
    return lambda seen, generator: random_legal(seen.avail_mask, generator)


def consistent_team(spec: EnvSpec) -> ScriptedPolicy:
    """Action 0 always, whatever the team: never the best, and good in every team."""
    return lambda seen, generator: torch.zeros_like(seen.avail_mask[..., 0], dtype=torch.int64)


SCRIPTED: dict[str, Callable[[EnvSpec], ScriptedPolicy]] = {"random": random_team, "consistent": consistent_team}
MatrixGameEnv.SCRIPTED = SCRIPTED

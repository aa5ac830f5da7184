"""Cooperative navigation: a team covers as many landmarks as it has agents (CESMA, appendix D.2; `simple_spread`).

Shape letters: B worlds, A agent slots, L = A landmark slots, E = A + L entities.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs import teams
from envs.base import EnvSpec, ScriptedPolicy, TimeStep
from envs.particle.arena import ACTS, EPISODE_LIMIT, LARGEST, REACHED, ArenaEnv, check_settings
from envs.particle.physics import ACCELERATION, length
from envs.particle.picture import LANDMARK_RADIUS
from envs.particle.steering import random_team, steer
from envs.scene import Look
from utils.errors import UserError
from utils.masking import full_view

#: Radius of an agent in `mpe2`.
RADIUS = 0.15
#: Which agents there are -> radius and acceleration of the agents in slots 0, 1, ..., over and over. The paper names
#: the mixed ones (big and slow, medium, small and fast) and gives no figures.
KINDS: Mapping[str, tuple[tuple[float, float], ...]] = {
    "same": ((RADIUS, ACCELERATION),),
    "mixed": ((0.2, 3.0), (RADIUS, ACCELERATION), (0.1, 7.0)),
}


@dataclass(frozen=True)
class NavigationArgs:
    """The settings of `NavigationEnv`, `env_args` in the configuration."""

    #: team sizes drawn in training: "3", "2-4"; there are as many landmarks
    train_team: str = "3"
    #: agent slots; 0: the largest team trained or tested on
    max_team: int = 0
    #: same | mixed: big and slow, medium, small and fast agents
    kinds: str = "same"
    #: how far agents see agents and landmarks; 0: everything
    sight: float = 0.0
    #: paper | mpe2
    reward: str = "paper"
    #: steps until an episode is cut short
    episode_limit: int = EPISODE_LIMIT


class NavigationEnv(ArenaEnv):
    """Reward: less the nearest agent's distance to each landmark, and 1 for each pair of agents that overlap."""

    Args = NavigationArgs
    RUNNING = (*ArenaEnv.RUNNING, "_collisions")

    def __init__(self, args: NavigationArgs, num_envs: int, seed: int, device: torch.device | str = "cpu") -> None:
        self.args = args = _completed(args, ())
        slices = {
            "position": slice(0, 2),
            "agent": slice(2, 3),
            "landmark": slice(3, 4),
            "radius": slice(4, 5),
            "acceleration": slice(5, 6),
        }
        spec = EnvSpec(
            name="navigation",
            agents=args.max_team,
            entities=2 * args.max_team,
            features=6,
            private=4,
            basic=len(ACTS),
            episode_limit=args.episode_limit,
            feature_slices=slices,
            action_names=ACTS,
            info_names=("covered", "collisions", "distance", "team_size"),
        )
        super().__init__(spec, num_envs, seed, device)
        kinds = KINDS[args.kinds]
        traits = torch.tensor([kinds[slot % len(kinds)] for slot in range(args.max_team)], device=self.device)
        self.radius, self.acceleration, self.solid = traits[:, :1], traits[:, 1:], True
        self._collisions = torch.zeros(num_envs, device=self.device)

    @classmethod
    def resolve_args(cls, env_args: Mapping[str, Any], test_teams: Sequence[str]) -> NavigationArgs:
        return _completed(NavigationArgs(**env_args), test_teams)  # unknown keys and wrong types were refused before

    def _sizes(self, team: str | None) -> tuple[int, int]:
        return parse_team(self.args.train_team if team is None else team)

    def _landmarks(self, size: Tensor) -> Tensor:
        return size

    def _begin(self, env_mask: Tensor) -> None:
        self._collisions = self._collisions.masked_fill(env_mask, 0)

    def _score(self, actions: Tensor, running: Tensor) -> Tensor:
        distance, collisions = self._nearest().sum(dim=0), self._overlaps()
        self._collisions = self._collisions + collisions * running
        if self.args.reward == "paper":
            return -distance - collisions
        # an agent has half of the landmarks' distances and half of its own collisions; here is the mean over agents, of
        # which every collision concerns two
        return -(distance + 2 * collisions / self._team_size().clamp(min=1)) / 2

    def _team_size(self) -> Tensor:
        return self._present[: self.spec.agents].sum(dim=0)

    def _nearest(self) -> Tensor:
        """(L, B) distances from landmarks to the nearest agent; 0 for absent landmarks."""
        agents, landmarks = self._present.split(self.spec.agents)
        nearest = self._away().masked_fill(agents[:, None] == 0, torch.inf).amin(dim=0)
        return nearest.masked_fill(landmarks == 0, 0)

    def _overlaps(self) -> Tensor:
        """(B,) pairs of agents that overlap."""
        slots = self.spec.agents
        here, place = self._present[:slots], self._position[:, :slots]
        gap = length(place[:, :, None] - place[:, None]) - (self.radius + self.radius.T)[:, :, None]
        both = here[:, None] * here * torch.ones(slots, slots, device=self.device).triu(1)[:, :, None]
        return ((gap < 0) * both).sum(dim=(0, 1))

    def _entities(self) -> Tensor:
        slots, part = self.spec.agents, self.spec.feature_slices
        entities = torch.zeros(self.num_envs, self.spec.entities, self.spec.features, device=self.device)
        entities[:, :, part["position"]] = self._position.permute(2, 1, 0)
        entities[:, :slots, part["agent"]] = 1
        entities[:, slots:, part["landmark"]] = 1
        entities[:, :slots, part["radius"]] = self.radius / RADIUS
        entities[:, :slots, part["acceleration"]] = self.acceleration / ACCELERATION
        return entities

    def _private(self) -> Tensor:
        return torch.cat([self._velocity, self._position[:, : self.spec.agents]]).permute(2, 1, 0)

    def _sees(self, entity_mask: Tensor) -> Tensor:
        everything = full_view(entity_mask, self.spec.agents)
        if not self.args.sight:
            return everything
        away = length(self._position[:, : self.spec.agents, None] - self._position[:, None])
        return everything & (away <= self.args.sight).permute(2, 0, 1)

    def _info(self) -> dict[str, Tensor]:
        nearest, landmarks = self._nearest(), self._present[self.spec.agents :]
        count = landmarks.sum(dim=0).clamp(min=1)
        return {
            "covered": ((nearest < REACHED) * landmarks).sum(dim=0) / count,
            "collisions": self._collisions,
            "distance": nearest.sum(dim=0) / count,
            "team_size": self._team_size(),
        }

    def _looks(self, index: int) -> list[Look]:
        traits = zip(self.radius[:, 0].tolist(), self.acceleration[:, 0].tolist(), strict=True)
        agents = [
            Look("agent", "team", "disc", radius, about=f"acceleration {acceleration:g}", sight=self.args.sight)
            for radius, acceleration in traits
        ]
        return agents + [Look("landmark", "object", "diamond", LANDMARK_RADIUS)] * self.spec.agents

    def _colours(self, index: int) -> np.ndarray:
        # the faster, the greener
        fast = (self.acceleration[:, 0].cpu().numpy() - 3) / 4
        agents = np.stack([np.full_like(fast, 0.3), 0.35 + 0.5 * fast, np.full_like(fast, 0.95)], axis=1)
        return np.concatenate([agents, np.full_like(agents, 0.75)])


def parse_team(team: str, key: str = "team") -> tuple[int, int]:
    """Read a team such as "2-4" or "6" as its smallest and largest size; a `UserError` names `key`."""
    return teams.parse_team(team, 1, LARGEST, key)


def _completed(args: NavigationArgs, test_teams: Sequence[str]) -> NavigationArgs:
    """Check `args` and fill in `max_team` for the largest of the teams."""
    check_settings(args.episode_limit, args.reward)
    if args.kinds not in KINDS:
        raise UserError(f"env_args.kinds = {args.kinds!r} is not one of {', '.join(KINDS)}")
    if args.sight < 0:
        raise UserError(f"env_args.sight = {args.sight} must be at least 0 (0: agents see everything)")
    slots = teams.fit_slots(args.max_team, args.train_team, test_teams, parse_team, LARGEST)
    return replace(args, max_team=slots)


def greedy_team(spec: EnvSpec) -> ScriptedPolicy:
    """Of all agents and landmarks that are free the nearest pair belongs together, until nobody is free; everybody goes
    to its landmark, whoever is in the way. Settled anew in every step.
    """
    position, acceleration = (spec.feature_slices[name] for name in ("position", "acceleration"))

    def act(seen: TimeStep, generator: torch.Generator) -> Tensor:
        agents, landmarks = seen.entities.split([spec.agents, spec.entities - spec.agents], dim=1)
        free = seen.agent_mask[:, :, None] & seen.entity_mask[:, None, spec.agents :]
        offset = landmarks[:, None, :, position] - agents[:, :, None, position]  # (B, A, L, 2)
        pair = match(offset.norm(dim=-1), free)
        force = agents[:, :, acceleration.start] * ACCELERATION
        acts = steer((offset * pair[..., None]).sum(dim=2), seen.private[:, :, :2], force)
        return torch.where(pair.any(dim=2), acts, 0)

    return act


def match(distance: Tensor, free: Tensor) -> Tensor:
    """Which pairs belong together if the nearest is taken first: bool (B, A, L), for `distance (B, A, L)` between those
    that are `free (B, A, L)`.
    """
    pairs = torch.zeros_like(free)
    for _ in range(min(free.shape[1:])):
        nearest = distance.masked_fill(~free, torch.inf).flatten(1).argmin(dim=1)
        pair = torch.zeros_like(free).flatten(1).scatter(1, nearest[:, None], True).view_as(free) & free
        pairs |= pair
        free = free & ~pair.any(dim=2, keepdim=True) & ~pair.any(dim=1, keepdim=True)
    return pairs


NavigationEnv.SCRIPTED = {"random": random_team, "greedy": greedy_team}

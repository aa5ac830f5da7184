"""The Rescue Game (COPA, section 4.2). Shape letters: B towns, A robot slots, E entity slots (robots, then fires),
F fire slots.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs import teams
from envs.base import EntityEnv, EnvSpec, TimeStep
from envs.rescue.picture import draw
from envs.rescue.scene import make_scene
from envs.rescue.scripted import SCRIPTED
from envs.rescue.town import BUILDINGS, FIRES, MOVES, PUT_OUT, SIDE, column_row
from envs.scene import Scene
from utils.errors import UserError
from utils.masking import full_view

#: Most robots that a team may have.
LARGEST_TEAM = 16
#: Training: which skills robots have, and the fewest and the most fires at the start.
TRAIN_SKILLS, TRAIN_FIRES = (0.2, 0.5, 1.0), (3, 6)
#: Tests: between which bounds skills are uniform, and the fires at the start.
TEST_SKILLS, TEST_FIRES = (0.2, 1.0), (3, 10)


@dataclass(frozen=True)
class RescueArgs:
    """The settings of `RescueEnv`, `env_args` in the configuration."""

    #: team sizes drawn in training: "3-5", "8"
    train_team: str = "3-5"
    #: robot slots; 0: the largest team trained or tested on
    max_team: int = 0
    #: how many buildings away, along rows and along columns, a robot sees robots and fires
    sight: int = 1
    #: probability in each step that a building which is not on fire catches fire
    ignition_rate: float = 0.005
    #: steps until an episode is cut short
    episode_limit: int = 64


class RescueEnv(EntityEnv):
    """A batch of towns of 10 x 10 buildings, of which at most ten burn at once.

    Robots have the slots 0 to n - 1, fires any of the slots from A on. A reset without a team is training: skills are
    of `TRAIN_SKILLS`. A team that is named is a test: skills are uniform, and more fires may burn at the start. In a
    step all robots act at once, then buildings catch fire. Reward: by how much the robots reduce the sum of squared
    levels; new fires cost nothing. Fires come without end, so episodes are truncated and never terminate.
    """

    Args = RescueArgs
    SCRIPTED = SCRIPTED
    suspends = True
    RUNNING = ("_present", "_skill", "_robot", "_fire", "_level", "_put_out", "_steps", "_over")

    def __init__(self, args: RescueArgs, num_envs: int, seed: int, device: torch.device | str = "cpu") -> None:
        super().__init__(num_envs, seed, device)
        self.args = args = _completed(args, ())
        self.spec = EnvSpec(
            name="rescue",
            agents=args.max_team,
            entities=args.max_team + FIRES,
            features=6,
            private=0,
            basic=1 + len(MOVES),
            episode_limit=args.episode_limit,
            feature_slices={
                "robot": slice(0, 1),
                "fire": slice(1, 2),
                "skill": slice(2, 3),
                "level": slice(3, 4),
                "position": slice(4, 6),
            },
            action_names=("put out", "north", "south", "east", "west"),
            info_names=("fires_put_out", "fires_left", "team_size"),
        )
        self._present = torch.zeros(num_envs, args.max_team, dtype=torch.bool, device=self.device)
        self._skill = torch.zeros(self._present.shape, device=self.device)
        self._robot = torch.zeros(self._present.shape, dtype=torch.int64, device=self.device)  # its building
        self._fire = torch.zeros(num_envs, FIRES, dtype=torch.int64, device=self.device)  # its building
        self._level = torch.zeros(num_envs, FIRES, device=self.device)  # 0: there is no fire in this slot
        self._put_out = torch.zeros(num_envs, device=self.device)
        self._steps = torch.zeros(num_envs, dtype=torch.int64, device=self.device)
        # towns that have never been reset are over
        self._over = torch.ones(num_envs, dtype=torch.bool, device=self.device)
        self._add = torch.tensor([0, *MOVES.values()], device=self.device)

    @classmethod
    def resolve_args(cls, env_args: Mapping[str, Any], test_teams: Sequence[str]) -> RescueArgs:
        return _completed(RescueArgs(**env_args), test_teams)  # unknown keys and wrong types were refused before

    def _reset(self, env_mask: Tensor, team: str | None) -> TimeStep:
        low, high = parse_team(self.args.train_team if team is None else team)
        if high > self.spec.agents:
            raise UserError(f"team = {team!r} needs {high} slots; this environment has {self.spec.agents}")
        # Everything is drawn for all towns and as many robots as there may be, then kept for some: neither which towns
        # are reset nor how many slots there are changes what comes later.
        size = self._draw(low, high, 1)
        robot = self._draw(0, BUILDINGS - 1, LARGEST_TEAM)
        if team is None:
            skill = torch.tensor(TRAIN_SKILLS, device=self.device)[self._draw(0, len(TRAIN_SKILLS) - 1, LARGEST_TEAM)]
        else:
            skill = TEST_SKILLS[0] + (TEST_SKILLS[1] - TEST_SKILLS[0]) * self._uniform(LARGEST_TEAM)
        count = self._draw(*(TRAIN_FIRES if team is None else TEST_FIRES), 1)

        new, slots = env_mask[:, None], slice(self.spec.agents)
        self._present = torch.where(new, torch.arange(self.spec.agents, device=self.device) < size, self._present)
        self._skill = torch.where(new, skill[:, slots], self._skill)
        self._robot = torch.where(new, robot[:, slots], self._robot)
        self._level = self._level.masked_fill(new, 0)
        self._put_out = self._put_out.masked_fill(env_mask, 0)
        self._steps = self._steps.masked_fill(env_mask, 0)
        self._over = self._over & ~env_mask
        self._ignite(1.0, new & (torch.arange(FIRES, device=self.device) < count))
        return self._show(torch.zeros(self.num_envs, device=self.device))

    def _step(self, actions: Tensor) -> TimeStep:
        running = ~self._over
        illegal = ~self._legal().gather(2, actions[:, :, None])[:, :, 0] & running[:, None]
        if bool(illegal.any()):
            raise ValueError(f"illegal actions: (town, robot) {illegal.nonzero().tolist()}")
        acts = self._present & running[:, None]
        self._robot = self._robot + self._add[actions] * acts

        here = self._robot[:, :, None] == self._fire[:, None, :]
        force = self._skill * (acts & (actions == PUT_OUT))
        level = (self._level - (force[:, :, None] * here).sum(dim=1)).clamp(min=0)
        reward = (self._level**2 - level**2).sum(dim=1)
        self._put_out = self._put_out + ((self._level > 0) & (level == 0)).sum(dim=1)
        self._level = level

        self._ignite(self.args.ignition_rate, running[:, None] & (level == 0))
        self._steps = self._steps + running
        self._over = self._steps >= self.spec.episode_limit
        return self._show(reward)

    def _ignite(self, rate: float, slots: Tensor) -> None:
        """Each building that is not on fire catches fire with probability `rate`, in those of `slots (B, F)`, which are
        free; where more catch fire than there are slots, chance decides between them.
        """
        level, draw = self._uniform(FIRES), self._uniform(BUILDINGS)
        burns = torch.zeros(self.num_envs, BUILDINGS + 1, dtype=torch.bool, device=self.device)
        burns.scatter_(1, torch.where(self._level > 0, self._fire, BUILDINGS), True)  # the free slots' go to the end
        # the smallest draws are the first to catch fire, and the nth free slot takes the nth of them
        draw, building = draw.masked_fill(burns[:, :BUILDINGS], 2).topk(FIRES, largest=False)
        nth = (slots.cumsum(dim=1) - 1).clamp(min=0)
        lit = slots & (draw.gather(1, nth) < rate)
        self._fire = torch.where(lit, building.gather(1, nth), self._fire)
        self._level = torch.where(lit, level, self._level)

    def _draw(self, low: int, high: int, columns: int) -> Tensor:
        """Whole numbers (B, columns) from `low` to `high`."""
        shape = (self.num_envs, columns)
        return torch.randint(low, high + 1, shape, generator=self.generator, device=self.device)

    def _uniform(self, columns: int) -> Tensor:
        """Numbers (B, columns) from 0 to 1."""
        return torch.rand(self.num_envs, columns, generator=self.generator, device=self.device)

    def _legal(self) -> Tensor:
        """(B, A, U): no move leads out of the town."""
        column, row = column_row(self._robot)
        moves = torch.stack([row < SIDE - 1, row > 0, column < SIDE - 1, column > 0], dim=2)
        return torch.cat([torch.ones_like(moves[:, :, :1]), moves & self._present[:, :, None]], dim=2)

    def _show(self, reward: Tensor) -> TimeStep:
        agents, part = self.spec.agents, self.spec.feature_slices
        burning = self._level > 0
        entity_mask = torch.cat([self._present, burning], dim=1)
        place = torch.stack(column_row(torch.cat([self._robot, self._fire], dim=1)), dim=2)  # (B, E, 2)
        entities = torch.zeros(self.num_envs, self.spec.entities, self.spec.features, device=self.device)
        entities[:, :agents, part["robot"]] = 1
        entities[:, agents:, part["fire"]] = 1
        entities[:, :agents, part["skill"]] = self._skill[:, :, None]
        entities[:, agents:, part["level"]] = self._level[:, :, None]
        entities[:, :, part["position"]] = place * (2 / (SIDE - 1)) - 1
        away = (place[:, :agents, None] - place[:, None, :]).abs().amax(dim=3)  # (B, A, E)
        return TimeStep(
            entities=entities * entity_mask[:, :, None],
            private=entities.new_zeros(self.num_envs, agents, 0),
            entity_mask=entity_mask,
            obs_mask=(away <= self.args.sight) & full_view(entity_mask, agents),
            avail_mask=self._legal(),
            reward=reward,
            terminated=torch.zeros_like(self._over),
            truncated=self._over,
            info={
                "fires_put_out": self._put_out,
                "fires_left": burning.sum(dim=1).float(),
                "team_size": self._present.sum(dim=1).float(),
            },
        )

    def scene(self, index: int = 0) -> Scene:
        here, burning = (part[index].nonzero()[:, 0].tolist() for part in (self._present, self._level))
        robots = {slot: (int(self._robot[index, slot]), float(self._skill[index, slot])) for slot in here}
        fires = {slot: (int(self._fire[index, slot]), float(self._level[index, slot])) for slot in burning}
        return make_scene(self.spec.agents, robots, fires)

    def render(self, index: int = 0, marked: Collection[int] = ()) -> np.ndarray:
        here, burning = self._present[index], self._level[index] > 0
        return draw(
            self._robot[index, here].cpu().numpy(),
            self._skill[index, here].cpu().numpy(),
            self._fire[index, burning].cpu().numpy(),
            self._level[index, burning].cpu().numpy(),
            {rank for rank, slot in enumerate(here.nonzero()[:, 0].tolist()) if slot in marked},
        )


def parse_team(team: str, key: str = "team") -> tuple[int, int]:
    """Read a team such as "3-5" or "8" as its smallest and largest size; a `UserError` names `key`."""
    return teams.parse_team(team, 1, LARGEST_TEAM, key)


def _completed(args: RescueArgs, test_teams: Sequence[str]) -> RescueArgs:
    """Check `args` and fill in `max_team` for the largest of the teams."""
    if args.sight < 0:
        raise UserError(f"env_args.sight = {args.sight} must be at least 0 (a robot sees its own building)")
    if not 0 <= args.ignition_rate <= 1:
        raise UserError(f"env_args.ignition_rate = {args.ignition_rate} must be a probability, from 0 to 1")
    if args.episode_limit < 1:
        raise UserError(f"env_args.episode_limit = {args.episode_limit} must be at least 1")
    slots = teams.fit_slots(args.max_team, args.train_team, test_teams, parse_team, LARGEST_TEAM)
    return replace(args, max_team=slots)

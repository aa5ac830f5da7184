"""Resource Collection: a team fetches resources and guards its home (COPA, section 4.1)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.base import EntityEnv, TimeStep
from envs.particle import physics
from envs.particle.resource_collection.encoding import ACTIONS, FIGURES, Encoder, make_spec
from envs.particle.resource_collection.picture import draw
from envs.particle.resource_collection.rules import (
    apply_events,
    change_teams,
    find_events,
    first_change,
    move_invader,
)
from envs.particle.resource_collection.scenarios import (
    LARGEST_TEAM,
    RESOURCES,
    VARIANTS,
    Team,
    draw_members,
    fixed_places,
    invader_entrance,
    parse_team,
    place_resources,
    read_scenarios,
    starting_circle,
    team_sizes,
)
from envs.particle.resource_collection.scene import make_scene
from envs.particle.resource_collection.scripted import SCRIPTED, greedy_moves
from envs.particle.resource_collection.world import HALF_WIDTH, World, merge, radii, select
from envs.scene import Scene
from envs.teams import fit_slots
from utils.errors import UserError
from utils.paths import find_path
from utils.snapshots import restored, snapshot


@dataclass(frozen=True)
class ResourceCollectionArgs:
    """The settings of `ResourceCollectionEnv`, `env_args` in the configuration."""

    #: static (resources come back where they were, no invader) | medium (at random places) | dynamic (and an invader)
    variant: str = "dynamic"
    #: teams drawn in training: a size, a range such as "2-4", or "varying"
    train_team: str = "2-4"
    #: agent slots; 0: the largest team trained or tested on
    max_team: int = 0
    #: the range in which a varying team stays
    varying: str = "2-6"
    #: how far agents see
    sight: float = 0.2
    #: how many fixed scenarios a test draws from, or the path of a file that `write_scenarios` has written
    scenarios: str = "1000"
    #: steps until an episode is cut short
    episode_limit: int = 145


class ResourceCollectionEnv(EntityEnv):
    """A batch of squares with a home in the middle, resources around it and an invader.

    Agents have the slots from 0 on; whoever joins later takes the first free one. An episode never ends by itself.

    An episode follows from its number alone. Training draws numbers; a test (`reset` with a team) plays the fixed
    scenarios one after the other, beginning with one that follows from the seed.
    """

    Args = ResourceCollectionArgs
    SCRIPTED = SCRIPTED
    FIXED_TESTS = True
    suspends = True

    def __init__(
        self, args: ResourceCollectionArgs, num_envs: int, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        args = _completed(args, ())
        super().__init__(num_envs, seed, device)
        self.args = args
        self.random_places, self.invader = VARIANTS[args.variant]
        self.spec = make_spec(args.max_team, args.episode_limit)
        #: (K, members, 4) of a scenario file
        self._file = None if args.scenarios.isdecimal() else read_scenarios(args.scenarios).to(self.device)
        self.scenarios = int(args.scenarios) if self._file is None else len(self._file)
        self._next = seed % self.scenarios
        self._encoder = Encoder(self.spec, args.sight, self.device)
        self._radius = radii(args.max_team, self.device)
        self._mass = torch.ones(args.max_team, 1, device=self.device)
        self._directions = torch.tensor(physics.DIRECTIONS, device=self.device).T
        # worlds that have never been reset are over
        everywhere = torch.arange(num_envs, device=self.device)
        over = torch.full_like(everywhere, args.episode_limit)
        self._world = self._begin(everywhere, Team(1, 1), training=True)._replace(steps=over)

    @classmethod
    def resolve_args(cls, env_args: Mapping[str, Any], test_teams: Sequence[str]) -> ResourceCollectionArgs:
        texts = {key: str(env_args[key]) for key in ("train_team", "varying", "scenarios") if key in env_args}
        return _completed(ResourceCollectionArgs(**{**env_args, **texts}), test_teams)

    def seed(self, seed: int) -> None:
        super().seed(seed)
        self._next = seed % self.scenarios

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "next": self._next}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._next = state["next"]

    def running(self) -> dict[str, Any]:
        return {**super().running(), **snapshot(self._world._asdict())}

    def resume(self, state: Mapping[str, Any]) -> None:
        super().resume(state)
        self._world = World(**{name: restored(state[name], now) for name, now in self._world._asdict().items()})

    def _reset(self, env_mask: Tensor, team: str | None) -> TimeStep:
        parsed = parse_team(self.args.train_team if team is None else team, self.args.varying)
        if parsed.high > self.spec.agents:
            raise UserError(f"team = {team!r} needs {parsed.high} slots; this environment has {self.spec.agents}")
        chosen = env_mask.nonzero()[:, 0]
        if team is None:
            # the numbers after the fixed scenarios; one draw, whichever worlds begin anew
            first = torch.randint(2**31, (1,), generator=self.generator, device=self.device)
            number = self.scenarios + first + chosen
        else:
            number = (self._next + torch.arange(len(chosen), device=self.device)) % self.scenarios
            self._next = (self._next + len(chosen)) % self.scenarios
        self._world = merge(self._world, chosen, self._begin(number, parsed, training=team is None))
        return self._show(torch.zeros(self.num_envs, device=self.device))

    def _begin(self, number: Tensor, team: Team, training: bool) -> World:
        """The worlds at the start of episodes `number (W,)`."""
        slots, episodes = self.spec.agents, len(number)
        start, drawn_so = torch.zeros_like(number), torch.full_like(number, training, dtype=torch.bool)
        size = team_sizes(team, number)
        agents = (torch.arange(slots, device=self.device)[:, None] < size).float()
        objects = torch.ones(2 + RESOURCES, episodes, device=self.device)
        objects[-1] = float(self.invader)
        nowhere = torch.zeros(2, RESOURCES, episodes, device=self.device)
        resources = self._place(nowhere, torch.ones_like(nowhere[0], dtype=torch.bool), number, start)
        home, invader = nowhere[:, :1], invader_entrance(number, start)[:, None] * objects[-1]
        return World(
            position=torch.cat([starting_circle(size, slots) * agents, home, resources, invader], dim=1),
            velocity=torch.zeros(2, slots, episodes, device=self.device),
            members=self._members(number, start, drawn_so) * agents,
            present=torch.cat([agents, objects]),
            load=torch.zeros(3, slots, episodes, device=self.device),
            touched=torch.zeros(5, slots, episodes, device=self.device),
            number=number,
            training=drawn_so,
            steps=start,
            invader_back=torch.full_like(number, -1),
            change_at=first_change(number) if team.varying else torch.full_like(number, -1),
            bounds=torch.tensor([team.low, team.high], device=self.device)[:, None].expand(2, episodes),
            figures=torch.zeros(len(FIGURES), episodes, device=self.device),
        )

    def _members(self, number: Tensor, step: Tensor, training: Tensor) -> Tensor:
        """What agents are like that begin in `step (W,)`: (4, A, W)."""
        slots = self.spec.agents
        tested = draw_members(number, step, slots, training=False)
        if self._file is not None:
            listed = self._file[number % self.scenarios, :slots].permute(2, 1, 0)
            tested = torch.nn.functional.pad(listed, (0, 0, 0, slots - listed.shape[1]))
        return torch.where(training, draw_members(number, step, slots, training=True), tested)

    def _place(self, position: Tensor, missing: Tensor, number: Tensor, step: Tensor) -> Tensor:
        """Positions (2, R, W) of the resources, those that are missing (R, W) in new places."""
        if self.random_places:
            return place_resources(position, missing, number, step)
        return torch.where(missing, fixed_places(self.device), position)

    def _step(self, actions: Tensor) -> TimeStep:
        world = self._world
        running = world.steps < self.args.episode_limit
        chosen = running.nonzero()[:, 0]
        if len(chosen) < self.num_envs:  # the others stay as they ended
            world, actions = select(world, chosen), actions[chosen]
        world, gained = self._advance(world, actions)
        self._world = merge(self._world, chosen, world)
        reward = torch.zeros(self.num_envs, device=self.device)
        return self._show(reward.index_copy(0, chosen, gained))

    def _advance(self, world: World, actions: Tensor) -> tuple[World, Tensor]:
        """The worlds after `actions (W, A)`, and the reward (W,)."""
        slots = self.spec.agents
        orders, agents = actions.T, world.present[:slots]
        if bool(((orders < -1) | (orders >= len(ACTIONS)) | ((orders != 0) & (agents == 0))).any()):
            raise ValueError("illegal actions: agents have actions -1 to 4, absent agents only 0")
        own = orders < 0
        position = world.position
        if bool(own.any()):
            moved = position[:, :slots] + greedy_moves(world) * own
            position = torch.cat([moved, position[:, slots:]], dim=1)
        force = self._directions[:, orders.clamp(min=0)] * (physics.ACCELERATION * world.members[3])
        bodies = physics.Bodies(self._radius, world.present, self._mass, world.members[3])
        position, velocity = physics.step(position, world.velocity, force, bodies, half_width=HALF_WIDTH)
        world = world._replace(position=position, velocity=velocity, steps=world.steps + 1)

        events = find_events(world, self._radius)
        world, reward = apply_events(world, events)
        world = self._bring_back(world)
        if self.invader:
            world = move_invader(world)
        due = world.change_at == world.steps
        if bool(due.any()):
            chosen = due.nonzero()[:, 0]
            some = select(world, chosen)
            world = merge(world, chosen, change_teams(some, self._members(some.number, some.steps, some.training)))
        return world, reward

    def _bring_back(self, world: World) -> World:
        """Resources that were taken in this step appear elsewhere."""
        first = self.spec.agents + 1
        resources = slice(first, first + RESOURCES)
        missing = world.present[resources] == 0
        chosen = missing.any(dim=0).nonzero()[:, 0]
        if len(chosen) == 0:
            return world
        position, present = world.position.clone(), world.present.clone()
        position[:, resources, chosen] = self._place(
            position[:, resources, chosen], missing[:, chosen], world.number[chosen], world.steps[chosen]
        )
        present[resources] = 1.0
        return world._replace(position=position, present=present)

    def _show(self, reward: Tensor) -> TimeStep:
        return self._encoder.show(self._world, reward, self._world.steps >= self.args.episode_limit)

    def scene(self, index: int = 0) -> Scene:
        return make_scene(self._world, index, self.args.sight)

    def render(self, index: int = 0, marked: Collection[int] = ()) -> np.ndarray:
        """As in `EntityEnv`; agents in the slots `marked` get a ring, such as those that a coach has just sent to."""
        return draw(self._world, index, self.args.sight, marked)


def _completed(args: ResourceCollectionArgs, test_teams: Sequence[str]) -> ResourceCollectionArgs:
    """Check `args` and fill in `max_team` for the largest of the teams."""
    if args.variant not in VARIANTS:
        raise UserError(f"env_args.variant = {args.variant!r} is not one of {', '.join(VARIANTS)}")
    if args.sight < 0:
        raise UserError(f"env_args.sight = {args.sight} must be at least 0")
    if args.episode_limit < 1:
        raise UserError(f"env_args.episode_limit = {args.episode_limit} must be at least 1")

    def parse(team: str, key: str) -> Team:
        return parse_team(team, args.varying, key)

    parse("varying", "env_args.varying")
    args = replace(args, max_team=fit_slots(args.max_team, args.train_team, test_teams, parse, LARGEST_TEAM))
    if args.scenarios.isdecimal():
        # training takes the numbers behind them
        if len(args.scenarios) > 9 or int(args.scenarios) < 1:
            raise UserError(f"env_args.scenarios = {args.scenarios} must be from 1 to 999999999, or the path of a file")
        return args
    path = find_path("env_args.scenarios", args.scenarios)
    members = read_scenarios(path).shape[1]
    if members < args.max_team:
        raise UserError(
            f"env_args.scenarios = {args.scenarios!r} has {members} agents, fewer than the {args.max_team} slots: "
            "use a file with more, or a number"
        )
    return replace(args, scenarios=str(path))

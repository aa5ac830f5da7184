"""Team battles with StarCraft II units: armies, teams, episodes; the engine moves the units."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.base import EntityEnv, TimeStep
from envs.scene import Scene
from envs.starcraft.encoding import Encoder, Score, View, make_spec
from envs.starcraft.engine import BattleEngine
from envs.starcraft.installation import what_is_missing
from envs.starcraft.picture import draw
from envs.starcraft.placement import draws_needed, place_armies
from envs.starcraft.scenarios import (
    LARGEST_TEAM,
    SCENARIOS,
    UNITS,
    Sides,
    UnitType,
    draw_armies,
    draw_tags,
    drawn_units,
    measure_army,
    parse_team,
)
from envs.starcraft.scene import make_scene
from envs.starcraft.scripted import SCRIPTED
from envs.starcraft.skirmish import SkirmishEngine
from envs.teams import refuse_repeats
from utils.errors import UserError
from utils.paths import read_path

BACKENDS = ("auto", "skirmish", "sc2")
REWARD_SCALES = ("battle", "army")


@dataclass(frozen=True)
class StarCraftArgs:
    """The settings of `StarCraftEnv`, `env_args` in the configuration."""

    #: which armies meet: a name in `SCENARIOS`
    scenario: str = "sz"
    #: team sizes drawn in training, all units counted: "3-5", "8", or with the enemies' "8v9", "8v+1"
    train_team: str = "3-5"
    #: the enemies of teams that name none: same (the very same units) | +K (and K more) | sizes such as 5-8
    enemy_team: str = "same"
    #: slots of the team; 0: as many as the teams need that are played
    max_team: int = 0
    #: slots of the enemies; 0: as many as the teams need that are played
    max_enemies: int = 0
    #: tags of a side, by which `target_values=slots` tells units; 0: as many as the largest army of all teams has
    tags: int = 0
    #: whose damage, kills and win make 20 points of reward: battle (its own) | army (the `measure_army` of those that
    #: `train_team` meets, for all battles of all teams, as in REFIL's public code)
    reward_scale: str = "battle"
    #: auto (StarCraft II where it is installed) | skirmish (the embedded engine) | sc2 (StarCraft II)
    backend: str = "auto"
    #: sc2: seconds within which a game has to start, and to answer, before it is given up for another one
    game_timeout: float = 60.0
    #: sc2: a folder for the game's own replays, one of each game; "": none
    save_replay: str = ""
    #: steps until a battle is cut short
    episode_limit: int = 150


class StarCraftEnv(EntityEnv):
    """A batch of battles against the engine's own enemy.

    Agents are the allied units in slots 0 to n - 1, enemies have the slots from A on. A dead unit stays present, with
    zero features but its tag and only the no-op; it sees itself and nobody sees it. The battle is lost (won) once the
    team (the enemy) has no unit left that can shoot; both at once is a draw, which ends the episode and is no win.
    """

    Args = StarCraftArgs
    SCRIPTED = SCRIPTED
    POINTS = True
    suspends = True
    RUNNING = ("_steps", "_terminated", "_truncated", "_won", "_tags")

    def __init__(self, args: StarCraftArgs, num_envs: int, seed: int, device: torch.device | str = "cpu") -> None:
        args = self.fit(args, ())
        super().__init__(num_envs, seed, device)
        self.args = args
        #: the engine that was chosen
        self.backend = args.backend
        self.suspends = self.backend == "skirmish"  # a game of StarCraft II cannot be saved
        self.scenario = SCENARIOS[args.scenario]
        tags = args.tags or max(args.max_team, args.max_enemies)
        self.spec = make_spec(self.scenario, args.max_team, args.max_enemies, tags, args.episode_limit)
        units = tuple(UNITS[name] for name in self.scenario.unit_names)
        self.engine = self._make_engine(units, seed)
        self._encoder = Encoder(self.spec, units, num_envs, self.device)
        trained = parse_team(args.train_team, self.scenario, args.enemy_team)
        measure = measure_army(self.scenario, trained) if args.reward_scale == "army" else None
        self._score = Score(self.spec, units, num_envs, self.device, measure)
        self._steps = torch.zeros(num_envs, dtype=torch.int64, device=self.device)
        # battles that have never been reset are over
        self._terminated = torch.ones(num_envs, dtype=torch.bool, device=self.device)
        self._truncated = torch.zeros_like(self._terminated)
        self._won = torch.zeros_like(self._terminated)
        #: (S, B) what units are called
        self._tags = torch.zeros(self.spec.entities, num_envs, dtype=torch.int64, device=self.device)
        nobody = torch.full((self.spec.entities, num_envs), -1, dtype=torch.int64, device=self.device)
        everywhere = torch.arange(num_envs, device=self.device)
        self._units = self.engine.spawn(everywhere, nobody, torch.zeros(2, *nobody.shape, device=self.device))
        self._view = self._encoder.view(self._units)
        #: the generator before the last reset: runners reset all that they play, and then those that were lost
        self._drawn_from = self.generator.get_state()

    def _make_engine(self, units: tuple[UnitType, ...], seed: int) -> BattleEngine:
        args = self.args
        if self.backend == "skirmish":
            return SkirmishEngine(self.num_envs, args.max_team, args.max_enemies, units, self.device)
        from envs.starcraft.sc2 import Sc2Engine  # late: it needs packages that the embedded engine does not

        if self.device.type != "cpu":
            raise ValueError(f"StarCraft II plays on a CPU, not on {self.device}")
        self.lost = torch.zeros(self.num_envs, dtype=torch.bool)
        slots = args.max_team, args.max_enemies
        return Sc2Engine(self.num_envs, *slots, units, seed, args.game_timeout, args.save_replay)

    @property
    def restarts(self) -> int | None:
        return self.engine.restarts

    @classmethod
    def external(cls, args: StarCraftArgs) -> bool:
        return _backend(args) == "sc2"

    @classmethod
    def patience(cls, args: StarCraftArgs) -> float:
        if not cls.external(args):
            return 0.0
        from envs.starcraft.battlefield import patience

        return patience(args.game_timeout)

    @classmethod
    def resolve_args(cls, env_args: Mapping[str, Any], test_teams: Sequence[str]) -> StarCraftArgs:
        known = {field.name: type(field.default) for field in fields(StarCraftArgs)}
        for key, value in env_args.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, 1, cutoff=0.0)[0]
                raise UserError(f"env_args.{key} is not known to starcraft; did you mean env_args.{near}?")
            if known[key] is int and (isinstance(value, bool) or not isinstance(value, int)):
                raise UserError(f"env_args.{key} = {value!r} must be a whole number")
        values: dict[str, Any] = {key: str(value) if known[key] is str else value for key, value in env_args.items()}
        args = StarCraftArgs(**values)
        _check(args)
        for key in ("max_team", "max_enemies", "tags"):
            if not 0 <= getattr(args, key) <= LARGEST_TEAM:
                raise UserError(f"env_args.{key} = {getattr(args, key)} must be from 0 (derived) to {LARGEST_TEAM}")
        scenario = SCENARIOS[args.scenario]
        refuse_repeats(test_teams, lambda team: parse_team(team, scenario, args.enemy_team, "test_teams"))
        _backend(args)  # sc2 needs the game
        fitted = cls.fit(args, test_teams)
        most = max(fitted.max_team, fitted.max_enemies)
        if args.tags and args.tags < most:
            raise UserError(
                f"env_args.tags = {args.tags} are too few for {most} units; allowed: 0 (derived) or {most} or more"
            )
        if args.save_replay:
            args = replace(args, save_replay=str(read_path("env_args.save_replay", args.save_replay)))
        return replace(args, tags=args.tags or most)

    @classmethod
    def fit(cls, args: StarCraftArgs, teams: Sequence[str]) -> StarCraftArgs:
        scenario = SCENARIOS[args.scenario]
        played = [(args.train_team, "env_args.train_team"), *((team, "test_teams") for team in teams)]
        sides = [(parse_team(team, scenario, args.enemy_team, key), f"{key} = {team!r}") for team, key in played]
        slots = {}
        for key, size in (("max_team", lambda s: s.largest), ("max_enemies", lambda s: s.most_enemies)):
            most, reason = max(((size(of), reason) for of, reason in sides), key=lambda found: found[0])
            slots[key] = getattr(args, key) or most
            if slots[key] < most:
                allowed = f"allowed: 0 (derived) or {most} or more"
                raise UserError(f"env_args.{key} = {slots[key]} is not possible with {reason}; {allowed}")
        return replace(args, backend=_backend(args), **slots)

    def _reset(self, env_mask: Tensor, team: str | None) -> TimeStep:
        sides = self._sides(team)
        if bool(env_mask.any()):
            self._drawn_from = self.generator.get_state()
        # Everything is drawn for all battles and then kept for some: which battles are reset does not change what the
        # others will draw later. Nor does the number of slots.
        allies, enemies = draw_armies(self.scenario, sides, self.num_envs, self.generator)
        drawn = drawn_units(self.scenario, sides)
        placement = draws_needed(drawn)
        uniform = torch.rand(placement + 2 * drawn, self.num_envs, generator=self.generator, device=self.device)
        battles = env_mask.nonzero()[:, 0]
        uniform, team_slots = uniform[:, battles], self.spec.agents
        types = torch.full((self.spec.entities, len(battles)), -1, dtype=torch.int64, device=self.device)
        types[: len(allies)] = allies[:, battles]
        types[team_slots : team_slots + len(enemies)] = enemies[:, battles]
        places = uniform[placement:].view(2, drawn, -1)
        tags = [
            draw_tags(numbers, slots, self.spec.names)
            for numbers, slots in zip(places, (team_slots, self.spec.entities - team_slots), strict=True)
        ]
        self._begin(battles, types, place_armies(types, team_slots, uniform[:placement]), torch.cat(tags))
        return self._timestep(torch.zeros(self.num_envs, device=self.device))

    def _sides(self, team: str | None) -> Sides:
        sides = parse_team(self.args.train_team if team is None else team, self.scenario, self.args.enemy_team)
        enemies = self.spec.entities - self.spec.agents
        for what, needed, there in (("", sides.largest, self.spec.agents), (" enemies'", sides.most_enemies, enemies)):
            if needed > there:
                raise UserError(f"team = {team!r} needs {needed}{what} slots; this environment has {there}")
        return sides

    def _begin(self, battles: Tensor, types: Tensor, position: Tensor, tags: Tensor) -> None:
        """Start `battles (R,)` with units of `types (S, R)` at `position (2, S, R)` that have `tags (S, R)`."""
        self._units = self.engine.spawn(battles, types, position)
        self._tags[:, battles] = tags
        self._encoder.begin(battles, types, tags)
        self._score.begin(battles, self._units)
        self._steps[battles] = 0
        if self.lost is not None:
            self.lost = self.lost.index_fill(0, battles, False)
        # time steps keep what they were given, so nothing is changed in place
        fresh = self._encoder.view(self._units, battles)
        self._view = View(*(old.index_copy(0, battles, new) for old, new in zip(self._view, fresh, strict=True)))
        self._terminated, self._truncated, self._won = (
            flag.index_fill(0, battles, False) for flag in (self._terminated, self._truncated, self._won)
        )

    def _step(self, actions: Tensor) -> TimeStep:
        running = ~(self._terminated | self._truncated)
        illegal = ~self._view.avail_mask.gather(2, actions[:, :, None])[:, :, 0] & running[:, None]
        if bool(illegal.any()):
            raise ValueError(f"illegal actions: (environment, agent) {illegal.nonzero().tolist()}")
        self._units = self.engine.advance(self._encoder.orders(actions, self._units), running)
        if self.engine.lost is not None:
            self._lose(self.engine.lost)
            running = running & ~self.engine.lost
        self._view = self._encoder.view(self._units)
        reward, over, won = self._score.settle(self._units, running)
        self._steps += running
        self._won = self._won | won
        self._terminated = self._terminated | (over & running)
        self._truncated = self._truncated | (running & ~over & (self._steps >= self.args.episode_limit))
        return self._timestep(reward)

    def _lose(self, lost: Tensor) -> None:
        """Battles that cannot be played on are cut short and count for nothing; the next reset draws them again."""
        if bool(lost.any()):
            assert self.lost is not None
            self.lost = self.lost | lost
            self._truncated = self._truncated | lost
            self.generator.set_state(self._drawn_from)

    def _timestep(self, reward: Tensor) -> TimeStep:
        view = self._view
        size = self._score.composition.sum(0)
        allies = self._units.alive[: self.spec.agents].sum(0).float()
        figures = (self._won.float(), self._score.killed, allies, size, *self._score.composition)
        return TimeStep(
            entities=view.entities,
            private=torch.zeros(self.num_envs, self.spec.agents, 0, device=self.device),
            entity_mask=view.entity_mask,
            obs_mask=view.obs_mask,
            avail_mask=view.avail_mask,
            reward=reward,
            terminated=self._terminated,
            truncated=self._truncated,
            info=dict(zip(self.spec.info_names, figures, strict=True)),
        )

    def running(self) -> dict[str, Any]:
        return {**super().running(), "engine": self.engine.running(), "score": self._score.running()}

    def resume(self, state: Mapping[str, Any]) -> None:
        super().resume(state)
        self._units = self.engine.resume(state["engine"])
        everywhere = torch.arange(self.num_envs, device=self.device)
        self._encoder.begin(everywhere, self._units.type, self._tags)
        self._score.begin(everywhere, self._units)
        self._score.resume(state["score"])
        self._view = self._encoder.view(self._units)

    def render(self, index: int = 0, marked: Collection[int] = ()) -> np.ndarray:
        return draw(self._units, self._encoder.table, index, marked)

    def scene(self, index: int = 0) -> Scene:
        return make_scene(self._units, self._encoder.table, index, self.engine.targets(index))

    def close(self) -> None:
        self.engine.close()


def _check(args: StarCraftArgs) -> None:
    """Refuse what cannot be, but for teams and slots."""
    if args.scenario not in SCENARIOS:
        raise UserError(f"env_args.scenario = {args.scenario!r} is not one of {', '.join(SCENARIOS)}")
    if args.reward_scale not in REWARD_SCALES:
        raise UserError(f"env_args.reward_scale = {args.reward_scale!r} is not one of {', '.join(REWARD_SCALES)}")
    if args.backend not in BACKENDS:
        raise UserError(f"env_args.backend = {args.backend!r} is not one of {', '.join(BACKENDS)}")
    if not args.game_timeout >= 1:
        raise UserError(f"env_args.game_timeout = {args.game_timeout} must be at least 1 (second)")
    if args.episode_limit < 1:
        raise UserError(f"env_args.episode_limit = {args.episode_limit} must be at least 1")


def _backend(args: StarCraftArgs) -> str:
    """The engine that `args` choose."""
    if args.backend == "skirmish":
        return "skirmish"
    missing = what_is_missing()
    if missing and args.backend == "sc2":
        raise UserError(f"env_args.backend = 'sc2': {missing}; env_args.backend=skirmish needs none of it")
    return "skirmish" if missing else "sc2"

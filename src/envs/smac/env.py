"""SMAC's battles as entities. Shape letters: B games, A agent slots, E entity slots (A agents, then the enemies)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.action_selectors import random_legal
from envs.base import NAME, EntityEnv, EnvSpec, ScriptedPolicy, TimeStep
from envs.scene import Scene
from envs.smac.games import SOURCES, build_game, is_fault, seeded
from envs.smac.scene import make_scene
from envs.teams import refuse_repeats
from utils.errors import RunFailed, UserError, one_line

#: The only team that there is: the map's.
TEAM = "all"
#: How often in a row a game may fail to begin an episode.
ATTEMPTS = 3
#: Seconds that pysc2 gives a game to start.
START = 120.0
#: Seeds of games and episodes are below this.
SEEDS = 2**31
#: Maps of these types have Medivacs, whose targets are allies.
HEALED = ("MMM", "terran_gen")
MOVES = ("no-op", "stop", "north", "south", "east", "west")
#: What the adapter itself says, and what the package would decide in place of the agents.
TAKEN = ("map_name", "seed", "continuing_episode", "heuristic_ai", "heuristic_rest")
#: What SMACv2 may draw for an episode; the others differ in what agents are shown of a unit, which entities do not.
DRAWN = ("n_units", "n_enemies", "team_gen", "start_positions")


@dataclass(frozen=True)
class SmacArgs:
    """The settings of `SmacEnv`, `env_args` in the configuration."""

    #: smac | smacv2
    package: str = "smac"
    map_name: str = "3s5z"
    #: what else the package's environment is made with, such as difficulty
    kwargs: Mapping[str, Any] = field(default_factory=dict)


class SmacEnv(EntityEnv):
    """B games of StarCraft II, stepped one after the other: `runner: parallel` gives each a process.

    Rewards, ends, legal actions and who sees whom are the package's. A dead unit stays present, with zero features but
    its name and only the no-op; it sees itself and nobody sees it.
    """

    Args = SmacArgs
    POINTS = True

    def __init__(self, args: SmacArgs, num_envs: int, seed: int, device: torch.device | str = "cpu") -> None:
        super().__init__(num_envs, seed, device)
        self.args = args
        self._restarts = 0
        self.games = [self._build() for _ in range(num_envs)]
        game = self.games[0]
        agents, enemies = game.n_agents, game.n_enemies
        self.kinds = max(game.unit_type_bits, 1)
        slices, start = {}, 0
        for name, width in _widths(self.kinds).items():
            slices[name] = slice(start, start + width)
            start += width
        looks = tuple(f"look {i}" for i in range(game.n_actions_no_attack - len(MOVES)))
        self.spec = EnvSpec(
            name=f"{args.package}_{args.map_name}",
            agents=agents,
            entities=agents + enemies,
            features=start,
            private=0,
            basic=game.n_actions_no_attack,
            episode_limit=game.episode_limit,
            feature_slices=slices,
            action_names=MOVES + looks,
            info_names=("battle_won", "enemies_killed", "allies_alive"),
            points="anybody" if game.map_type in HEALED else "others",
            names=max(agents, enemies),
            legal_from=2,
        )
        spec = self.spec
        self._entities = np.zeros((num_envs, spec.entities, spec.features), dtype=np.float32)
        self._seen = np.zeros((num_envs, agents, spec.entities), dtype=bool)
        self._avail = np.zeros((num_envs, agents, spec.actions), dtype=bool)
        self._avail[..., 0] = True
        self._figures = np.zeros((num_envs, len(spec.info_names)))
        #: which games have begun; nobody is present in the others, and they are over
        self._begun = np.zeros(num_envs, dtype=bool)
        self._terminated = np.ones(num_envs, dtype=bool)
        self._truncated = np.zeros(num_envs, dtype=bool)
        #: games in their first episode, before whose end the package cannot begin another
        self._first = np.zeros(num_envs, dtype=bool)
        #: games that have come to the end of an episode
        self._finished = np.zeros(num_envs, dtype=bool)
        self.lost: Tensor = torch.zeros(num_envs, dtype=torch.bool, device=self.device)

    @property
    def restarts(self) -> int:
        return self._restarts

    @classmethod
    def patience(cls, args: SmacArgs) -> float:
        return ATTEMPTS * START

    @classmethod
    def resolve_args(cls, env_args: Mapping[str, Any], test_teams: Sequence[str]) -> SmacArgs:
        args = SmacArgs(**env_args)  # unknown keys and wrong types were refused before
        if args.package not in SOURCES:
            raise UserError(f"env_args.package={args.package!r}: must be one of {', '.join(SOURCES)}")
        if not isinstance(args.kwargs, Mapping) or not all(isinstance(key, str) for key in args.kwargs):
            raise UserError(
                f"env_args.kwargs={args.kwargs!r}: must be a mapping of names, such as {{'difficulty': '9'}}"
            )
        for key in args.kwargs:
            if key in TAKEN or key.startswith(("obs_", "state_")):
                raise UserError(
                    f"env_args.kwargs: {key!r} cannot be set: entities, legal actions and ends are always the same"
                )
        _check_drawn(args)
        for team in test_teams:
            _check_team(team, "test_teams")
        refuse_repeats(test_teams, str)
        return args

    def _build(self) -> Any:
        return build_game(self.args.package, self.args.map_name, self.args.kwargs, self._draw(1)[0])

    def _draw(self, count: int) -> list[int]:
        drawn: list[int] = torch.randint(SEEDS, (count,), generator=self.generator, device=self.device).tolist()
        return drawn

    def _reset(self, env_mask: Tensor, team: str | None) -> TimeStep:
        if team is not None:
            _check_team(team, "team")
        # drawn for all games, then used for some: which ones are reset changes nothing that comes later
        seeds = self._draw(self.num_envs)
        for i in env_mask.nonzero().flatten().tolist():
            self._begin(i, seeds[i])
            self._begun[i], self._terminated[i], self._truncated[i] = True, False, False
            self._figures[i] = 0
            self._note(i)
        self.lost = self.lost & ~env_mask
        return self._show(np.zeros(self.num_envs))

    def _begin(self, i: int, seed: int) -> None:
        """Begin an episode in game `i`, if need be in a new one."""
        if self._first[i]:
            self._replace(i)  # the package would start a second game beside this one
        reason = "it was started anew"
        for _ in range(ATTEMPTS):
            game = self.games[i]
            before = game.force_restarts
            try:
                with seeded(game, seed):
                    game.reset()
            except Exception as error:
                if not is_fault(error) and game.force_restarts == before:
                    raise
                reason = one_line(error) or type(error).__name__
            else:
                if game.force_restarts == before:
                    self._first[i] = not self._finished[i]
                    return
            # where the package has started the game anew, it has no units, or those of the game that is gone
            self._restarts += 1
            self._replace(i)
        raise RunFailed(
            f"StarCraft II did not begin an episode of {self.args.map_name}, {ATTEMPTS} times in a row: {reason}"
        )

    def _replace(self, i: int) -> None:
        """End game `i`; the next reset starts another."""
        self.games[i].close()
        self.games[i] = self._build()
        self._first[i] = self._finished[i] = False

    def _step(self, actions: Tensor) -> TimeStep:
        reward = np.zeros(self.num_envs)
        chosen = actions.cpu().numpy()
        for i in np.flatnonzero(~(self._terminated | self._truncated)):
            reward[i] = self._play(i, chosen[i])
        return self._show(reward)

    def _play(self, i: int, chosen: np.ndarray) -> float:
        """Play a step of game `i` and note what it has come to; return the reward."""
        game, basic, agents = self.games[i], self.spec.basic, self.spec.agents
        # the package counts targets from 0 on either side
        words = np.where(chosen >= basic + agents, chosen - agents, chosen)
        info: Mapping[str, Any] = {}
        try:
            reward, over, info = game.step(words.tolist())
        except Exception as error:
            if not is_fault(error):
                raise
        if not info:  # after a fault the package says no more than that the episode is over
            self._lose(i)
            return 0.0
        self._truncated[i] = over and bool(info.get("episode_limit", False))
        self._terminated[i] = over and not self._truncated[i]
        if over:
            self._first[i], self._finished[i] = False, True
        self._figures[i] = info["battle_won"], info["dead_enemies"], agents - info["dead_allies"]
        self._note(i)
        return float(reward)

    def _lose(self, i: int) -> None:
        """The battle cannot be played on: it is cut short as it was last seen, and counts for nothing."""
        self.lost = self.lost.index_fill(0, torch.tensor([i], device=self.device), True)
        self._truncated[i] = True
        self._restarts += 1
        self._replace(i)

    def _note(self, i: int) -> None:
        """Write down what game `i` shows."""
        game, agents, basic = self.games[i], self.spec.agents, self.spec.basic
        units = [*(game.agents[a] for a in range(agents)), *(game.enemies[e] for e in range(game.n_enemies))]
        alive = np.array([unit.health > 0 for unit in units])
        rows = self._entities[i]
        rows[:] = 0
        names = np.concatenate([np.arange(agents), np.arange(game.n_enemies)]) + 1
        rows[:, 0] = np.where(alive, names, -names)
        for slot in np.flatnonzero(alive):
            rows[slot, 1:] = self._features(game, units[slot], ally=slot < agents)
        relative = self.spec.feature_slices["relative"]
        places = np.array([(unit.pos.x, unit.pos.y) for unit in units])
        if alive.any():
            rows[alive, relative] = places[alive] - places[alive].mean(axis=0)
        self._seen[i] = _seen(game)
        self._seen[i, np.arange(agents), np.arange(agents)] = True
        legal = np.asarray(game.get_avail_actions(), dtype=bool)
        avail = self._avail[i]
        avail[:] = False
        avail[:, :basic] = legal[:, :basic]
        for a in range(agents):
            heals = game.map_type in HEALED and units[a].unit_type == game.medivac_id
            first, count = (0, agents) if heals else (agents, game.n_enemies)
            targets = legal[a, basic : basic + count]
            avail[a, basic + first : basic + first + len(targets)] = targets
        avail[:, basic:] &= self._seen[i]

    def _features(self, game: Any, unit: Any, ally: bool) -> list[float]:
        """A living unit's columns after its name, but for where it is among the others."""
        kind = [0.0] * (2 * self.kinds)
        told = game.get_unit_type_id(unit, ally) if game.unit_type_bits else 0
        kind[told + (0 if ally else self.kinds)] = 1.0
        energy = unit.energy / unit.energy_max if ally and unit.energy_max else 0.0
        healer = game.map_type in HEALED and unit.unit_type == game.medivac_id
        cooldown = unit.weapon_cooldown / game.unit_max_cooldown(unit) if ally and not healer else 0.0
        shield = unit.shield / unit.shield_max if unit.shield_max else 0.0
        x = (unit.pos.x - game.map_x / 2) / game.max_distance_x
        y = (unit.pos.y - game.map_y / 2) / game.max_distance_y
        return [*kind, unit.health / unit.health_max, shield, energy, cooldown, x, y, 0.0, 0.0]

    def _show(self, reward: np.ndarray) -> TimeStep:
        def tensor(value: np.ndarray, dtype: torch.dtype = torch.bool) -> Tensor:
            return torch.tensor(value, dtype=dtype, device=self.device)  # a copy

        begun = tensor(self._begun)
        figures = tensor(self._figures, torch.float32)
        return TimeStep(
            entities=tensor(self._entities, torch.float32),
            private=torch.zeros(self.num_envs, self.spec.agents, 0, device=self.device),
            entity_mask=begun[:, None].repeat(1, self.spec.entities),
            obs_mask=tensor(self._seen),
            avail_mask=tensor(self._avail),
            reward=tensor(reward, torch.float32),
            terminated=tensor(self._terminated),
            truncated=tensor(self._truncated),
            info={name: figures[:, column].clone() for column, name in enumerate(self.spec.info_names)},
        )

    def scene(self, index: int = 0) -> Scene | None:
        return make_scene(self.games[index]) if self._begun[index] else None

    def close(self) -> None:
        while self.games:
            self.games.pop().close()


def _widths(kinds: int) -> dict[str, int]:
    """The features and their columns, for so many types of units on a side."""
    shares = dict.fromkeys(("health", "shield", "energy", "cooldown"), 1)
    return {NAME: 1, "ally_type": kinds, "enemy_type": kinds, **shares, "position": 2, "relative": 2}


def _seen(game: Any) -> np.ndarray:
    """(A, E) bool: of whom each agent's own observation shows anything."""
    agents, enemies = game.n_agents, game.n_enemies
    observed = np.stack(game.get_obs())
    start = game.get_obs_move_feats_size()
    blocks: list[np.ndarray] = []
    for count, width in (game.get_obs_enemy_feats_size(), game.get_obs_ally_feats_size()):
        block = observed[:, start : start + count * width].reshape(agents, count, width)
        blocks.append(np.any(block, axis=2))
        start += count * width
    seen = np.zeros((agents, agents + enemies), dtype=bool)
    seen[:, agents:] = blocks[0]
    for a in range(agents):
        seen[a, np.delete(np.arange(agents), a)] = blocks[1][a]
    return seen


def _check_drawn(args: SmacArgs) -> None:
    """Refuse what SMACv2 is not told, or would draw and entities cannot say."""
    if args.package != "smacv2":
        return
    drawn = args.kwargs.get("capability_config")
    if not isinstance(drawn, Mapping) or not {"n_units", "n_enemies"} <= set(drawn):
        raise UserError("env_args.package='smacv2' needs kwargs.capability_config, as in --env-config=smacv2")
    for key in drawn:
        if key not in DRAWN:
            raise UserError(
                f"env_args.kwargs.capability_config: {key!r} is not possible here; only {', '.join(DRAWN)} are"
            )
    if not args.kwargs.get("action_mask", True):
        raise UserError("env_args.kwargs: action_mask=False is not possible here: agents choose among legal actions")


def _check_team(team: str, key: str) -> None:
    if team != TEAM:
        raise UserError(f"{key} = {team!r} is not possible: a map has one team, {TEAM!r}")


def random_team(spec: EnvSpec) -> ScriptedPolicy:
    """Uniform over the legal actions."""
    return lambda seen, generator: random_legal(seen.avail_mask, generator)


SmacEnv.SCRIPTED = {"random": random_team}

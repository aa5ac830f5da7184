"""`StarCraft2Env` without StarCraft: the same constructor, attributes, methods, observations and order of things."""

import math
import random
from types import SimpleNamespace

import numpy as np

from smac.env.starcraft2.maps.smac_maps import ARMIES, get_smac_map_registry

#: letter -> (name, health, shield, energy, type of an enemy, longest cooldown)
TYPES = {
    "m": ("marine", 45, 0, 0, 48, 15),
    "d": ("marauder", 125, 0, 0, 51, 25),
    "h": ("medivac", 150, 0, 200, 54, 200),
    "s": ("stalker", 80, 80, 0, 74, 35),
    "z": ("zealot", 100, 50, 0, 73, 22),
    "c": ("colossus", 200, 150, 0, 4, 24),
}
#: the team's own types are numbered from here
FIRST = 1935
#: the order in which a map's types are numbered
ORDER = "csdmhz"
SIGHT, RANGE, DAMAGE, HEALED = 9, 6, 20, 10


class StarCraft2Env:
    def __init__(
        self, map_name="8m", difficulty="7", seed=None, continuing_episode=False, reward_sparse=False, registry=None
    ):
        params = (registry or get_smac_map_registry())[map_name]
        self.map_name, self.difficulty, self.continuing_episode = map_name, difficulty, continuing_episode
        self.n_agents, self.n_enemies = params["n_agents"], params["n_enemies"]
        self.episode_limit = params["limit"]
        self.unit_type_bits, self.map_type = params["unit_type_bits"], params["map_type"]
        self.n_actions_no_attack = 6
        self.n_actions = self.n_actions_no_attack + max(self.n_enemies, self.n_agents * ("h" in self._letters()))
        self.map_x = self.map_y = self.max_distance_x = self.max_distance_y = 32
        self.random = random.Random(seed)
        self.medivac_id = 0
        self.agents, self.enemies = {}, {}
        self.force_restarts = 0
        self.episodes = self.steps = 0
        #: for tests: games started and closed, the seeds given, the actions heard, and an error to come from a call
        self.started, self.closed, self.seed_given, self.heard = 0, 0, seed, []
        self.errors = {}

    def _letters(self):
        return "".join(ARMIES.get(self.map_name, ("scz" if self.map_type == "protoss_gen" else "mdh", "")))

    def fault(self, call):
        """What SMAC does where the way to the game breaks: a new game, or the client's error."""
        error = self.errors.pop(call, None)
        if isinstance(error, Exception):
            raise error
        if error:
            self.force_restarts += 1
            self.closed += 1
            self.started += 1
        return bool(error)

    def reset(self, armies=None, places=None):
        self.started += self.episodes == 0
        self.steps = 0
        if self.fault("reset"):
            return self.get_obs(), None  # of units that are gone, or not there yet
        team, enemies = armies or ARMIES[self.map_name]
        kinds = sorted(set(team), key=ORDER.index)
        numbers = {kind: FIRST + number for number, kind in enumerate(kinds)}
        self.medivac_id = numbers.get("h", 0)
        sides = []
        for side, army in enumerate((team, enemies)):
            units = []
            for number, kind in enumerate(army):
                _, health, shield, energy, real, _ = TYPES[kind]
                x, y = places[side][number] if places else (8 + 10 * side + self.random.random() * 4, 10 + number)
                units.append(
                    SimpleNamespace(
                        unit_type=real if side else numbers[kind],
                        kind=kind,
                        health=health,
                        health_max=health,
                        shield=shield,
                        shield_max=shield,
                        energy=energy / 4,
                        energy_max=energy,
                        weapon_cooldown=0,
                        pos=SimpleNamespace(x=x, y=y),
                    )
                )
            sides.append(dict(enumerate(sorted(units, key=lambda unit: (unit.unit_type, unit.pos.x)))))
        self.agents, self.enemies = sides
        return self.get_obs(), None

    def step(self, actions):
        assert len(actions) == self.n_agents
        self.heard.append(list(actions))
        if self.fault("step"):
            return 0, True, {}
        legal = self.get_avail_actions()
        before = sum(enemy.health + enemy.shield for enemy in self.enemies.values())
        for a, action in enumerate(actions):
            assert legal[a][action] == 1, f"Agent {a} cannot perform action {action}"
            unit, target = self.agents[a], action - self.n_actions_no_attack
            if 2 <= action <= 5:
                unit.pos.x += (0, 0, 2, -2)[action - 2]
                unit.pos.y += (2, -2, 0, 0)[action - 2]
            elif target >= 0 and unit.unit_type == self.medivac_id:
                self.agents[target].health = min(self.agents[target].health + HEALED, self.agents[target].health_max)
            elif target >= 0:
                _hit(self.enemies[target])
                unit.weapon_cooldown = TYPES[unit.kind][5] / 5
        for enemy in self.enemies.values():
            near = [unit for unit in self.agents.values() if unit.health > 0 and _distance(enemy, unit) <= RANGE]
            if enemy.health > 0 and near:
                _hit(min(near, key=lambda unit: _distance(enemy, unit)))
            elif enemy.health > 0:
                enemy.pos.x -= 1
        self.steps += 1
        return self._outcome(before)

    def _outcome(self, before):
        after = sum(enemy.health + enemy.shield for enemy in self.enemies.values())
        dead = [sum(unit.health <= 0 for unit in side.values()) for side in (self.agents, self.enemies)]
        won = dead[1] == self.n_enemies
        over = won or dead[0] == self.n_agents
        info = {"battle_won": won, "dead_allies": dead[0], "dead_enemies": dead[1]}
        if not over and self.steps >= self.episode_limit:
            over = True
            if self.continuing_episode:
                info["episode_limit"] = True
        self.episodes += over
        return (before - after) / 10 + 10 * won, over, info

    def get_unit_type_id(self, unit, ally):
        return unit.unit_type - FIRST if ally else {74: 1, 73: 0, 51: 0, 48: 1, 54: 2, 4: 2}[unit.unit_type]

    def unit_max_cooldown(self, unit):
        return TYPES[unit.kind][5]

    def get_avail_actions(self):
        return [self._legal(a) for a in range(self.n_agents)]

    def _legal(self, a):
        unit = self.agents[a]
        legal = [0] * self.n_actions
        if unit.health <= 0:
            legal[0] = 1
            return legal
        x, y = unit.pos.x, unit.pos.y
        legal[1:6] = [1, *(int(0 <= x + dx < 32 and 0 <= y + dy < 32) for dx, dy in ((0, 1), (0, -1), (1, 0), (-1, 0)))]
        heals = unit.unit_type == self.medivac_id
        for number, target in (self.agents if heals else self.enemies).items():
            healed = heals and target.unit_type == self.medivac_id
            if target.health > 0 and not healed and _distance(unit, target) <= RANGE:
                legal[self.n_actions_no_attack + number] = 1
        return legal

    def get_obs_move_feats_size(self):
        return 4

    def get_obs_enemy_feats_size(self):
        return self.n_enemies, 2

    def get_obs_ally_feats_size(self):
        return self.n_agents - 1, 3

    def get_obs(self):
        return [self._observation(a) for a in range(self.n_agents)]

    def _observation(self, a):
        unit = self.agents[a]
        others = [self.agents[other] for other in range(self.n_agents) if other != a]

        def block(units, width):
            rows = np.zeros((len(units), width))
            for row, seen in zip(rows, units, strict=True):
                if unit.health > 0 and seen.health > 0 and _distance(unit, seen) < SIGHT:
                    row[-1] = seen.health / seen.health_max
            return rows.flatten()

        return np.concatenate([np.ones(4), block(list(self.enemies.values()), 2), block(others, 3), [unit.health]])

    def close(self):
        self.closed += self.started > self.closed


def _distance(one, other):
    return math.hypot(one.pos.x - other.pos.x, one.pos.y - other.pos.y)


def _hit(unit):
    unit.shield -= DAMAGE
    if unit.shield < 0:
        unit.health, unit.shield = max(unit.health + unit.shield, 0), 0

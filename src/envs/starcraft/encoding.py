"""From units to what agents see and may do, and back from actions to orders. The same for every battle engine.

Shape letters: B battles, S unit slots, M = S / 2 slots of one side (= A agents, and the number of tags), E = S entities,
D features, U = 6 + M actions. Work is done with the battle as the last axis, like the engines', and turned round at the end.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from envs.base import EnvSpec
from envs.starcraft.engine import Order, Orders, Units
from envs.starcraft.scenarios import MAP_SIZE, Scenario, UnitTable, UnitType

#: Actions: 0 no-op (absent or dead only), 1 stop, 2-5 move, 6 + k target the unit with tag k.
STOP, FIRST_MOVE, FIRST_TARGET = 1, 2, 6
MOVES = ((0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (-1.0, 0.0))
MOVE_AMOUNT = 2.0
#: Ranges for what is legal and what is seen: between centres, the same for all units.
SHOOT_RANGE = 6.0
SIGHT_RANGE = 9.0
REWARD_KILL = 10.0
REWARD_WIN = 200.0
REWARD_MAX = 20.0
#: Figures of an episode that come before the counts of each unit type in `info`.
FIGURES = ("battle_won", "enemies_killed", "allies_alive", "team_size")


def make_spec(scenario: Scenario, max_team: int, episode_limit: int) -> EnvSpec:
    """Sizes and feature columns for `max_team` slots a side."""
    kinds = scenario.unit_names
    actions = FIRST_TARGET + max_team
    widths = {
        "tag": 2 * max_team,
        "legal": actions - FIRST_MOVE,
        "type": len(kinds),
        "health": 1,
        "shield": 1,
        "energy": 1,
        "cooldown": 1,
        "position": 2,
        "relative": 2,
    }
    slices, start = {}, 0
    for name, width in widths.items():
        slices[name] = slice(start, start + width)
        start += width
    return EnvSpec(
        name=f"sc2_{scenario.name}",
        agents=max_team,
        entities=2 * max_team,
        features=start,
        private=0,
        actions=actions,
        episode_limit=episode_limit,
        feature_slices=slices,
        action_names=("no-op", "stop", "north", "south", "east", "west", *(f"target {tag}" for tag in range(max_team))),
        info_names=(*FIGURES, *kinds),
    )


class View(NamedTuple):
    """What the agents see of a moment: fields as in `TimeStep`."""

    entities: Tensor
    entity_mask: Tensor
    obs_mask: Tensor
    avail_mask: Tensor


class Encoder:
    """Turns units into entities and actions into orders, for the tags of the running episodes."""

    def __init__(
        self, spec: EnvSpec, units: tuple[UnitType, ...], num_battles: int, device: torch.device | str
    ) -> None:
        self.spec = spec
        self.table = UnitTable(units, device)
        slots = 2 * spec.agents
        shape = (spec.agents, num_battles)
        #: (S, B) the tag of each unit, 0 to M - 1 on either side
        self.tags = torch.arange(spec.agents, device=device).repeat(2)[:, None].expand(slots, num_battles).clone()
        #: (S, B) the slot that has tag k, for the allies' tags and then for the enemies'
        self.slot_of_tag = self.tags.clone()
        self._steps = torch.tensor(MOVES, device=device).T * MOVE_AMOUNT
        self._itself = torch.eye(*(spec.agents, slots), dtype=torch.bool, device=device)[:, :, None]
        self._static = torch.zeros(slots, spec.features, num_battles, device=device)
        self._target_pair = torch.zeros(spec.agents, slots, num_battles, dtype=torch.bool, device=device)
        self._healer = torch.zeros(shape, dtype=torch.bool, device=device)
        self._full = torch.ones(3, slots, num_battles, device=device)
        self._period = torch.ones(shape, device=device)

    def begin(self, battle_mask: Tensor, types: Tensor, tags: Tensor) -> None:
        """Take up new episodes where `battle_mask (B,)` is True, with unit `types (S, B)` and `tags (S, B)`."""
        team = self.spec.agents
        self.tags = torch.where(battle_mask, tags, self.tags)
        # the inverse of a permutation is its arg sort
        self.slot_of_tag = torch.cat([self.tags[:team].argsort(0), self.tags[team:].argsort(0)])
        f = self.table.lookup(types)
        full = torch.stack([f["health"], f["shield"], f["energy"]])
        # what a unit does not have stays 0 when it is divided by 1
        self._full = torch.where(battle_mask, torch.where(full > 0, full, 1.0), self._full)
        period = torch.where(f["cooldown"] > 0, f["cooldown"], 1.0)[:team]
        self._period = torch.where(battle_mask, period, self._period)

        healer = f["heal"][:team] > 0
        self._healer = torch.where(battle_mask, healer, self._healer)
        shoots = (f["damage"][:team, None] > 0) & ((f["flies"] == 0) | (f["hits_air"][:team, None] > 0))
        shoots[:, :team] = False
        heals = healer[:, None] & (f["biological"] > 0)
        heals[:, team:] = False
        self._target_pair = torch.where(battle_mask, (shoots | heals) & ~self._itself, self._target_pair)

        static = torch.zeros_like(self._static)
        columns = self.spec.feature_slices
        static[:, columns["tag"]][:team, :team].scatter_(1, self.tags[:team, None], 1.0)
        static[:, columns["tag"]][team:, team:].scatter_(1, self.tags[team:, None], 1.0)
        kinds = torch.arange(len(self.table.units), device=types.device)[:, None]
        static[:, columns["type"]] = (types[:, None] == kinds).float()
        self._static = torch.where(battle_mask, static, self._static)

    def view(self, units: Units) -> View:
        """Encode `units` as the agents see them."""
        team = self.spec.agents
        alive, x, y = units.alive, units.position[0], units.position[1]
        both_alive = alive[:team, None] & alive
        square = (x[:team, None] - x).square().addcmul_(*2 * [y[:team, None] - y])
        present = units.type >= 0
        obs_mask = (square <= SIGHT_RANGE**2) & both_alive | (self._itself & present)
        avail = self._legal(units, (square <= SHOOT_RANGE**2) & both_alive & self._target_pair)

        living = alive.float()
        columns = self.spec.feature_slices
        entities = self._static * living[:, None]
        entities[:team, columns["legal"]] = avail[:, FIRST_MOVE:].float()
        vitals = torch.stack([units.health, units.shield, units.energy], dim=1)
        entities[:, columns["health"].start : columns["energy"].stop] = vitals / self._full.transpose(0, 1)
        entities[:team, columns["cooldown"].start] = units.cooldown[:team] / self._period
        # dead units may have any position, NaN excepted
        centre = (units.position * living).sum(1) / living.sum(0).clamp(min=1)
        half = MAP_SIZE / 2
        entities[:, columns["position"]] = ((units.position - half) / half * living).transpose(0, 1)
        entities[:, columns["relative"]] = ((units.position - centre[:, None]) / half * living).transpose(0, 1)
        return View(
            entities=entities.permute(2, 0, 1).contiguous(),
            entity_mask=present.T.contiguous(),
            obs_mask=obs_mask.permute(2, 0, 1).contiguous(),
            avail_mask=avail.permute(2, 0, 1).contiguous(),
        )

    def _legal(self, units: Units, targets: Tensor) -> Tensor:
        """Legal actions (A, U, B); `targets (A, S, B)`: whom each agent may target."""
        team = self.spec.agents
        alive = units.alive[:team]
        x, y = units.position[:, :team]
        avail = torch.empty(team, self.spec.actions, alive.shape[1], dtype=torch.bool, device=alive.device)
        avail[:, 0] = ~alive
        avail[:, STOP] = alive
        avail[:, FIRST_MOVE] = alive & (y <= MAP_SIZE - MOVE_AMOUNT)
        avail[:, FIRST_MOVE + 1] = alive & (y >= MOVE_AMOUNT)
        avail[:, FIRST_MOVE + 2] = alive & (x <= MAP_SIZE - MOVE_AMOUNT)
        avail[:, FIRST_MOVE + 3] = alive & (x >= MOVE_AMOUNT)
        # an agent has targets on one side only, so that both sides may share the tags' columns
        of_tag = self.slot_of_tag.expand(team, -1, -1)
        avail[:, FIRST_TARGET:] = targets[:, :team].gather(1, of_tag[:, :team])
        avail[:, FIRST_TARGET:] |= targets[:, team:].gather(1, of_tag[:, team:])
        return avail

    def orders(self, actions: Tensor, units: Units) -> Orders:
        """What `actions (B, A)` tell the units to do."""
        team = self.spec.agents
        action = actions.T
        moves = (action >= FIRST_MOVE) & (action < FIRST_TARGET)
        at_unit = action >= FIRST_TARGET
        point = units.position[:, :team] + self._steps[:, (action - FIRST_MOVE).clamp(0, len(MOVES) - 1)]
        tag = (action - FIRST_TARGET).clamp(min=0)
        ally, enemy = self.slot_of_tag[:team].gather(0, tag), self.slot_of_tag[team:].gather(0, tag) + team
        order = torch.where(self._healer, int(Order.HEAL), int(Order.ATTACK))
        kind = torch.where(at_unit, order, torch.where(moves, int(Order.MOVE), int(Order.STOP)))
        return Orders(kind=kind, point=point, target=torch.where(self._healer, ally, enemy))


class Score:
    """Reward and outcome of the running battles.

    Damage counts once: what an enemy has left (health + shield) is paid for when it falls below its lowest value so
    far. So neither regeneration nor healing ever pays, and the rewards of an episode add up to at most `REWARD_MAX`,
    which is reached exactly when every enemy dies.
    """

    def __init__(
        self, spec: EnvSpec, units: tuple[UnitType, ...], num_battles: int, device: torch.device | str
    ) -> None:
        self.table = UnitTable(units, device)
        self.team = spec.agents
        kinds = len(units)
        self._lowest = torch.zeros(self.team, num_battles, device=device)
        self._scale = torch.ones(num_battles, device=device)
        self._fighter = torch.zeros(2 * self.team, num_battles, dtype=torch.bool, device=device)
        self._kinds = torch.arange(kinds, device=device)[:, None]
        self.composition = torch.zeros(kinds, num_battles, device=device)
        self.killed = torch.zeros(num_battles, device=device)

    def begin(self, battle_mask: Tensor, units: Units) -> None:
        """Take up new episodes where `battle_mask (B,)` is True."""
        types, team = units.type, self.team
        pool = (units.health + units.shield)[team:]
        self._lowest = torch.where(battle_mask, pool, self._lowest)
        enemies = (types[team:] >= 0).sum(0)
        scale = REWARD_MAX / (pool.sum(0) + REWARD_KILL * enemies + REWARD_WIN)
        self._scale = torch.where(battle_mask, scale, self._scale)
        self._fighter = torch.where(battle_mask, self.table["damage"][types] > 0, self._fighter)
        composition = (types[:team, None] == self._kinds).sum(0).float()
        self.composition = torch.where(battle_mask, composition, self.composition)
        self.killed = torch.where(battle_mask, torch.zeros_like(self.killed), self.killed)

    def settle(self, units: Units, battle_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reward, whether the battle is over, and whether the team won it, each (B,); nothing new where not `battle_mask`."""
        team = self.team
        pool = (units.health + units.shield)[team:]
        damage = (self._lowest - pool).clamp(min=0).sum(0)
        self._lowest = torch.minimum(self._lowest, pool)
        killed = ((units.type[team:] >= 0) & ~units.alive[team:]).sum(0).float()
        fights = units.alive & self._fighter
        beaten, lost = ~fights[team:].any(0), ~fights[:team].any(0)
        won = beaten & ~lost & battle_mask
        reward = (damage + REWARD_KILL * (killed - self.killed) + REWARD_WIN * won) * self._scale * battle_mask
        self.killed = killed
        return reward, beaten | lost, won

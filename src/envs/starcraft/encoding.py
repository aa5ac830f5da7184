"""From units to what agents see and may do, and back from actions to orders. The same for every battle engine.

Shape letters: B battles, R battles that begin anew, S unit slots (= E entities), M = S / 2 slots of one side (= A
agents, and the number of tags), D features, U = 6 + M actions. Work is done with the battle as the last axis, like the
engines', and turned round at the end.
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
        #: (B, E, D) the features that only change when a unit dies
        self._static = torch.zeros(num_battles, slots, spec.features, device=device)
        self._target_pair = torch.zeros(spec.agents, slots, num_battles, dtype=torch.bool, device=device)
        self._healer = torch.zeros(shape, dtype=torch.bool, device=device)
        #: (4, S, B) what health, shield, energy and cooldown are divided by; enemies show no cooldown
        self._full = torch.ones(4, slots, num_battles, device=device)

    def begin(self, battles: Tensor, types: Tensor, tags: Tensor) -> None:
        """Take up new episodes in `battles (R,)`, with unit `types (S, R)` and `tags (S, R)`."""
        team = self.spec.agents
        self.tags[:, battles] = tags
        # the inverse of a permutation is its arg sort
        self.slot_of_tag[:, battles] = torch.cat([tags[:team].argsort(0), tags[team:].argsort(0)])
        f = self.table.lookup(types)
        full = torch.stack([f["health"], f["shield"], f["energy"], f["cooldown"]])
        # what a unit does not have stays 0 when it is divided by 1
        full = torch.where(full > 0, full, 1.0)
        full[3, team:] = torch.inf
        self._full[..., battles] = full

        healer = f["heal"][:team] > 0
        self._healer[:, battles] = healer
        shoots = (f["damage"][:team, None] > 0) & ((f["flies"] == 0) | (f["hits_air"][:team, None] > 0))
        shoots[:, :team] = False
        heals = healer[:, None] & (f["biological"] > 0)
        heals[:, team:] = False
        self._target_pair[..., battles] = (shoots | heals) & ~self._itself

        static = torch.zeros(len(battles), 2 * team, self.spec.features, device=types.device)
        columns = self.spec.feature_slices
        tag_columns = static[..., columns["tag"]]
        tag_columns[:, :team, :team].scatter_(2, tags[:team].T[..., None], 1.0)
        tag_columns[:, team:, team:].scatter_(2, tags[team:].T[..., None], 1.0)
        kinds = torch.arange(len(self.table.units), device=types.device)
        static[..., columns["type"]] = (types.T[..., None] == kinds).float()
        self._static[battles] = static

    def view(self, units: Units) -> View:
        """Encode `units` as the agents see them."""
        team, columns = self.spec.agents, self.spec.feature_slices
        alive, (x, y) = units.alive, units.position
        dx, dy = x[:team, None] - x, y[:team, None] - y
        square = dx.mul_(dx).addcmul_(dy, dy)
        both_alive = alive[:team, None] & alive
        present = units.type >= 0
        obs_mask = square.le(SIGHT_RANGE**2).logical_and_(both_alive).logical_or_(self._itself & present)
        targets = square.le(SHOOT_RANGE**2).logical_and_(both_alive).logical_and_(self._target_pair)
        avail_mask = self._legal(units, targets).permute(2, 0, 1).contiguous()

        living = alive.float()
        half = MAP_SIZE / 2
        place = units.position * living
        centre = place.sum(1) / living.sum(0).clamp(min=1)
        # (8, E, B) in the order of the feature columns from "health" on
        moving = torch.stack([units.health, units.shield, units.energy, units.cooldown, *place, *place])
        # a weapon that shot early within its game loop has a little more than the whole cooldown before it
        moving[:4].div_(self._full).clamp_(max=1.0)
        moving[4:6].sub_(half).div_(half).mul_(living)
        moving[6:].sub_(centre[:, None]).div_(half).mul_(living)

        entities = self._static * living.T[..., None]
        entities[:, :team, columns["legal"]] = avail_mask[..., FIRST_MOVE:].float()
        entities[..., columns["health"].start : columns["relative"].stop] = moving.permute(2, 1, 0)
        return View(
            entities=entities,
            entity_mask=present.T.contiguous(),
            obs_mask=obs_mask.permute(2, 0, 1).contiguous(),
            avail_mask=avail_mask,
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

    def begin(self, battles: Tensor, units: Units) -> None:
        """Take up new episodes in `battles (R,)`; `units` are those of all battles."""
        team = self.team
        types = units.type[:, battles]
        pool = (units.health + units.shield)[team:, battles]
        enemies = (types[team:] >= 0).sum(0)
        self._lowest[:, battles] = pool
        self._scale[battles] = REWARD_MAX / (pool.sum(0) + REWARD_KILL * enemies + REWARD_WIN)
        self._fighter[:, battles] = self.table["damage"][types] > 0
        self.composition[:, battles] = (types[:team, None] == self._kinds).sum(0).float()
        self.killed[battles] = 0.0

    def settle(self, units: Units, battle_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the reward, whether the battle is over, and whether the team has just won, each (B,).

        Args:
            battle_mask (B,): bool, battles that were running; the others get reward 0 and are not won again.
        """
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

"""From units to what agents see and may do, and back from actions to orders. The same for every battle engine.

Shape letters: B battles, R battles that begin anew, S unit slots (= E entities), the first A of them allies (= agents),
D features, U = 6 + E actions, K unit types. Work is done with the battle as the last axis, like the engines', and
turned round at the end. Flags on the way are floats, 0 or 1: torch compares and multiplies floats several times faster
than it makes bools.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from envs.base import NAME, EnvSpec
from envs.starcraft.engine import Order, Orders, Units
from envs.starcraft.scenarios import MAP_SIZE, UNITS, Scenario, UnitTable, UnitType
from utils.snapshots import restored, snapshot

#: Actions: 0 no-op (absent or dead only), 1 stop, 2-5 move, 6 + e target the unit in slot e.
STOP, FIRST_MOVE, FIRST_TARGET = 1, 2, 6
ACTIONS = ("no-op", "stop", "north", "south", "east", "west")
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


def make_spec(scenario: Scenario, allies: int, enemies: int, tags: int, episode_limit: int) -> EnvSpec:
    """Sizes and feature columns for so many slots on either side, and so many tags to tell the units of one by."""
    kinds = scenario.unit_names
    widths = {
        NAME: 1,
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
        agents=allies,
        entities=allies + enemies,
        features=start,
        private=0,
        basic=FIRST_TARGET,
        episode_limit=episode_limit,
        feature_slices=slices,
        action_names=ACTIONS,
        info_names=(*FIGURES, *kinds),
        points="anybody" if any(UNITS[name].heal > 0 for name in kinds) else "others",
        names=tags,
        legal_from=FIRST_MOVE,
    )


class View(NamedTuple):
    """What the agents see of a moment: fields as in `TimeStep`."""

    entities: Tensor
    entity_mask: Tensor
    obs_mask: Tensor
    avail_mask: Tensor


class Encoder:
    """Turns units into entities and actions into orders."""

    def __init__(
        self, spec: EnvSpec, units: tuple[UnitType, ...], num_battles: int, device: torch.device | str
    ) -> None:
        self.spec = spec
        self.table = UnitTable(units, device)
        slots = spec.entities
        self._steps = torch.tensor(MOVES, device=device).T * MOVE_AMOUNT
        self._others = 1 - torch.eye(spec.agents, device=device)[:, :, None]
        #: (E, D, B) the features that only change when a unit dies
        self._static = torch.zeros(slots, spec.features, num_battles, device=device)
        self._canvas = torch.zeros_like(self._static)
        #: (A, E, B) whom an agent may target once it is near enough
        self._target_pair = torch.zeros(spec.agents, slots, num_battles, device=device)
        self._healer = torch.zeros(spec.agents, num_battles, dtype=torch.bool, device=device)
        #: (S, 4, B) what health, shield, energy and cooldown are divided by; enemies show no cooldown
        self._full = torch.ones(slots, 4, num_battles, device=device)

        # by unit type, the last index for nobody
        f = self.table.lookup(torch.arange(len(units) + 1, device=device))
        self._heals = f["heal"] > 0
        gauges = torch.stack([f["health"], f["shield"], f["energy"], f["cooldown"]])
        # what a unit does not have stays 0 when it is divided by 1
        self._gauges = torch.where(gauges > 0, gauges, 1.0)
        patients = self._heals[:, None] & (f["biological"] > 0)
        prey = (f["damage"][:, None] > 0) & ((f["flies"] == 0) | (f["hits_air"][:, None] > 0))
        #: (2, K + 1, K + 1) which types may target which, on their own side and on the other
        self._may_target = torch.stack([patients, prey]).float()

    def begin(self, battles: Tensor, types: Tensor, tags: Tensor) -> None:
        """Take up new episodes in `battles (R,)`, with unit `types (S, R)` and `tags (S, R)`, numbers from 0 on."""
        team, columns = self.spec.agents, self.spec.feature_slices
        allies, enemies = types[:team], types[team:]
        self._healer[:, battles] = self._heals[allies]
        self._full[..., battles] = self._gauges[:, types].transpose(0, 1)
        self._full[team:, 3, battles] = torch.inf
        patients = self._may_target[0, allies[:, None], allies] * self._others
        prey = self._may_target[1, allies[:, None], enemies]
        self._target_pair[..., battles] = torch.cat([patients, prey], dim=1)

        static = torch.zeros(len(types), self.spec.features, len(battles), device=types.device)
        static[:, columns[NAME].start] = torch.where(types >= 0, tags + 1, 0).float()
        kinds = torch.arange(len(self.table.units), device=types.device)[:, None]
        static[:, columns["type"]] = (types[:, None] == kinds).float()
        self._static[..., battles] = static

    def view(self, units: Units, battles: Tensor | None = None) -> View:
        """Encode `units` of all battles as the agents see them; the view is that of `battles (R,)` alone if given."""
        team, columns = self.spec.agents, self.spec.feature_slices
        at = slice(None) if battles is None else battles
        living, present = units.alive[:, at].float(), units.type[:, at] >= 0
        position = units.position[..., at]
        x, y = position
        dx, dy = x[:team, None] - x, y[:team, None] - y
        square = dx.mul_(dx).addcmul_(dy, dy)
        both_alive = torch.mul(living[:team, None], living, out=dy)
        sees = torch.le(square, SIGHT_RANGE**2, out=torch.empty_like(square)).mul_(both_alive)
        # the dead see themselves
        sees.diagonal(dim1=0, dim2=1).copy_(present[:team].T)
        targets = square.le_(SHOOT_RANGE**2).mul_(both_alive).mul_(self._target_pair[..., at])
        avail = self._legal(position[:, :team], living[:team], targets)

        half = MAP_SIZE / 2
        place = position * living
        centre = place.sum(1) / living.sum(0).clamp(min=1)
        # a buffer, because memory of this size is given back to the system and asked for again at every step
        entities = torch.mul(self._static[..., at], living[:, None], out=self._canvas if battles is None else None)
        # of the dead nothing is left but who they were, as a negative number
        entities[:, columns[NAME].start] = self._static[:, columns[NAME].start, at] * (2 * living - 1)
        # (E, 8, R) in the order of the feature columns from "health" on
        moving = entities[:, columns["health"].start : columns["relative"].stop]
        gauges = (units.health, units.shield, units.energy, units.cooldown)
        torch.stack([*(gauge[:, at] for gauge in gauges), *place, *place], dim=1, out=moving)
        # a weapon that shot early within its game loop has a little more than the whole cooldown before it
        moving[:, :4].div_(self._full[..., at]).clamp_(max=1.0)
        moving[:, 4:6].sub_(half).div_(half)
        # not in half map widths: who is nearer has to show
        moving[:, 6:].sub_(centre)
        moving[:, 4:].mul_(living[:, None])
        return View(
            entities=_battle_first(entities),
            entity_mask=_battle_first(present),
            obs_mask=_battle_first(sees.bool()),
            avail_mask=_battle_first(avail.bool()),
        )

    def _legal(self, position: Tensor, living: Tensor, targets: Tensor) -> Tensor:
        """Legal actions (A, U, R) of agents at `position (2, A, R)`, `living (A, R)`; `targets (A, S, R)`: whom each
        may target.
        """
        x, y = position
        avail = targets.new_empty(self.spec.agents, self.spec.actions, targets.shape[-1])
        avail[:, 0] = 1 - living
        avail[:, STOP] = living
        moves = (y <= MAP_SIZE - MOVE_AMOUNT, y >= MOVE_AMOUNT, x <= MAP_SIZE - MOVE_AMOUNT, x >= MOVE_AMOUNT)
        for action, inside in enumerate(moves, FIRST_MOVE):
            torch.mul(living, inside, out=avail[:, action])
        avail[:, FIRST_TARGET:] = targets
        return avail

    def orders(self, actions: Tensor, units: Units) -> Orders:
        """What `actions (B, A)` tell the units to do."""
        action = actions.T
        moves = (action >= FIRST_MOVE) & (action < FIRST_TARGET)
        point = units.position[:, : self.spec.agents] + self._steps[:, (action - FIRST_MOVE).clamp(0, len(MOVES) - 1)]
        order = torch.where(self._healer, int(Order.HEAL), int(Order.ATTACK))
        other = torch.where(moves, int(Order.MOVE), int(Order.STOP))
        kind = torch.where(action >= FIRST_TARGET, order, other)
        return Orders(kind=kind, point=point, target=(action - FIRST_TARGET).clamp(min=0))


class Score:
    """Reward and outcome of the running battles.

    Damage counts once: what an enemy has left (health + shield) is paid for when it falls below its lowest value so
    far. So neither regeneration nor healing ever pays. Points are scaled so that all there are in a battle, which is
    when every enemy dies, add up to `REWARD_MAX`: those of the battle itself, or those of one army for all battles.
    """

    def __init__(
        self,
        spec: EnvSpec,
        units: tuple[UnitType, ...],
        num_battles: int,
        device: torch.device | str,
        measure: Sequence[int] | None = None,
    ) -> None:
        """
        Args:
            measure: the army that pays `REWARD_MAX`, units of each type; smaller ones then pay less and larger ones
                more. None: every battle is measured by its own enemies.
        """
        self.table = UnitTable(units, device)
        self.team = spec.agents
        kinds = len(units)
        self._lowest = torch.zeros(spec.entities - self.team, num_battles, device=device)
        self._scale = torch.ones(num_battles, device=device)
        self._measured = measure is not None
        if measure is not None:
            pool = sum(count * (unit.health + unit.shield) for count, unit in zip(measure, units, strict=True))
            self._scale *= REWARD_MAX / (pool + REWARD_KILL * sum(measure) + REWARD_WIN)
        self._fighter = torch.zeros(spec.entities, num_battles, dtype=torch.bool, device=device)
        self._kinds = torch.arange(kinds, device=device)[:, None]
        self.composition = torch.zeros(kinds, num_battles, device=device)
        self.killed = torch.zeros(num_battles, device=device)

    def begin(self, battles: Tensor, units: Units) -> None:
        """Take up new episodes in `battles (R,)`; `units` are those of all battles."""
        team = self.team
        types = units.type[:, battles]
        pool = (units.health + units.shield)[team:, battles]
        self._lowest[:, battles] = pool
        if not self._measured:
            enemies = (types[team:] >= 0).sum(0)
            self._scale[battles] = REWARD_MAX / (pool.sum(0) + REWARD_KILL * enemies + REWARD_WIN)
        self._fighter[:, battles] = self.table["damage"][types] > 0
        # time steps keep what they were given, so these are not changed in place
        self.composition = self.composition.index_copy(1, battles, (types[:team, None] == self._kinds).sum(0).float())
        self.killed = self.killed.index_fill(0, battles, 0.0)

    def running(self) -> dict[str, Tensor]:
        """What it knows of running battles and could not know from their units, on the CPU."""
        return snapshot({"lowest": self._lowest, "scale": self._scale, "killed": self.killed})

    def resume(self, state: Mapping[str, Tensor]) -> None:
        """After `begin` in all battles: these have been played on since, as `running` saved it."""
        self._lowest = restored(state["lowest"], self._lowest)
        self._scale = restored(state["scale"], self._scale)
        self.killed = restored(state["killed"], self.killed)

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


def _battle_first(values: Tensor) -> Tensor:
    """`values (..., B)` -> (B, ...), contiguous, in memory of its own."""
    # as one matrix, because torch transposes those faster; that of a single battle is contiguous as it is
    matrix = values.flatten(0, -2).T
    return matrix.clone(memory_format=torch.contiguous_format).view(-1, *values.shape[:-1])

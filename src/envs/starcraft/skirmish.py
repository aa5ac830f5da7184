"""The embedded battle engine: StarCraft II combat for a whole batch of battles as plain tensor code.

Shape letters as in `engine.py`: S unit slots, the first A of them allies, M enemies, B battles (last axis), R battles
that begin anew; C slots that an enemy may choose among, L slots whose units may have splash. A game loop reads one
state, decides for all units, and only then changes anything, so neither side and no slot goes first.

Speed: flags inside the loop are floats, 0 or 1, because multiplying is several times faster than selecting;
pair matrices live in buffers, because allocating them would cost as much as filling them.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from envs.starcraft.engine import LOOPS_PER_STEP, BattleEngine, Order, Orders, Units
from envs.starcraft.scenarios import LOOPS_PER_SECOND, MAP_SIZE, UnitTable, UnitType
from envs.starcraft.traits import ARRIVED, OFF_MAP, OWN, SECOND_CHOICE, Traits
from utils.snapshots import snapshot

#: Shields come back at this rate once a unit has not been damaged for this long (points per second, seconds).
SHIELD_REGENERATION = 2.0
SHIELD_DELAY = 10.0
#: Armour leaves at least this much of every hit.
LEAST_DAMAGE = 0.5
#: Energy that healers gain per second, and health that one point of energy buys.
ENERGY_REGENERATION = 0.7875
HEALTH_PER_ENERGY = 3.0
#: Health with which a unit counts as dead.
DEAD = 1e-3
#: The dead lie further apart than `OFF_MAP`, each in a grave of its own, so that no distance test needs a mask.
GRAVES_APART = 1000.0
#: How often overlapping units are pushed apart once more after the last game loop of a step.
LAST_PUSHES = 2
TINY = 1e-12


class SkirmishEngine(BattleEngine):
    """`num_battles` battles of up to `team_slots` units against up to `enemy_slots`, on one CPU or GPU.

    Enemies choose their targets once per step, at the moment when agents choose their actions: neither side reacts
    faster than the other.
    """

    def __init__(
        self,
        num_battles: int,
        team_slots: int,
        enemy_slots: int,
        units: Sequence[UnitType],
        device: torch.device | str = "cpu",
    ) -> None:
        self.team_slots, self.slots = team_slots, team_slots + enemy_slots
        self.table = UnitTable(units, device)
        slots = self.slots
        self._has_healers = any(unit.heal > 0 for unit in units)
        self._has_splash = any(unit.splash > 0 for unit in units)
        #: slots among which an enemy chooses: the allies, and its own comrades where there are healers
        self._choices = slots if self._has_healers else team_slots

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, num_battles, device=device)

        self._owner = (torch.arange(slots, device=device) >= team_slots).long()[:, None]
        self._graves = (torch.arange(slots, device=device) + 1.0)[:, None] * GRAVES_APART
        self._type = torch.full((slots, num_battles), -1, dtype=torch.int64, device=device)
        #: (2, 2S, B) where the units are, then the point that each was sent to: index S + i is i's own point
        self._place = zeros(2, 2 * slots)
        self._unit_place = self._place[:, :slots]
        self._own_point = torch.arange(slots, 2 * slots, device=device)[:, None].expand(slots, num_battles)
        #: (5, S, B) health, shield, energy, cooldown in loops, loops since the last damage
        self._vitals = zeros(5, slots)
        self._alive = zeros(slots)
        #: (M, B) the choice that an enemy keeps as long as it is in range
        self._held = torch.zeros(enemy_slots, num_battles, dtype=torch.int64, device=device)
        #: (S, B) whom a unit goes for in this step, as an index into `_place`
        self._target = self._own_point.clone()
        #: (3, S, B) towards that target: distance of the centres at which to stop, damage of a hit, whether to heal it
        self._aim = zeros(3, slots)
        #: (S, B) units that have something to do at their target
        self._acts = zeros(slots)

        # what depends on the unit types alone: looked up by `spawn`
        self._traits = Traits(self.table, team_slots, enemy_slots)
        #: (names, S, B)
        self._own = zeros(len(OWN), slots)
        self._figures = dict(zip(OWN, self._own, strict=True))
        #: what a unit can walk in a game loop, 0 for the dead
        self._pace = zeros(slots)
        #: (3, S, S + 1, B) `_aim` for every pair. The last column is the own point: walk to the very end, do nothing
        self._pair = zeros(3, slots, slots + 1)
        #: (S, S, B) distance at which two units touch; 0 where they pass over each other
        self._contact = zeros(slots, slots)
        #: (M, C, B) what makes a choice better (lower) or worse than its distance
        self._bias = zeros(enemy_slots, self._choices)
        self._splash_rows = torch.zeros(0, dtype=torch.int64, device=device)

        self._dx, self._dy, self._push, self._share = (zeros(slots, slots) for _ in range(4))
        self._tiny, self._minus_one = torch.tensor(TINY, device=device), torch.tensor(-1.0, device=device)

    # --- beginning a battle -----------------------------------------------------------------------------------------

    @torch.no_grad()
    def spawn(self, battles: Tensor, types: Tensor, position: Tensor) -> Units:
        team = self.team_slots
        figures = dict(zip(OWN, self._look_up(battles, types), strict=True))
        present = (types >= 0).float()
        calm = torch.full_like(present, SHIELD_DELAY * LOOPS_PER_SECOND)
        ready = torch.zeros_like(present)
        vitals = torch.stack([figures["health"], figures["shield"], figures["start_energy"], ready, calm])
        place = torch.where(present.bool(), position, self._graves)
        start = (position[:, :team] * present[:team]).sum(1) / present[:team].sum(0).clamp(min=1)
        points = torch.cat([place[:, :team], start[:, None].expand(2, self.slots - team, -1)], dim=1)

        self._place[..., battles] = torch.cat([place, points], dim=1)
        self._vitals[..., battles] = vitals
        self._alive[:, battles] = present
        self._bury()
        # what is nearest now counts as chosen: it is kept if it is in range already
        self._held[:, battles] = self._preference(battles).min(1).indices
        return self._units()

    def _look_up(self, battles: Tensor, types: Tensor) -> Tensor:
        """Take down what follows from the unit types alone; returns what each unit has of its own, (names, S, R)."""
        own, pair, contact, bias = self._traits.of(types)
        self._type[:, battles] = types
        self._own[..., battles] = own
        self._pair[:, :, :-1, battles] = pair
        self._contact[..., battles] = contact
        self._bias[..., battles] = bias[:, : self._choices]
        if self._has_splash:
            # armies are sorted by type, so that few slots ever hold a unit with splash
            self._splash_rows = (self._figures["splash"] > 0).any(1).nonzero()[:, 0]
        return own

    def running(self) -> dict[str, Tensor]:
        return snapshot({name: getattr(self, f"_{name}") for name in ("type", *self._RUNNING)})

    @torch.no_grad()
    def resume(self, state: Mapping[str, Tensor]) -> Units:
        self._look_up(torch.arange(self._type.shape[1], device=self._type.device), state["type"].to(self._type.device))
        for name in self._RUNNING:
            getattr(self, f"_{name}").copy_(state[name])
        self._bury()
        return self._units()

    #: what battles change, but for what each step makes anew
    _RUNNING = ("place", "vitals", "alive", "held")

    # --- one step ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def advance(self, orders: Orders, battle_mask: Tensor) -> Units:
        state = [getattr(self, f"_{name}") for name in self._RUNNING]
        # a GPU would wait for the question longer than it needs to copy
        stopped = self._place.is_cuda or not bool(battle_mask.all())
        before = [part.clone() for part in state] if stopped else []
        self._follow_orders(orders)
        self._choose_targets()
        self._acts = (self._aim[1] + self._aim[2]).gt(0).float().mul_(self._alive)
        for _ in range(LOOPS_PER_STEP):
            engaged = self._game_loop()
        # in a crowd one push leads to the next; what is seen at the end of a step should be tidy
        for _ in range(LAST_PUSHES):
            self._separate(1 - engaged)
        self._bury()
        for part, old in zip(state, before, strict=False):
            part.copy_(torch.where(battle_mask, part, old))
        return self._units()

    def targets(self, battle: int) -> dict[int, int]:
        aims = self._target[self.team_slots :, battle].tolist()
        return {self.team_slots + enemy: aim for enemy, aim in enumerate(aims) if aim < self.slots}

    def _follow_orders(self, orders: Orders) -> None:
        """Aim the allied units at what they were told, for this whole step."""
        team, slots = self.team_slots, self.slots
        at_unit = orders.kind >= Order.ATTACK
        here = self._unit_place[:, :team]
        self._place[:, slots : slots + team] = torch.where(orders.kind == Order.MOVE, orders.point, here)
        self._target[:team] = torch.where(at_unit, orders.target, self._own_point[:team])
        self._aim[:, :team] = _towards(self._pair[:, :team], torch.where(at_unit, orders.target, slots))

    def _choose_targets(self) -> None:
        """Let every enemy keep a target that is in its range, else take the nearest in sight, else march on."""
        team = self.team_slots
        key = self._preference()
        best, pick = key.min(1)
        held_key = key.gather(1, self._held[:, None])[:, 0]
        keeps = held_key <= self._figures["grip"][team:]
        self._held.copy_(torch.where(keeps, self._held, pick))
        best = torch.where(keeps, held_key, best)
        if self._has_healers:
            best = best - SECOND_CHOICE * (best > SECOND_CHOICE / 2)
        sees = best <= self._figures["scan"][team:]
        self._target[team:] = torch.where(sees, self._held, self._own_point[team:])
        self._aim[:, team:] = _towards(self._pair[:, team:], torch.where(sees, self._held, self.slots))

    def _preference(self, at: Tensor | slice = slice(None)) -> Tensor:
        """How enemies rank their choices in the battles `at`, lowest first, (M, C, R): the distance to the edge of the
        other, plus bias.
        """
        team, choices = self.team_slots, self._choices
        x, y = self._unit_place[..., at]
        dx, dy = x[team:, None] - x[:choices], y[team:, None] - y[:choices]
        key = dx.mul_(dx).addcmul_(dy, dy).sqrt_().add_(self._bias[..., at])
        if self._has_healers:
            # a healer follows a comrade that needs nothing only when no other is wounded
            well = (self._vitals[0, :choices, at] >= self._figures["health"][:choices, at]) * SECOND_CHOICE
            key.addcmul_(self._figures["healer"][team:, None, at], well[None])
        return key

    # --- one game loop ----------------------------------------------------------------------------------------------

    def _game_loop(self) -> Tensor:
        """Play one game loop; returns which units (S, B) stood in range of their target."""
        reach, hit, mends = self._aim
        goal = self._place.gather(1, self._target.expand(2, -1, -1))
        way = goal - self._unit_place
        distance = (way[0] * way[0]).addcmul_(way[1], way[1]).sqrt_().clamp_(min=ARRIVED)
        gap = distance - reach

        # Who has its target in range stands and acts; everybody else walks, and makes way for those who stand.
        # The target may have fallen within this step: then there is nothing to do and nowhere to go.
        engaged = gap.clone().le_(ARRIVED).mul_(self._acts)
        cooldown = self._vitals[3].sub_(1.0)
        fires = cooldown.clone().le_(0.5).mul_(engaged)
        if self._has_healers:
            fires.mul_(1 - mends)
        damage, hits = self._hurt(fires, hit, goal, way / distance if self._has_splash else way)
        healed = self._mend(engaged * mends) if self._has_healers else None

        stride = torch.minimum(gap.clamp(min=0.0), self._pace).mul_(gap.lt_(OFF_MAP)).div_(distance)
        self._unit_place.addcmul_(way, stride)
        self._separate(1 - engaged)
        # A weapon shoots in the game loop nearest to its time; the rest of a loop carries over to the next shot,
        # so that the rate is exact. A weapon that had to wait carries nothing over.
        carried = F.threshold(cooldown, -0.5, 0.0).clamp_(max=0.0)
        cooldown.clamp_(min=0.0).addcmul_(fires, carried.add_(self._figures["period"]))
        self._apply(damage, hits, healed)
        return engaged

    def _hurt(self, fires: Tensor, hit: Tensor, goal: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
        """Damage before armour and number of hits that every unit takes in this loop, both (S, B)."""
        slots = self.slots
        blows = fires * self._figures["hits"]
        sums = torch.zeros_like(self._place)
        sums[0].scatter_add_(0, self._target, blows * hit)
        sums[1].scatter_add_(0, self._target, blows)
        damage, hits = sums[:, :slots]
        if len(self._splash_rows):
            rows = self._splash_rows
            half_line = self._figures["splash"][rows, None] / 2
            # (L, S, B) does the disc of unit j touch the line through the target of unit r, across its line of fire?
            off = self._unit_place[:, None] - goal[:, rows, None]
            u, v = direction[:, rows, None]
            along = off[0] * u + off[1] * v
            beyond = (off[1] * u - off[0] * v).abs_().sub_(half_line).clamp_(min=0.0)
            touched = along.square_().addcmul_(beyond, beyond) <= self._figures["radius"].square()
            # the target itself has been hit above
            columns = torch.arange(slots, device=rows.device)[:, None]
            touched = touched & (columns != self._target[rows, None]) & (half_line > 0)
            each = self._pair[1, rows, :slots]
            burns = touched * blows[rows, None] * (each > 0)
            damage = damage + (burns * each).sum(0)
            hits = hits + burns.sum(0)
        return damage, hits

    def _mend(self, able: Tensor) -> Tensor:
        """Health that every unit is given in this loop, (S, B), and that its healers pay for. Healing does not stack:
        the healers of one unit share the work.
        """
        slots = self.slots
        health, energy, full = self._vitals[0], self._vitals[2], self._figures["energy"]
        missing = F.pad(self._figures["health"] - health, (0, 0, 0, slots)).gather(0, self._target)
        able = able * (missing > 0) * (energy > 0)
        healers = torch.zeros_like(self._place[0]).scatter_add_(0, self._target, able)
        share = able / healers.gather(0, self._target).clamp(min=1.0)
        rate = self.table["heal"].max() / LOOPS_PER_SECOND
        given = torch.minimum(share * torch.minimum(missing, rate), energy * HEALTH_PER_ENERGY)
        energy.sub_(given / HEALTH_PER_ENERGY).add_(ENERGY_REGENERATION / LOOPS_PER_SECOND)
        torch.minimum(energy, full, out=energy)
        return torch.zeros_like(healers).scatter_add_(0, self._target, given)[:slots]

    def _separate(self, walks: Tensor) -> None:
        """Push overlapping units of one layer apart: two walkers by half each; who stands is not moved."""
        x, y = self._unit_place
        dx = torch.sub(x[:, None], x, out=self._dx)
        dy = torch.sub(y[:, None], y, out=self._dy)
        push = torch.addcmul(self._tiny, dx, dx, out=self._push).addcmul_(dy, dy).rsqrt_()
        # the overlap, as a share of the distance
        torch.addcmul(self._minus_one, push, self._contact, out=push).relu_()
        half = walks * 0.5
        push.mul_(torch.sub((half + 0.5)[:, None], half, out=self._share))
        x.add_(dx.mul_(push).sum(1))
        y.add_(dy.mul_(push).sum(1))

    def _apply(self, damage: Tensor, hits: Tensor, healed: Tensor | None) -> None:
        """Take damage and healing into account, bring shields back, and bury the dead."""
        health, shield, _, _, calm = self._vitals
        absorbed = torch.minimum(shield, damage)
        left = damage - absorbed
        # Hits that get through to health: shields take whole hits first. Among hits of different
        # strength the mean stands for each, so that their order does not matter.
        through = (left * hits).div_(damage.clamp(min=DEAD)).sub_(DEAD).ceil_()
        health.sub_(torch.maximum(left.addcmul_(self._figures["armour"], through, value=-1), through * LEAST_DAMAGE))
        self._alive.mul_(health.clone().gt_(DEAD))
        if healed is not None:
            health.add_(healed)
        torch.minimum(health, self._figures["health"], out=health).mul_(self._alive)

        calm.add_(1.0).mul_(damage.le_(0.0))
        rested = calm.clone().gt_(SHIELD_DELAY * LOOPS_PER_SECOND)
        shield.sub_(absorbed).add_(rested, alpha=SHIELD_REGENERATION / LOOPS_PER_SECOND)
        torch.minimum(shield, self._figures["shield"], out=shield).mul_(self._alive)
        self._bury()

    def _bury(self) -> None:
        """Keep the living on the map, and put everybody else into a grave."""
        grave = (1 - self._alive).mul_(self._graves)
        torch.maximum(self._unit_place, grave, out=self._unit_place)
        torch.minimum(self._unit_place, grave.add_(self._alive, alpha=MAP_SIZE), out=self._unit_place)
        torch.mul(self._figures["pace"], self._alive, out=self._pace)
        self._acts.mul_(self._alive)

    def _units(self) -> Units:
        health, shield, energy, cooldown, _ = self._vitals.clone()
        return Units(
            type=self._type.clone(),
            owner=self._owner,
            position=self._unit_place.clone(),
            health=health,
            shield=shield,
            energy=energy.mul_(self._alive),
            cooldown=cooldown.clamp_(min=0.0).mul_(self._alive).div_(LOOPS_PER_SECOND),
            alive=self._alive > 0,
        )


def _towards(pair: Tensor, column: Tensor) -> Tensor:
    """Pick from `pair (F, A, C, B)` the entry in each unit's own column: `column (A, B)` -> `(F, A, B)`."""
    return pair.gather(2, column[None, :, None].expand(len(pair), -1, -1, -1))[:, :, 0]

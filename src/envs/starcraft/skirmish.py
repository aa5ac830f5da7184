"""The embedded battle engine: StarCraft II combat for a whole batch of battles as plain tensor code.

Shape letters as in `engine.py`: S unit slots (allies first), A = S / 2, B battles (last axis); C slots that an enemy may
choose among. A game loop reads one state, decides for all units, and only then changes anything, so neither
side and no slot goes first. Flags are float 0 / 1 inside the loop: multiplying is several times faster than selecting.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from envs.starcraft.engine import LOOPS_PER_STEP, BattleEngine, Order, Orders, Units
from envs.starcraft.scenarios import LOOPS_PER_SECOND, MAP_SIZE, UnitTable, UnitType

#: An enemy looks for targets at least this far (edge to edge), and half a unit beyond its own weapon's range.
SCAN_RANGE = 5.0
SCAN_BEYOND_WEAPON = 0.5
#: Shields come back at this rate once a unit has not been damaged for this long.
SHIELD_REGENERATION = 2.0
SHIELD_DELAY = 10.0
#: Armour leaves at least this much of every hit.
LEAST_DAMAGE = 0.5
#: Energy of a Medivac: what it gains per second, and what it heals with one point.
ENERGY_REGENERATION = 0.7875
HEALTH_PER_ENERGY = 3.0
#: Distance within which a unit counts as having arrived, and health with which it counts as dead.
ARRIVED = 1e-3
DEAD = 1e-3
#: Nobody is this far from anybody on the map: the dead lie further apart than this, each in a grave of its own, so
#: that no distance test needs a mask.
OFF_MAP = 500.0
GRAVES_APART = 1000.0
#: Added to the distance of a target of second choice; more than the map's diagonal.
SECOND_CHOICE = 100.0
NEVER = 1e6


class SkirmishEngine(BattleEngine):
    """`num_battles` battles with up to `team_slots` units a side, on one CPU or GPU."""

    def __init__(
        self, num_battles: int, team_slots: int, units: Sequence[UnitType], device: torch.device | str = "cpu"
    ) -> None:
        self.team_slots = team_slots
        self.table = UnitTable(units, device)
        slots = 2 * team_slots
        factory = {"dtype": torch.float32, "device": torch.device(device)}
        self._has_healers = any(unit.heal > 0 for unit in units)
        self._has_splash = any(unit.splash > 0 for unit in units)
        #: slots among which an enemy chooses: the allies, and its own comrades where there are healers
        self._choices = slots if self._has_healers else team_slots

        self._type = torch.full((slots, num_battles), -1, dtype=torch.int64, device=device)
        self._owner = (torch.arange(slots, device=device) >= team_slots).long()[:, None]
        #: (2, 2S, B) where the units are, followed by the point that each was sent to: target index S + i is i's own point
        self._place = torch.zeros(2, 2 * slots, num_battles, **factory)
        #: (5, S, B) health, shield, energy, cooldown in loops, loops since the last damage
        self._vitals = torch.zeros(5, slots, num_battles, **factory)
        self._alive = torch.zeros(slots, num_battles, **factory)
        self._graves = (torch.arange(1, slots + 1, **factory) * GRAVES_APART)[:, None]
        self._own_point = torch.arange(slots, 2 * slots, device=device)[:, None].expand(slots, num_battles)
        #: (S, B) whom a unit goes for, as an index into `_place`
        self._target = self._own_point.clone()
        #: (A, B) the choice to which an enemy holds on while it is in range
        self._held = torch.zeros(team_slots, num_battles, dtype=torch.int64, device=device)
        #: (3, S, B) towards its target: distance of the centres at which a unit stops, damage of a hit, whether it heals it
        self._aim = torch.zeros(3, slots, num_battles, **factory)
        self._derive_figures()

    # --- beginning a battle -----------------------------------------------------------------------------------------

    @torch.no_grad()
    def spawn(self, battle_mask: Tensor, types: Tensor, position: Tensor) -> Units:
        team, slots = self.team_slots, 2 * self.team_slots
        self._type = torch.where(battle_mask, types, self._type)
        self._derive_figures()
        present = (types >= 0).float()
        figures = self.table.lookup(types)
        calm = torch.full_like(present, SHIELD_DELAY * LOOPS_PER_SECOND)
        vitals = torch.stack(
            [figures["health"], figures["shield"], figures["start_energy"], torch.zeros_like(calm), calm]
        )
        place = torch.where(present.bool(), position, self._graves)

        allies = present[:team].sum(0).clamp(min=1)
        start = (position[:, :team] * present[:team]).sum(1) / allies
        points = torch.cat([place[:, :team], start[:, None].expand(2, team, -1)], dim=1)
        self._place = torch.where(battle_mask, torch.cat([place, points], dim=1), self._place)
        self._vitals = torch.where(battle_mask, vitals, self._vitals)
        self._alive = torch.where(battle_mask, present, self._alive)
        self._bury()
        # the first thing in sight is held on to, as if it had been chosen one game loop ago
        self._held = torch.where(battle_mask, self._preference().min(1).indices, self._held)
        return self._units()

    def _derive_figures(self) -> None:
        """Look up everything that only depends on the unit types."""
        team, slots = self.team_slots, 2 * self.team_slots
        f = self.table.lookup(self._type)
        present = (self._type >= 0).float()
        self._radius, self._armour = f["radius"], f["armour"]
        self._health_max, self._shield_max, self._energy_max = f["health"], f["shield"], f["energy"]
        self._pace_max = f["speed"] / LOOPS_PER_SECOND
        self._hits = f["hits"]
        self._period = f["cooldown"] * LOOPS_PER_SECOND

        same_side = (self._owner == self._owner.T)[:, :, None].float()
        touch = self._radius[:, None] + self._radius
        # (S, S, B) damage of one hit of i on j, before armour; 0 where i cannot hit j
        damage = (
            f["damage"][:, None] + f["bonus_light"][:, None] * f["light"] + f["bonus_armoured"][:, None] * f["armoured"]
        )
        reachable = 1 - f["flies"] * (1 - f["hits_air"][:, None])
        self._hit = damage * reachable * (1 - same_side) * present
        itself = torch.eye(slots, device=self._type.device)[:, :, None]
        mends = (f["heal"] > 0).float()[:, None] * f["biological"] * same_side * (1 - itself)
        # one column more than units: towards a point a unit walks to the very end and does nothing there
        pair = torch.stack([f["range"][:, None] + touch, self._hit, mends])
        self._pair = F.pad(pair, (0, 0, 0, 1))

        # (S, S, B) distance at which two units touch; 0 where they pass over each other
        self._contact = touch * (f["layer"][:, None] == f["layer"]) * (1 - itself)

        # what enemies prefer: the smallest of centre distance + bias
        choices = self._choices
        fit = self._hit[team:, :choices] + mends[team:, :choices]
        threat = (f["damage"] > 0).float()[:choices]
        self._healer = (f["heal"] > 0).float()
        second = (1 - threat) * (1 - self._healer[team:, None]) * SECOND_CHOICE
        self._bias = torch.where(fit > 0, second - self._radius[:choices], NEVER)
        scan = torch.where(self._healer > 0, OFF_MAP, (f["range"] + SCAN_BEYOND_WEAPON).clamp(min=SCAN_RANGE))
        self._scan = (scan + self._radius)[team:]
        self._grip = (f["range"] + self._radius)[team:] + ARRIVED
        if self._has_splash:
            self._half_line = f["splash"] / 2
            # armies are sorted by type, so that few slots ever hold a unit with splash
            self._splash_rows = (self._half_line > 0).any(1).nonzero()[:, 0]

    # --- one step ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def advance(self, orders: Orders, battle_mask: Tensor) -> Units:
        before = (self._place.clone(), self._vitals.clone(), self._alive, self._held)
        self._give_orders(orders)
        for _ in range(LOOPS_PER_STEP):
            self._game_loop()
        # always on a GPU, where asking would cost more than selecting
        if self._place.is_cuda or not bool(battle_mask.all()):
            after = (self._place, self._vitals, self._alive, self._held)
            kept = [torch.where(battle_mask, new, old) for new, old in zip(after, before, strict=True)]
            self._place, self._vitals, self._alive, self._held = kept
            self._bury()
        return self._units()

    def _give_orders(self, orders: Orders) -> None:
        """Aim the allied units at what they were told, for this whole step."""
        team, slots = self.team_slots, 2 * self.team_slots
        at_unit = orders.kind >= Order.ATTACK
        here = self._place[:, :team]
        self._place[:, slots : slots + team] = torch.where(orders.kind == Order.MOVE, orders.point, here)
        self._target[:team] = torch.where(at_unit, orders.target, self._own_point[:team])
        column = torch.where(at_unit, orders.target, slots)
        self._aim[:, :team] = _towards(self._pair[:, :team], column)

    def _game_loop(self) -> None:
        slots = 2 * self.team_slots
        self._choose_targets()
        place = self._place[:, :slots]
        goal = self._place.gather(1, self._target.expand(2, -1, -1))
        way = goal - place
        distance = (way[0] * way[0]).addcmul_(way[1], way[1]).sqrt_()
        reach, hit, mends = self._aim
        gap = distance - reach

        # a unit with its target in range stands and acts; everybody else walks, and makes way for those who stand
        in_range = (gap <= ARRIVED) * self._alive
        engaged = in_range * ((hit + mends) > 0)
        cooldown = self._vitals[3].sub_(1.0)
        fires = engaged * (hit > 0) * (cooldown <= 0.5)
        direction = way / distance.clamp(min=ARRIVED)

        hurt = self._hurt(fires, hit, goal, direction)
        healed = self._mend(engaged * mends) if self._has_healers else None

        # the target may have fallen within this step: then there is nowhere to go
        stride = torch.minimum(gap.clamp_(min=0.0), self._pace).mul_(gap < OFF_MAP)
        place.addcmul_(direction, stride)
        self._separate(1 - engaged)
        # A weapon shoots in the game loop nearest to its time; the rest of a loop carries over to the next shot,
        # so that the rate is exact. A weapon that had to wait carries nothing over.
        carried = F.threshold(cooldown, -0.5, 0.0)
        torch.where(fires > 0, self._period + carried, cooldown.clamp(min=0.0), out=self._vitals[3])
        self._apply(*hurt, healed)

    def _preference(self) -> Tensor:
        """How enemies rank their choices, (A, C, B): distance to the edge of the other unit, plus second choice."""
        team, choices = self.team_slots, self._choices
        place = self._place
        dx = place[0, team : 2 * team, None] - place[0, :choices]
        dy = place[1, team : 2 * team, None] - place[1, :choices]
        key = dx.mul_(dx).addcmul_(dy, dy).sqrt_().add_(self._bias)
        if self._has_healers:
            # a healer follows a comrade that needs nothing only when no other does
            well = (self._vitals[0] >= self._health_max)[:choices] * SECOND_CHOICE
            key.addcmul_(self._healer[team:, None], well[None])
        return key

    def _choose_targets(self) -> None:
        """Let every enemy keep a target that it can act upon, else take the nearest in sight, else march."""
        team = self.team_slots
        key = self._preference()
        best, pick = key.min(1)
        held_key = key.gather(1, self._held[:, None])[:, 0]
        keeps = held_key <= self._grip
        self._held = torch.where(keeps, self._held, pick)
        best = torch.where(keeps, held_key, best)
        if self._has_healers:
            best = best - SECOND_CHOICE * (best > SECOND_CHOICE / 2)
        sees = best <= self._scan
        self._target[team:] = torch.where(sees, self._held, self._own_point[team:])
        column = torch.where(sees, self._held, 2 * team)
        self._aim[:, team:] = _towards(self._pair[:, team:], column)

    def _hurt(self, fires: Tensor, hit: Tensor, goal: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
        """Damage before armour and number of hits that every unit takes in this loop, both (S, B)."""
        slots = 2 * self.team_slots
        blows = fires * self._hits
        sums = torch.zeros(2, 2 * slots, blows.shape[1], device=blows.device)
        sums.scatter_add_(1, self._target.expand(2, -1, -1), torch.stack([blows * hit, blows]))
        damage, hits = sums[:, :slots]
        if self._has_splash and len(self._splash_rows):
            rows = self._splash_rows
            # (R, S, B) does the disc of unit j touch the line through the target of unit r, across its line of fire?
            off = self._place[:, None, :slots] - goal[:, rows, None]
            u, v = direction[0, rows, None], direction[1, rows, None]
            along = off[0] * u + off[1] * v
            beyond = (off[1] * u - off[0] * v).abs_().sub_(self._half_line[rows, None]).clamp_(min=0.0)
            touched = along.square().addcmul_(beyond, beyond) <= self._radius.square()
            columns = torch.arange(slots, device=rows.device)[:, None]
            touched = touched & (columns != self._target[rows, None]) & (self._half_line[rows, None] > 0)
            burns = touched * blows[rows, None] * (self._hit[rows] > 0)
            damage = damage + (burns * self._hit[rows]).sum(0)
            hits = hits + burns.sum(0)
        return damage, hits

    def _mend(self, able: Tensor) -> Tensor:
        """Health that every unit is given in this loop, (S, B); healers pay for it. Healing does not stack: healers
        of one unit share the work.
        """
        slots = 2 * self.team_slots
        health, _, energy = self._vitals[:3]
        missing = F.pad(self._health_max - health, (0, 0, 0, slots)).gather(0, self._target)
        able = able * (missing > 0) * (energy > 0)
        healers = torch.zeros(2 * slots, able.shape[1], device=able.device).scatter_add_(0, self._target, able)
        share = able / healers.gather(0, self._target).clamp(min=1.0)
        rate = self.table["heal"].max() / LOOPS_PER_SECOND
        given = torch.minimum(share * torch.minimum(missing, rate), energy * HEALTH_PER_ENERGY)
        energy.sub_(given / HEALTH_PER_ENERGY).add_(ENERGY_REGENERATION / LOOPS_PER_SECOND)
        torch.minimum(energy, self._energy_max, out=energy)
        return torch.zeros_like(healers).scatter_add_(0, self._target, given)[:slots]

    def _separate(self, walks: Tensor) -> None:
        """Push overlapping units of one layer apart: two walkers by half each, a walker off one that stands."""
        place = self._place[:, : 2 * self.team_slots]
        dx = place[0, :, None] - place[0]
        dy = place[1, :, None] - place[1]
        push = (dx * dx).addcmul_(dy, dy).clamp_(min=1e-12).rsqrt_().mul_(self._contact).sub_(1.0).clamp_(min=0.0)
        push.mul_((0.5 + 0.5 * walks)[:, None] - 0.5 * walks)
        place[0].add_(dx.mul_(push).sum(1))
        place[1].add_(dy.mul_(push).sum(1))

    def _apply(self, damage: Tensor, hits: Tensor, healed: Tensor | None) -> None:
        """Take damage and healing into account, bring shields back, and bury the dead."""
        health, shield, _, _, calm = self._vitals
        absorbed = torch.minimum(shield, damage)
        left = damage - absorbed
        # Hits that get through to health. Shields take whole hits first; among hits of different
        # strength the mean stands for each, so that their order does not matter.
        through = torch.ceil(left * hits / damage.clamp(min=DEAD) - DEAD)
        health.sub_(torch.maximum(left - self._armour * through, LEAST_DAMAGE * through))
        self._alive = self._alive * (health > DEAD)
        if healed is not None:
            health.add_(healed)
        torch.minimum(health, self._health_max, out=health).mul_(self._alive)

        calm.add_(1.0).mul_(damage <= 0)
        rested = calm >= SHIELD_DELAY * LOOPS_PER_SECOND
        shield.sub_(absorbed).add_(rested * (SHIELD_REGENERATION / LOOPS_PER_SECOND))
        torch.minimum(shield, self._shield_max, out=shield).mul_(self._alive)
        self._bury()

    def _bury(self) -> None:
        """Keep the living on the map, and move everybody else to a grave."""
        dead = (1 - self._alive) * self._graves
        place = self._place[:, : 2 * self.team_slots]
        torch.maximum(place, dead, out=place)
        torch.minimum(place, dead + MAP_SIZE * self._alive, out=place)
        self._pace = self._pace_max * self._alive

    def _units(self) -> Units:
        health, shield, energy, cooldown, _ = self._vitals
        alive = self._alive
        return Units(
            type=self._type,
            owner=self._owner,
            position=self._place[:, : 2 * self.team_slots].clone(),
            health=health.clone(),
            shield=shield.clone(),
            energy=energy * alive,
            cooldown=cooldown.clamp(min=0.0) * alive / LOOPS_PER_SECOND,
            alive=alive > 0,
        )


def _towards(pair: Tensor, column: Tensor) -> Tensor:
    """Pick from `pair (F, A, C, B)` the entry of each unit's own column: `column (A, B)` -> `(F, A, B)`."""
    return pair.gather(2, column[None, :, None].expand(len(pair), -1, -1, -1))[:, :, 0]

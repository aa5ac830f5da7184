"""What the embedded engine needs to know of units and of pairs of units, worked out once for every unit type.

Shape letters: S unit slots, A allies first, then M enemies, R battles that begin anew, K unit types of the scenario;
index K (or -1) stands for nobody.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from envs.starcraft.scenarios import LOOPS_PER_SECOND, UnitTable

#: An enemy looks for targets at least this far (edge to edge), and half a unit beyond its own weapon's range.
SCAN_RANGE = 5.0
SCAN_BEYOND_WEAPON = 0.5
#: Distance within which a unit counts as having arrived.
ARRIVED = 1e-3
#: Nobody on the map is this far from anybody.
OFF_MAP = 500.0
#: Added to the distance of a target of second choice: more than the map's diagonal.
SECOND_CHOICE = 100.0
NEVER = 1e6

#: Figures of a single unit, in this order. pace: distance in a game loop; period: game loops between shots; healer: 0
#: or 1; scan, grip: distance from its centre to another's edge up to which an enemy sees it, and up to which it keeps
#: it as its target.
OWN = (
    *("health", "shield", "energy", "start_energy", "armour", "radius", "hits", "splash"),
    *("pace", "period", "healer", "scan", "grip"),
)


class Looked(NamedTuple):
    """The traits of some armies."""

    #: (names, S, R) in the order of `OWN`
    own: Tensor
    #: (3, S, S, R) of row towards column: distance of the centres at which to stop, damage of a hit, whether it heals
    pair: Tensor
    #: (S, S, R) distance at which two units touch; 0 where they pass over each other
    contact: Tensor
    #: (M, S, R) what enemies (rows) add to the distance of their choices: less is better
    bias: Tensor


class Traits:
    """The tables, and how to look armies up in them."""

    def __init__(self, table: UnitTable, team_slots: int, enemy_slots: int) -> None:
        f = table.lookup(torch.arange(len(table.units) + 1, device=table.values.device))
        healer = (f["heal"] > 0).float()
        scan = torch.where(healer > 0, OFF_MAP, (f["range"] + SCAN_BEYOND_WEAPON).clamp(min=SCAN_RANGE))
        derived = {
            "pace": f["speed"] / LOOPS_PER_SECOND,
            "period": f["cooldown"] * LOOPS_PER_SECOND,
            "healer": healer,
            "scan": scan + f["radius"],
            "grip": f["range"] + f["radius"] + ARRIVED,
        }
        #: (names, K + 1)
        self._own = torch.stack([{**f, **derived}[name] for name in OWN])

        somebody = torch.ones_like(healer)
        somebody[-1] = 0.0
        touch = f["radius"][:, None] + f["radius"]
        bonus = f["bonus_armoured"][:, None] * f["armoured"] + f["bonus_light"][:, None] * f["light"]
        reachable = 1 - f["flies"] * (1 - f["hits_air"][:, None])
        hit = (f["damage"][:, None] + bonus) * reachable * somebody
        mends = healer[:, None] * f["biological"]
        contact = touch * (f["layer"][:, None] == f["layer"])
        # who cannot fight back is a second choice, but not to healers
        rank = (f["damage"] == 0) * (1 - healer[:, None]) * SECOND_CHOICE - f["radius"]
        foe, friend = torch.where(hit > 0, rank, NEVER), torch.where(mends > 0, rank, NEVER)
        #: (6, K + 1, K + 1) of row towards column: the three of `Looked.pair`, contact, bias towards foe and friend
        self._pair = torch.stack([f["range"][:, None] + touch, hit, mends, contact, foe, friend])

        slots = team_slots + enemy_slots
        side = (torch.arange(slots, device=healer.device) >= team_slots).float()
        others = 1 - torch.eye(slots, device=healer.device)
        comrades = (side[:, None] == side).float()
        #: (4, S, S, 1) which pairs of slots the first four are for
        self._applies = torch.stack([torch.ones_like(others), 1 - comrades, comrades * others, others]).unsqueeze(-1)
        self._itself = torch.eye(enemy_slots, device=healer.device).unsqueeze(-1) * NEVER
        self._team = team_slots

    def of(self, types: Tensor) -> Looked:
        """The traits of armies of `types (S, R)`, -1 for an empty slot."""
        team = self._team
        pair = self._pair[:4, types[:, None], types] * self._applies
        enemy = types[team:, None]
        foe, friend = self._pair[4, enemy, types[:team]], self._pair[5, enemy, types[team:]]
        return Looked(self._own[:, types], pair[:3], pair[3], torch.cat([foe, friend + self._itself], dim=1))

"""The game's numbers - of unit types, of orders, of the armies on SMAC's maps - and what it tells of a unit.

Nothing here takes time to import.
"""

from dataclasses import dataclass

#: Orders.
MOVE, ATTACK, STOP, HEAL = 16, 23, 4, 386
#: What becomes of an order.
SUCCESS, NOT_SUPPORTED, ERROR, CANT_TARGET_AIR = 1, 2, 3, 112
#: The player whom the client may only command after `control_enemy`.
ENEMY = 2
#: Unit types: of those that fight by themselves, and of those that only follow orders.
TYPES = {48: "marine", 51: "marauder", 54: "medivac", 74: "stalker", 73: "zealot", 4: "colossus"}
PASSIVE = {1936: "colossus", 1938: "marauder", 1939: "marine", 1940: "medivac", 1941: "stalker", 1942: "zealot"}
KINDS = {**TYPES, **PASSIVE}
#: The armies of SMAC's maps, which come of themselves whenever the field is empty: team, enemies.
SMAC_ARMIES = {
    "3m": ([1939] * 3, [48] * 3),
    "8m": ([1939] * 8, [48] * 8),
    "2s3z": ([1941] * 2 + [1942] * 3, [74] * 2 + [73] * 3),
    "3s5z": ([1941] * 3 + [1942] * 5, [74] * 3 + [73] * 5),
    "MMM": ([1938] * 2 + [1939] * 7 + [1940], [51] * 2 + [48] * 7 + [54]),
}


@dataclass
class Unit:
    """One unit, with the names that the protocol has for its figures, which are those of the last step."""

    tag: int
    unit_type: int
    owner: int
    x: float
    y: float
    health: float
    shield: float
    energy: float
    health_max: float
    shield_max: float
    energy_max: float
    radius: float
    weapon_cooldown: float = 0.0  # in game loops

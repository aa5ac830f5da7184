"""Hand-made battles, on the embedded engine alone or in the environment, for tests that are worked out by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from envs.starcraft.engine import Order, Orders, Units
from envs.starcraft.env import StarCraftEnv
from envs.starcraft.scenarios import SCENARIOS, UNITS, UnitType
from envs.starcraft.skirmish import SkirmishEngine

#: (unit type, x, y)
Placed = tuple[str, float, float]
#: slot -> what to do: ("move", x, y), ("attack", slot) or ("heal", slot); who is not named is told to stop
Commands = Mapping[int, tuple]


def dummy(like: str = "zealot", **figures: float) -> UnitType:
    """A unit that fights nobody and goes nowhere, as tough as wanted."""
    peaceful: dict[str, float] = {"damage": 0.0, "heal": 0.0, "speed": 0.0}
    return replace(UNITS[like], name="dummy", **{**peaceful, **figures})  # type: ignore[arg-type]


class Battle:
    """`allies` in slots 0, 1, ...; `enemies` in slots `slots`, `slots` + 1, ...; `enemy_slots` 0: as many."""

    def __init__(
        self,
        allies: Sequence[Placed],
        enemies: Sequence[Placed],
        slots: int = 0,
        types: Mapping[str, UnitType] | None = None,
        copies: int = 1,
        enemy_slots: int = 0,
    ) -> None:
        known = {**UNITS, **(types or {})}
        names = list(known)
        self.slots = slots or max(len(allies), len(enemies))
        self.engine = SkirmishEngine(copies, self.slots, enemy_slots or self.slots, list(known.values()))
        kinds = torch.full((self.engine.slots, copies), -1, dtype=torch.int64)
        place = torch.zeros(2, self.engine.slots, copies)
        for first, side in ((0, allies), (self.slots, enemies)):
            for slot, (name, x, y) in enumerate(side, first):
                kinds[slot] = names.index(name)
                place[:, slot] = torch.tensor([x, y])[:, None]
        self.units: Units = self.engine.spawn(torch.arange(copies), kinds, place)

    def step(self, commands: Commands | None = None, times: int = 1, battle_mask: Tensor | None = None) -> Units:
        shape = (self.slots, self.units.alive.shape[1])
        kind = torch.full(shape, int(Order.STOP))
        point, target = torch.zeros(2, *shape), torch.zeros(shape, dtype=torch.int64)
        for slot, (name, *where) in (commands or {}).items():
            kind[slot] = int(Order[name.upper()])
            if name == "move":
                point[:, slot] = torch.tensor(where)[:, None]
            else:
                target[slot] = where[0]
        mask = torch.ones(shape[1], dtype=torch.bool) if battle_mask is None else battle_mask
        for _ in range(times):
            self.units = self.engine.advance(Orders(kind, point, target), mask)
        return self.units

    def at(self, slot: int) -> tuple[float, float]:
        x, y = self.units.position[:, slot, 0].tolist()
        return x, y

    def health(self, slot: int) -> float:
        return self.units.health[slot, 0].item()

    def shield(self, slot: int) -> float:
        return self.units.shield[slot, 0].item()

    def wound(self, slot: int, **figures: float) -> None:
        """Set health, shield or energy of one unit."""
        for name, value in figures.items():
            self.engine._vitals[("health", "shield", "energy").index(name), slot] = value


def arranged(scenario, allies, enemies, max_team=4, max_enemies=0, tags=None, **settings):
    """An environment with one hand-made battle, and its first time step. There are as many slots for enemies as for the
    team, or `max_enemies`; tags are in the order of slots by default.
    """
    rivals = max_enemies or max_team
    args = StarCraftEnv.Args(scenario, "3", max_team=max_team, max_enemies=rivals, **settings)
    env = StarCraftEnv(args, num_envs=1, seed=0)
    names = SCENARIOS[scenario].unit_names
    types = torch.full((max_team + rivals, 1), -1, dtype=torch.int64)
    place = torch.zeros(2, max_team + rivals, 1)
    for first, side in ((0, allies), (max_team, enemies)):
        for slot, (name, x, y) in enumerate(side, first):
            types[slot] = names.index(name)
            place[:, slot, 0] = torch.tensor([x, y])
    numbers = torch.cat([torch.arange(max_team), torch.arange(rivals)]) if tags is None else torch.tensor(tags)
    env._begin(torch.tensor([0]), types, place, numbers[:, None])
    return env, env._timestep(torch.zeros(1))


def look(env):
    """The time step of `env` after a test has moved or wounded units itself."""
    env._view = env._encoder.view(env._units)
    return env._timestep(torch.zeros(env.num_envs))

"""The engine favours neither side: allies that choose their targets like the enemy win as often as they lose."""

import pytest
import torch

from envs.starcraft.engine import Order, Orders
from envs.starcraft.env import StarCraftEnv
from envs.starcraft.traits import SCAN_BEYOND_WEAPON, SCAN_RANGE


@pytest.mark.parametrize(("scenario", "team"), [("sz", "3-5"), ("csz", "8")])
def test_equal_minds_win_equally_often(scenario, team):
    battles = 700
    env = StarCraftEnv(StarCraftEnv.Args(scenario, team), battles, seed=4)
    env.reset()
    units, slots = env._units, env.spec.agents
    figures = env.engine.table.lookup(units.type)
    reach = figures["range"][:slots] + figures["radius"][:slots] + 1e-3
    sight = (figures["range"][:slots] + SCAN_BEYOND_WEAPON).clamp(min=SCAN_RANGE) + figures["radius"][:slots]
    start = (units.position[:, slots:] * units.alive[slots:]).sum(1) / units.alive[slots:].sum(0)
    held = torch.zeros(slots, battles, dtype=torch.int64)
    over = torch.zeros(battles, dtype=torch.bool)
    won, lost = torch.zeros(battles), torch.zeros(battles)
    for _ in range(150):
        # (A, A, B) from each ally to the edge of each enemy
        away = (units.position[:, :slots, None] - units.position[:, None, slots:]).norm(dim=0)
        away = (away - figures["radius"][slots:]).masked_fill(~units.alive[slots:], 1e6)
        keeps = away.gather(1, held[:, None])[:, 0] <= reach
        held = torch.where(keeps, held, away.argmin(1))
        seen = away.gather(1, held[:, None])[:, 0] <= sight
        kind = torch.where(seen, int(Order.ATTACK), int(Order.MOVE))
        units = env.engine.advance(Orders(kind, start[:, None].expand(2, slots, -1), held + slots), ~over)
        allies, enemies = units.alive[:slots].any(0), units.alive[slots:].any(0)
        won += ~over & allies & ~enemies
        lost += ~over & enemies & ~allies
        over |= ~(allies & enemies)
    # standard deviation of the difference: at most 0.038
    assert abs((won - lost).mean()) < 0.1
    assert (won + lost).mean() > 0.8

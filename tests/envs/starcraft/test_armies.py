"""Which armies are drawn, how teams are written, and where the units stand."""

from collections import Counter

import pytest
import torch

from envs.starcraft.env import StarCraftEnv
from envs.starcraft.placement import draws_needed, place_armies
from envs.starcraft.scenarios import SCENARIOS, UNITS, UnitTable, army_table, parse_team
from utils.errors import UserError


@pytest.mark.parametrize(
    ("scenario", "team", "count"),
    [
        ("sz", (3, 5), 4 + 5 + 6),
        ("sz", (8, 8), 9),
        # size 3: 4 mixes; 4: 5, and 4 with one Colossus; 5: 6, 5 with one, 4 with two
        ("csz", (3, 5), 4 + (5 + 4) + (6 + 5 + 4)),
        ("mmm", (8, 8), 9 + 8 + 7),
        ("3s5z", (8, 8), 1),
        ("3m", (3, 3), 1),
    ],
)
def test_every_army_once(scenario, team, count):
    armies = SCENARIOS[scenario].armies(*team)
    assert len(armies) == len(set(armies)) == count
    for army in armies:
        assert team[0] <= sum(army) <= team[1]
        if scenario in ("csz", "mmm"):
            assert army[2] <= 2
            assert army[0] + army[1] >= 3


def test_fixed_armies():
    stalkers_and_zealots = army_table("3s5z", 8, 8, 8)
    assert stalkers_and_zealots.tolist() == [[0, 0, 0, 1, 1, 1, 1, 1]]
    assert army_table("3m", 3, 3, 5).tolist() == [[0, 0, 0, -1, -1]]


def test_armies_are_drawn_uniformly():
    # 28 armies, 14,000 draws: 500 each, standard deviation 22
    env = StarCraftEnv(StarCraftEnv.Args(scenario="csz"), num_envs=14_000, seed=5)
    info = env.reset().info
    drawn = Counter(zip(*(info[name].tolist() for name in ("stalker", "zealot", "colossus")), strict=True))
    assert set(drawn) == {tuple(map(float, army)) for army in SCENARIOS["csz"].armies(3, 5)}
    assert 400 < min(drawn.values()) <= max(drawn.values()) < 600
    assert info["team_size"].unique().tolist() == [3, 4, 5]


def test_both_sides_have_the_same_army():
    env = StarCraftEnv(StarCraftEnv.Args(scenario="mmm"), num_envs=50, seed=1)
    env.reset(team="3-5")
    types = env._units.type
    assert torch.equal(types[:5], types[5:])


def test_teams_are_read():
    assert parse_team("3-5", SCENARIOS["sz"]) == (3, 5)
    assert parse_team("8", SCENARIOS["csz"]) == (8, 8)
    assert parse_team(8, SCENARIOS["3s5z"]) == (8, 8)


@pytest.mark.parametrize(
    ("scenario", "team"),
    [
        ("sz", "0-3"),
        ("sz", "5-3"),
        ("sz", "17"),
        ("sz", "many"),
        ("sz", ""),
        ("sz", "3-4-5"),
        ("csz", "2"),
        ("3m", "4"),
    ],
)
def test_impossible_teams(scenario, team):
    with pytest.raises(UserError, match="train_team") as error:
        parse_team(team, SCENARIOS[scenario], "train_team")
    assert repr(team) in str(error.value)
    assert "\n" not in str(error.value)


def test_where_armies_stand():
    types = army_table("sz", 8, 8, 8)[4].repeat(2)[:, None].expand(16, 4000)
    uniform = torch.rand(draws_needed(8), 4000, generator=torch.Generator().manual_seed(0))
    place = place_armies(types, uniform)
    assert place.min() > 0
    assert place.max() < 32
    centres = torch.stack([place[:, :8].mean(1), place[:, 8:].mean(1)], dim=1) - 16
    between = (centres[:, 1] - centres[:, 0]).norm(dim=0)
    # 14 apart, each moved by up to 1 along x and y
    assert between.mean() == pytest.approx(14, abs=0.15)
    assert between.min() > 14 - 2 * 2**0.5 - 0.5
    # turned by any angle
    turn = torch.atan2(centres[1, 1], centres[0, 1])
    assert turn.cos().mean().abs() < 0.05
    assert turn.sin().mean().abs() < 0.05
    # units of an army do not overlap, and stand close together
    away = torch.cdist(place[:, :8].permute(2, 1, 0), place[:, :8].permute(2, 1, 0)) + 99 * torch.eye(8)
    assert away.min() > 1.25 - 1e-3
    assert (place[:, :8] - 16 - centres[:, :1]).norm(dim=0).max() < 3


def test_small_armies_stand_on_the_innermost_places():
    types = torch.tensor([0, 1, -1, -1, -1, -1, -1, -1] * 2)[:, None].expand(16, 200)
    place = place_armies(types, torch.rand(draws_needed(8), 200, generator=torch.Generator().manual_seed(0)))
    assert (place[:, 0] - place[:, 1]).norm(dim=0).max() < 1.26


def test_lookup_of_nobody_gives_zeros():
    table = UnitTable([UNITS["marine"], UNITS["zealot"]])
    assert table.lookup(torch.tensor([1, -1, 0]))["health"].tolist() == [100, 0, 45]

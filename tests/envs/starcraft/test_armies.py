"""Which armies are drawn, how teams are written, and where the units stand."""

from collections import Counter

import pytest
import torch

from envs.starcraft.env import StarCraftEnv
from envs.starcraft.placement import draws_needed, place_armies
from envs.starcraft.scenarios import (
    SCENARIOS,
    UNITS,
    Sides,
    UnitTable,
    army_table,
    draw_tags,
    enemy_armies,
    measure_army,
    parse_team,
)
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


@pytest.mark.parametrize(
    ("scenario", "team", "army"),
    [
        # both types before five of one, and the first of five such armies
        ("sz", "3-5", (4, 1)),
        ("sz", "3-8", (7, 1)),
        ("sz", "1", (1, 0)),
        # 3 + 2 comes before 4 + 1
        ("csz", "3-5", (2, 1, 2)),
        ("mmm", "3-8", (5, 1, 2)),
        ("mmm", "4", (2, 1, 1)),
        ("3s5z", "8", (3, 5)),
        # rewards are for enemies
        ("sz", "3-5v6-7", (6, 1)),
        ("csz", "3-5v+2", (4, 1, 2)),
        ("3s5z", "8v+1", (4, 5)),
    ],
)
def test_the_army_that_measures(scenario, team, army):
    assert measure_army(SCENARIOS[scenario], parse_team(team, SCENARIOS[scenario])) == army


def test_every_army_of_enemies():
    for scenario, team in (("csz", "3-5v+2"), ("mmm", "4v5-6"), ("sz", "1-2"), ("3s5z", "8v+1")):
        sides = parse_team(team, SCENARIOS[scenario])
        env = StarCraftEnv(StarCraftEnv.Args(scenario, team), num_envs=3000, seed=2)
        env.reset()
        kinds = torch.arange(len(SCENARIOS[scenario].unit_names))
        drawn = (env._units.type[env.spec.agents :, :, None] == kinds).sum(0)
        assert set(map(tuple, drawn.tolist())) == set(enemy_armies(SCENARIOS[scenario], sides))


def test_fixed_armies():
    stalkers_and_zealots = army_table("3s5z", 8, 8)
    assert stalkers_and_zealots.tolist() == [[0, 0, 0, 1, 1, 1, 1, 1]]
    assert army_table("sz", 1, 2).tolist() == [[1, -1], [0, -1], [1, 1], [0, 1], [0, 0]]


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
    assert parse_team("3-5", SCENARIOS["sz"]) == Sides(3, 5)
    assert parse_team("8", SCENARIOS["csz"], "+2") == Sides(8, 8, more=2)
    assert parse_team(8, SCENARIOS["3s5z"]) == Sides(8, 8)
    assert parse_team("8v9", SCENARIOS["sz"]) == Sides(8, 8, (9, 9))
    assert parse_team("3-5 v +1", SCENARIOS["sz"], "4") == Sides(3, 5, more=1)
    assert parse_team("3", SCENARIOS["sz"], "5-8") == Sides(3, 3, (5, 8))
    assert [parse_team(team, SCENARIOS["sz"]).most_enemies for team in ("3-5", "3-5v+2", "8v2-9")] == [5, 7, 9]


@pytest.mark.parametrize(
    ("scenario", "team"),
    [
        ("sz", "0-3"),
        ("sz", "5-3"),
        ("sz", "33"),
        ("sz", "3v0"),
        ("sz", "3v-1"),
        ("sz", "3v"),
        ("sz", "32v+1"),
        ("3m", "3v2"),
        ("sz", "many"),
        ("sz", ""),
        ("sz", "3-4-5"),
        ("csz", "2"),
        ("3m", "4"),
    ],
)
def test_impossible_teams(scenario, team):
    with pytest.raises(UserError, match="train_team") as error:
        parse_team(team, SCENARIOS[scenario], key="train_team")
    assert repr(team) in str(error.value)
    assert "\n" not in str(error.value)


def test_where_armies_stand():
    types = army_table("sz", 8, 8)[4].repeat(2)[:, None].expand(16, 4000)
    uniform = torch.rand(draws_needed(8), 4000, generator=torch.Generator().manual_seed(0))
    place = place_armies(types, 8, uniform)
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
    place = place_armies(types, 8, torch.rand(draws_needed(8), 200, generator=torch.Generator().manual_seed(0)))
    assert (place[:, 0] - place[:, 1]).norm(dim=0).max() < 1.26


def test_where_units_stand_and_what_they_are_called_does_not_depend_on_slots():
    uniform = torch.rand(draws_needed(8), 50, generator=torch.Generator().manual_seed(0))
    allies, enemies = [0, 1, 1], [0, 0, 1, 1]

    def stand(own, others):
        slots = [allies + [-1] * (own - 3), enemies + [-1] * (others - 4)]
        types = torch.tensor(slots[0] + slots[1])[:, None].expand(-1, 50)
        place = place_armies(types, own, uniform)
        return torch.cat([place[:, :3], place[:, own : own + 4]], dim=1)

    assert torch.equal(stand(3, 4), stand(8, 8))
    assert torch.equal(stand(3, 4), stand(20, 5))
    assert torch.equal(draw_tags(uniform[:8], 3, 8), draw_tags(uniform[:8], 12, 8)[:3])


@pytest.mark.parametrize("tags", [5, 8, 13])
def test_every_tag_is_as_likely(tags):
    """Of 8 units that numbers are drawn for; slots beyond are empty."""
    found = draw_tags(torch.rand(8, 26_000, generator=torch.Generator().manual_seed(0)), 20, tags)
    known = min(8, tags)
    assert all(len(set(row)) == known for row in found[:known, :100].T.tolist())
    for slot in (0, known - 1):
        counts = found[slot].bincount(minlength=tags)
        assert len(counts) == tags
        assert ((counts / (26_000 / tags) - 1).abs() < 0.1).all()


def test_enemies_of_their_own():
    args = StarCraftEnv.fit(StarCraftEnv.Args(scenario="csz", train_team="3-5v+2", max_team=9), ())
    env = StarCraftEnv(args, num_envs=300, seed=1)
    assert (env.spec.agents, env.spec.entities) == (9, 16)
    env.reset()
    allies, enemies = env._units.type[:9], env._units.type[9:]
    kinds = torch.arange(3)[:, None, None]
    more = (enemies == kinds).sum(1) - (allies == kinds).sum(1)
    assert (more >= 0).all()
    assert (more.sum(0) == 2).all()
    assert (more[2] == 0).all()  # Colossi are no base type
    assert set(more[0].tolist()) == {0, 1, 2}
    behind = torch.where(enemies < 0, 3, enemies)
    assert torch.equal(behind, behind.sort(0).values)  # by type, like the team
    env = StarCraftEnv(StarCraftEnv.Args(scenario="sz", enemy_team="5-6"), num_envs=300, seed=1)
    assert (env.spec.agents, env.spec.entities) == (5, 11)
    env.reset()
    assert (env._units.type[:5] >= 0).sum(0).unique().tolist() == [3, 4, 5]
    assert (env._units.type[5:] >= 0).sum(0).unique().tolist() == [5, 6]


def test_lookup_of_nobody_gives_zeros():
    table = UnitTable([UNITS["marine"], UNITS["zealot"]])
    assert table.lookup(torch.tensor([1, -1, 0]))["health"].tolist() == [100, 0, 45]

"""Every rule of the embedded engine, with numbers worked out by hand. A step is 8 game loops of 1/22.4 s."""

import math

import pytest
import torch
from battle import Battle, dummy

from envs.starcraft.scenarios import UNITS

STEP = 8 / 22.4


# --- moving ---


def test_units_walk_at_their_speed():
    battle = Battle([("zealot", 10, 10), ("stalker", 20, 10), ("medivac", 10, 20)], [])
    battle.step({0: ("move", 10, 12), 1: ("move", 22, 10), 2: ("move", 10, 18)})
    assert battle.at(0) == pytest.approx((10, 10 + 3.15 * STEP))  # 1.125
    assert battle.at(1) == pytest.approx((20 + 4.13 * STEP, 10))  # 1.475
    assert battle.at(2) == pytest.approx((10, 20 - 3.5 * STEP))  # 1.25


def test_a_walk_ends_at_its_point_and_a_stop_where_the_unit_is():
    battle = Battle([("zealot", 10, 10), ("zealot", 20, 10)], [])
    battle.step({0: ("move", 10.3, 10.4)}, times=2)
    assert battle.at(0) == pytest.approx((10.3, 10.4), abs=2e-3)
    assert battle.at(1) == (20, 10)


def test_nobody_leaves_the_map():
    battle = Battle([("stalker", 31.5, 0.5)], [])
    battle.step({0: ("move", 33.5, -1.5)}, times=3)
    assert battle.at(0) == (32, 0)


def test_walkers_do_not_pass_through_each_other():
    battle = Battle([("zealot", 10, 10), ("zealot", 12, 10)], [])
    for _ in range(6):
        battle.step({0: ("move", 14, 10), 1: ("move", 8, 10)})
        assert math.dist(battle.at(0), battle.at(1)) > 0.99
    # head on and equally strong: neither gives way
    assert battle.at(0)[0] == pytest.approx(10.5, abs=0.01)
    assert battle.at(1)[0] == pytest.approx(11.5, abs=0.01)


def test_a_walker_does_not_push_a_unit_that_fights():
    battle = Battle([("zealot", 16, 16), ("zealot", 14.5, 16)], [("zealot", 17.05, 16)])
    battle.step({0: ("attack", 2), 1: ("move", 20, 16)}, times=4)
    assert battle.at(0) == pytest.approx((16, 16), abs=1e-3)
    assert battle.at(1)[0] == pytest.approx(15, abs=0.02)


@pytest.mark.parametrize(
    ("above", "below", "passes"),
    [
        ("colossus", "zealot", True),
        ("medivac", "colossus", True),
        ("colossus", "colossus", False),
        ("medivac", "medivac", False),
    ],
)
def test_colossi_walk_over_ground_units_and_medivacs_fly(above, below, passes):
    battle = Battle([(above, 10, 16), (below, 13, 16)], [])
    battle.step({0: ("move", 16, 16)}, times=6)
    assert (battle.at(0)[0] > 15.9) == passes
    if passes:
        assert battle.at(1) == (13, 16)


def test_crowds_hardly_overlap():
    corner = [("zealot", 9.0 + 1.1 * (slot % 3), 9.0 + 1.1 * (slot // 3)) for slot in range(8)]
    battle = Battle(corner, [])
    battle.step(dict.fromkeys(range(8), ("move", 16, 16)), times=40)
    away = torch.cdist(battle.units.position[:, :8, 0].T, battle.units.position[:, :8, 0].T) + 9 * torch.eye(8)
    assert away.min() > 0.9
    # everybody has come as near as the others let him
    assert (battle.units.position[:, :8, 0] - 16).norm(dim=0).max() < 2.2


# --- range and aim ---


def test_weapon_range_is_measured_between_edges():
    # Stalkers: 6 + 0.625 + 0.625 = 7.25 between centres
    inside = Battle([("stalker", 10, 16)], [("dummy", 17.2, 16)], types={"dummy": dummy("stalker")})
    inside.step({0: ("attack", 1)})
    assert inside.at(0) == (10, 16)
    assert inside.shield(1) == 80 - 18


def test_a_unit_walks_into_range_and_then_shoots():
    # 8 apart: 0.75 to walk at 4.13 / 22.4 = 0.1844 a game loop, 5 loops, so it shoots within the step
    battle = Battle([("stalker", 10, 16)], [("dummy", 18, 16)], types={"dummy": dummy("stalker")})
    battle.step({0: ("attack", 1)})
    assert battle.at(0)[0] == pytest.approx(10.75, abs=2e-3)
    assert battle.shield(1) == 80 - 18
    # 9.5 apart: 2.25 to walk, 13 loops: not yet
    far = Battle([("stalker", 10, 16)], [("dummy", 19.5, 16)], types={"dummy": dummy("stalker")})
    far.step({0: ("attack", 1)})
    assert far.shield(1) == 80
    far.step({0: ("attack", 1)})
    assert far.shield(1) == 80 - 18


def test_allies_do_nothing_they_were_not_told_to():
    types = {"dummy": dummy("zealot")}
    battle = Battle([("stalker", 10, 16), ("stalker", 10, 18), ("stalker", 10, 14)], [("dummy", 13, 16)], types=types)
    battle.step({1: ("move", 10, 20)}, times=5)
    assert battle.shield(3) == 50
    # the target falls within the step: its attacker stays where it is, although another enemy is near
    battle = Battle([("stalker", 10, 16)], [("dummy", 16, 16), ("dummy", 12, 16)], slots=2, types=types)
    battle.wound(2, health=5, shield=0)
    battle.step({0: ("attack", 2)}, times=5)
    assert not battle.units.alive[2, 0]
    assert (battle.shield(3), battle.at(0)) == (50, (10, 16))


@pytest.mark.parametrize(
    ("attacker", "target", "shots"),
    [
        ("marine", "medivac", 6 - 1),
        ("stalker", "medivac", 13 + 5 - 1),
        ("zealot", "medivac", 0),
        ("marauder", "medivac", 0),
        ("colossus", "medivac", 0),
    ],
)
def test_who_can_hit_air(attacker, target, shots):
    battle = Battle([(attacker, 15, 16)], [("dummy", 16.3, 16)], types={"dummy": dummy(target)})
    battle.step({0: ("attack", 1)})
    assert UNITS[target].health - battle.health(1) == shots


# --- damage ---


@pytest.mark.parametrize(
    ("attacker", "target", "health", "shield"),
    [
        ("marine", "zealot", 0, 6),  # armour does not protect shields
        ("marine", "marine", 6, 0),
        ("marine", "marauder", 5, 0),  # 6 - 1 armour
        ("marauder", "marauder", 19, 0),  # 10 + 10 armoured - 1
        ("marauder", "zealot", 0, 10),  # a Zealot is light
        ("stalker", "stalker", 0, 18),  # 13 + 5 armoured
        ("stalker", "marine", 13, 0),
        ("zealot", "stalker", 0, 16),  # two hits of 8
        ("zealot", "marauder", 14, 0),  # armour counts for either hit
        ("colossus", "marine", 30, 0),  # two hits of 10 + 5 light
        ("colossus", "marauder", 18, 0),
    ],
)
def test_damage_of_one_shot(attacker, target, health, shield):
    battle = Battle([(attacker, 15, 16)], [("dummy", 16.0, 16)], types={"dummy": dummy(target)})
    battle.step({0: ("attack", 1)})
    assert UNITS[target].health - battle.health(1) == health
    assert UNITS[target].shield - battle.shield(1) == shield


@pytest.mark.parametrize(
    ("attacker", "shield", "health_lost"),
    [
        ("stalker", 5, 18 - 5 - 1),  # the rest of a hit reaches health, less armour
        ("zealot", 5, (8 - 5 - 1) + (8 - 1)),  # both hits reach health
        ("zealot", 8, 8 - 1),  # the shields take the first hit whole
        ("zealot", 12, 8 - 4 - 1),
    ],
)
def test_damage_that_breaks_shields(attacker, shield, health_lost):
    battle = Battle([(attacker, 15, 16)], [("dummy", 16.1, 16)], types={"dummy": dummy("stalker")})
    battle.wound(1, shield=shield)
    battle.step({0: ("attack", 1)})
    assert battle.shield(1) == 0
    assert battle.health(1) == pytest.approx(80 - health_lost)


def test_a_hit_does_at_least_half_a_point():
    types = {"dummy": dummy("marauder", armour=50.0)}
    battle = Battle([("zealot", 15, 16)], [("dummy", 16.1, 16)], types=types)
    battle.step({0: ("attack", 1)})
    assert battle.health(1) == 125 - 2 * 0.5


@pytest.mark.parametrize(
    ("name", "shots_by_step"),
    [
        # Marine: every 0.61 s = 13.664 game loops, so in loops 0, 14 (13.66), 27 (27.33), 41 (40.99), 55 (54.66)
        ("marine", {1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 6: 4, 7: 5}),
        # Zealot: 0.86 s = 19.264 loops: 0, 19, 39, 58
        ("zealot", {1: 1, 2: 1, 3: 2, 4: 2, 5: 3, 6: 3, 7: 3, 8: 4}),
        # Stalker: 1.34 s = 30.016 loops: 0, 30, 60, 90
        ("stalker", {1: 1, 3: 1, 4: 2, 7: 2, 8: 3, 11: 3, 12: 4}),
        # Marauder and Colossus: 1.07 s = 23.968 loops: 0, 24, 48
        ("marauder", {1: 1, 3: 1, 4: 2, 6: 2, 7: 3}),
        ("colossus", {1: 1, 3: 1, 4: 2, 6: 2, 7: 3}),
    ],
)
def test_cooldowns(name, shots_by_step):
    tough = dummy("marauder", health=10_000.0, armour=0.0)
    battle = Battle([(name, 15, 16)], [("dummy", 16, 16)], types={"dummy": tough})
    unit = UNITS[name]
    shot = unit.hits * (unit.damage + unit.bonus_armoured)
    for step in range(1, max(shots_by_step) + 1):
        battle.step({0: ("attack", 1)})
        if step in shots_by_step:
            assert 10_000 - battle.health(1) == shots_by_step[step] * shot


def test_the_mean_rate_of_fire_is_exact():
    tough = dummy("marine", health=1e5)
    battle = Battle([("marine", 15, 16)], [("dummy", 16, 16)], types={"dummy": tough})
    battle.step({0: ("attack", 1)}, times=280)  # 2,240 game loops = 100 s
    assert (1e5 - battle.health(1)) / 6 == pytest.approx(100 / 0.61, abs=1)


def test_the_cooldown_is_reported_in_seconds():
    battle = Battle([("stalker", 15, 16)], [("dummy", 17, 16)], types={"dummy": dummy("stalker")})
    battle.step({0: ("attack", 1)})
    # shot in the first of the 8 loops, 7 have passed since
    assert battle.units.cooldown[0, 0].item() == pytest.approx(1.34 - 7 / 22.4)
    # it also runs down while the unit does something else, and rests at 0
    battle.step({0: ("move", 10, 16)}, times=5)
    assert battle.units.cooldown[0, 0].item() == 0


def test_a_weapon_that_waited_gains_nothing():
    battle = Battle([("marine", 15, 16)], [("dummy", 16, 16)], types={"dummy": dummy("marine", health=1e4)})
    battle.step(times=10)
    battle.step({0: ("attack", 1)}, times=2)
    # as from the beginning: loops 0 and 14
    assert 1e4 - battle.health(1) == 12


def test_shields_come_back_after_ten_seconds():
    battle = Battle([("stalker", 15, 16)], [("dummy", 17, 16)], types={"dummy": dummy("stalker")})
    battle.step({0: ("attack", 1)})
    battle.step(times=27)  # 223 loops since the hit
    assert battle.shield(1) == 62
    battle.step(times=15)  # 343 loops: 224 of rest, then 119 of 2 / 22.4 each
    assert battle.shield(1) == pytest.approx(62 + 119 * 2 / 22.4, abs=1e-3)
    battle.step(times=40)
    assert battle.shield(1) == 80
    # health does not come back
    battle.wound(1, health=40)
    battle.step(times=60)
    assert battle.health(1) == 40


def test_both_sides_strike_at_once():
    # two Marines, each worth one shot: neither is faster
    battle = Battle([("marine", 15, 16)], [("marine", 17, 16)])
    battle.wound(0, health=6)
    battle.wound(1, health=6)
    battle.step({0: ("attack", 1)})
    assert not battle.units.alive.any()


def test_a_duel_of_zealots():
    # 16 a shot on 50 shields (48 after three), the fourth: 2 shields, 14 left in two hits, less 2 armour = 12;
    # then 14 a shot on 88: seven more. The 11th shot falls at 10 x 19.264 = 192.6, in game loop 193: in step 25.
    battle = Battle([("zealot", 16, 16)], [("zealot", 17.05, 16)])
    battle.step({0: ("attack", 1)}, times=24)
    assert battle.health(0) == battle.health(1) == 100 - 12 - 6 * 14
    battle.step({0: ("attack", 1)})
    assert not battle.units.alive.any()


# --- the Colossus' line ---


def test_the_line_of_the_colossus():
    # Fire runs along x at the unit on (16, 16); the line goes from (16, 14.6) to (16, 17.4). Marines have radius 0.375.
    types = {"dummy": dummy("marine"), "flier": dummy("medivac")}
    enemies = [
        ("dummy", 16, 16),  # the target
        ("dummy", 16, 17.7),  # 0.3 beyond the end: touched
        ("dummy", 16, 14.2),  # 0.4 beyond the end: not
        ("dummy", 16.3, 15.2),  # 0.3 behind the line: touched
        ("dummy", 16.8, 16),  # 0.8 behind the target: not
        ("dummy", 15.2, 16.6),  # 0.8 before the line: not
        ("flier", 16, 16.5),  # in the air
    ]
    allies = [("colossus", 10, 16), ("marine", 15.9, 15.0)]
    battle = Battle(allies, enemies, types=types)
    battle.step({0: ("attack", 7)})
    lost = [45 - battle.health(slot) for slot in range(7, 13)]
    assert lost == [30, 30, 0, 30, 0, 0]
    assert battle.health(13) == 150
    assert battle.health(1) == 45  # no friendly fire


def test_the_line_is_across_the_line_of_fire():
    types = {"dummy": dummy("marine")}
    aim = 10 + 5 / math.sqrt(2), 10 + 5 / math.sqrt(2)
    # 1.2 off the target along either diagonal: across the fire, and behind the target
    across, behind = (aim[0] + 0.85, aim[1] - 0.85), (aim[0] + 0.85, aim[1] + 0.85)
    battle = Battle([("colossus", 10, 10)], [("dummy", *aim), ("dummy", *across), ("dummy", *behind)], types=types)
    battle.step({0: ("attack", 3)})
    assert [45 - battle.health(slot) for slot in (3, 4, 5)] == [30, 30, 0]


def test_splash_respects_what_each_unit_is():
    types = {"light": dummy("marine"), "heavy": dummy("marauder")}
    battle = Battle([("colossus", 10, 16)], [("light", 16, 16), ("heavy", 16, 17.2)], types=types)
    battle.step({0: ("attack", 2)})
    assert (45 - battle.health(2), 125 - battle.health(3)) == (30, 18)


# --- healing ---


def test_healing_and_what_it_costs():
    # 12.6 / 22.4 = 0.5625 a game loop for 0.1875 energy; 0.7875 / 22.4 = 0.03515625 energy come back
    battle = Battle([("medivac", 10, 16), ("marine", 15, 16)], [])
    battle.wound(1, health=20)
    battle.step({0: ("heal", 1)})
    assert battle.at(0) == (10, 16)  # 4 + 0.75 + 0.375 = 5.125 between centres
    assert battle.health(1) == 20 + 8 * 0.5625
    assert battle.units.energy[0, 0].item() == 50 - 8 * 0.1875 + 8 * 0.03515625


def test_a_healer_walks_into_range():
    battle = Battle([("medivac", 10, 16), ("marine", 15.75, 16)], [])
    battle.wound(1, health=20)
    # 0.625 to walk at 3.5 / 22.4 = 0.15625: 4 loops, then 4 of healing
    battle.step({0: ("heal", 1)})
    assert battle.at(0)[0] == pytest.approx(10.625)
    assert battle.health(1) == 20 + 4 * 0.5625


def test_healing_ends_at_full_health_and_without_energy():
    battle = Battle([("medivac", 13, 16), ("marine", 15, 16)], [])
    battle.wound(1, health=44)
    battle.step({0: ("heal", 1)})
    assert battle.health(1) == 45
    assert battle.units.energy[0, 0].item() == pytest.approx(50 - 1 / 3 + 8 * 0.03515625)
    battle.wound(1, health=20)
    battle.wound(0, energy=0)
    battle.step({0: ("heal", 1)})
    # nothing in the first loop, then three points for each energy that came back in the loop before
    assert battle.health(1) == pytest.approx(20 + 7 * 3 * 0.03515625)


def test_healers_of_one_unit_share_the_work():
    battle = Battle([("medivac", 13, 15), ("medivac", 13, 17), ("marine", 15, 16)], [])
    battle.wound(2, health=20)
    battle.step({0: ("heal", 2), 1: ("heal", 2)})
    assert battle.health(2) == 20 + 8 * 0.5625
    assert battle.units.energy[0, 0].item() == 50 - 8 * 0.1875 / 2 + 8 * 0.03515625


def test_only_living_biological_comrades_are_healed():
    battle = Battle(
        [("medivac", 13, 16), ("stalker", 15, 16), ("medivac", 13, 18)],
        [("dummy", 16, 16)],
        3,
        {"dummy": dummy("marine")},
    )
    for slot in (1, 2, 3):
        battle.wound(slot, health=20)
    battle.step({0: ("heal", 1), 2: ("heal", 3)})
    assert [battle.health(slot) for slot in (1, 2, 3)] == [20, 20, 20]
    battle.step({0: ("heal", 2)})
    assert battle.health(2) == 20


def test_energy_comes_back_up_to_its_limit():
    battle = Battle([("medivac", 13, 16)], [])
    battle.step(times=28)
    assert battle.units.energy[0, 0].item() == pytest.approx(50 + 10 * 0.7875, abs=1e-3)
    battle.wound(0, energy=199.9)
    battle.step(times=2)
    assert battle.units.energy[0, 0].item() == 200


# --- the enemy ---


def test_the_enemy_marches_to_where_the_allies_began():
    battle = Battle([("marine", 4, 16), ("marine", 4, 20)], [("zealot", 28, 18)], slots=2)
    battle.step({0: ("move", 4, 14), 1: ("move", 4, 14)})
    assert battle.at(2) == pytest.approx((28 - 1.125, 18))


def test_the_enemy_goes_for_the_nearest_it_sees():
    # a Zealot sees 5 from edge to edge: 5 + 0.5 + 0.375 = 5.875 between the centres
    seen = Battle([("marine", 16, 21.8), ("marine", 28, 16)], [("zealot", 16, 16)], slots=2)
    seen.step()
    assert seen.at(2) == pytest.approx((16, 17.125))
    unseen = Battle([("marine", 16, 21.9), ("marine", 28, 16)], [("zealot", 16, 16)], slots=2)
    unseen.step()
    assert unseen.at(2)[0] > 16.5  # on its way to (22, 18.95)


def test_the_enemy_keeps_a_target_in_range():
    battle = Battle(
        [("dummy", 12, 16), ("dummy", 16, 22.5)], [("marine", 16, 16)], 2, {"dummy": dummy("marine", damage=0.001)}
    )
    battle.step()
    assert battle.health(0) == 39
    # the other comes nearer, which does not matter as long as the first is in range
    battle.engine._place[:, 1] = torch.tensor([16.0, 18.0])[:, None]
    battle.step(times=3)
    assert (battle.health(0), battle.health(1)) == (27, 45)
    # out of range: the nearest is next
    battle.engine._place[:, 0] = torch.tensor([6.0, 16.0])[:, None]
    battle.step(times=2)
    assert (battle.health(0), battle.health(1)) == (27, 39)


def test_the_enemy_prefers_those_who_fight():
    allies = [("medivac", 16, 18), ("stalker", 16, 20.5)]
    battle = Battle(allies, [("stalker", 16, 16)], slots=2)
    battle.step()
    assert (battle.health(0), battle.shield(1)) == (150, 62)
    alone = Battle(allies[:1], [("stalker", 16, 16)])
    alone.step()
    assert alone.health(0) == 150 - 17


def test_a_zealot_ignores_what_it_cannot_hit():
    battle = Battle([("medivac", 16, 17.5)], [("zealot", 10, 16)])
    battle.step(times=40)
    assert battle.health(0) == 150


def test_enemy_medivacs_heal_and_follow():
    battle = Battle(
        [("dummy", 4, 16)], [("medivac", 27, 16), ("marine", 25, 16), ("marine", 26, 20)], 3, {"dummy": dummy("marine")}
    )
    battle.wound(5, health=20)
    battle.step()
    # the wounded, not the nearest: 4.12 away, within 5.125
    assert battle.health(5) == 20 + 8 * 0.5625
    battle.wound(5, health=45)
    battle.step(times=16)
    # it keeps within its range of a comrade that marches on
    assert min(math.dist(battle.at(3), battle.at(slot)) for slot in (4, 5)) < 5.3
    assert battle.at(3)[0] < 20


# --- the batch ---


def _melee(copies=1):
    allies = [("colossus", 9, 16), ("stalker", 10, 14), ("zealot", 11, 17), ("marine", 9, 19), ("medivac", 8, 16)]
    enemies = [
        ("colossus", 17, 16.2),
        ("stalker", 16, 13),
        ("zealot", 15, 18),
        ("marauder", 16.5, 19),
        ("medivac", 18, 15),
    ]
    return Battle(allies, enemies, copies=copies)


MELEE = {0: ("attack", 7), 1: ("attack", 5), 2: ("attack", 6), 3: ("attack", 8), 4: ("heal", 3)}


def test_battles_in_a_batch_are_independent():
    alone, many = _melee(), _melee(copies=7)
    many.engine._vitals[0, :, 3] = 1.0  # another battle goes another way
    for _ in range(20):
        alone.step(MELEE)
        many.step(MELEE)
    for one, batch in zip(alone.units, many.units, strict=True):
        if batch.shape[-1] == 7:
            torch.testing.assert_close(batch[..., 5], one[..., 0])


def test_slots_do_not_matter():
    allies = [("stalker", 10, 14), ("zealot", 11, 17), ("marine", 9, 19)]
    enemies = [("colossus", 17, 16.2), ("stalker", 16, 13), ("zealot", 15, 18)]
    order = [2, 0, 1]
    plain = Battle(allies, enemies)
    mixed = Battle([allies[i] for i in order], [enemies[i] for i in order])
    back = torch.tensor([order.index(slot) for slot in range(3)] + [3 + order.index(slot) for slot in range(3)])
    for _ in range(10):
        plain.step(dict.fromkeys(range(3), ("attack", 3)))
        mixed.step({slot: ("attack", 3 + order.index(0)) for slot in range(3)})
        torch.testing.assert_close(mixed.units.health[back], plain.units.health, atol=1e-3, rtol=0)
        alive = plain.units.alive
        assert torch.equal(mixed.units.alive[back], alive)
        torch.testing.assert_close(
            mixed.units.position[:, back] * alive, plain.units.position * alive, atol=1e-3, rtol=0
        )


def test_battles_that_are_over_stand_still():
    battle = _melee(copies=2)
    battle.step(MELEE, times=3)
    before = battle.units
    mask = torch.tensor([True, False])
    after = battle.step(MELEE, times=2, battle_mask=mask)
    torch.testing.assert_close(after.health[:, 1], before.health[:, 1], rtol=0, atol=0)
    torch.testing.assert_close(after.position[..., 1], before.position[..., 1], rtol=0, atol=0)
    assert not torch.equal(after.position[..., 0], before.position[..., 0])
    # and they go on as if nothing had happened
    whole = _melee()
    whole.step(MELEE, times=4)
    battle.step(MELEE, battle_mask=~mask)
    torch.testing.assert_close(battle.units.position[..., 1], whole.units.position[..., 0])


def test_a_new_battle_leaves_the_others_alone():
    battle = _melee(copies=3)
    battle.step(MELEE, times=4)
    before = battle.units
    start = _melee().units
    after = battle.engine.spawn(torch.tensor([1]), start.type, start.position)
    for slot in (0, 2):
        assert torch.equal(after.health[:, slot], before.health[:, slot])
        assert torch.equal(after.position[..., slot], before.position[..., slot])
    torch.testing.assert_close(after.health[:, 1], start.health[:, 0])
    battle.units = after
    battle.step(MELEE, times=3)
    fresh = _melee()
    fresh.step(MELEE, times=3)
    torch.testing.assert_close(battle.units.health[:, 1], fresh.units.health[:, 0])


def test_all_figures_are_those_of_the_table():
    # health, shield, armour, damage, hits, cooldown, range, speed, radius
    table = {
        "marine": (45, 0, 0, 6, 1, 0.61, 5, 3.15, 0.375),
        "marauder": (125, 0, 1, 10, 1, 1.07, 6, 3.15, 0.5625),
        "medivac": (150, 0, 1, 0, 1, 0, 4, 3.5, 0.75),
        "stalker": (80, 80, 1, 13, 1, 1.34, 6, 4.13, 0.625),
        "zealot": (100, 50, 1, 8, 2, 0.86, 0.1, 3.15, 0.5),
        "colossus": (200, 150, 1, 10, 2, 1.07, 7, 3.15, 1.0),
    }
    names = ("health", "shield", "armour", "damage", "hits", "cooldown", "range", "speed", "radius")
    assert {unit: tuple(getattr(UNITS[unit], name) for name in names) for unit in UNITS} == table

"""How a battle looks, by moments that are arranged by hand."""

import pytest
import torch
from battle import arranged, look

from envs.scene import Body, Gauge


def levels(body: Body) -> dict[str, float]:
    return {gauge.name: level for gauge, level in zip(body.look.gauges, body.levels, strict=True)}


def test_a_battle():
    # within the enemies' sight: both go for the Stalker, who is nearer to each than the Zealot
    env, _ = arranged("csz", [("stalker", 16, 16), ("zealot", 4, 16)], [("zealot", 17.2, 16), ("colossus", 20, 16)])
    env._units.shield[0] = 12.5
    scene = env.scene()
    assert (scene.arena.left, scene.arena.right, scene.arena.bottom, scene.arena.top) == (0, 32, 0, 32)
    assert sorted(scene.bodies) == [0, 1, 4, 5]
    stalker, colossus = scene.bodies[0], scene.bodies[5]
    assert (stalker.x, stalker.y, stalker.look.kind, stalker.look.side) == (16, 16, "stalker", "team")
    assert levels(stalker) == {"health": 80, "shield": 12.5, "cooldown": 0}
    assert Gauge("shield", 80, "bar") in stalker.look.gauges
    assert (colossus.look.kind, colossus.look.side, colossus.look.label, colossus.look.radius) == (
        *("colossus", "enemy", "C"),
        1.0,
    )
    assert len({body.look.shape for body in scene.bodies.values()}) == 3
    env.step(torch.tensor([[6 + 4, 1, 0, 0]]))
    after = env.scene()
    assert after.aims == {4: 0, 5: 0}
    # the Stalker has shot at once, 7 game loops ago
    assert levels(after.bodies[0])["cooldown"] == pytest.approx(1.34 - 7 / 22.4)


def test_the_dead_are_nowhere():
    env, _ = arranged("sz", [("stalker", 16, 16), ("zealot", 4, 16)], [("zealot", 28, 16)])
    env._units.alive[0] = False
    assert look(env).entity_mask[0, 0]
    assert sorted(env.scene().bodies) == [1, 4]


def test_only_the_battle_asked_for():
    env, _ = arranged("sz", [("stalker", 16, 16)], [("zealot", 28, 16)])
    other = type(env)(env.args, num_envs=3, seed=1)
    other.reset(team="2")
    places = [[(body.x, body.y) for body in other.scene(i).bodies.values()] for i in range(3)]
    assert places[0] != places[1] != places[2]
    assert [len(found) for found in places] == [4, 4, 4]

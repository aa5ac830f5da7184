"""Particle physics: step by step against `mpe2`, walls and absent bodies by hand."""

import math

import numpy as np
import pytest
import torch
from mpe2._mpe_utils.core import Agent, Landmark, World

from envs.particle.physics import Bodies, step


def make_bodies(n, movers, radius=0.1, solid=1.0, mass=1.0, max_speed=math.inf):
    def row(value, count):
        return torch.as_tensor(value, dtype=torch.float64).expand(count)[:, None]

    return Bodies(row(radius, n), row(solid, n), row(mass, movers), row(max_speed, movers))


def at(*places):
    """(2, N, 1) from N pairs."""
    return torch.tensor(places, dtype=torch.float64).T[:, :, None]


def still(movers):
    return torch.zeros(2, movers, 1, dtype=torch.float64)


def peer(position, velocity, bodies, world_index):
    """The same world in `mpe2`."""
    world = World()
    n, movers = position.shape[1], velocity.shape[1]
    world.agents = [Agent() for _ in range(movers)]
    world.landmarks = [Landmark() for _ in range(n - movers)]
    for i, entity in enumerate(world.entities):
        entity.size = float(bodies.radius[i, world_index])
        entity.collide = bool(bodies.solid[i, world_index])
        entity.state.p_pos = position[:, i, world_index].numpy().copy()
        if i < movers:
            entity.initial_mass = float(bodies.mass[i, world_index])
            limit = float(bodies.max_speed[i, world_index])
            entity.max_speed = None if math.isinf(limit) else limit
            entity.state.p_vel = velocity[:, i, world_index].numpy().copy()
            entity.silent = True
    return world


def test_step_by_step_as_mpe2():
    generator = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    n, movers, worlds = 7, 4, 40
    bodies = Bodies(
        radius=0.05 + 0.25 * rand(n, worlds),
        solid=(rand(n, worlds) < 0.8).double(),
        mass=0.5 + rand(movers, worlds),
        max_speed=torch.where(rand(movers, worlds) < 0.5, 0.2 + rand(movers, worlds), math.inf),
    )
    position, velocity = 1.6 * rand(2, n, worlds) - 0.8, 2 * rand(2, movers, worlds) - 1
    peers = [peer(position, velocity, bodies, i) for i in range(worlds)]
    touched = capped = 0
    for _ in range(15):
        force = 10 * rand(2, movers, worlds) - 5
        free = velocity * 0.75 + 0.1 * force / bodies.mass
        position, velocity = step(position, velocity, force, bodies, position_first=True)
        for i, world in enumerate(peers):
            for j, agent in enumerate(world.agents):
                agent.action.u, agent.action.c = force[:, j, i].numpy(), np.zeros(0)
            world.step()
        places = np.stack([[entity.state.p_pos for entity in world.entities] for world in peers])
        speeds = np.stack([[agent.state.p_vel for agent in world.agents] for world in peers])
        np.testing.assert_allclose(position.permute(2, 1, 0).numpy(), places, rtol=0, atol=1e-9)
        np.testing.assert_allclose(velocity.permute(2, 1, 0).numpy(), speeds, rtol=0, atol=1e-9)
        touched += int(((velocity - free).abs() > 1e-3).any(0).sum())
        capped += int(torch.isclose(velocity.norm(dim=0), bodies.max_speed).sum())
    assert touched > 200
    assert capped > 100


def test_velocity_first_by_hand():
    position, velocity = step(at((0, 0)), at((1, 0)), at((0, 2)), make_bodies(1, 1, mass=4.0))
    # 1 * 0.75, and 2 / 4 * 0.1; then 0.1 s of that
    assert velocity.flatten().tolist() == pytest.approx([0.75, 0.05])
    assert position.flatten().tolist() == pytest.approx([0.075, 0.005])


def test_speed_cap_by_hand():
    position, velocity = step(at((0, 0)), still(1), at((30, 40)), make_bodies(1, 1, max_speed=0.5))
    assert velocity.flatten().tolist() == pytest.approx([0.3, 0.4])
    assert position.flatten().tolist() == pytest.approx([0.03, 0.04])


def test_contact_by_hand():
    # overlap 0.05: each is pushed with 100 * 0.05 for 0.1 s
    _, velocity = step(at((0, 0), (0, 0.15)), still(2), still(2), make_bodies(2, 2))
    assert velocity.flatten().tolist() == pytest.approx([0, 0, -0.5, 0.5])
    # just touching: the smooth bend leaves margin * log 2
    _, velocity = step(at((0, 0), (0.2, 0)), still(1), still(1), make_bodies(2, 1))
    assert velocity.flatten().tolist() == pytest.approx([-0.1 * 100 * 1e-3 * math.log(2), 0])
    # the second body is not one that moves
    position, _ = step(at((0, 0), (0.1, 0)), still(1), still(1), make_bodies(2, 1))
    assert position[:, 1].flatten().tolist() == [0.1, 0]


def test_walls_by_hand():
    bodies = make_bodies(1, 1)
    for place, expected in (
        ((0.85, 0), (-0.5, 0)),  # 0.05 deep: 100 * 0.05 * 0.1
        ((-0.85, 0), (0.5, 0)),
        ((0, 0.85), (0, -0.5)),
        ((0.85, -0.82), (-0.5, 0.2)),  # a corner pushes from both sides
        ((0.8, 0), (-0.01 * math.log(2), 0)),
        ((0.7, 0), (0, 0)),
    ):
        _, velocity = step(at(place), still(1), still(1), bodies, half_width=0.9)
        assert velocity.flatten().tolist() == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_nobody_leaves_the_square():
    generator = torch.Generator().manual_seed(0)
    bodies = Bodies(*(x.float() for x in make_bodies(3, 3, radius=0.04, max_speed=0.8)))
    position, velocity = torch.zeros(2, 3, 50), torch.zeros(2, 3, 50)
    position[0] = torch.tensor([-0.2, 0, 0.2])[:, None]
    force = 8 * torch.rand(2, 3, 50, generator=generator) - 4
    for _ in range(100):
        position, velocity = step(position, velocity, force, bodies, half_width=0.9)
    assert 0.86 < position.abs().max() < 0.95  # a wall gives way a little


def test_absent_bodies_touch_nobody():
    bodies = make_bodies(3, 2, solid=torch.tensor([1.0, 0.0, 1.0]))
    places = at((5, 0), (5.1, 0), (-5, 5))
    position, velocity = step(places, still(2), still(2), bodies, half_width=9)
    assert velocity.abs().max() == 0
    assert torch.equal(position, places)


def test_bodies_in_the_same_place_do_not_push():
    position, velocity = step(at((0, 0), (0, 0)), still(2), still(2), make_bodies(2, 2))
    assert position.abs().max() == velocity.abs().max() == 0


def test_a_world_does_not_depend_on_the_others():
    generator = torch.Generator().manual_seed(0)
    position = torch.rand(2, 5, 8, generator=generator, dtype=torch.float64)
    velocity, force = position[:, :3] - 0.5, position[:, 2:] * 3
    bodies = make_bodies(5, 3)
    everywhere = step(position, velocity, force, bodies, half_width=0.9)
    one = step(position[..., 3:4], velocity[..., 3:4], force[..., 3:4], bodies, half_width=0.9)
    for all_of_them, alone in zip(everywhere, one, strict=True):
        torch.testing.assert_close(all_of_them[..., 3:4], alone)

"""What agents see and may do, worked out by hand on battles with chosen units, places and tags."""

import pytest
import torch
from battle import arranged

from envs.starcraft.env import StarCraftEnv
from envs.starcraft.scripted import SCRIPTED


def feature(env, timestep, name, slot):
    return timestep.entities[0, slot, env.spec.feature_slices[name]].tolist()


def legal(timestep, agent):
    return timestep.avail_mask[0, agent].nonzero()[:, 0].tolist()


def test_features():
    env, seen = arranged(
        "mmm", [("marine", 8, 16), ("medivac", 12, 20)], [("marauder", 24, 24)], tags=[2, 0, 1, 3, 3, 0, 1, 2]
    )
    # 1 + the tag
    assert [feature(env, seen, "name", slot) for slot in (0, 1, 4)] == [[3], [1], [4]]
    assert feature(env, seen, "type", 0) == [1, 0, 0]
    assert feature(env, seen, "type", 1) == [0, 0, 1]
    assert feature(env, seen, "type", 4) == [0, 1, 0]
    assert feature(env, seen, "health", 0) == [1]
    assert feature(env, seen, "shield", 0) == [0]
    assert feature(env, seen, "energy", 1) == [0.25]
    # from the centre of the map, in units of its half width
    assert feature(env, seen, "position", 0) == [-0.5, 0]
    assert feature(env, seen, "position", 4) == [0.5, 0.5]
    # from the centre of mass of the living, ((8 + 12 + 24) / 3, 20)
    assert feature(env, seen, "relative", 1) == pytest.approx([12 - 44 / 3, 0], abs=1e-5)
    # absent slots
    assert seen.entity_mask[0].tolist() == [True, True, False, False, True, False, False, False]
    assert not seen.entities[0, [2, 3, 5, 6, 7]].any()
    assert seen.avail_mask[0, 2:].float().sum(-1).tolist() == [1, 1]


def test_cooldown_of_allies_only():
    env, _ = arranged("sz", [("stalker", 16, 16)], [("stalker", 20, 16)])
    seen = env.step(torch.tensor([[6 + 4, 0, 0, 0]]))
    # shot in the first of 8 game loops
    assert feature(env, seen, "cooldown", 0) == pytest.approx([(1.34 - 7 / 22.4) / 1.34])
    assert feature(env, seen, "cooldown", 4) == [0]
    assert feature(env, seen, "shield", 4) == pytest.approx([62 / 80])


def test_sight_and_shooting_range():
    allies = [("zealot", 10, 16), ("zealot", 10, 25.01), ("stalker", 19, 16)]
    _env, seen = arranged("sz", allies, [("zealot", 16, 16), ("zealot", 16.01, 16.5)], tags=[0, 1, 2, 3, 1, 3, 0, 2])
    mask = seen.obs_mask[0].int().tolist()
    # 9 from centre to centre, the same for all: slot 1 is 9.01 from slot 0, slot 2 is exactly 9 from it
    assert mask[0] == [1, 0, 1, 0, 1, 1, 0, 0]
    assert mask[1] == [0, 1, 0, 0, 0, 0, 0, 0]
    assert mask[2] == [1, 0, 1, 0, 1, 1, 0, 0]
    assert mask[3] == [0] * 8
    # 6 to be allowed to attack; enemies have the slots 4 and 5
    assert legal(seen, 0) == [1, 2, 3, 4, 5, 6 + 4]
    assert legal(seen, 1) == [1, 2, 3, 4, 5]
    assert legal(seen, 2) == [1, 2, 3, 4, 5, 6 + 4, 6 + 5]
    assert legal(seen, 3) == [0]


def test_moves_stay_on_the_map():
    _, seen = arranged("sz", [("zealot", 30.1, 1.9), ("zealot", 2, 30), ("zealot", 1.9, 30.1)], [("zealot", 16, 16)])
    assert legal(seen, 0) == [1, 2, 5]
    assert legal(seen, 1) == [1, 2, 3, 4, 5]
    assert legal(seen, 2) == [1, 3, 4]


def test_moves_go_where_they_say():
    for action, (dx, dy) in {2: (0, 1), 3: (0, -1), 4: (1, 0), 5: (-1, 0)}.items():
        env, _ = arranged("sz", [("zealot", 16, 10)], [("zealot", 16, 28)])
        env.step(torch.tensor([[action, 0, 0, 0]]))
        assert env._units.position[:, 0, 0].tolist() == pytest.approx([16 + 1.125 * dx, 10 + 1.125 * dy])
        assert env.spec.action_names[action] == ("north", "south", "east", "west")[action - 2]


def test_who_may_target_whom():
    allies = [("marine", 10, 16), ("marauder", 10, 18), ("medivac", 12, 16), ("medivac", 12, 18)]
    _env, seen = arranged("mmm", allies, [("medivac", 14, 16), ("marine", 14, 18)], tags=[3, 2, 1, 0, 0, 1, 2, 3])
    assert legal(seen, 0)[5:] == [6 + 4, 6 + 5]
    # no ground-to-air weapon
    assert legal(seen, 1)[5:] == [6 + 5]
    # Medivacs: biological allies, wounded or not
    assert legal(seen, 2)[5:] == [6, 7]
    assert legal(seen, 3)[5:] == [6, 7]


def test_the_target_is_the_unit_in_the_slot():
    env, _ = arranged(
        "sz", [("stalker", 10, 16)], [("zealot", 14, 15), ("zealot", 14, 17)], tags=[0, 1, 2, 3, 2, 1, 0, 3]
    )
    env.step(torch.tensor([[6 + 5, 0, 0, 0]]))
    assert env._units.shield[4:6, 0].tolist() == [50, 37]
    env, _ = arranged(
        "mmm",
        [("medivac", 10, 16), ("marine", 10, 18), ("marine", 10, 14)],
        [("marine", 30, 16)],
        tags=[3, 0, 1, 2, 0, 1, 2, 3],
    )
    env.engine._vitals[0, 1:3] = 20
    env.step(torch.tensor([[6 + 2, 1, 1, 0]]))
    assert env._units.health[1:3, 0].tolist() == [20, 24.5]


def test_the_dead_stay_present_and_see_only_themselves():
    env, _ = arranged("sz", [("zealot", 16, 16), ("zealot", 10, 16)], [("stalker", 18, 16), ("stalker", 16, 18)])
    for slot in (0, 5):
        env.engine._vitals[0, slot] = 0.5
        env.engine._vitals[1, slot] = 0
    # slot 0 falls to the enemy's fire; slot 5 to nobody's, so it is alive
    seen = env.step(torch.tensor([[1, 1, 0, 0]]))
    assert env._units.alive[:, 0].tolist() == [False, True, False, False, True, True, False, False]
    assert seen.entity_mask[0].tolist() == [True, True, False, False, True, True, False, False]
    # nothing of it is left but who it was
    assert seen.entities[0, 0].tolist() == [-1] + [0] * (env.spec.features - 1)
    assert legal(seen, 0) == [0]
    assert seen.obs_mask[0, 0].int().tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert seen.obs_mask[0, 1].int().tolist() == [0, 1, 0, 0, 1, 1, 0, 0]
    assert seen.info["allies_alive"].item() == 1
    # the dead do not count for the centre of mass, and nobody targets them
    living = env._units.position[0, env._units.alive[:, 0], 0]
    assert feature(env, seen, "relative", 1)[0] == pytest.approx(10 - living.mean().item(), abs=1e-4)


def test_a_dead_enemy_is_no_target():
    env, _ = arranged("sz", [("stalker", 10, 16)], [("zealot", 14, 15), ("zealot", 14, 17)])
    env.engine._vitals[:2, 4] = 0.5
    seen = env.step(torch.tensor([[6 + 4, 0, 0, 0]]))
    assert legal(seen, 0)[5:] == [6 + 5]
    assert seen.info["enemies_killed"].item() == 1


@pytest.mark.parametrize(("own", "others"), [(7, 7), (3, 9), (5, 3)])
def test_more_slots_change_nothing(own, others):
    allies = [("marine", 10, 16), ("marauder", 10, 18), ("medivac", 12, 16)]
    enemies = [("medivac", 18, 16), ("marine", 15, 18), ("marine", 15, 14)]
    runs = []
    for slots, rivals in ((3, 3), (own, others)):
        env, seen = arranged("mmm", allies, enemies, max_team=slots, max_enemies=rivals)
        act = SCRIPTED["focus_fire"](env.spec)
        steps = [seen]
        for _ in range(12):
            seen = env.step(act(seen, env.generator))
            steps.append(seen)
        runs.append((env, steps))
    (env, ours), (wide, theirs) = runs
    units = [*range(3), *range(own, own + 3)]
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(two.reward, one.reward)
        assert torch.equal(two.obs_mask[:, :3][:, :, units], one.obs_mask)
        actions = [*range(6), *(6 + slot for slot in units)]
        assert torch.equal(two.avail_mask[:, :3][:, :, actions], one.avail_mask)
        assert two.avail_mask[:, :3].sum() == one.avail_mask.sum()
        assert two.entity_mask.sum() == one.entity_mask.sum()
        torch.testing.assert_close(two.entities[:, units], one.entities)
    assert wide.spec.features == env.spec.features


def test_features_stay_in_range():
    for scenario in ("csz", "mmm"):
        env = StarCraftEnv(StarCraftEnv.Args(scenario=scenario), num_envs=64, seed=3)
        act = SCRIPTED["random"](env.spec)
        seen = env.reset()
        for _ in range(60):
            seen = env.step(act(seen, env.generator))
            assert seen.entities.isfinite().all()
            for name, part in env.spec.feature_slices.items():
                # the map is 32 wide: 16 on either side of its centre, at most 27 between a unit and the centre of mass
                far = {"position": 1.0, "relative": 27.0, "name": 8.0}.get(name)
                low, high = (0, 1) if far is None else (-far, far)
                assert low <= seen.entities[..., part].min()
                assert seen.entities[..., part].max() <= high

"""Episodes: rewards, ends, seeds, resets, settings and pictures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from battle import arranged, look

from envs import REGISTRY
from envs.check import check_env
from envs.starcraft.env import StarCraftEnv
from envs.starcraft.picture import EMPTY, HEALTH, RIM, SHIELD
from utils.errors import UserError

CONFIGS = Path(__file__).parents[3] / "src" / "config" / "envs"


def make(num_envs=4, seed=0, **settings):
    return StarCraftEnv(StarCraftEnv.Args(**settings), num_envs, seed)


def play(env, policy="random", steps=1000, team=None):
    """Play until all battles are over; returns the last time step and the sum of rewards."""
    act = env.SCRIPTED[policy](env.spec)
    generator = torch.Generator().manual_seed(1)
    seen = env.reset(team=team)
    total = torch.zeros(env.num_envs)
    for _ in range(steps):
        if seen.done.all():
            break
        seen = env.step(act(seen, generator))
        total += seen.reward
    return seen, total


@pytest.mark.parametrize(
    ("scenario", "team", "largest"),
    [
        ("sz", "3-5", "8"),
        ("csz", "3-5", "8"),
        ("mmm", "3-5", "8"),
        ("3s5z", "8", "8"),
        ("3m", "3", "3"),
        ("sz", "3-5", "4v7"),
    ],
)
def test_the_contract_of_environments(scenario, team, largest):
    args = StarCraftEnv.resolve_args({"scenario": scenario, "train_team": team, "episode_limit": 25}, [largest])
    check_env(StarCraftEnv(StarCraftEnv.fit(args, [largest]), 4, 0), steps=30, teams=[team, largest])


def test_contract_of_a_single_battle():
    check_env(make(1, train_team="3-5", episode_limit=20), steps=20)


# --- rewards ---


def test_reward_of_damage_and_kills():
    # the enemy's army: 80 + 80 and 100 + 50, 10 for each, 200 for the win: 530 points make 20
    env, _ = arranged("sz", [("stalker", 10, 16)], [("stalker", 15, 16), ("zealot", 30, 30)])
    seen = env.step(torch.tensor([[6 + 4, 0, 0, 0]]))
    assert seen.reward.item() == pytest.approx(18 * 20 / 530)
    env.engine._vitals[0, 4], env.engine._vitals[1, 4] = 10, 0
    env._score._lowest[0] = 10
    seen = env.step(torch.tensor([[1, 0, 0, 0]]))
    assert seen.reward.item() == 0
    for _ in range(2):  # the next shot falls in game loop 30
        seen = env.step(torch.tensor([[6 + 4, 0, 0, 0]]))
    # the shot would do 17, but only 10 are left to take
    assert seen.reward.item() == pytest.approx((10 + 10) * 20 / 530)
    assert not seen.done.any()


def test_regeneration_and_healing_pay_nothing():
    def put_enemy(x, y):
        env.engine._place[:, 4] = torch.tensor([x, y])[:, None]
        env._units = env.engine._units()
        look(env)

    env, _ = arranged("sz", [("stalker", 1, 1)], [("stalker", 31, 31)])
    env.engine._vitals[1, 4] = 40
    env._score._lowest[0] = 120
    for _ in range(2):
        put_enemy(31.0, 31.0)
        for _ in range(20):
            assert env.step(torch.tensor([[1, 0, 0, 0]])).reward.item() == 0
    # 320 game loops
    assert env._units.shield[4, 0].item() == pytest.approx(40 + 320 * 2 / 22.4, abs=1e-3)
    # damage that only takes away what came back has been paid for already
    put_enemy(6.0, 1.0)
    seen = env.step(torch.tensor([[6 + 4, 0, 0, 0]]))
    assert env._units.shield[4, 0].item() == pytest.approx(68.57 + 2 / 22.4 - 18, abs=0.2)
    assert seen.reward.item() == 0


def test_the_reward_of_a_victory_adds_up_to_twenty():
    env = make(200, scenario="csz", max_team=8)
    seen, total = play(env, "focus_fire", team="3-5")
    won = seen.info["battle_won"] == 1
    assert 0 < won.sum() < 200
    torch.testing.assert_close(total[won], torch.full_like(total[won], 20.0))
    assert total[~won].max() < 20
    assert total.min() >= 0
    assert (seen.info["enemies_killed"] == seen.info["team_size"])[won].all()
    assert (seen.info["allies_alive"] == 0)[~won].all()


def test_one_army_scales_all_battles():
    # 4 Stalkers and a Zealot, their kills and the win, whoever fights and however many slots there are
    points = 4 * (80 + 80) + (100 + 50) + 5 * 10 + 200
    usual, scaled = (make(60, scenario="sz", max_team=8, max_enemies=9, reward_scale=s) for s in ("battle", "army"))
    for team in ("3-5", "8v9"):
        (seen, own), (same, total) = (play(env, "focus_fire", 40, team) for env in (usual, scaled))
        assert torch.equal(same.entities, seen.entities)
        assert torch.equal(same.info["battle_won"], seen.info["battle_won"])
        enemies = (scaled._units.type[8:, :, None] == torch.arange(2)).sum(0)
        worth = enemies @ torch.tensor([160 + 10, 150 + 10]) + 200
        assert total.min() > 0
        torch.testing.assert_close(total, own * worth / points)


def test_random_play_never_loses_reward():
    env = make(50, scenario="mmm")
    act = env.SCRIPTED["random"](env.spec)
    seen = env.reset()
    for _ in range(60):
        seen = env.step(act(seen, env.generator))
        assert seen.reward.min() >= 0


# --- how battles end ---


def _strike(allies, enemies, weak, scenario="sz", actions=(6 + 4, 0, 0, 0), **settings):
    """One step in which the units in the slots `weak` stand before their last half point of health."""
    env, _ = arranged(scenario, allies, enemies, **settings)
    for slot in weak:
        env.engine._vitals[0, slot], env.engine._vitals[1, slot] = 0.5, 0
    return env, env.step(torch.tensor([actions]))


def test_a_win():
    env, seen = _strike([("stalker", 14, 16)], [("stalker", 16, 16)], weak=[4])
    assert (seen.terminated.item(), seen.truncated.item(), seen.info["battle_won"].item()) == (True, False, 1)
    # 160 lost, one kill, the win: everything there was
    assert seen.reward.item() == pytest.approx(20)
    # it stays as it ended
    for _ in range(3):
        after = env.step(torch.tensor([[1, 0, 0, 0]]))
        assert (after.reward.item(), after.terminated.item(), after.info["battle_won"].item()) == (0, True, 1)
        assert torch.equal(after.entities, seen.entities)


def test_what_three_zealots_pay():
    """All they have: 3 * (100 + 50 + 10) + 200 points, of which the win's 200 are 5.88 or 3.85 of reward."""
    allies, enemies = ([(kind, x, y) for y in (12, 16, 20)] for kind, x in (("stalker", 14), ("zealot", 18)))
    for scale, points in (("battle", 680), ("army", 4 * 160 + 150 + 50 + 200)):
        settings = {"max_enemies": 5, "enemy_team": "3-5", "reward_scale": scale}
        _, seen = _strike(allies, enemies, weak=[4, 5, 6], actions=(6 + 4, 6 + 5, 6 + 6, 0), **settings)
        assert seen.info["battle_won"].item() == 1
        assert seen.reward.item() == pytest.approx(20 * 680 / points)


def test_a_defeat():
    _, seen = _strike([("stalker", 14, 16)], [("stalker", 16, 16)], weak=[0], actions=(1, 0, 0, 0))
    assert (seen.terminated.item(), seen.truncated.item(), seen.info["battle_won"].item()) == (True, False, 0)
    assert seen.reward.item() == 0


def test_a_draw_is_no_win():
    _, seen = _strike([("stalker", 14, 16)], [("stalker", 16, 16)], weak=[0, 4])
    assert (seen.terminated.item(), seen.info["battle_won"].item()) == (True, 0)
    assert seen.reward.item() == pytest.approx(20 * (160 + 10) / (160 + 10 + 200))


def test_medivacs_alone_cannot_go_on():
    enemies = [("marine", 16, 16), ("medivac", 18, 16)]
    _, won = _strike([("marine", 14, 16)], enemies, weak=[4], scenario="mmm")
    assert (won.terminated.item(), won.info["battle_won"].item()) == (True, 1)
    assert won.info["enemies_killed"].item() == 1
    assert won.reward.item() == pytest.approx(20 * (45 + 10 + 200) / (45 + 150 + 2 * 10 + 200))
    allies = [("marine", 14, 16), ("medivac", 8, 16)]
    _, lost = _strike(allies, [("marine", 16, 16)], weak=[0], scenario="mmm", actions=(1, 1, 0, 0))
    assert (lost.terminated.item(), lost.info["battle_won"].item()) == (True, 0)
    assert lost.info["allies_alive"].item() == 1


def test_time_runs_out():
    env = make(20, scenario="sz", episode_limit=5)
    seen, _ = play(env)
    assert seen.truncated.all()
    assert not seen.terminated.any()
    assert not seen.info["battle_won"].any()


def test_a_battle_that_ends_in_its_last_step_is_not_cut_short():
    env, _ = arranged("sz", [("stalker", 14, 16)], [("stalker", 16, 16)])
    env._steps[:] = env.args.episode_limit - 1
    env.engine._vitals[0, 4], env.engine._vitals[1, 4] = 0.5, 0
    seen = env.step(torch.tensor([[6 + 4, 0, 0, 0]]))
    assert (seen.terminated.item(), seen.truncated.item()) == (True, False)


def test_illegal_actions_are_errors():
    env, _ = arranged("sz", [("stalker", 4, 4)], [("stalker", 28, 28)])
    for actions in ([6 + 4, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]):
        with pytest.raises(ValueError, match="illegal actions"):
            env.step(torch.tensor([actions]))


# --- seeds and resets ---


def test_the_same_seed_gives_the_same_episodes():
    one, two, other = make(8, seed=3), make(8, seed=3), make(8, seed=4)
    for _ in range(2):
        (seen, total), (again, total_again) = play(one), play(two)
        assert torch.equal(total, total_again)
        assert torch.equal(seen.entities, again.entities)
    assert not torch.equal(one.reset().entities, other.reset().entities)
    one.seed(9)
    two.seed(9)
    assert torch.equal(one.reset().entities, two.reset().entities)
    two.load_state_dict(one.state_dict())
    assert torch.equal(one.reset().entities, two.reset().entities)


@pytest.mark.parametrize(("scenario", "team"), [("mmm", "6-8"), ("3s5z", "8")])
def test_battles_go_on_elsewhere_where_they_were_saved(scenario, team):
    """In the thick of it: one is won, in others some have fallen, and some have healed of what has been paid for."""
    one, two = (make(8, seed, scenario=scenario, train_team=team, episode_limit=60) for seed in (1, 2))
    act, generator = one.SCRIPTED["focus_fire"](one.spec), torch.Generator()
    seen, healed = one.reset(), torch.zeros(8, dtype=torch.bool)
    while not ((healed | (scenario != "mmm")) & (seen.info["enemies_killed"] > 0) & ~seen.done).any() or not (
        seen.info["battle_won"].any()
    ):
        seen = one.step(act(seen, generator))
        assert not seen.done.all()
        units, foes = one._units, one.spec.agents
        healed = ((units.health + units.shield)[foes:] > one._score._lowest + 1).any(0)
    state = one.running()
    two.reset()
    two.resume(state)
    for step in range(40):
        actions = act(seen, generator)
        seen, again = one.step(actions), two.step(actions)
        if step % 8 == 7:
            seen, again = one.reset(seen.done), two.reset(again.done)
        for name, value in {**seen._asdict(), **seen.info}.items():
            if name != "info":
                assert torch.equal(value, {**again._asdict(), **again.info}[name]), (step, name)


def test_who_else_is_reset_does_not_matter():
    one, two = make(6, seed=1), make(6, seed=1)
    first = one.reset()
    two.reset()
    some, all_of_them = torch.tensor([True, False, True, False, False, False]), torch.ones(6, dtype=torch.bool)
    part, whole = one.reset(some), two.reset(all_of_them)
    assert torch.equal(part.entities[some], whole.entities[some])
    assert torch.equal(part.entities[~some], first.entities[~some])
    # and the stream goes on from the same place
    assert torch.equal(one.reset().entities, two.reset().entities)


def test_a_partial_reset_leaves_running_battles_alone():
    one, two = make(6, seed=1, episode_limit=150), make(6, seed=1, episode_limit=150)
    for env in (one, two):
        env.reset()
    some = torch.tensor([True, False, False, True, False, False])
    act, generator = one.SCRIPTED["focus_fire"](one.spec), torch.Generator()
    for step in range(30):
        if step == 15:
            ours = one.reset(some)
            assert not ours.reward.any()
        ours, theirs = (env.step(act(env._timestep(torch.zeros(6)), generator)) for env in (one, two))
        assert torch.equal(ours.entities[~some], theirs.entities[~some])
        assert torch.equal(ours.reward[~some], theirs.reward[~some])
    assert not torch.equal(ours.entities[some], theirs.entities[some])
    assert one._steps.tolist() == [15, 30, 30, 15, 30, 30]


def test_tags_are_random_over_all_slots():
    env = make(4000, scenario="sz", max_team=8, max_enemies=8)
    env.reset(team="8")
    tags = env._tags
    for side in (tags[:8], tags[8:]):
        assert torch.equal(side.sort(0).values, torch.arange(8)[:, None].expand(8, 4000))
        # slot 0 has each tag in 500 of 4000 battles, standard deviation 21
        counts = side[0].bincount(minlength=8)
        assert 400 < counts.min() <= counts.max() < 600
    assert not torch.equal(tags[:8], tags[8:])


def test_teams_of_a_reset():
    env = make(200, scenario="sz", max_team=8, max_enemies=8)
    assert env.reset().info["team_size"].unique().tolist() == [3, 4, 5]
    assert env.reset(team="7").info["team_size"].unique().tolist() == [7]
    seen = env.reset(team="1-2")
    assert seen.info["team_size"].unique().tolist() == [1, 2]
    assert torch.equal(seen.agent_mask.sum(1).float(), seen.info["team_size"])
    assert torch.equal(seen.info["team_size"], seen.info["stalker"] + seen.info["zealot"])
    with pytest.raises(UserError, match="needs 9 slots; this environment has 8"):
        env.reset(team="9")


# --- settings ---


def test_slots_follow_from_the_teams():
    args = StarCraftEnv.resolve_args({"scenario": "sz"}, ["3-5", "8", "6"])
    assert (args.max_team, args.max_enemies, args.tags, args.train_team) == (0, 0, 8, "3-5")
    assert StarCraftEnv.resolve_args({"scenario": "3s5z", "train_team": 8}, []).tags == 8
    assert StarCraftEnv.resolve_args({"scenario": "sz", "max_team": 12}, ["8"]).tags == 12
    assert StarCraftEnv.resolve_args({"enemy_team": "+2"}, ["8", "9v10-16"]).tags == 16
    env = StarCraftEnv(args, 2, 0)
    assert (env.spec.agents, env.spec.entities, env.spec.actions) == (5, 10, 6 + 10)
    fitted = StarCraftEnv.fit(args, ["8v9", "12"])
    assert (fitted.max_team, fitted.max_enemies, fitted.tags) == (12, 12, 8)
    fitted = StarCraftEnv.fit(replace(args, max_team=20), ["8v9"])
    assert (fitted.max_team, fitted.max_enemies) == (20, 9)
    # the name, types 2, health, shield, energy, cooldown, 2 x 2 places
    assert env.spec.features == 1 + 2 + 4 + 4
    assert env.backend == "skirmish"


@pytest.mark.parametrize(
    ("settings", "test_teams", "message"),
    [
        ({"scenario": "zerg"}, [], r"env_args.scenario = 'zerg' is not one of sz, csz"),
        ({"scenaro": "sz"}, [], r"env_args.scenaro is not known .* env_args.scenario"),
        ({"train_team": "5-3"}, [], r"env_args.train_team = '5-3' .* 1-32"),
        ({}, ["3-5", "40"], r"test_teams = '40' .* 1-32"),
        ({}, ["3", "8v40"], r"test_teams = '8v40': enemies = '40' .* allowed: .* 1-32"),
        ({"enemy_team": "many"}, [], r"env_args.enemy_team = 'many' is not possible"),
        ({"max_enemies": 6}, ["3v8"], r"env_args.max_enemies = 6 .* test_teams = '3v8'; allowed: 0 \(derived\) or 8"),
        ({"max_enemies": 60}, [], r"env_args.max_enemies = 60 must be from 0 \(derived\) to 32"),
        ({"tags": 6}, ["8"], r"env_args.tags = 6 are too few for 8 units; allowed: 0 \(derived\) or 8 or more"),
        ({"max_team": 6}, ["8"], r"env_args.max_team = 6 .* test_teams = '8'; allowed: 0 \(derived\) or 8 or more"),
        ({"max_team": "8"}, [], r"env_args.max_team = '8' must be a whole number"),
        ({"reward_scale": "armies"}, [], r"env_args.reward_scale = 'armies' is not one of battle, army"),
        (
            {"backend": "sc2"},
            [],
            r"'sc2': there is no StarCraft II in /nonexistent \(SC2PATH\): ./install_sc2.sh fetches",
        ),
        ({"game_timeout": 0.5}, [], r"env_args.game_timeout = 0.5 must be at least 1"),
        ({"backend": "starcraft"}, [], r"env_args.backend = 'starcraft' is not one of auto, skirmish, sc2"),
        ({"episode_limit": 0}, [], r"env_args.episode_limit = 0 must be at least 1"),
    ],
)
def test_impossible_settings(settings, test_teams, message):
    with pytest.raises(UserError, match=message) as error:
        StarCraftEnv.resolve_args(settings, test_teams)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["sc2_sz", "sc2_csz", "sc2_mmm", "sc2_3s5z", "sc2_3m"])
def test_configurations(name):
    settings = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    kind = REGISTRY[settings["env"]]
    args = kind.resolve_args(settings["env_args"], settings["test_teams"])
    assert set(settings["env_args"]) == set(StarCraftEnv.Args.__dataclass_fields__)
    env = kind(kind.fit(args, settings["test_teams"]), 2, 0)
    assert env.spec.name == name
    for team in settings["test_teams"]:
        env.reset(team=team)


# --- pictures ---


def test_pictures():
    env, _ = arranged("sz", [("stalker", 8, 8)], [("zealot", 24, 24)])
    picture = env.render(0)
    assert picture.dtype == "uint8"
    height, width, channels = picture.shape
    assert channels == 3
    # a blue ally in the south-west, a red enemy in the north-east
    south_west, north_east = picture[height // 2 :, : width // 2], picture[: height // 2, width // 2 :]
    assert ((south_west[..., 2] > 200) & (south_west[..., 0] < 100)).sum() > 50
    assert ((north_east[..., 0] > 200) & (north_east[..., 2] < 100)).sum() > 50
    empty = picture[: height // 2, : width // 2]
    assert len(set(map(tuple, empty.reshape(-1, 3)))) <= 2


def test_a_units_letter_and_bars_by_hand():
    """A Stalker at (8, 8), 15 pixels to the unit of length: 120 from the left, 359 from above, 9.375 around it."""
    env, _ = arranged("sz", [("stalker", 8, 8)], [("zealot", 24, 24)])
    env._units.health[0], env._units.shield[0] = 40, 20  # half of its health, a quarter of its shield
    picture = env.render(0).astype(int)
    letter = (picture[357:362, 119:122] == RIM).all(axis=-1)
    assert letter.astype(int).tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 1], [0, 0, 1], [1, 1, 1]]
    for top, colour, share in ((343, HEALTH, 9), (339, SHIELD, 4)):  # of a bar of 18 pixels
        for line in picture[top : top + 3]:
            assert np.flatnonzero((line == colour).all(axis=-1)).tolist() == list(range(110, 110 + share))
            assert np.flatnonzero((line == EMPTY).all(axis=-1)).tolist() == list(range(110 + share, 128))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("scenario", ["csz", "mmm"])
def test_a_gpu_plays_the_same_battles(scenario):
    args = StarCraftEnv.Args(scenario, "3-5")
    check_env(StarCraftEnv(args, 4, 0, "cuda"), steps=30, teams=["5"])
    ours, theirs = StarCraftEnv(args, 16, 0), StarCraftEnv(args, 16, 0, "cuda")
    seen = ours.reset()
    units = ours._units
    everywhere = torch.arange(16, device="cuda")
    theirs._begin(everywhere, units.type.cuda(), units.position.cuda(), ours._tags.cuda())
    act = ours.SCRIPTED["focus_fire"](ours.spec)
    for _ in range(10):
        actions = act(seen, ours.generator)
        seen, same = ours.step(actions), theirs.step(actions.cuda())
        torch.testing.assert_close(same.entities.cpu(), seen.entities, atol=1e-3, rtol=0)

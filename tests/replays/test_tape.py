"""What is recorded of episodes is what happened and what agents decided by, and recording changes neither."""

import pytest
import torch
from playing import ROWS, Played
from torch import Tensor
from toy_env import ToyEnv, make_toy, random_team

from controllers.scripted import ScriptedController
from envs.base import TimeStep
from replays.tape import Tape, rounded
from runners.runner import Runner

#: algorithm, task, settings, teams
KINDS = {
    "values": ("refil", "sc2_sz", ("env_args.episode_limit=8",), ("3-5", "6")),
    "pairs": ("vdn", "sc2_sz", ("env_args.episode_limit=8", "target_values=pairs"), ("4",)),
    "coach": ("copa", "resource_collection", ("env_args.episode_limit=12", "env_args.train_team=2-3"), ("varying",)),
    "two networks": ("collaq", "rescue", ("env_args.episode_limit=8",), ("3-5",)),
    "policies": ("mipi", "sc2_mmm", ("env_args.episode_limit=8",), ("5",)),
    "messages": ("mappo", "reference", (), ("2",)),
    "no attention": ("maddpg", "navigation", (), ("3",)),
    "one for all": ("joint", "navigation", (), ("3",)),
    "scripted": ("scripted", "navigation", ("policy=greedy", "evaluate=True"), ("3",)),
}
POLICIES = ("policies", "messages", "no attention")
ATTENTIVE = ("values", "pairs", "coach", "two networks", "policies", "messages")


@pytest.fixture(scope="module", params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def played(kind) -> Played:
    algorithm, task, words, teams = KINDS[kind]
    return Played(algorithm, task, *words, teams=teams)


def test_recording_changes_nothing(kind, played):
    algorithm, task, words, teams = KINDS[kind]
    without = Played(algorithm, task, *words, teams=teams, tape=False)
    assert without.record["episodes"] == []
    assert all(decision.basis is None for _, decision in without.steps)
    assert not played.controller.explains
    assert len(played.steps) == len(without.steps)
    for (seen, decision), (same, again) in zip(played.steps, without.steps, strict=True):
        assert torch.equal(decision.actions, again.actions)
        assert torch.equal(seen.entities, same.entities)
    for team, figures in played.figures.items():
        assert {name: value.tolist() for name, value in figures.items()} == {
            name: value.tolist() for name, value in without.figures[team].items()
        }


def test_what_happened(played):
    episodes = played.record["episodes"]
    assert [(e["team"], e["number"]) for e in episodes] == [(t, n) for t in played.figures for n in range(ROWS)]
    for episode in episodes:
        figures = {name: value[episode["number"]].item() for name, value in played.figures[episode["team"]].items()}
        length = episode["length"]
        assert length == figures["ep_length"]
        assert episode["return"] == pytest.approx(figures["return"], abs=6e-4)
        assert sum(episode["rewards"]) == pytest.approx(figures["return"], abs=6e-4 * length)
        assert episode["info"] == {name: pytest.approx(figures[name], abs=6e-4) for name in played.env.spec.info_names}
        assert len(episode["bodies"]) == length + 1
        assert {len(episode[name]) for name in ("actions", "legal", "sees", "aims", "rewards")} == {length}
    for episode, t, row, seen, decision in played.moments():
        agents = seen.agent_mask[row].tolist()
        for agent, here in enumerate(agents):
            assert episode["actions"][t][agent] == (decision.actions[row, agent].item() if here else None)
            assert episode["legal"][t][agent] == (places(seen.avail_mask[row, agent]) if here else None)
        present = [slots for since, slots in episode["present"] if since <= t][-1]
        assert present == places(seen.entity_mask[row])


def test_how_it_looked(played):
    scenes = {row: iter(found) for row, found in played.scenes.items()}
    for episode in played.record["episodes"]:
        for t, bodies in enumerate(episode["bodies"]):
            scene = next(scenes[episode["number"]])
            if t:  # whom others went for in a step is known after it
                assert episode["aims"][t - 1] == [list(pair) for pair in sorted(scene.aims.items())]
            assert [slot for slot, body in enumerate(bodies) if body] == sorted(scene.bodies)
            for slot, body in scene.bodies.items():
                number, x, y, *levels = bodies[slot]
                look = episode["looks"][number]
                gauges = len(look["gauges"])
                assert (x, y) == pytest.approx((body.x, body.y), abs=5.01e-3)
                assert levels[:gauges] == pytest.approx(body.levels, abs=5.01e-4)
                assert levels[gauges:] == ([body.note] if body.note else [])
                assert (look["kind"], look["side"], look["shape"]) == (body.look.kind, body.look.side, body.look.shape)
    assert all(next(rest, None) is None for rest in scenes.values())


def test_sight_is_what_the_networks_look_at():
    played = Played("mipi", "rescue", "env_args.episode_limit=4", "alpha=inf", teams=("4",))
    for episode, t, _row, seen, _ in played.moments():
        assert episode["sees"][t] == [[0], [1], [2], [3], None]
        assert episode["attention"][t] == [*[[[1], [1]]] * 4, None]
        assert seen.obs_mask.sum() >= 8
    played = Played("vdn", "rescue", "env_args.episode_limit=4", "view=periodic", "view_interval=2", teams=("4",))
    for episode, t, row, seen, _ in played.moments():
        shown = seen.entity_mask[row].expand(4, -1) if t % 2 == 0 else seen.obs_mask[row, :4]
        assert episode["sees"][t] == [*(places(of) for of in shown), None]


def test_what_it_was_decided_by(kind, played):
    about = played.record["about"]
    if kind in ("one for all", "scripted"):
        assert all(not {"figures", "attention"} & set(episode) for episode in played.record["episodes"])
        return
    assert about["figure"] == ("probability" if kind in POLICIES else "value")
    for episode, t, row, seen, decision in played.moments():
        basis = decision.basis
        for agent in places(seen.agent_mask[row]):
            figures, legal = episode["figures"][t][agent], episode["legal"][t][agent]
            assert figures == pytest.approx(basis.figures[row, agent, legal].tolist(), abs=5.01e-4)
            # greedy: what was done is what had the largest one
            assert figures[legal.index(episode["actions"][t][agent])] == max(figures)
            assert episode["sees"][t][agent] == places(basis.sight[row, agent])
            if kind in POLICIES:
                assert sum(figures) == pytest.approx(1, abs=5.01e-4 * len(figures))


def test_attention_is_shared_out_over_what_is_seen(kind, played):
    about = played.record["about"]
    heads = {"two networks": 4}.get(kind, 2) if kind in ATTENTIVE else 0
    assert len(about["heads"]) == heads
    if not heads:
        assert all("attention" not in episode for episode in played.record["episodes"])
        return
    spread = 0
    for episode, t, row, seen, decision in played.moments():
        attention, sight = decision.basis.attention[row], decision.basis.sight[row]
        assert attention.shape == (heads, *sight.shape)
        assert not attention[:, ~sight].any()
        here = seen.agent_mask[row]
        torch.testing.assert_close(attention.sum(dim=-1), here.float().expand(heads, -1))
        for agent in places(here):
            sees = episode["sees"][t][agent]
            assert sees == places(seen.obs_mask[row, agent])
            for head, weights in enumerate(episode["attention"][t][agent]):
                assert weights == pytest.approx(attention[head, agent, sees].tolist(), abs=5.01e-4)
                spread += len(set(weights)) > 1
        assert all(episode["attention"][t][agent] is None for agent in places(~here))
    assert spread > 10


@pytest.mark.parametrize("kind", ["two networks"], indirect=True)
def test_alone_nobody_attends_to_teammates(played):
    assert played.record["about"]["heads"] == ["alone 1", "alone 2", "team 1", "team 2"]
    met = 0
    for episode, t, row, seen, _ in played.moments():
        for agent in places(seen.agent_mask[row]):
            mates = [slot != agent and slot < played.env.spec.agents for slot in episode["sees"][t][agent]]
            for head, weights in enumerate(episode["attention"][t][agent]):
                given = [weight for weight, mate in zip(weights, mates, strict=True) if mate]
                assert head >= 2 or not any(given)
                met += head >= 2 and any(given)
    assert met > 0


@pytest.mark.parametrize("kind", ["coach"], indirect=True)
def test_what_the_coach_said(played):
    size = played.controller.agent.sizes.strategy
    spoke = joined = 0
    for episode, t, row, seen, decision in played.moments():
        first = played.firsts[episode["team"]]
        sent = places(decision.sent[row] & seen.agent_mask[row])
        assert episode["sent"][t] == sent
        assert len(episode["moved"][t]) == len(sent)
        for agent, moved in zip(sent, episode["moved"][t], strict=True):
            old = torch.zeros(size)
            if t and played.steps[first + t - 1][0].agent_mask[row, agent]:
                old = played.steps[first + t - 1][1].state["strategy"][row, agent]
            else:
                joined += t > 0
            way = (decision.state["strategy"][row, agent] - old).square().sum().sqrt().item()
            assert moved == pytest.approx(way, abs=6e-4)
            spoke += way > 0
    assert spoke > 4
    assert joined > 0


def places(mask: Tensor) -> list[int]:
    return mask.nonzero()[:, 0].tolist()


# --- which episodes -------------------------------------------------------------------------------------------------


class Faulty(ToyEnv):
    """Loses the first episode of the second environment in its first step."""

    def __init__(self, env: ToyEnv) -> None:
        super().__init__(env.args, env.num_envs, 0)
        self.lost, self.faults = torch.zeros(env.num_envs, dtype=torch.bool), 1

    def _reset(self, env_mask: Tensor, team: str | None) -> TimeStep:
        self.lost = self.lost & ~env_mask
        return super()._reset(env_mask, team)

    def _step(self, actions: Tensor) -> TimeStep:
        seen = super()._step(actions)
        if self.faults:
            self.faults -= 1
            self.lost = torch.arange(self.num_envs) == 1
            self.truncated = self.truncated | self.lost
            seen = seen._replace(truncated=self.truncated & ~seen.terminated, terminated=seen.terminated & ~self.lost)
        return seen


@pytest.mark.parametrize("faulty", [False, True])
def test_the_first_episodes_of_each_team(faulty):
    env = make_toy(num_envs=2)
    env = Faulty(env) if faulty else env
    controller = ScriptedController(random_team(env.spec))
    runner, tape = Runner(env, controller, seed=0), Tape(env, controller, 3)
    runner.watcher = tape
    figures = [runner.evaluate(team, 5, seed=1) for team in ("2", "3")]
    assert tape.count == 6
    episodes = tape.content()["episodes"]
    assert [(e["team"], e["number"]) for e in episodes] == [("2", 0), ("2", 1), ("2", 2), ("3", 0), ("3", 1), ("3", 2)]
    for team, of in enumerate(figures):
        mine = episodes[3 * team : 3 * team + 3]
        assert [e["length"] for e in mine] == of["ep_length"][:3].tolist()
        assert [e["return"] for e in mine] == pytest.approx(of["return"][:3].tolist(), abs=6e-4)


def test_a_task_without_a_look_shows_its_entities():
    env = make_toy(num_envs=1)
    controller = ScriptedController(random_team(env.spec))
    runner, tape = Runner(env, controller, seed=0), Tape(env, controller, 1)
    runner.watcher = tape
    runner.evaluate("2", 1, seed=1)
    (episode,) = tape.content()["episodes"]
    assert "bodies" not in episode
    assert len(episode["entities"]) == episode["length"] + 1
    assert len(episode["entities"][0]) == len(episode["present"][0][1])
    assert {len(row) for rows in episode["entities"] for row in rows} == {env.spec.features}


def test_numbers_are_short():
    assert rounded([1.0, -0.0, 0.12345, -0.0004]) == [1, 0, 0.123, 0]
    assert [str(value) for value in rounded([1.0, 0.5])] == ["1", "0.5"]
    assert rounded(2.0) == 2

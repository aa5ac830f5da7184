"""How tasks beside battles look, by moments that are arranged by hand."""

import pytest
import torch

from envs.matrix_game.env import MatrixGameEnv
from envs.particle.navigation import NavigationEnv
from envs.particle.reference import ReferenceEnv
from envs.particle.resource_collection.env import ResourceCollectionEnv
from envs.particle.speaker_listener import SpeakerListenerEnv
from envs.rescue.env import RescueEnv
from envs.scene import Body


def levels(body: Body) -> dict[str, float]:
    return {gauge.name: level for gauge, level in zip(body.look.gauges, body.levels, strict=True)}


def test_a_town():
    env = RescueEnv(RescueEnv.resolve_args({"train_team": "3"}, []), 1, 0)
    env.reset()
    env._robot[0], env._skill[0] = torch.tensor([23, 23, 99]), torch.tensor([0.2, 0.5, 1.0])
    env._level[0] = 0
    env._fire[0, 4], env._level[0, 4] = 90, 0.25
    bodies = env.scene().bodies
    assert sorted(bodies) == [0, 1, 2, 3 + 4]
    # side by side in the building of row 2 and column 3
    assert bodies[0].y == bodies[1].y
    assert bodies[0].x < bodies[1].x
    assert all(abs(body.x - 3) < 0.5 and abs(body.y - 2) < 0.5 for body in (bodies[0], bodies[1]))
    assert levels(bodies[1]) == {"skill": 0.5}
    fire = bodies[7]
    assert (fire.look.kind, fire.x, fire.y, levels(fire)) == ("fire", 0, 9, {"level": 0.25})


def test_navigation():
    env = NavigationEnv(NavigationEnv.resolve_args({"train_team": "2", "kinds": "mixed", "sight": 0.5}, ["3"]), 1, 0)
    env.reset()
    env._position[:, 3] = torch.tensor([[0.25], [-0.5]])
    bodies = env.scene().bodies
    assert sorted(bodies) == [0, 1, 3, 4]
    assert (bodies[3].look.kind, bodies[3].x, bodies[3].y) == ("landmark", 0.25, -0.5)
    assert [bodies[slot].look.radius for slot in (0, 1)] == pytest.approx([0.2, 0.15])
    assert bodies[0].look.sight == 0.5


def test_what_agents_say_and_where_they_should_go():
    env = ReferenceEnv(ReferenceEnv.resolve_args({}, []), 1, 0)
    env.reset()
    env._goal[0] = torch.tensor([2, 0])
    env.step(torch.tensor([[env.spec.join(1, 7), env.spec.join(0, 3)]]))
    bodies = env.scene().bodies
    assert [bodies[slot].note for slot in range(5)] == ["says 7", "says 3", "", "", ""]
    assert bodies[0].look.about == "its goal is landmark 2, which only others know"
    assert bodies[0].look.colour == bodies[2 + 2].look.colour != bodies[1].look.colour
    assert [bodies[slot].look.label for slot in (2, 3, 4)] == ["0", "1", "2"]


def test_who_cannot_move_has_another_shape():
    env = SpeakerListenerEnv(SpeakerListenerEnv.resolve_args({}, []), 1, 0)
    env.reset()
    speaker, listener = env.scene().bodies[0], env.scene().bodies[1]
    assert speaker.note == listener.note == ""
    assert speaker.look.about == "cannot move"
    assert speaker.look.shape != listener.look.shape


def test_resource_collection():
    env = ResourceCollectionEnv(ResourceCollectionEnv.resolve_args({"train_team": "2", "max_team": 3}, []), 1, 0)
    env.reset()
    world = env._world
    world.load[2, 1, 0] = 1.0
    world.members[:, 0, 0] = torch.tensor([0.9, 0.3, 0.1, 0.5])
    bodies = env.scene().bodies
    assert sorted(bodies) == [0, 1, *range(3, 11)]
    assert [bodies[slot].look.kind for slot in (3, 4, 5, 6, 10)] == ["home", "red", "green", "blue", "invader"]
    assert (bodies[0].note, bodies[1].note) == ("", "blue")
    assert levels(bodies[0]) == pytest.approx({"efficiency red": 0.9, "efficiency green": 0.3, "efficiency blue": 0.1})
    assert bodies[0].look.about == "speed 0.5"


def test_the_matrix_game_is_a_table():
    assert MatrixGameEnv(MatrixGameEnv.resolve_args({}, []), 1, 0).scene() is None

"""A scripted team plays through the same path as a learned one."""

import pytest
import torch
from toy_env import make_toy

from controllers.scripted import ScriptedController
from runners.runner import Runner


@pytest.mark.parametrize("team", ["2", "1-3", "varying"])
def test_reading_gets_every_point_and_chance_does_not(team: str) -> None:
    env = make_toy(20, team=team, slots=3)
    returns = {}
    for name, factory in env.SCRIPTED.items():
        rollout = Runner(env, ScriptedController(factory(env.spec)), seed=0).play()
        returns[name] = rollout.returns / rollout.lengths
    torch.testing.assert_close(returns["reading"], torch.ones(20))
    assert float(returns["random"].mean()) < 0.7


def test_it_hands_time_step_and_generator_over() -> None:
    env = make_toy(2)
    seen = env.reset()
    generator = torch.Generator()
    got = []

    def policy(*args: object) -> torch.Tensor:
        got.extend(args)
        return torch.zeros(2, 3, dtype=torch.int64)

    controller = ScriptedController(policy)
    state = controller.initial_state(2, 3)
    decision = controller.act(
        seen, torch.zeros(2, 3, dtype=torch.int64), state, t_env=0, explore=True, generator=generator
    )
    assert got[0] is seen
    assert got[1] is generator
    assert decision.sent is None
    assert decision.actions.tolist() == [[0, 0, 0]] * 2
    assert decision.state == {}

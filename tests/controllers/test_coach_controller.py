"""Who is sent which strategy when, by hand; adaptive communication."""

import batches
import pytest
import torch
from toy_env import make_toy

from modules.coach import Gaussian
from runners.runner import Runner


def controller_for(spec, **settings):
    torch.manual_seed(0)
    return batches.make_controller(spec, "coach", **settings)


def test_strategies_in_force_by_hand():
    """One agent is there from the start, one joins at step 2, leaves at 3 and is back at 6; T = 4."""
    spec = batches.make_spec(agents=2, others=1)
    batch = batches.random_batch(spec, batch=1, steps=8)
    batch.entity_mask[:] = True
    batch.entity_mask[0, :, 1] = torch.tensor([0, 0, 1, 0, 0, 0, 1, 1, 1]).bool()
    controller = controller_for(spec, interval=4)
    batch.filled_mask[:] = True
    drawn = torch.arange(9.0).view(9, 1, 1).expand(9, 2, batches.STRATEGY)
    controller.coach.strategies = lambda encoding: Gaussian(drawn, torch.full_like(drawn, -100.0))
    broadcast = controller.unroll(controller.prepare(batch)).broadcast
    sent, strategy = broadcast.sent, broadcast.strategy[:, :, 0].round()
    assert sent[:, 0].nonzero()[:, 0].tolist() == [0, 4, 8]
    assert sent[:, 1].nonzero()[:, 0].tolist() == [2, 6, 8]
    assert strategy[:, 0].tolist() == [0, 0, 0, 0, 4, 4, 4, 4, 8]
    there = batch.agent_mask[0, :, 1]
    assert strategy[there, 1].tolist() == [2, 6, 6, 8]


@pytest.mark.parametrize("interval", [1, 2, 4])
def test_frequency_without_a_threshold_is_one_in_interval(interval):
    env = make_toy(num_envs=8, team="2", end_chance=0.0, episode_limit=8)
    figures = Runner(env, controller_for(env.spec, interval=interval), 0).evaluate(None, 8, seed=0)
    assert torch.allclose(figures["comm_frequency"], torch.full((8,), 1.0 / interval))


def test_a_large_threshold_leaves_only_the_first_strategy():
    env = make_toy(num_envs=4, team="2", end_chance=0.0, episode_limit=8)
    runner = Runner(env, controller_for(env.spec, interval=2, beta=1e6), 0)
    assert torch.allclose(runner.evaluate(None, 4, seed=0)["comm_frequency"], torch.full((4,), 1 / 8))
    exploring = runner.play(explore=True)  # the threshold is a matter of tests: training always sends
    assert torch.allclose(exploring.comm_frequency, torch.full((4,), 1 / 2))


def test_threshold_by_hand():
    """The new strategy is sent where it lies further than beta from the old one, not where it lies closer."""
    env = make_toy(num_envs=1, team="2", end_chance=0.0)
    controller = controller_for(env.spec, interval=1, beta=1.0)
    means = iter([[0.0, 0.0], [0.9, 1.1], [1.8, 1.2], [1.8, 2.2]])

    def strategies(encoding):
        mean = torch.zeros(1, 2, batches.STRATEGY)
        mean[0, :, 0] = torch.tensor(next(means))
        return Gaussian(mean, torch.zeros_like(mean))

    controller.coach.strategies = strategies
    seen, state, sent, kept = env.reset(), controller.initial_state(1, 2), [], []
    for _ in range(4):
        decision = controller.act(
            seen, torch.full((1, 2), -1), state, t_env=0, explore=False, generator=torch.Generator()
        )
        state = decision.state
        sent.append(decision.sent[0].tolist())
        kept.append([round(v, 1) for v in state["strategy"][0, :, 0].tolist()])
    assert sent == [[True, True], [False, True], [True, False], [False, True]]
    assert kept == [[0.0, 0.0], [0.0, 1.1], [1.8, 1.1], [1.8, 2.2]]


def test_tests_use_the_mean_and_training_a_sample():
    env = make_toy(num_envs=3, team="2")
    controller = controller_for(env.spec)
    seen = env.reset()
    last = torch.full((3, 2), -1)

    def strategy(explore, seed):
        generator = torch.Generator().manual_seed(seed)
        state = controller.initial_state(3, 2)
        return controller.act(seen, last, state, t_env=0, explore=explore, generator=generator).state["strategy"]

    assert torch.equal(strategy(False, 1), strategy(False, 2))
    assert not torch.equal(strategy(True, 1), strategy(True, 2))


def test_how_far_strategies_move():
    """Whoever has just joined had no strategy, whatever the slot holds."""
    env = make_toy(num_envs=1, team="3")
    controller = controller_for(env.spec, interval=2)
    controller.explains = True
    size = controller.agent.sizes.strategy
    drawn = torch.zeros(1, env.spec.agents, size)
    drawn[:, :, 0] = 3.0
    controller.coach.strategies = lambda encoding: Gaussian(drawn, torch.full_like(drawn, -100.0))
    seen = env.reset()
    state = controller.initial_state(1, env.spec.agents)
    state["strategy"][..., 1] = 4.0
    state["present"][0, 0] = True
    last = torch.full((1, env.spec.agents), -1)
    decision = controller.act(seen, last, state, t_env=0, explore=False, generator=torch.Generator())
    assert decision.basis.moved.tolist() == [[5.0, 3.0, 3.0]]

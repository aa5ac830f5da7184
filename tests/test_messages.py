"""An action may carry a symbol: from the network through play, replay and learning."""

import batches
import pytest
import torch
from toy_env import TalkingToyEnv

from components.replay import ReplayBuffer
from components.schedules import LinearDecay
from runners.runner import Runner

TOY = {"team": "1-3", "slots": 3, "signs": 2, "episode_limit": 6, "forbid_chance": 0.0}

SETTINGS = {
    "vdn_pairs": {"lr": 0.003, "gamma": 0.0},
    "mipi_linear_slots": {"lr": 0.003, "gamma": 0.0, "alpha": 0.01},
    "mappo_pairs": {"lr": 0.01},
    "pqn_pairs": {"lr": 0.003, "gamma": 0.0, "num_mini_batch": 4},
}


def make_env(num_envs=64, **settings):
    return TalkingToyEnv(TalkingToyEnv.resolve_args({**TOY, **settings}, []), num_envs=num_envs, seed=0)


def test_the_scripted_team_is_heard():
    env = make_env()
    seen = env.reset()
    seen = env.step(env.SCRIPTED["telling"](env.spec)(seen, env.generator))
    assert seen.reward.tolist() == [1.0] * 64


@pytest.mark.parametrize("kind", SETTINGS)
def test_acts_and_symbols_are_learnt_together(kind):
    """What counts is the number of the sign, or pointing at it, together with its parity: the best acts with always the
    same symbol get two thirds of the points.
    """
    env = make_env()
    learner = batches.make_learner(f"{kind}_messages", env.spec, **SETTINGS[kind])
    epsilon = 0.0 if kind.startswith("mappo") else 0.2
    learner.controller.selector.schedule = LinearDecay(epsilon, epsilon, 1)
    replay = ReplayBuffer(env.spec, 512)
    runner, generator = Runner(env, learner.controller, seed=1), torch.Generator().manual_seed(2)

    def score():
        played = runner.play(explore=False, record=False)
        return float((played.returns / played.lengths).mean())

    for _ in range(30):
        batch = runner.play().batch
        if learner.ON_POLICY:
            learner.train(batch, 0)
            continue
        replay.insert(batch)
        for _ in range(4):
            learner.train(replay.sample(32, generator), 0)
    assert score() > 0.9

"""MAPPO by hand: advantages, the clipped objective, entropies; the policy recomputed is the policy that acted."""

import math
from dataclasses import replace

import batches
import pytest
import torch
from toy_env import make_toy

from components.action_selectors import SoftPolicies
from components.episodes import EpisodeBatch
from controllers.entity import Unroll
from learners.mappo import clipped
from runners.runner import Runner
from runners.stream import Stream
from utils.masking import fill_illegal

GAMMA, LAMBDA, CLIP, ENTROPY = 0.5, 0.5, 0.2, 0.1

#: what the critic says of each observation: no end, no padding (1000) is ever asked
VALUES = torch.tensor([[2.0, 6.0, 8.0, 1000.0], [1.0, 2.0, 10.0, 1000.0], [1.0, 1000.0, 1000.0, 1000.0]])
#: the advantages that follow, step by step: r + gamma V' - V + gamma lambda A'
ADVANTAGES = {
    (0, 2): 3 - 8,  # terminated: V' = 1000 is not asked
    (0, 1): 2 + 0.5 * 8 - 6 + 0.25 * -5,
    (0, 0): 1 + 0.5 * 6 - 2 + 0.25 * -1.25,
    (1, 1): 0 + 0.5 * 10 - 2,  # truncated: bootstraps
    (1, 0): 1 + 0.5 * 2 - 1 + 0.25 * 3,
    (2, 0): 5 - 1,  # terminated
}
ORDER = sorted(ADVANTAGES)


def two_agents_three_actions() -> EpisodeBatch:
    """Three episodes: one terminates after step 3, one is truncated after step 2, one terminates after step 1; what is
    behind is padding. Agent 1 leaves the first for a step, and is never there in the third.
    """
    b, t, a, u = 3, 3, 2, 3
    filled = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])
    entity_mask = torch.cat([filled[:, :1], filled], dim=1)[:, :, None].repeat(1, 1, a)
    entity_mask[0, 1, 1] = False
    entity_mask[2, :, 1] = False
    avail = torch.zeros(b, t + 1, a, u, dtype=torch.bool)
    avail[..., 1:] = entity_mask[..., None]
    avail[..., 0] = ~entity_mask
    avail[1, 0, 0] = torch.tensor([True, True, True])
    return EpisodeBatch(
        entities=VALUES[:, :, None, None].repeat(1, 1, a, 1),
        private=torch.zeros(b, t + 1, a, 0),
        entity_mask=entity_mask,
        obs_mask=entity_mask[:, :, :, None] & entity_mask[:, :, None],
        avail_mask=avail,
        actions=torch.tensor([[[1, 2], [2, 0], [1, 1]], [[0, 1], [2, 2], [0, 0]], [[2, 0], [0, 0], [0, 0]]]),
        reward=torch.tensor([[1.0, 2.0, 3.0], [1.0, 0.0, 500.0], [5.0, 500.0, 500.0]]),
        terminated=torch.tensor([[False, False, True], [False, False, False], [True, False, False]]),
        truncated=torch.tensor([[False, False, False], [False, True, False], [False, False, False]]),
        filled_mask=filled,
        start_actions=torch.full((b, a), -1),
    )


def learner_with(logits: torch.Tensor, **config):
    """Policies from a table, values from the first entity's feature."""
    spec = batches.make_spec(agents=2, others=0, features=1, private=0, actions=3)
    learner = batches.make_learner("mappo", spec, gamma=GAMMA, clip_range=CLIP, entropy_coef=ENTROPY, **config)
    learner.controller.unroll = lambda data, **_: Unroll((data.pack(logits),))
    learner.critic.forward = lambda entities, entity_mask: entities[:, 0, 0]
    return learner


@pytest.fixture
def logits():
    return torch.randn(3, 4, 2, 3, generator=torch.Generator().manual_seed(2))


def test_advantages_by_hand(logits):
    batch = two_agents_three_actions()
    lesson = learner_with(logits, gae_lambda=LAMBDA)._judge(batch)
    assert lesson.advantages.tolist() == [ADVANTAGES[step] for step in ORDER]
    assert lesson.returns.tolist() == [ADVANTAGES[step] + VALUES[step].item() for step in ORDER]


def test_a_piece_that_is_cut_bootstraps_from_its_last_observation(logits):
    """The first episode goes on after its three steps, worth 4 then. The second one is cut where its time limit was
    before; what follows is the third piece, which terminates.
    """
    batch = two_agents_three_actions()
    batch.terminated[0, 2] = batch.truncated[1, 1] = False
    batch.entities[0, 3], batch.entities[2, 0] = 4.0, 10.0
    lesson = learner_with(logits, gae_lambda=LAMBDA)._judge(batch)
    last = 3 + 0.5 * 4 - 8
    middle = 2 + 0.5 * 8 - 6 + 0.25 * last
    before = [ADVANTAGES[(1, 0)], ADVANTAGES[(1, 1)]]
    assert lesson.advantages.tolist() == [1 + 0.5 * 6 - 2 + 0.25 * middle, middle, last, *before, 5 - 10]


def test_without_gae_advantages_are_returns_less_the_value(logits):
    lesson = learner_with(logits, gae_lambda=1.0)._judge(two_agents_three_actions())
    assert lesson.returns.tolist() == [2.75, 3.5, 3.0, 1 + 0.5 * 5, 0.5 * 10, 5.0]
    assert lesson.advantages.tolist() == [0.75, -2.5, -5.0, 2.5, 3.0, 4.0]


def test_advantages_are_scaled_over_present_agents(logits):
    learner = learner_with(logits, gae_lambda=LAMBDA)
    (lesson,), figures = learner.prepare(two_agents_three_actions())
    agents = {(0, 0): 2, (0, 1): 1, (0, 2): 2, (1, 0): 2, (1, 1): 2, (2, 0): 1}
    each = [ADVANTAGES[step] for step in ORDER for _ in range(agents[step])]
    mean = sum(each) / 10
    std = math.sqrt(sum((x - mean) ** 2 for x in each) / 10)
    assert lesson.advantages.tolist() == pytest.approx([(ADVANTAGES[step] - mean) / std for step in ORDER])
    assert float(figures["advantage_std"]) == pytest.approx(std)
    # the scale of values is that of the six played steps, however many agents they have
    returns = [ADVANTAGES[step] + VALUES[step].item() for step in ORDER]
    assert float(learner.critic.norm.mean) == pytest.approx(sum(returns) / 6)


def test_mini_batches_share_one_scale(logits):
    batch = two_agents_three_actions()
    (whole,), _ = learner_with(logits, gae_lambda=LAMBDA).prepare(batch)
    learner = learner_with(logits, gae_lambda=LAMBDA, num_mini_batch=3)
    learner.controller.unroll = lambda data, **_: Unroll((torch.zeros(len(data.rows), data.batch.agents, 3),))
    lessons, _ = learner.prepare(batch)
    assert [len(lesson.advantages) for lesson in lessons] == [3, 2, 1]
    torch.testing.assert_close(torch.cat([lesson.advantages for lesson in lessons]), whole.advantages)


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected", "slope"),
    [
        (1.1, 2.0, 2.2, 2.0),
        (1.5, 2.0, 2.4, 0.0),  # good and made likely enough: no more to gain
        (0.5, 2.0, 1.0, 2.0),  # good but made unlikely: to be put right
        (1.5, -2.0, -3.0, -2.0),  # bad but made likely: to be put right
        (0.5, -2.0, -1.6, 0.0),  # bad and made unlikely enough
        (0.9, -2.0, -1.8, -2.0),
    ],
)
def test_clipped_objective_by_hand(ratio, advantage, expected, slope):
    x = torch.tensor(ratio, requires_grad=True)
    value = clipped(x, torch.tensor(advantage), CLIP)
    assert value.item() == pytest.approx(expected)
    assert torch.autograd.grad(value, x)[0].item() == pytest.approx(slope)


def log_softmax(logits: list[float], legal: list[bool]) -> list[float]:
    total = math.log(sum(math.exp(x) for x, ok in zip(logits, legal, strict=True) if ok))
    return [x - total if ok else -math.inf for x, ok in zip(logits, legal, strict=True)]


def test_loss_as_a_loop_over_agents(logits):
    batch = two_agents_three_actions()
    learner = learner_with(logits, gae_lambda=LAMBDA)
    (lesson,), _ = learner.prepare(batch)
    later = logits + 0.5 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(3))
    learner.controller.unroll = lambda data, **_: Unroll((data.pack(later),))
    loss, figures = learner.loss(lesson)

    gains, entropies, clips = [], [], 0
    for step, advantage in zip(ORDER, lesson.advantages.tolist(), strict=True):
        for agent in range(2):
            at = (*step, agent)
            if not batch.entity_mask[at]:
                continue
            legal, action = batch.avail_mask[at].tolist(), int(batch.actions[at])
            before, after = (log_softmax(table[at].tolist(), legal) for table in (logits, later))
            ratio = math.exp(after[action] - before[action])
            gains.append(min(ratio * advantage, min(max(ratio, 0.8), 1.2) * advantage))
            clips += abs(ratio - 1) > CLIP
            entropies.append(-sum(math.exp(x) * x for x in after if x > -math.inf))
    assert len(gains) == 10
    assert 0 < clips < 10
    norm = learner.critic.norm
    errors = [
        VALUES[step].item() - (ADVANTAGES[step] + VALUES[step].item() - norm.mean.item()) / norm.std.item()
        for step in ORDER
    ]
    policy_loss, entropy, value_loss = -sum(gains) / 10, sum(entropies) / 10, sum(e * e for e in errors) / 6
    assert float(figures["policy_loss"]) == pytest.approx(policy_loss, abs=1e-5)
    assert float(figures["entropy"]) == pytest.approx(entropy, abs=1e-5)
    assert float(figures["value_loss"]) == pytest.approx(value_loss, rel=1e-4)
    assert float(figures["clip_fraction"]) == pytest.approx(clips / 10)
    assert float(loss) == pytest.approx(policy_loss - ENTROPY * entropy + value_loss, rel=1e-4)


def test_entropy_is_over_legal_actions(logits):
    """Two legal actions with odds of 1 to 3; the illegal one's logit is the largest by far."""
    batch = two_agents_three_actions()
    logits[:] = torch.tensor([50.0, 0.0, math.log(3.0)])
    batch.avail_mask[1, 0, 0, 0] = False
    batch.actions[1, 0, 0] = 1
    learner = learner_with(logits)
    data = learner.controller.prepare(batch)
    taken, entropies = learner.policies(data)
    present = data.agent_mask[data.acts]
    assert entropies[present].tolist() == pytest.approx([0.25 * math.log(4) + 0.75 * math.log(4 / 3)] * 10)
    assert entropies[~present].tolist() == [0.0, 0.0]  # action 0 and nothing else
    assert taken[0].tolist() == pytest.approx([math.log(0.25), math.log(0.75)])


def test_an_illegal_action_has_no_gradient(logits):
    logits.requires_grad_()
    learner = learner_with(logits)
    (lesson,), _ = learner.prepare(two_agents_three_actions())
    loss, _ = learner.loss(lesson)
    loss.backward()
    illegal = ~two_agents_three_actions().avail_mask
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[illegal] == 0).all()
    assert (logits.grad != 0).any()


class Remembers(SoftPolicies):
    """Keeps the log-probability of what it draws."""

    def __init__(self, schedule):
        super().__init__(schedule)
        self.log_probs = []

    def select(self, values, avail_mask, **how):
        actions = super().select(values, avail_mask, **how)
        log_probs = fill_illegal(values, avail_mask).log_softmax(dim=-1)
        self.log_probs.append(log_probs.gather(-1, actions[..., None])[..., 0])
        return actions


def play(learner, env, seed=0):
    return Runner(env, learner.controller, seed=seed).play(explore=True).batch


def test_the_recomputed_policy_is_the_one_that_acted():
    """Also where agents leave and join: nothing has to be stored with the episodes."""
    env = make_toy(num_envs=6, seed=1, team="varying", private=2, end_chance=0.05)
    learner = batches.make_learner("mappo", env.spec)
    selector = learner.controller.selector = Remembers(lambda t: 0.0)
    batch = play(learner, env)
    came_back = batch.agent_mask[:, 1:-1] & ~batch.agent_mask[:, :-2]
    assert came_back.sum() > 3
    (lesson,), _ = learner.prepare(batch)
    acted = torch.stack(selector.log_probs, dim=1)[batch.filled_mask]
    present = batch.agent_mask[:, :-1][batch.filled_mask]
    slots = batch.entity_mask.any(dim=0).any(dim=0)[: batch.agents]  # the lesson is cut to the slots in use
    torch.testing.assert_close(lesson.log_probs[present[:, slots]], acted[present], rtol=1e-4, atol=1e-5)


def test_the_first_update_is_on_the_acting_policy():
    env = make_toy(num_envs=6, seed=1, team="varying")
    learner = batches.make_learner("mappo", env.spec, ppo_epochs=1)
    batch = play(learner, env)
    figures = learner.train(batch, 6)
    assert float(figures["approx_kl"]) == pytest.approx(0, abs=1e-6)
    assert float(figures["clip_fraction"]) == 0
    assert learner.updates == 1
    again = batches.make_learner("mappo", env.spec, ppo_epochs=3, num_mini_batch=2)
    assert float(again.train(batch, 6)["approx_kl"]) > 1e-6
    assert again.updates == 6


def test_the_first_update_on_pieces_is_on_the_acting_policy():
    """Also where they begin in the middle of an episode: with what was remembered then."""
    env = make_toy(num_envs=6, seed=1, team="varying")
    learner = batches.make_learner("mappo", env.spec, ppo_epochs=1, num_mini_batch=2)
    learner.controller.selector = SoftPolicies(lambda t: 0.0)
    stream = Stream(env, learner.controller, 0, 5, pieces=True)
    stream.play()
    batch = stream.play().batch
    assert (batch.start_steps > 0).sum() > 2
    lessons, _ = learner.prepare(batch)
    for lesson in lessons:
        _, figures = learner.loss(lesson)
        assert float(figures["approx_kl"]) == pytest.approx(0, abs=1e-6)
    acted = torch.cat([lesson.log_probs[lesson.data.agent_mask[lesson.data.acts]] for lesson in lessons])
    forgetful = replace(batch, start_memory=None)
    again = torch.cat([x.log_probs[x.data.agent_mask[x.data.acts]] for x in learner.prepare(forgetful)[0]])
    assert (acted - again).abs().max() > 0.01


def test_each_network_is_clipped_by_itself():
    spec = batches.make_spec()
    learner = batches.make_learner("mappo", spec, grad_norm_clip=0.01, ppo_epochs=1)
    figures = learner.train(batches.random_batch(spec), 0)
    for name, module in learner.modules().items():
        assert float(figures[f"grad_norm_{name}"]) > 0.01
        norm = math.sqrt(sum(float((p.grad**2).sum()) for p in module.parameters()))
        assert norm == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize("steps", [0, 5])
def test_signs_are_learnt(steps):
    """From whole episodes, and from pieces. A random agent reads its sign a third of the time or a little more, where
    some actions are illegal.
    """
    env = make_toy(num_envs=32, seed=3, team="1-3")
    learner = batches.make_learner("mappo", env.spec, lr=0.01, gamma=0.9, num_mini_batch=2)
    acts = learner.controller
    runner = Stream(env, acts, 0, steps, pieces=True) if steps else Runner(env, acts, seed=0)
    scores = []
    for _ in range(25):
        batch = runner.play().batch
        scores.append(float(batch.reward[batch.filled_mask].mean()))
        learner.train(batch, 0)
    assert scores[0] < 0.55
    assert sum(scores[-3:]) / 3 > 0.9

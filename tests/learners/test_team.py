"""Q-learning on joint actions: a target by hand, tasks that are learnt, and experts for CESMA."""

import batches
import pytest
import torch
from conftest import tiny_overrides
from test_base import GAMMA, learner_with, targets_of, two_agents_three_actions
from test_learning import train
from toy_env import make_toy

from components.replay import ReplayBuffer
from components.schedules import LinearDecay
from envs.matrix_game.env import PAYOFFS, MatrixGameArgs, MatrixGameEnv
from runners.runner import Runner
from utils.masking import lowest_legal

#: the numbers of what was done, and those that are legal in what came after (by the rules in components/joint_actions)
BY_HAND = {
    "team": {
        "count": 9,
        "taken": [[5, 7], [4, 5], [6]],
        "legal": {(0, 1): [4, 5], (1, 1): [4, 5, 7, 8], (1, 2): [4, 5, 7, 8]},
    },
    "turns": {
        "count": 5,
        "taken": [[4, 2], [0, 4], [2]],
        "legal": {(0, 1): [0, 4], (1, 1): [0, 2, 4], (1, 2): [0, 2, 4]},
    },
}


@pytest.mark.parametrize("kind", BY_HAND)
@pytest.mark.parametrize("double", [True, False])
def test_targets_and_loss_by_hand(kind, double):
    hand = BY_HAND[kind]
    batch = two_agents_three_actions()
    batch.actions[1, 1] = torch.tensor([1, 2])
    g = torch.Generator().manual_seed(3)
    online, target = torch.randint(-50, 51, (2, 3, 3, 1, hand["count"]), generator=g).float()
    learner = learner_with(f"none_{kind}", online, target, double_q=double)

    def after(episode, step):
        by, among = (online if double else target)[episode, step, 0].tolist(), hand["legal"][episode, step]
        return float(target[episode, step, 0, max(among, key=by.__getitem__)])

    expected = [[1 + GAMMA * after(0, 1), 2.0], [3 + GAMMA * after(1, 1), 4 + GAMMA * after(1, 2)], [5.0, 0.0]]
    assert targets_of(learner, batch).squeeze(-1).tolist() == expected
    errors = [
        float(online[b, t, 0, number]) - expected[b][t]
        for b, numbers in enumerate(hand["taken"])
        for t, number in enumerate(numbers)
    ]
    assert float(learner.loss(batch)[0]) == pytest.approx(sum(e**2 for e in errors) / 5)


def learn(env, kind, rounds):
    """The mean return per step of a greedy team, after `rounds` rounds of play at random."""
    learner = batches.make_learner(f"none_{kind}", env.spec, lr=0.003, gamma=0.0)
    learner.controller.selector.schedule = LinearDecay(1.0, 1.0, 1)
    replay, generator = ReplayBuffer(env.spec, 512, keep_slots=True), torch.Generator().manual_seed(2)
    runner = Runner(env, learner.controller, seed=1)
    for _ in range(rounds):
        replay.insert(runner.play().batch)
        for _ in range(4):
            learner.train(replay.sample(32, generator), 0)
    return learner, runner.play(explore=False)


@pytest.mark.parametrize("kind", batches.TEAMS)
@pytest.mark.parametrize("team", ["AB", "BA", "BB"])
def test_the_best_joint_action_is_learnt(kind, team):
    env = MatrixGameEnv(MatrixGameEnv.resolve_args({**vars(MatrixGameArgs()), "train_team": team}, []), 64, 0)
    _, played = learn(env, kind, 20)
    (first, second), (third, both) = PAYOFFS[team]
    best = max(first, second, third, both) if kind == "team" else max(first, second, third)
    assert played.returns.tolist() == pytest.approx([best] * 64)


def test_a_team_whose_size_changes_is_learnt():
    """One sign, whose number all who are there should say; some actions are illegal."""
    env = make_toy(64, team="varying", slots=3, signs=1)
    _, played = learn(env, "team", 30)
    assert float((played.returns / played.lengths).mean()) > 0.95


def test_what_an_expert_in_turns_says_is_mostly_to_idle():
    spec = batches.make_spec()
    learner = batches.make_learner("cesma", spec)
    learner.expert = batches.make_controller(spec, "turns")
    batch = learner.label(batches.random_batch(spec))
    avail, labels = batch.avail_mask[:, :-1][batch.filled_mask], batch.labels[batch.filled_mask]
    assert avail.gather(-1, labels.unsqueeze(-1)).all()
    assert (labels != lowest_legal(avail)).sum(dim=-1).unique().tolist() == [0, 1]


@pytest.mark.parametrize("kind", ["joint", "one_at_a_time"])
def test_both_teach_students(kind, tmp_path):
    task = "--env-config=navigation"
    words = [f"--config={kind}", task, "with", *tiny_overrides(kind, rnn_hidden_dim=24)]
    expert, _ = train(tmp_path / "expert", *words)
    taught = tiny_overrides("cesma", expert="", expert_path=tmp_path / "expert" / "models" / "1", idle_weight=0.2)
    training, _ = train(tmp_path / "students", "--config=cesma", task, "with", *taught)
    teacher = training.learner.expert
    assert type(teacher) is type(expert.controller)
    for name, value in expert.controller.state_dict().items():
        assert torch.equal(teacher.state_dict()[name], value)
    assert training.learner.updates > 0
    assert training.learner.config.idle_weight == 0.2

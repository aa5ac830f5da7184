"""CESMA: what the expert says, what is kept of it, and what students make of it."""

import batches
import pytest
import torch
from conftest import tiny_overrides
from test_learning import Silence
from toy_env import make_toy

import builders
from components.action_selectors import EpsilonGreedy
from components.replay import ReplayBuffer, cut
from components.schedules import LinearDecay
from controllers.base import Controller, Decision
from controllers.scripted import ScriptedController
from learners.cesma import build_expert
from runners.runner import Runner
from training import Training
from utils.config import load_config
from utils.errors import UserError
from utils.interrupt import StopSignal
from utils.masking import masked_argmax


class Counting(Controller):
    """Says the highest legal action, and in every third step of an episode nothing."""

    def initial_state(self, num_envs, agents):
        return {"step": torch.zeros(num_envs, dtype=torch.int64)}

    def act(self, timestep, last_actions, state, *, t_env, explore, generator):
        assert not explore
        codes = torch.arange(timestep.avail_mask.shape[-1])
        best = (timestep.avail_mask * codes).argmax(dim=-1)
        silent = (state["step"] % 3 == 2).unsqueeze(-1)
        return Decision(torch.where(silent, -1, best), {"step": state["step"] + 1})


def make(kind="cesma_pairs", **config):
    spec = batches.spec_for(kind)
    return spec, batches.make_learner(kind, spec, **config), batches.random_batch(spec)


def test_labels_are_what_the_expert_would_have_done():
    _, learner, batch = make()
    learner.expert = Counting()
    labels = learner.label(batch).labels
    for b, t, a in batch.filled_mask.unsqueeze(-1).expand_as(labels).nonzero().tolist():
        legal = batch.avail_mask[b, t, a].nonzero()
        assert labels[b, t, a] == (-1 if t % 3 == 2 else int(legal[-1]))
    assert (labels[~batch.filled_mask] == 0).all()


@pytest.mark.parametrize("kind", ["cesma_pairs", "cesma_slots"])
def test_an_expert_remembers_the_whole_episode(kind):
    """Asked step by step it says what its values say over whole episodes."""
    spec, learner, batch = make(kind)
    torch.manual_seed(5)
    learner.expert = batches.make_controller(spec, view="full", pairs=kind == "cesma_pairs")
    data = learner.expert.prepare(batch)
    best = data.unpack(masked_argmax(learner.expert.unroll(data).q[0], data.pack(batch.avail_mask)))[:, :-1]
    counts = batch.agent_mask[:, :-1] & batch.filled_mask.unsqueeze(-1)
    assert torch.equal(learner.label(batch).labels[counts], best[counts])


def test_loss_by_hand():
    """Cross-entropy over legal actions, of present agents, at played steps that the expert has something to say of."""
    _, learner, batch = make()
    learner.expert = Counting()
    batch = learner.label(batch)
    data = learner.controller.prepare(batch)
    logits = data.unpack(learner.controller.unroll(data).q[0].detach())
    losses, right = [], []
    for b, t, a in batch.filled_mask.unsqueeze(-1).expand_as(batch.labels).nonzero().tolist():
        label = int(batch.labels[b, t, a])
        if label < 0 or not batch.agent_mask[b, t, a]:
            continue
        legal = batch.avail_mask[b, t, a].nonzero().flatten().tolist()
        among = logits[b, t, a, legal]
        losses.append(float(among.logsumexp(0) - among[legal.index(label)]))
        right.append(legal[int(among.argmax())] == label)
    loss, figures = learner.loss(batch)
    assert len(losses) > 10
    assert float(loss.detach()) == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert float(figures["agreement"]) == pytest.approx(sum(right) / len(right))


def test_labels_by_which_agents_idle_may_count_less():
    """Two steps of two agents with three actions; the second agent is not there in the second step."""
    _, learner, _ = make("cesma", idle_weight=0.25)
    labels = torch.tensor([[0, 2], [1, 2]])
    avail = torch.tensor([[[1, 1, 1], [0, 0, 1]], [[0, 1, 1], [0, 1, 1]]]).bool()
    counts = torch.tensor([[True, True], [True, False]])
    # lowest legal: 0 and 2, then 1 and 1
    assert learner.weights(labels, avail, counts).tolist() == [[0.25, 0.25], [0.25, 0]]
    assert learner.weights(torch.tensor([[1, 2], [2, 2]]), avail, counts).tolist() == [[1, 0.25], [1, 0]]


def test_the_weighted_loss_by_hand():
    _, learner, batch = make("cesma", idle_weight=0.25)
    batch.labels = batch.actions.clone()
    data = learner.controller.prepare(batch)
    logits = data.unpack(learner.controller.unroll(data).q[0].detach())
    costs, weights = [], []
    for b, t, a in (batch.filled_mask.unsqueeze(-1) & batch.agent_mask[:, :-1]).nonzero().tolist():
        legal = batch.avail_mask[b, t, a].nonzero().flatten().tolist()
        label = legal.index(int(batch.labels[b, t, a]))
        costs.append(float(logits[b, t, a, legal].logsumexp(0) - logits[b, t, a, legal][label]))
        weights.append(0.25 if label == 0 else 1.0)
    assert 0.25 in weights
    assert 1.0 in weights
    expected = sum(w * c for w, c in zip(weights, costs, strict=True)) / sum(weights)
    assert float(learner.loss(batch)[0].detach()) == pytest.approx(expected, rel=1e-5)


def test_labels_lie_in_the_replay_like_actions():
    spec, _, batch = make()
    batch.labels = batch.actions.clone()
    batch.labels[:, ::3] = -1
    replay = ReplayBuffer(spec, 8, labelled=True)
    replay.insert(batch)
    got = replay.sample(4, torch.Generator().manual_seed(0))
    said = got.labels >= 0
    assert torch.equal(got.labels[said], got.actions[said])
    assert (~said).any()
    pieces = cut(batch, 4)
    said = pieces.labels >= 0
    assert torch.equal(pieces.labels[said], pieces.actions[said])
    twin = ReplayBuffer(spec, 8, labelled=True)
    twin.load_state_dict(replay.state_dict())
    again = twin.sample(4, torch.Generator().manual_seed(0))
    assert torch.equal(again.labels, got.labels)
    with pytest.raises(ValueError, match="items have"):
        ReplayBuffer(spec, 8).insert(batch)


def test_labels_move_with_the_slots_that_are_cut():
    spec, _, batch = make()
    batch.labels = batch.actions.clone()
    wide, layout = batches.padded(batch, spec)
    wide = batches.rearrange(batch, layout, garbage=0.0)
    wide.labels = wide.actions.clone()
    trimmed = wide.trim(spec)
    assert torch.equal(trimmed.labels, trimmed.actions)


def test_an_expert_that_no_action_expresses_is_refused():
    _, learner, batch = make()
    learner.expert = ScriptedController(lambda seen, generator: torch.full(seen.agent_mask.shape, -1))
    with pytest.raises(UserError, match="by a rule of its own"):
        learner.label(batch)


def test_students_learn_to_act_as_a_scripted_team():
    env = make_toy(64, team="1-3", slots=3)
    learner = batches.make_learner("cesma", env.spec, lr=0.01)
    learner.controller.selector = EpsilonGreedy(LinearDecay(0.0, 0.0, 1))
    learner.expert = ScriptedController(env.SCRIPTED["reading"](env.spec))
    replay, generator = ReplayBuffer(env.spec, 512, labelled=True), torch.Generator().manual_seed(1)
    runner = Runner(env, learner.controller, seed=1)
    for _ in range(8):
        replay.insert(learner.label(runner.play().batch))
        for _ in range(8):
            figures = learner.train(replay.sample(32, generator), 0)
    played = runner.play(explore=False)
    assert figures["agreement"] > 0.95
    assert float((played.returns / played.lengths).mean()) > 0.95


WORDS = [
    "--config=cesma",
    "--env-config=sc2_3m",
    "with",
    *tiny_overrides("cesma", expert=""),
    "env_args.episode_limit=20",
]


def train(folder, *words):
    folder.mkdir()
    config = load_config([*words, f"local_results_path={folder}"])
    with Training(config, Silence(folder), StopSignal()) as training:
        training.run()
        return training


@pytest.fixture(scope="module")
def expert(tmp_path_factory):
    """A checkpoint of COPA with other widths than the students'."""
    folder = tmp_path_factory.mktemp("expert") / "run"
    words = ["--config=copa", "--env-config=sc2_3m", "with", *tiny_overrides("copa"), "env_args.episode_limit=20"]
    train(folder, *words, "target_values=pairs", "rnn_hidden_dim=24", "attn_embed_dim=32")
    return folder / "models" / "1"


def test_any_checkpoint_may_be_the_expert(expert, tmp_path):
    training = train(tmp_path / "run", *WORDS, f"expert_path={expert}")
    assert type(training.learner.expert).__name__ == "CoachController"
    assert training.learner.expert.agent.sizes.hidden == 24
    assert training.learner.updates > 0
    assert not any(p.requires_grad for p in training.learner.expert.parameters())


def test_a_scripted_team_may_be_the_expert_and_the_same_seed_gives_the_same_run(tmp_path):
    one, two = (train(tmp_path / name, *WORDS, "expert=focus_fire") for name in ("a", "b"))
    assert one.learner.updates > 0
    assert all(torch.equal(x, y) for x, y in zip(one.learner.parameters, two.learner.parameters, strict=True))


def refuse(config):
    """What can be told without reading a checkpoint is told before anything is written."""
    builders.check(config)
    env = builders.build_env(config, 1, 0, tests=True)
    build_expert(config, builders.build_controller(config, env.spec))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "none is named: give expert=NAME, one of attack_nearest, focus_fire, random, or expert_path=FOLDER"),
        (["expert=focus"], "expert='focus': env=starcraft has attack_nearest, focus_fire, random"),
        (["expert_path={expert}", "expert=random"], "two are named"),
        (["expert_path={expert}", "--env-config=sc2_mmm"], "the students' task has"),
    ],
)
def test_experts_that_cannot_be(expert, words, said):
    base = [word for word in WORDS if not (word.startswith("--env") and any("--env" in w for w in words))]
    config = load_config(
        [
            *base[:1],
            *(w for w in words if "--" in w),
            *base[1:],
            *(w.format(expert=expert) for w in words if "--" not in w),
        ]
    )
    with pytest.raises(UserError) as caught:
        refuse(config)
    assert said in str(caught.value)


def test_a_missing_expert_is_named():
    with pytest.raises(UserError, match="expert_path"):
        load_config([*WORDS, "expert_path=/nowhere/at/all"])

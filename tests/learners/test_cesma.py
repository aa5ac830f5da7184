"""CESMA: what the expert says, what is kept of it, and what students make of it."""

from dataclasses import replace

import batches
import pytest
import torch
from conftest import tiny_overrides
from test_learning import Silence
from torch import nn
from toy_env import make_toy

import builders
from components.action_selectors import EpsilonGreedy
from components.replay import ReplayBuffer, cut
from components.schedules import LinearDecay
from controllers.base import Controller, Decision
from controllers.scripted import ScriptedController
from envs.base import EntityEnv, EnvSpec, TimeStep
from learners.experts import build_expert
from modules.layers.inputs import make_reader
from runners.runner import Runner
from training import Training
from utils.checkpoints import load_checkpoint, save_checkpoint
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
    *(word for word in tiny_overrides("cesma") if not word.startswith("expert=")),
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


def test_an_expert_of_a_version_with_fewer_settings_is_built_as_then(expert, tmp_path):
    folder, state = load_checkpoint(expert, 0, ("learner", "acts_by", "identity", "settings"))
    for key in ("norm", "recurrent", "head_layers"):
        del state["settings"][key]
    older = tmp_path / "older" / folder.name
    save_checkpoint(older, state)
    assert train(tmp_path / "run", *WORDS, f"expert_path={older}").learner.updates > 0


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
        (["expert="], "none is named: give expert=NAME, one of the scripted teams attack_nearest, focus_fire, random"),
        (["expert=focus"], "expert='focus': env=starcraft has attack_nearest, focus_fire, random"),
        (["expert_path={expert}", "expert=random"], "give one of the two"),
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


# --- messages ---


def talk(kind="cesma_messages", agents=2, **config):
    """Two agents (or more) in one sequence, whose symbols are told by `learner.say`."""
    spec = batches.make_spec(agents=agents, symbols=3)
    learner = batches.make_learner(kind, spec, **config)
    batch = batches.random_batch(spec)
    batch.labels = torch.where(batch.avail_mask[:, :-1].any(dim=-1), batch.actions, 0)
    return spec, learner, batch


def loss_of(learner, batch):
    learner.generator.manual_seed(3)  # the same noise each time
    return learner.loss(batch)[0]


@pytest.mark.parametrize("kind", ["cesma_messages", "cesma_memoryless_messages", "cesma_flat_messages"])
def test_who_hears_a_symbol_teaches_who_says_it(kind):
    """The gradient of the symbols' layer, which no act depends on but through what others hear, by finite differences
    (algorithm 2: the receivers' loss, through the message, to the sender)."""
    _, learner, batch = talk(kind)
    bias = learner.controller.agent.head.plain.bias
    loss_of(learner, batch).backward()
    assert float(bias.grad.abs().max()) > 1e-5
    for index in range(len(bias)):
        with torch.no_grad():
            bias[index] += 0.01
            above = loss_of(learner, batch)
            bias[index] -= 0.02
            below = loss_of(learner, batch)
            bias[index] += 0.01
        assert float(above - below) / 0.02 == pytest.approx(bias.grad[index].item(), rel=0.01, abs=2e-5)


def test_messages_by_hand():
    """Acts 0 and 1 with symbols 0 and 1: what is said does not depend on the act that it goes with."""
    spec = batches.make_spec(agents=1, actions=2, symbols=2)
    learner = batches.make_learner("cesma_messages", spec)
    learner.gumbel = lambda logits: torch.tensor([1.0, -2.0]).expand_as(logits)
    log_policy = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().expand(1, 1, 4)  # symbol 0: .1 + .3, symbol 1: .2 + .4
    # ((ln .4 + .3) / 2, (ln .6 - .6) / 2) = (-.30814537, -.55541281); soft-max: (.56150347, .43849653)
    torch.testing.assert_close(learner.say(log_policy)[0, 0], torch.tensor([0.56150347, 0.43849653]))


def test_what_the_expert_would_say_does_not_matter_unless_it_is_to_be_imitated():
    for messages, same in (("receivers", True), ("expert", False)):
        spec, learner, batch = talk(messages=messages)
        before = loss_of(learner, batch)
        acts, symbols = spec.split(batch.labels)
        batch.labels = spec.join(acts, (symbols + 1) % 3)
        assert torch.equal(before, loss_of(learner, batch)) == same


def test_what_is_heard_is_what_would_be_said_now():
    """In the second pass the last action's symbol is the message, and the feature `said` too, where somebody spoke."""
    spec = replace(batches.make_spec(agents=2, features=5, symbols=3), feature_slices={"said": slice(1, 4)})
    reader = make_reader(spec, pairs=False)
    entities = torch.zeros(2, 4, 5)
    entities[:, 0, 1:4] = torch.tensor([0.0, 1.0, 0.0])  # agent 1 cannot be heard by this feature
    last = torch.tensor([[4, 2], [4, -1]])  # act 1 with symbol 1, act 0 with symbol 2; nothing yet
    rows = reader.read(entities, torch.ones(2, 2, spec.actions, dtype=torch.bool), last)
    new = torch.tensor([[[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]]])
    heard = reader.hear(rows, new, torch.tensor([True, False])).inputs
    assert torch.equal(heard[1], rows.inputs[1])
    assert torch.equal(heard[0, 2:], rows.inputs[0, 2:])
    width = reader.width
    assert torch.equal(heard[0, 0, 1:4], new[0, 0])
    assert torch.equal(heard[0, :2, width - 3 :], new[0])
    assert torch.equal(heard[0, 1, 1:4], torch.zeros(3))
    assert torch.equal(heard[0, :2, 4 : width - 3], rows.inputs[0, :2, 4 : width - 3])


class PassItOn(EntityEnv):
    """Agent 0 is told one of three numbers, agent 1 has to do the act of that number; three steps."""

    def __init__(self, num_envs, symbols):
        self.spec = EnvSpec("pass it on", 2, 2, features=2, private=3, basic=3, episode_limit=3, symbols=symbols)
        super().__init__(num_envs, seed=0)
        self.number = torch.zeros(num_envs, dtype=torch.int64)

    def _reset(self, env_mask, team):
        self.number = torch.randint(3, self.number.shape, generator=self.generator)
        self.steps = 0
        return self.show(torch.zeros(self.num_envs))

    def _step(self, actions):
        self.steps += 1
        return self.show((self.spec.split(actions)[0][:, 1] == self.number).float())

    def show(self, reward):
        everybody = torch.ones(self.num_envs, 2, dtype=torch.bool)
        private = torch.zeros(self.num_envs, 2, 3)
        private[:, 0] = nn.functional.one_hot(self.number, 3)
        return TimeStep(
            entities=torch.eye(2).expand(self.num_envs, 2, 2),
            private=private,
            entity_mask=everybody,
            obs_mask=everybody[:, None].expand(-1, 2, -1),
            avail_mask=everybody[..., None].expand(-1, -1, self.spec.actions),
            reward=reward,
            terminated=torch.full((self.num_envs,), self.steps == 3),
            truncated=torch.zeros(self.num_envs, dtype=torch.bool),
            info={},
        )


@pytest.mark.parametrize("kind", ["cesma_memoryless_messages", "cesma_memoryless_flat_messages"])
@pytest.mark.parametrize(("symbols", "passed"), [(3, True), (1, False)])
def test_agents_find_a_language_where_there_is_a_channel(kind, symbols, passed, monkeypatch):
    """In the first step agent 1 can but guess; then, with a language, it knows."""
    monkeypatch.setattr(batches, "HIDDEN", 48)
    env = PassItOn(64, symbols)
    learner = batches.make_learner(kind, env.spec, lr=0.003)
    learner.controller.selector = EpsilonGreedy(LinearDecay(0.0, 0.0, 1))
    learner.expert = ScriptedController(
        lambda seen, generator: env.spec.join(seen.private[:, [1, 0]].argmax(dim=-1), torch.zeros(64, 2).long())
    )
    replay, generator = ReplayBuffer(env.spec, 256, labelled=True), torch.Generator().manual_seed(1)
    runner = Runner(env, learner.controller, seed=1)
    for _ in range(24):
        replay.insert(learner.label(runner.play().batch))
        for _ in range(20):
            learner.train(replay.sample(32, generator), 0)
    later = runner.play(explore=False).batch.reward[:, 1:].mean()
    assert later > 0.95 if passed else later < 0.6


# --- what students see, and whose data they learn from ---


@pytest.mark.parametrize("kind", ["cesma_pairs", "cesma_flat", "cesma_memoryless_flat"])
def test_students_act_by_what_they_see_alone(kind):
    """What is out of sight may change as it likes; what comes into sight may not."""
    spec = batches.spec_for(kind)
    controller = batches.make_learner(kind, spec).controller
    batch = batches.random_batch(spec, steps=4)
    runner_seen = [
        TimeStep(
            *(getattr(batch, name)[:, t] for name in ("entities", "private", "entity_mask", "obs_mask", "avail_mask")),
            reward=torch.zeros(4),
            terminated=torch.zeros(4, dtype=torch.bool),
            truncated=torch.zeros(4, dtype=torch.bool),
            info={},
        )
        for t in range(4)
    ]

    def play(agent, hidden):
        state, actions = controller.initial_state(4, spec.agents), []
        generator = torch.Generator().manual_seed(0)
        for t, seen in enumerate(runner_seen):
            out = seen.entity_mask & ~seen.obs_mask[:, agent] if hidden else seen.obs_mask[:, agent]
            noise = torch.randn(seen.entities.shape, generator=generator) * 5.0
            noise[..., 0] = 0  # names stay names
            moved = seen._replace(
                entities=seen.entities + noise * out[..., None],
                private=seen.private + (torch.arange(spec.agents) != agent)[:, None] * 3.0,
            )
            last = batch.last_actions[:, t]
            decision = controller.act(moved, last, state, t_env=0, explore=False, generator=generator)
            state = decision.state
            actions.append(decision.actions[:, agent])
        return torch.stack(actions)

    for agent in range(spec.agents):
        state, actions = controller.initial_state(4, spec.agents), []
        for t, seen in enumerate(runner_seen):
            decision = controller.act(
                seen, batch.last_actions[:, t], state, t_env=0, explore=False, generator=torch.Generator()
            )
            state = decision.state
            actions.append(decision.actions[:, agent])
        assert torch.equal(torch.stack(actions), play(agent, hidden=True))
        assert not torch.equal(torch.stack(actions), play(agent, hidden=False))


def test_with_data_sets_of_their_own_agents_learn_from_different_sequences():
    """By hand: agent a counts in the sequences a, a + A, ... alone."""
    spec, shared, batch = make("cesma")
    own = batches.make_learner("cesma", spec, data_sets="own")
    batch.labels = batch.actions.clone()
    data = own.controller.prepare(batch)
    counted = torch.zeros(4, batch.filled_mask.shape[1] + 1, 3, dtype=torch.bool)
    counted.view(-1, 3)[data.rows[data.acts]] = own._counts(data)
    for sequence in range(4):
        for agent in range(3):
            present = batch.agent_mask[sequence, :-1, agent] & batch.filled_mask[sequence]
            wanted = present if sequence % 3 == agent else torch.zeros_like(present)
            assert torch.equal(counted[sequence, :-1, agent], wanted)
    assert own.loss(batch)[0] != shared.loss(batch)[0]

"""MIPI by hand: its target, its gradients, the Blahut-Arimoto steps and its ablations."""

import math

import batches
import pytest
import torch
from toy_env import make_toy

from components.episodes import EpisodeBatch
from controllers.entity import Unroll
from learners.mipi import Features, MipiLearner
from runners.runner import Runner
from utils.config import load_config

GAMMA, ALPHA = 0.5, 0.25
SPEC = batches.make_spec(agents=2, others=0, features=1, private=0, actions=3)
#: learners whose heads read their logits off the first three numbers of the states
HIDDEN = batches.HIDDEN


def transparent(**config) -> MipiLearner:
    """A learner on two agents and three actions whose policies' logits are the first entries of the states."""
    learner = batches.make_learner("mipi_linear", SPEC, gamma=GAMMA, **{"alpha": ALPHA, **config})
    agent = learner.controller.agent
    with torch.no_grad():
        for head in (agent.policy, agent.marginal):
            head.plain.weight.copy_(torch.eye(3, HIDDEN))
            head.plain.bias.zero_()
    return learner


def as_states(logits: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(logits, (0, HIDDEN - 3))


def log_probability(logits, legal, action) -> float:
    """By hand, over the legal actions."""
    total = sum(math.exp(float(logits[u])) for u in range(3) if legal[u])
    return float(logits[action]) - math.log(total)


# --- the target -----------------------------------------------------------------------------------------------------


@pytest.fixture
def episodes() -> EpisodeBatch:
    """Three episodes of at most two steps: one terminates after step 2, one is truncated there, one is truncated after
    one step. In the last one only the first agent is there.
    """
    entity_mask = torch.ones(3, 3, 2, dtype=torch.bool)
    entity_mask[2, :, 1] = False
    entity_mask[2, 2] = False
    avail = torch.zeros(3, 3, 2, 3, dtype=torch.bool)
    avail[..., 1:] = entity_mask[..., None]
    avail[..., 0] = ~entity_mask
    avail[0, 1, 0, 0] = True
    avail[1, 1, 1, 2] = False
    return EpisodeBatch(
        entities=torch.zeros(3, 3, 2, 1),
        private=torch.zeros(3, 3, 2, 0),
        entity_mask=entity_mask,
        obs_mask=entity_mask[:, :, :, None] & entity_mask[:, :, None],
        avail_mask=avail,
        actions=torch.tensor([[[1, 2], [2, 1]], [[1, 1], [2, 1]], [[2, 0], [0, 0]]]),
        reward=torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 100.0]]),
        terminated=torch.tensor([[False, True], [False, False], [False, False]]),
        truncated=torch.tensor([[False, False], [False, True], [True, False]]),
        filled_mask=torch.tensor([[True, True], [True, True], [True, False]]),
        start_actions=torch.full((3, 2), -1),
    )


@pytest.mark.parametrize("regulariser", ["mutual_information", "entropy"])
def test_target_by_hand(episodes, regulariser):
    learner = transparent(regulariser=regulariser)
    learner.target_mixer = batches.make_mixer("vdn", SPEC)
    policy, marginal, target = torch.randn(3, 3, 3, 2, 3, generator=torch.Generator().manual_seed(0))
    drawn = torch.tensor([[[1, 1], [0, 2], [1, 2]], [[1, 1], [2, 1], [2, 1]], [[1, 0], [2, 0], [0, 0]]])
    data = learner.controller.prepare(episodes)
    states = torch.stack([data.pack(as_states(logits)) for logits in (policy, torch.zeros_like(policy), marginal)])
    asked = []
    learner.draw = lambda p: asked.append(p) or data.pack(drawn)[data.follows]
    learner.target_controller.unroll = lambda data, **_: Unroll((data.pack(target),))
    got = learner.targets(data, Unroll((data.pack(target) * 100,), states=states, targets=(None, None, None)))

    wanted = []
    for episode, step in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0)):
        value = 0.0
        for agent in range(1 if episode == 2 else 2):
            here = (episode, step + 1, agent)
            action, legal = int(drawn[here]), episodes.avail_mask[here]
            ratio = log_probability(policy[here], legal, action)
            if regulariser == "mutual_information":
                ratio -= log_probability(marginal[here], legal, action)
            value += float(target[here][action]) - ALPHA * ratio
        goes_on = not episodes.terminated[episode, step]  # a truncated step goes on
        wanted.append(float(episodes.reward[episode, step]) + goes_on * GAMMA * value)
    assert got.tolist() == pytest.approx(wanted, rel=1e-5)
    # what actions are drawn from: the policy over what is legal
    legal = data.pack(episodes.avail_mask)[data.follows]
    assert (asked[0][~legal] == 0).all()
    torch.testing.assert_close(asked[0].sum(dim=-1), torch.ones(5, 2))


def test_actions_are_drawn_by_their_probability():
    learner = transparent()
    actions = learner.draw(torch.tensor([0.2, 0.0, 0.8]).expand(10000, 2, 3))
    assert actions.shape == (10000, 2)
    assert not (actions == 1).any()
    assert float((actions == 0).float().mean()) == pytest.approx(0.2, abs=0.015)


# --- the policies' steps --------------------------------------------------------------------------------------------


@pytest.fixture
def features() -> Features:
    """Two agents and three actions, of which the second agent may not take the first."""
    g = torch.Generator().manual_seed(5)
    whole, imagined, own = (as_states(torch.randn(2, 3, generator=g)) for _ in range(3))
    utility = torch.randn(2, 3, generator=g)
    return Features(whole, imagined, own, utility, torch.tensor([[True, True, True], [False, True, True]]))


def probabilities(logits, legal) -> list[float]:
    return [math.exp(log_probability(logits, legal, u)) if legal[u] else 0.0 for u in range(3)]


def test_gradient_of_the_marginal_by_hand(features):
    """Of a cross-entropy: marginal minus policy of the imagined team, a mean over agents."""
    learner = transparent()
    loss = learner.marginal_loss(features)
    loss.backward()
    agent = learner.controller.agent
    expected, wanted = torch.zeros(3), 0.0
    for n in range(2):
        legal = features.avail_mask[n]
        policy, marginal = (probabilities(x[n], legal) for x in (features.imagined, features.own))
        expected += (torch.tensor(marginal) - torch.tensor(policy)) / 2
        wanted -= sum(p * math.log(q) for p, q in zip(policy, marginal, strict=True) if p) / 2
    assert float(loss.detach()) == pytest.approx(wanted)
    torch.testing.assert_close(agent.marginal.plain.bias.grad, expected)
    assert agent.policy.plain.bias.grad is None


@pytest.mark.parametrize("regulariser", ["mutual_information", "entropy"])
def test_gradient_of_the_policy_by_hand(features, regulariser):
    """For each action its probability times how much more than the mean it costs."""
    learner = transparent(regulariser=regulariser)
    loss = learner.policy_loss(features)
    loss.backward()
    agent = learner.controller.agent
    expected, wanted = torch.zeros(3), 0.0
    for n in range(2):
        legal = features.avail_mask[n]
        policy, marginal = (probabilities(x[n], legal) for x in (features.whole, features.own))
        if regulariser == "entropy":
            marginal = [1.0] * 3
        cost = [
            ALPHA * math.log(p / q) - float(utility) if p else 0.0
            for p, q, utility in zip(policy, marginal, features.utility[n], strict=True)
        ]
        mean = sum(p * c for p, c in zip(policy, cost, strict=True))
        expected += torch.tensor([p * (c - mean) / 2 for p, c in zip(policy, cost, strict=True)])
        wanted += mean / 2
    assert float(loss.detach()) == pytest.approx(wanted)
    torch.testing.assert_close(agent.policy.plain.bias.grad, expected)
    assert agent.marginal.plain.bias.grad is None


def minimise(loss, parameters) -> None:
    optimiser = torch.optim.LBFGS(parameters, max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    optimiser.step(closure)


def test_a_step_of_blahut_arimoto_ends_in_its_closed_form(features):
    """Carried to the end, the policy's step is pi(u|s+) exp(Q / alpha), normalised (equation 13), and its loss is the
    logarithm of what normalises it; the marginal's step is the mean over imagined teams (equation 12).
    """
    learner = transparent()
    agent = learner.controller.agent
    minimise(lambda: learner.policy_loss(features), list(agent.policy.parameters()))
    got = learner._log_policy(features.whole, features.avail_mask).exp() * features.avail_mask
    loss = 0.0
    for n in range(2):
        marginal = probabilities(features.own[n], features.avail_mask[n])
        weight = [q * math.exp(float(u) / ALPHA) for q, u in zip(marginal, features.utility[n], strict=True)]
        assert got[n].tolist() == pytest.approx([w / sum(weight) for w in weight], abs=1e-3)
        loss -= ALPHA * math.log(sum(weight)) / 2
    assert float(learner.policy_loss(features).detach()) == pytest.approx(loss, abs=1e-5)

    # one agent that knows the same of itself in both rows and imagines two teams
    same = features._replace(own=features.own[:1].expand(2, -1), avail_mask=torch.ones(2, 3, dtype=torch.bool))
    minimise(lambda: learner.marginal_loss(same), list(agent.marginal.parameters()))
    policy = learner._log_policy(same.imagined, same.avail_mask).exp()
    marginal = learner._log_marginal(same.own, same.avail_mask).exp()
    torch.testing.assert_close(marginal, policy.mean(dim=0).expand(2, 3), atol=1e-3, rtol=0)


def test_illegal_actions_do_not_count(features):
    learner = transparent()
    plain = learner.marginal_loss(features), learner.policy_loss(features), *learner.policy_figures(features).values()
    anything = {"utility": features.utility.clone()}
    anything["utility"][1, 0] = 1e6
    for name in ("whole", "imagined", "own"):
        anything[name] = getattr(features, name).clone()
        anything[name][1, 0] = 50.0  # the logit of the second agent's first action
    other = features._replace(**anything)
    assert plain == (
        learner.marginal_loss(other),
        learner.policy_loss(other),
        *learner.policy_figures(other).values(),
    )


def test_marginal_and_policy_take_turns():
    spec = batches.make_spec()
    learner = batches.make_learner("mipi", spec, ba_iterations=3)
    agent = learner.controller.agent
    watched = {
        "trunk": agent.memory.gru.weight_hh_l0,
        "marginal": agent.marginal.plain.bias,
        "policy": agent.policy.plain.bias,
    }
    moved, descend = [], learner.descend

    def watch(loss, *told):
        before = {name: value.clone() for name, value in watched.items()}
        norm = descend(loss, *told)
        moved.append({name for name, value in watched.items() if not torch.equal(before[name], value)})
        return norm

    learner.descend = watch
    learner.train(batches.random_batch(spec), episodes=0)
    assert moved == [{"trunk"}, *[{"marginal"}, {"policy"}] * 3]


# --- ablations ------------------------------------------------------------------------------------------------------


class Value(MipiLearner):
    """The reward alone, written down without any ratio."""

    def next_value(self, data, online, target):
        avail_mask = data.pack(data.batch.avail_mask)[data.follows]
        policy = torch.softmax(self.controller.agent.policy(online.states[0][data.follows]) - 1e9 * ~avail_mask, -1)
        actions = self.draw(policy)
        return self.mix_next(data, target, target.q[0][data.follows].gather(-1, actions[..., None])[..., 0])

    def policy_loss(self, features):
        logits = self.controller.agent.policy(features.whole) - 1e9 * ~features.avail_mask
        return -(torch.softmax(logits, -1) * features.utility).sum(dim=-1).mean()


def test_alpha_0_is_the_reward_alone_step_for_step():
    spec = batches.make_spec()
    learner = batches.make_learner("mipi_linear", spec, alpha=0.0, target_update_interval=2)
    other = batches.make_learner("mipi_linear", spec, alpha=0.0, target_update_interval=2)
    value = Value(other.controller, other.mixer, other.config, seed=0)
    for update in range(5):
        batch = batches.random_batch(spec, seed=update)
        one, two = learner.train(batch, episodes=update), value.train(batch, episodes=update)
        assert float(one["loss"]) == pytest.approx(float(two["loss"]), rel=1e-5)
        for x, y in zip(learner.parameters, value.parameters, strict=True):
            torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("task", ["sc2_sz", "resource_collection", "matrix_game"])
def test_value_is_mipi_with_alpha_0(task):
    value, mipi = (
        load_config([f"--env-config={task}", *words]).as_dict()
        for words in (["--config=mipi_value"], ["--config=mipi", "alpha=0"])
    )
    assert {**value, "name": ""} == {**mipi, "name": ""}


def test_alpha_and_iterations_are_the_papers():
    found = {
        task: (config.alpha, config.ba_iterations, config.imagine_critic)
        for task in ("sc2_sz", "sc2_csz", "sc2_mmm", "resource_collection", "matrix_game")
        for config in [load_config(["--config=mipi", f"--env-config={task}"])]
    }
    assert found == {
        "sc2_sz": (0.03, 4, True),
        "sc2_csz": (0.03, 4, True),
        "sc2_mmm": (0.1, 4, True),
        "resource_collection": (0.05, 1, False),
        "matrix_game": (0.5, 1, False),
    }


class Listener:
    """An action selector that keeps what it is shown and plays anything legal."""

    def __init__(self):
        self.shown = []

    def select(self, values, avail_mask, *, t_env, explore, generator):
        self.shown.append(values)
        return (torch.rand(avail_mask.shape, generator=generator) * avail_mask).argmax(dim=-1)


@pytest.mark.parametrize("view", ["local", "full"])
def test_alone_no_other_entity_changes_an_action(view):
    """Only that: an agent that sees its team does listen to it."""
    spec = batches.make_spec()
    batch = batches.random_batch(spec)
    for alone in (True, False):
        torch.manual_seed(0)
        controller = batches.make_controller(spec, "mipi", view=view, alone=alone)
        learner = MipiLearner(controller, batches.make_mixer("linear", spec), MipiLearner.Config(), seed=0)
        heard = False
        for agent in range(spec.agents):
            other = batches.random_batch(spec)
            rows = torch.arange(spec.entities) != agent
            other.entities[:, :, rows] = torch.randn(other.entities[:, :, rows].shape)
            # everybody else is gone in the first episode
            other.entity_mask[0][:, rows] = False
            other.obs_mask &= other.entity_mask[:, :, None] & other.entity_mask[:, :, : spec.agents, None]
            logits = []
            for episodes in (batch, other):
                data, online, _ = learner.passes(episodes)
                states = online.states[learner._policy_view]
                logits.append(data.unpack(controller.agent.policy(states))[:, :, agent][batch.agent_mask[:, :, agent]])
            heard |= not torch.equal(*logits)
        assert heard is not alone


@pytest.mark.parametrize("view", ["local", "full", "periodic"])
@pytest.mark.parametrize("alone", [False, True])
def test_the_policy_that_acts_is_the_one_that_learns(alone, view):
    env = make_toy(num_envs=6, seed=1, team="varying", private=2, end_chance=0.05)
    torch.manual_seed(0)
    controller = batches.make_controller(env.spec, "mipi", interval=3, view=view, alone=alone)
    learner = MipiLearner(controller, batches.make_mixer("linear", env.spec), MipiLearner.Config(), seed=0)
    listener = controller.selector = Listener()
    batch = Runner(env, controller, seed=0).play(explore=True).batch
    data, online, _ = learner.passes(batch)
    acted = torch.stack(listener.shown, dim=1)[batch.filled_mask][batch.agent_mask[:, :-1][batch.filled_mask]]
    features = learner.features(data, online)
    learnt = controller.agent.policy(features.whole)
    torch.testing.assert_close(learnt, acted, rtol=1e-4, atol=1e-5)
    if alone:
        assert torch.equal(features.whole, features.own)
        assert torch.equal(features.imagined, features.own)


@pytest.mark.parametrize("imagine_critic", [True, False])
def test_each_head_learns_from_its_own_view(imagine_critic):
    """The policy from all that is seen, its imagined team from the agent's own group, the marginal from the agent."""
    spec = batches.make_spec()
    learner = batches.make_learner("mipi_linear", spec, imagine_critic=imagine_critic)
    data, online, groups = learner.passes(batches.random_batch(spec))
    features = learner.features(data, online)
    itself = torch.eye(*data.view_mask.shape[1:], dtype=torch.bool)
    views = (data.view_mask, data.view_mask & groups[0], data.view_mask & itself)
    assert not torch.equal(views[0], views[1])
    assert not torch.equal(views[1], views[2])
    with torch.no_grad():
        expected = learner.controller.unroll(data, views[1:]).states
    played = data.agent_mask & data.acts_mask.unsqueeze(-1)
    for found, states in zip((features.whole, features.imagined, features.own), expected, strict=True):
        torch.testing.assert_close(found, states[played], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["mipi", "mipi_pairs"])
def test_the_target_draws_from_the_policies_of_the_next_observation(kind):
    spec = batches.make_spec()
    learner = batches.make_learner(kind, spec)
    controller, drawn = learner.controller, []
    learner.draw = lambda policy: drawn.append(policy) or MipiLearner.draw(learner, policy)
    data, online, _ = learner.passes(batches.random_batch(spec))
    learner.targets(data, online)
    with torch.no_grad():
        states, candidates = next(controller._views(data, ()))
        logits = controller.agent.policy(states, candidates)[data.follows]
    legal = data.pack(data.batch.avail_mask)[data.follows]
    expected = torch.softmax(logits.masked_fill(~legal, -torch.inf), dim=-1)
    torch.testing.assert_close(drawn[0], expected)


def test_figures_by_hand(features):
    """Means over agents, of the policy's distance from the marginal and of its entropy, over what is legal."""
    distance = entropy = 0.0
    for agent, legal in enumerate(features.avail_mask):
        policy = probabilities(features.whole[agent], legal)
        marginal = probabilities(features.own[agent], legal)
        for p, m in zip(policy, marginal, strict=True):
            if p:
                distance += p * math.log(p / m) / 2
                entropy -= p * math.log(p) / 2
    figures = transparent().policy_figures(features)
    assert float(figures["mutual_information"]) == pytest.approx(distance, rel=1e-5)
    assert float(figures["policy_entropy"]) == pytest.approx(entropy, rel=1e-5)

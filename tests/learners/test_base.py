"""Targets, losses and the clock of the target network, recomputed by hand."""

import copy
import math
from types import SimpleNamespace

import batches
import pytest
import torch

from components.episodes import EpisodeBatch
from controllers.entity import Unroll
from learners.base import BellmanConfig
from learners.returns import lambda_returns

GAMMA = 0.5


def two_agents_three_actions() -> EpisodeBatch:
    """Three episodes of at most two steps: one terminates after step 2, one is truncated there, one ends after one
    step and is padded behind. Two agents; in the third episode only the first is there.
    """
    b, t, a, e, u = 3, 2, 2, 2, 3
    entity_mask = torch.ones(b, t + 1, e, dtype=torch.bool)
    entity_mask[2, :, 1] = False
    entity_mask[2, 2] = False
    avail = torch.zeros(b, t + 1, a, u, dtype=torch.bool)
    avail[..., 1:] = entity_mask[..., None]
    avail[..., 0] = ~entity_mask
    avail[0, 1, 0, 2] = False  # the best action of agent 0 after its first step in episode 0 is not legal
    filled = torch.tensor([[True, True], [True, True], [True, False]])
    return EpisodeBatch(
        entities=torch.zeros(b, t + 1, e, 1),
        private=torch.zeros(b, t + 1, a, 0),
        entity_mask=entity_mask,
        obs_mask=entity_mask[:, :, :, None] & entity_mask[:, :, None],
        avail_mask=avail,
        actions=torch.tensor([[[1, 2], [2, 1]], [[1, 1], [2, 2]], [[2, 0], [0, 0]]]),
        reward=torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 100.0]]),
        terminated=torch.tensor([[False, True], [False, False], [True, False]]),
        truncated=torch.tensor([[False, False], [False, True], [False, False]]),
        filled_mask=filled,
        start_actions=torch.full((b, a), -1),
    )


def learner_with(mixer: str, online: torch.Tensor, target: torch.Tensor, **config):
    spec = batches.make_spec(agents=2, others=0, features=1, private=0, actions=3)
    learner = batches.make_learner(mixer, spec, gamma=GAMMA, **config)
    learner.controller.unroll = lambda data, *_: Unroll((data.pack(online),))
    learner.target_controller.unroll = lambda data, **_: Unroll((data.pack(target),))
    return learner


def targets_of(learner, batch):
    """In the form (B, T) or (B, T, A), zeros at padded steps."""
    data = learner.controller.prepare(batch)
    targets = learner.targets(data, learner.controller.unroll(data))
    dense = torch.zeros(*batch.filled_mask.shape, *targets.shape[1:])
    dense[batch.filled_mask] = targets
    return dense


@pytest.fixture
def values():
    g = torch.Generator().manual_seed(3)
    online = torch.randint(-5, 6, (3, 3, 2, 3), generator=g).float()
    online[0, 1, 0] = torch.tensor([50.0, 1.0, 40.0])  # no-op and action 2 look best but are not legal: 1 is taken
    target = torch.randint(-5, 6, (3, 3, 2, 3), generator=g).float()
    return online, target


def best(values, online, target, double):
    """Value of the best of actions 1, 2 by hand."""
    del values
    a, b = (online if double else target)[1:3].tolist()
    return float(target[1] if a >= b else target[2])


def test_lambda_returns_by_hand(values):
    online, target = values
    batch = two_agents_three_actions()
    one_step = targets_of(learner_with("vdn", online, target), batch)
    returns = targets_of(learner_with("vdn", online, target, td_lambda=0.25), batch)
    # the last played steps have nothing behind them: terminated, truncated (which bootstraps), terminated
    assert returns[0, 1] == one_step[0, 1] == 2
    assert returns[1, 1] == one_step[1, 1]
    assert returns[2, 0] == one_step[2, 0] == 5
    for episode, reward in ((0, 1.0), (1, 3.0)):
        value = (one_step[episode, 0] - reward) / GAMMA
        expected = reward + GAMMA * (0.75 * value + 0.25 * returns[episode, 1])
        torch.testing.assert_close(returns[episode, 0], expected)
    assert returns[2, 1] == 0


def test_independent_lambda_returns_as_a_loop_over_agents():
    """Agents come and go in these episodes: what follows an agent's last step before it leaves is not its own."""
    spec = batches.make_spec()
    batch = batches.random_batch(spec)
    batch.reward += batch.filled_mask  # what is wrongly carried over should show
    one_step, returns = (
        targets_of(batches.make_learner("none", spec, gamma=GAMMA, td_lambda=x), batch) for x in (0.0, 0.25)
    )
    leaves = batch.agent_mask[:, :-1] & ~batch.agent_mask[:, 1:]
    assert leaves[:, :-1][batch.filled_mask[:, 1:]].any()
    for episode, length in enumerate(batch.filled_mask.sum(dim=1).tolist()):
        for agent in range(spec.agents):
            expected = one_step[episode, length - 1, agent]
            for t in reversed(range(length - 1)):
                later, expected = expected, one_step[episode, t, agent]
                if batch.agent_mask[episode, t + 1, agent]:
                    # G - (r + gamma V) = gamma lambda (G' - V)
                    value = (expected - batch.reward[episode, t]) / GAMMA
                    expected = expected + GAMMA * 0.25 * (later - value)
                torch.testing.assert_close(returns[episode, t, agent], expected)


def test_lambda_returns_of_one_agent_end_where_it_leaves():
    # agent 1 leaves after the first step: nothing of the second step's reward is due to it
    reward, discount = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.5], [0.0]])
    next_value = torch.tensor([[8.0, 0.0], [9.0, 9.0]])
    goes_on = torch.tensor([[True, False], [False, False]])
    returns = lambda_returns(reward, discount, next_value, goes_on, torch.tensor([[True, True]]), 0.25)
    assert returns.tolist() == [[1 + 0.5 * (0.75 * 8 + 0.25 * 2), 1], [2, 2]]


@pytest.mark.parametrize("double", [True, False])
def test_vdn_targets_by_hand(values, double):
    online, target = values
    batch = two_agents_three_actions()
    learner = learner_with("vdn", online, target, double_q=double)
    targets = targets_of(learner, batch)

    def agent_value(episode, step, agent):
        return best(None, online[episode, step, agent], target[episode, step, agent], double)

    # episode 0, step 0: agent 0 may only take action 1
    first = 1.0 + GAMMA * (float(target[0, 1, 0, 1]) + agent_value(0, 1, 1))
    assert targets[0, 0] == pytest.approx(first)
    assert targets[0, 1] == 2.0  # terminated: no bootstrap
    assert targets[1, 0] == pytest.approx(3.0 + GAMMA * (agent_value(1, 1, 0) + agent_value(1, 1, 1)))
    assert targets[1, 1] == pytest.approx(4.0 + GAMMA * (agent_value(1, 2, 0) + agent_value(1, 2, 1)))  # truncated
    assert targets[2, 0] == 5.0


def test_vdn_loss_by_hand(values):
    online, target = values
    batch = two_agents_three_actions()
    learner = learner_with("vdn", online, target)
    loss, figures = learner.loss(batch)
    targets = targets_of(learner, batch)
    taken = [
        (online[0, 0, 0, 1] + online[0, 0, 1, 2], targets[0, 0]),
        (online[0, 1, 0, 2] + online[0, 1, 1, 1], targets[0, 1]),
        (online[1, 0, 0, 1] + online[1, 0, 1, 1], targets[1, 0]),
        (online[1, 1, 0, 2] + online[1, 1, 1, 2], targets[1, 1]),
        (online[2, 0, 0, 2], targets[2, 0]),  # the absent agent adds nothing; the padded step does not count
    ]
    assert float(loss) == pytest.approx(sum(float(q - y) ** 2 for q, y in taken) / 5)
    assert float(figures["td_error_abs"]) == pytest.approx(sum(abs(float(q - y)) for q, y in taken) / 5)
    mean_q = (sum(float(q) for q, _ in taken)) / 9  # 2 agents in 4 steps, 1 in one
    assert float(figures["q_taken_mean"]) == pytest.approx(mean_q)


def test_independent_loss_by_hand(values):
    online, target = values
    batch = two_agents_three_actions()
    learner = learner_with("none", online, target)
    loss, _ = learner.loss(batch)
    errors = []
    for episode, step, agents in ((0, 0, 2), (0, 1, 2), (1, 0, 2), (1, 1, 2), (2, 0, 1)):
        for agent in range(agents):
            q = float(online[episode, step, agent, batch.actions[episode, step, agent]])
            y = float(batch.reward[episode, step])
            if not batch.terminated[episode, step]:
                after = online[episode, step + 1, agent], target[episode, step + 1, agent]
                only_one = (episode, step, agent) == (0, 0, 0)
                y += GAMMA * (float(after[1][1]) if only_one else best(None, *after, True))
            errors.append((q - y) ** 2)
    assert len(errors) == 9
    assert float(loss) == pytest.approx(sum(errors) / 9)


def test_a_padded_step_is_never_bootstrapped_from(values):
    """Whatever the networks say about padding, loss and gradient do not hear it."""
    online, target = values
    batch = two_agents_three_actions()
    batch.terminated[2, 0] = False
    batch.truncated[2, 0] = True  # bootstraps from observation 1, which is real; observation 2 is not
    plain, _ = learner_with("vdn", online, target).loss(batch)
    online, target = online.clone(), target.clone()
    online[2, 2], target[2, 2] = 1e6, 1e6
    online[2, 1:, 1], target[2, 1:, 1] = 1e6, 1e6  # nor what it says of absent agents
    poisoned, _ = learner_with("vdn", online, target).loss(batch)
    assert torch.equal(plain, poisoned)


@pytest.mark.parametrize(("unit", "expected"), [("episodes", [0, 0, 1, 1, 1]), ("updates", [0, 1, 1, 2, 2])])
def test_target_network_clock(unit, expected):
    spec = batches.make_spec()
    batch = batches.random_batch(spec)
    learner = batches.make_learner(
        "flex_qmix", spec, target_update_interval=20 if unit == "episodes" else 2, target_update_unit=unit
    )
    copies, seen = [], 0
    for update in range(5):
        before = [p.clone() for p in learner.target_controller.parameters()]
        learner.train(batch, episodes=8 * (update + 1))
        after = list(learner.target_controller.parameters())
        if any(not torch.equal(x, y) for x, y in zip(before, after, strict=True)):
            seen += 1
            online = learner.controller.state_dict()
            assert all(torch.equal(v, online[k]) for k, v in learner.target_controller.state_dict().items())
        copies.append(seen)
    assert copies == expected


@pytest.mark.parametrize("kind", ["flex_qmix", "ddpg_flat", "mipi"])
def test_target_networks_approach_the_online_ones_after_every_update(kind):
    spec = batches.make_spec()
    learner = batches.make_learner(kind, spec, target_tau=0.25, target_update_interval=1)
    batch = batches.random_batch(spec)
    assert len(learner.target_networks()) == 2
    for _ in range(2):
        before = {name: [p.clone() for p in t.parameters()] for name, (_, t) in learner.target_networks().items()}
        learner.train(batch, episodes=1000)
        for name, (online, target) in learner.target_networks().items():
            for old, goal, new in zip(before[name], online.parameters(), target.parameters(), strict=True):
                torch.testing.assert_close(new, 0.75 * old + 0.25 * goal)
                assert not torch.equal(new, old)


SOFT = [(kind, 0.01) for kind in ("flex_qmix", "copa", "mipi", "ddpg", "ddpg_local_flat")]


@pytest.mark.parametrize(("kind", "tau"), [*((kind, 0.0) for kind in batches.KINDS), *SOFT])
def test_saved_learner_goes_on_bit_for_bit(kind, tau):
    spec = batches.make_spec()
    batch = batches.random_batch(spec)
    clock = {"target_tau": tau, "target_update_interval": 3, "target_update_unit": "updates"}
    learner = batches.make_learner(kind, spec, **clock)
    for _ in range(2):
        learner.train(batch, episodes=0)
    twin = batches.make_learner(kind, spec, seed=9, **clock)
    twin.load_state_dict(copy.deepcopy(learner.state_dict()))
    for _ in range(3):
        one, two = learner.train(batch, episodes=0), twin.train(batch, episodes=0)
        assert all(torch.equal(one[name], two[name]) for name in one)
    for x, y in zip(learner.parameters, twin.parameters, strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("kind", ["vdn", "mipi", "mappo"])
@pytest.mark.parametrize(("decay", "expected"), [("none", [0.004] * 3), ("linear", [0.004, 0.003, 0.0])])
def test_the_learning_rate_follows_the_progress(kind, decay, expected):
    learner = batches.make_learner(kind, batches.make_spec(), lr=0.004, lr_decay=decay)
    found = []
    for share in (0.0, 0.25, 1.0):
        learner.set_progress(share)
        found.append(learner.lr)
        assert {group["lr"] for group in learner.optimiser.param_groups} == {learner.lr}
    assert found == pytest.approx(expected)


def test_a_resumed_learner_takes_its_settings_from_the_configuration():
    spec = batches.make_spec()
    learner = batches.make_learner("vdn", spec, lr=1e-3)
    learner.train(batches.random_batch(spec), episodes=0)
    resumed = batches.make_learner("vdn", spec, lr=1e-4)
    resumed.load_state_dict(copy.deepcopy(learner.state_dict()))
    assert [group["lr"] for group in resumed.optimiser.param_groups] == [1e-4]
    first = resumed.parameters[0]
    assert torch.equal(
        resumed.optimiser.state[first]["square_avg"], learner.optimiser.state[learner.parameters[0]]["square_avg"]
    )


@pytest.mark.parametrize(
    ("kind", "optimiser", "expected"),
    [
        ("vdn", "own", torch.optim.RMSprop),
        ("vdn", "radam", torch.optim.RAdam),
        ("mappo", "own", torch.optim.Adam),
        ("mappo", "rmsprop", torch.optim.RMSprop),
    ],
)
def test_the_optimiser_is_the_configuration_s_or_its_own(kind, optimiser, expected):
    learner = batches.make_learner(kind, batches.make_spec(), optimiser=optimiser, optim_alpha=0.5, lr=0.25)
    assert type(learner.optimiser) is expected
    (group,) = learner.optimiser.param_groups
    assert group["lr"] == 0.25
    assert group.get("alpha") == (0.5 if expected is torch.optim.RMSprop else None)


def test_averages_of_one_optimiser_are_no_other_s():
    spec = batches.make_spec()
    learner = batches.make_learner("vdn", spec)
    learner.train(batches.random_batch(spec), episodes=0)
    with pytest.raises(ValueError, match="the averages are not those of Adam"):
        batches.make_learner("vdn", spec, optimiser="adam").load_state_dict(learner.state_dict())


@pytest.mark.parametrize("kind", batches.KINDS)
def test_every_parameter_learns(kind):
    """No network is left out of the loss: after one update every trained tensor has moved."""
    spec = batches.make_spec()
    learner = batches.make_learner(kind, spec)
    before = {n: [p.clone() for p in m.parameters()] for n, m in learner.modules().items()}
    learner.train(batches.random_batch(spec), episodes=0)
    for name, module in learner.modules().items():
        for old, (which, new) in zip(before[name], module.named_parameters(), strict=True):
            assert not torch.equal(old, new), f"{name}.{which}"


@pytest.mark.parametrize("kind", batches.KINDS)
def test_bfloat16_stays_close_and_gradients_finite(kind):
    spec = batches.make_spec()
    batch = batches.random_batch(spec)
    plain, half = (batches.make_learner(kind, spec, amp=amp) for amp in (False, True))
    one, two = plain.train(batch, 0), half.train(batch, 0)
    assert float(two["loss"]) == pytest.approx(float(one["loss"]), rel=0.1)
    assert all(torch.isfinite(p).all() for p in half.parameters)


def test_compiled_networks_are_each_their_own(monkeypatch):
    """Online and target network must not share a compiled method."""
    monkeypatch.setattr(torch, "compile", lambda fn, **_: fn)  # what matters is which method is taken from whom
    spec = batches.make_spec()
    actors = batches.make_learner("ddpg", spec)
    actors.compile()
    assert actors.target_critic.forward.__self__ is actors.target_critic
    assert actors.critic.forward.__self__ is actors.critic
    learner = batches.make_learner("flex_qmix", spec)
    learner.compile()
    assert learner.target_controller.agent.perceive.__self__ is learner.target_controller.agent
    assert learner.controller.agent.perceive.__self__ is learner.controller.agent
    assert learner.target_mixer.mix.__self__ is learner.target_mixer


def test_parameter_counts_add_up():
    learner = batches.make_learner("copa", batches.make_spec())
    counts = learner.parameter_counts()
    assert set(counts) == {"controller", "mixer", "posterior", "total"}
    assert counts["total"] == sum(p.numel() for p in learner.parameters) == sum(counts.values()) - counts["total"]


def test_config_defaults_are_those_of_default_yaml():
    import yaml

    from utils.command_line import CONFIG_DIR

    defaults = yaml.safe_load((CONFIG_DIR / "default.yaml").read_text())
    for name, value in vars(SimpleNamespace(**vars(BellmanConfig()))).items():
        assert defaults[name] == value, name


def test_the_first_term_that_is_not_finite_is_named_with_its_update():
    learner = batches.make_learner("vdn", batches.make_spec())
    good, bad, worse = torch.tensor(1.0), torch.tensor(math.nan), torch.tensor(math.inf)
    for needed, figures in (
        ({"loss": good, "gradient norm": good}, {"td_loss": bad}),  # a figure alone is no reason to stop
        ({"loss": good, "gradient norm": worse}, {}),
        ({"loss": bad, "gradient norm": bad}, {"td_loss": bad, "target_mean": good}),
    ):
        learner.step(needed, figures)
        learner.updates += 1
    assert learner.fault() == "gradient norm is inf in update 2"
    assert learner.fault() is None  # it was told once
    learner.step({"loss": bad}, {"td_loss": bad, "target_mean": good})
    assert learner.fault() == "loss is nan in update 4 (td_loss nan)"
    next(learner.mixer.parameters(), learner.parameters[0]).data.fill_(math.inf)
    assert "not finite after update 3" in learner.fault()


@pytest.mark.parametrize("algorithm", ["refil", "mipi", "mappo", "ddpg"])
@pytest.mark.parametrize("spoilt", ["reward", "weights"])
def test_a_step_that_is_not_finite_is_not_taken(algorithm, spoilt):
    """What was learnt before stays, and its averages stay finite; the fault is told all the same."""
    spec = batches.make_spec()
    learner = batches.make_learner(algorithm, spec, lr=0.01)
    batch = batches.random_batch(spec)
    learner.train(batch, episodes=0)
    assert learner.fault() is None
    before = [parameter.clone() for parameter in learner.parameters]
    if spoilt == "reward":
        batch.reward[0, 0] = math.nan
        learner.train(batch, episodes=0)
    else:
        for parameter in learner.parameters:
            parameter.grad = torch.full_like(parameter, math.inf)
        learner.step({"loss": torch.tensor(1.0), "gradient norm": torch.tensor(math.inf)}, {})
    still = zip(before, learner.parameters, strict=True)
    if (
        learner.OPTIMISER is torch.optim.RMSprop and algorithm != "mipi"
    ):  # Adam goes on by its averages, MIPI's policies learn
        assert all(torch.equal(old, new) for old, new in still)
    assert all(parameter.isfinite().all() for parameter in learner.parameters)
    for averages in learner.optimiser.state.values():
        assert all(value.isfinite().all() for value in averages.values() if torch.is_tensor(value))
    assert learner.fault() is not None


@pytest.mark.parametrize(
    ("algorithm", "steps"),
    [("vdn", ["loss"]), ("mipi", ["loss", *["marginal_loss", "policy_loss"] * 2]), ("ddpg", ["loss", "policy_loss"])],
)
def test_every_step_of_the_optimiser_is_watched(algorithm, steps):
    spec = batches.make_spec()
    learner = batches.make_learner(algorithm, spec, **({"ba_iterations": 2} if algorithm == "mipi" else {}))
    learner.train(batches.random_batch(spec), episodes=0)
    assert [next(iter(descent.needed)) for descent in learner.descents] == steps
    assert all(len(descent.needed) == 2 for descent in learner.descents)

"""PQN: what its values are drawn to, and how often; layers that are normalised."""

import batches
import pytest
import torch
from test_base import GAMMA, targets_of, two_agents_three_actions
from torch.nn import functional as F

import builders
from components.episodes import EpisodeBatch
from controllers.entity import Unroll
from learners.base import BellmanLearner
from modules.agents.entity_agent import AgentSizes, EntityAgent
from modules.agents.flat_agent import FlatAgent
from modules.layers.inputs import make_reader
from modules.layers.recurrence import NoMemory
from utils.config import load_config
from utils.errors import UserError

#: by step and agent, for both agents alike: what the three actions are worth after 0, 1, 2 steps
VALUES = torch.tensor([[9.0, 1.0, 2.0], [9.0, 3.0, 4.0], [9.0, 5.0, 6.0]])


def learner_that_says(values: torch.Tensor, **config) -> BellmanLearner:
    """Its values are `values (T+1, U)`, whoever asks; how often somebody did stands in `learner.asked`."""
    spec = batches.make_spec(agents=2, others=0, features=1, private=0, actions=3)
    learner = batches.make_learner("pqn", spec, gamma=GAMMA, **config)
    learner.mixer = learner.target_mixer = None
    learner.asked = 0

    def unroll(data, *_, **__):
        learner.asked += 1
        every = values[:, None].expand(-1, 2, -1).expand(3, -1, -1, -1)
        return Unroll((data.pack(every),))

    learner.controller.unroll = unroll
    return learner


def test_targets_are_those_of_the_pass_that_gives_the_values():
    """With lambda 0: rewards 1, 2 | 3, 4 | 5; gamma 0.5; the next step's best legal value is 4 (for agent 0 of episode
    0, who may not do the best, 3), after the second one 6, which a terminated step does not count.
    """
    learner = learner_that_says(VALUES, td_lambda=0.0)
    targets = targets_of(learner, two_agents_three_actions())
    expected = [[[1 + 1.5, 1 + 2.0], [2, 2]], [[3 + 2.0, 3 + 2.0], [4 + 3.0, 4 + 3.0]], [[5, 5], [0, 0]]]
    torch.testing.assert_close(targets, torch.tensor(expected))
    assert learner.asked == 1


def test_targets_look_further_ahead_with_lambda():
    """lambda 0.5: of what follows the first step, half is its value and half what the second one came to."""
    targets = targets_of(learner_that_says(VALUES, td_lambda=0.5), two_agents_three_actions())
    assert targets[0, 0].tolist() == [1 + 0.5 * (1.5 + 1.0), 1 + 0.5 * (2.0 + 1.0)]
    assert targets[1, 0].tolist() == [3 + 0.5 * (2.0 + 3.5)] * 2


def test_a_piece_that_is_cut_is_worth_what_its_last_observation_promises():
    """The first episode is not over after its two steps, nor is the second one: neither has come to its time limit. The
    third one has ended after the one that it begins with.
    """
    batch = two_agents_three_actions()
    batch.terminated[0, 1] = batch.truncated[1, 1] = False
    expected = [[[1 + 1.5, 1 + 2.0], [2 + 3.0, 2 + 3.0]], [[3 + 2.0, 3 + 2.0], [4 + 3.0, 4 + 3.0]], [[5, 5], [0, 0]]]
    torch.testing.assert_close(targets_of(learner_that_says(VALUES, td_lambda=0.0), batch), torch.tensor(expected))
    # lambda 0.5: no return of one piece goes into another
    expected[0][0] = [1 + 0.5 * (1.5 + 2.5), 1 + 0.5 * (2.0 + 2.5)]
    expected[1][0] = [3 + 0.5 * (2.0 + 3.5)] * 2
    torch.testing.assert_close(targets_of(learner_that_says(VALUES, td_lambda=0.5), batch), torch.tensor(expected))


@pytest.mark.parametrize("kind", ["pqn", "pqn_refil", "pqn_copa"])
def test_nothing_is_learnt_through_targets(kind, monkeypatch):
    spec = batches.spec_for(kind)
    batch = batches.random_batch(spec)
    found = []
    for held in (False, True):
        learner = batches.make_learner(kind, spec, td_lambda=0.5)
        if held:
            data, online, _ = learner.passes(batch)
            with torch.no_grad():
                targets = learner.targets(data, online).clone()
            learner = batches.make_learner(kind, spec, td_lambda=0.5)
            monkeypatch.setattr(learner, "targets", lambda *_, given=targets: given)
        loss, _ = learner.loss(batch)
        loss.backward()
        found.append([p.grad for p in learner.parameters if p.grad is not None])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", ["pqn", "pqn_refil", "pqn_copa"])
def test_there_are_no_target_networks(kind):
    learner = batches.make_learner(kind, batches.spec_for(kind))
    assert learner.target_controller is learner.controller
    assert learner.target_mixer is learner.mixer
    assert not [name for name in learner.state_dict() if "target" in name]


def test_a_round_is_gone_over_in_mini_batches(monkeypatch):
    """4 episodes, 2 mini-batches, 3 passes: 6 updates, each of 2 episodes, every episode in one of each pass."""
    spec = batches.spec_for("pqn")
    learner = batches.make_learner("pqn", spec, ppo_epochs=3, num_mini_batch=2)
    batch, seen = batches.random_batch(spec), []
    once = BellmanLearner.train

    def train(self, part: EpisodeBatch, episodes: int):
        seen.append(part.reward.sum(dim=1))
        return once(self, part, episodes)

    monkeypatch.setattr(BellmanLearner, "train", train)
    figures = learner.train(batch, episodes=4)
    assert learner.updates == 6
    assert [len(rewards) for rewards in seen] == [2] * 6
    every = (batch.reward * batch.filled_mask).sum(dim=1)
    for first, second in zip(seen[::2], seen[1::2], strict=True):
        torch.testing.assert_close(torch.cat([first, second]), every)
    assert figures["loss"] > 0


def by_hand(rows: torch.Tensor) -> torch.Tensor:
    """Layer normalisation with unit scale and no shift."""
    mean = rows.mean(dim=-1, keepdim=True)
    variance = ((rows - mean) ** 2).mean(dim=-1, keepdim=True)
    return (rows - mean) / (variance + 1e-5).sqrt()


def sizes_of(spec, **more) -> AgentSizes:
    return AgentSizes(make_reader(spec, pairs=True), spec.private, 8, 2, 6, norm=True, **more)


def prepared(spec):
    return batches.make_learner("pqn", spec).controller.prepare(batches.random_batch(spec))


def test_entity_agents_normalise_each_row_by_itself():
    spec = batches.make_spec()
    agent, data = EntityAgent(sizes_of(spec)), prepared(spec)
    found = agent.perceive(data.read, data.private, (data.view_mask,))
    rows = F.relu(by_hand(agent.embed(data.read.inputs)))
    seen = torch.cat([agent.attention(rows, (data.view_mask,), data.private), data.private[None]], dim=-1)
    torch.testing.assert_close(found, F.relu(by_hand(agent.merge(seen))))


def test_flat_agents_and_plain_layers_normalise_too():
    spec = batches.make_spec()
    agent, data = FlatAgent(sizes_of(spec, recurrent=False)), prepared(spec)
    before = agent.entities(data.read.inputs, data.view_mask) + agent.number + agent.own(data.private)
    found = agent.perceive(data.read, data.private, (data.view_mask,))[0]
    torch.testing.assert_close(found, F.relu(by_hand(before)))
    assert isinstance(agent.memory, NoMemory)
    torch.testing.assert_close(agent.memory.step(found, found), F.relu(by_hand(agent.memory.layer(found))))


def test_no_layer_is_normalised_where_nobody_asks_for_it():
    agent = EntityAgent(AgentSizes(make_reader(batches.make_spec(), pairs=True), 1, 8, 2, 6, layers=2))
    assert not [module for module in agent.modules() if isinstance(module, torch.nn.LayerNorm)]
    normalised = EntityAgent(sizes_of(batches.make_spec(), layers=2, recurrent=False))
    assert len([module for module in normalised.modules() if isinstance(module, torch.nn.LayerNorm)]) == 4


@pytest.mark.parametrize("controller", ["entity", "flat", "coach", "collaq", "mipi", "joint", "one_at_a_time"])
def test_the_setting_reaches_every_agent(controller):
    for norm in ("layer", "none"):
        words = [f"controller={controller}", "--env-config=navigation", f"norm={norm}", "device=cpu", "view=joint"]
        made = builders.build_controller(load_config(words), batches.make_spec(agents=2, others=1, actions=3))
        found = [module for module in made.agent.modules() if isinstance(module, torch.nn.LayerNorm)]
        assert bool(found) == (norm == "layer")


def test_pqn_explores_and_looks_ahead_but_has_no_replay():
    config = load_config(["--config=pqn_qmix", "--env-config=sc2_sz", "td_lambda=0.5", "epsilon_finish=0.02"])
    assert (config.learner, config.mixer, config.norm) == ("pqn", "flex_qmix", "layer")
    for word in ("buffer_size=100", "double_q=False", "target_tau=0.01", "sequence_length=10", "optim_alpha=0.9"):
        with pytest.raises(UserError, match=word.split("=")[0]):
            load_config(["--config=pqn_qmix", "--env-config=sc2_sz", word])

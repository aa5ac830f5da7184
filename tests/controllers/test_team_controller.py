"""The team as one agent: what it sees, what it may do, and that play and learning agree on it."""

import batches
import pytest
import torch
from test_entity_controller import Listener
from toy_env import TalkingToyEnv, ToyEnv, make_toy

from components.action_selectors import EpsilonGreedy
from components.schedules import LinearDecay
from runners.runner import Runner
from utils.masking import lowest_legal


def play(kind, env, **settings):
    """A controller that acts at random, its first episodes, and the values that it acted by (B, T, N)."""
    torch.manual_seed(0)
    controller = batches.make_controller(env.spec, kind, **settings)
    controller.selector = Listener()
    batch = Runner(env, controller, seed=0).play(explore=True).batch
    return controller, batch, torch.stack(controller.selector.values, dim=1).squeeze(2)


@pytest.mark.parametrize("recurrent", [True, False])
@pytest.mark.parametrize("kind", batches.TEAMS)
def test_acting_and_unrolling_agree(kind, recurrent):
    """While agents leave and join."""
    env = make_toy(num_envs=6, seed=1, team="varying", private=2, end_chance=0.05)
    controller, batch, acted = play(kind, env, recurrent=recurrent)
    assert ((batch.agent_mask[:, 1:-1] != batch.agent_mask[:, :-2]).sum()) > 3
    with torch.no_grad():
        data = controller.prepare(batch)
        q = data.unpack(controller.unroll(data).q[0]).squeeze(2)
    filled = batch.filled_mask
    torch.testing.assert_close(acted[filled], q[:, : acted.shape[1]][filled], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", batches.TEAMS)
@pytest.mark.parametrize("toy", [ToyEnv, TalkingToyEnv])
def test_learners_find_the_number_that_was_chosen(kind, toy):
    """Also where acts point and carry symbols, which makes more actions and nothing else."""
    controller, batch, _ = play(kind, toy(toy.resolve_args({"team": "1-2", "slots": 2}, []), num_envs=16, seed=1))
    one = controller.prepare(batch).batch
    filled = batch.filled_mask
    numbers, avail = one.actions.squeeze(-1)[filled], batch.avail_mask[:, :-1][filled]
    assert one.avail_mask[:, :-1][filled].squeeze(1).gather(-1, numbers.unsqueeze(-1)).all()
    assert torch.equal(controller.joint_actions.decode(numbers, avail), batch.actions[filled])
    assert numbers.unique().numel() >= 5
    acting = (batch.actions != lowest_legal(batch.avail_mask[:, :-1])).sum(dim=-1)[filled]
    assert acting.max() == (1 if kind == "turns" else 2)


@pytest.mark.parametrize("kind", batches.TEAMS)
def test_exploring_tries_every_legal_joint_action(kind):
    env = make_toy(num_envs=1, seed=3, team="2", slots=3)
    seen = env.reset()
    copies = 400
    many = seen._replace(**{k: v.expand(copies, *v.shape[1:]) for k, v in seen._asdict().items() if k != "info"})
    controller = batches.make_controller(env.spec, kind)
    controller.selector = EpsilonGreedy(LinearDecay(1.0, 1.0, 1))
    state, last = controller.initial_state(copies, 3), torch.full((copies, 3), -1)
    generator = torch.Generator().manual_seed(0)
    actions = controller.act(many, last, state, t_env=0, explore=True, generator=generator).actions
    legal = controller.joint_actions.legal(seen.avail_mask[0])
    assert legal.sum() > 3
    numbers = controller.joint_actions.encode(actions, many.avail_mask)
    assert torch.equal(numbers.unique(), legal.nonzero().flatten())
    assert (actions[~many.agent_mask] == 0).all()


@pytest.mark.parametrize("kind", batches.TEAMS)
def test_the_team_knows_all_that_there_is(kind):
    """What nobody sees, what agents alone know of themselves and what they did last; not who is absent."""
    spec = batches.make_spec()
    batch = batches.random_batch(spec)
    torch.manual_seed(0)
    controller = batches.make_controller(spec, kind, recurrent=False)

    def values():
        data = controller.prepare(batch)
        return data.unpack(controller.unroll(data).q[0])[:, 1:3]

    before = values()
    batch.obs_mask.zero_()
    assert torch.equal(values(), before)
    absent = ~batch.entity_mask[..., None]
    batch.entities = torch.where(absent, 9.0, batch.entities)
    assert torch.equal(values(), before)
    for change in (batch.entities[:, :, -1], batch.private[:, :, 1]):
        change += 1.0
        assert not torch.allclose(values(), before, atol=1e-3)
        change -= 1.0
    batch.actions = batch.avail_mask[:, :-1].long().argmax(dim=-1)
    assert not torch.allclose(values(), before, atol=1e-3)


@pytest.mark.parametrize("kind", batches.TEAMS)
def test_a_team_that_has_gone_counts_nowhere(kind):
    spec = batches.make_spec()
    batch = batches.random_batch(spec)
    learner = batches.make_learner(f"none_{kind}", spec)
    batch.entity_mask[0, 2:4, : spec.agents] = False
    batch.avail_mask[0, 2:4] = torch.arange(spec.actions) == 0
    batch.actions[0, 2:4] = 0
    loss, _ = learner.loss(batch)
    batch.reward[0, 2:4] = 1e6
    assert torch.equal(learner.loss(batch)[0], loss)

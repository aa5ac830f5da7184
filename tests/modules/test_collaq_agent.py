"""CollaQ's agent: what each term sees, three terms from separate passes, memories of their own."""

import batches
import pytest
import torch

from modules.agents.collaq_agent import CollaqAgent, Terms


def test_views_by_hand():
    """Two agents and two others; agent 0 sees all but the second of the others, agent 1 is absent."""
    mask = torch.tensor([[[True, True, True, False], [False] * 4]])
    sizes = batches.make_controller(batches.make_spec()).agent.sizes
    nobody = [False] * 4
    assert CollaqAgent(sizes, "no_teammates").on_its_own(mask).tolist() == [[[True, False, True, False], nobody]]
    assert CollaqAgent(sizes, "self").on_its_own(mask).tolist() == [[[True, False, False, False], nobody]]
    with pytest.raises(ValueError, match="unknown alone_view 'nobody'"):
        CollaqAgent(sizes, "nobody")


def test_value_by_hand():
    """Two agents, three actions."""
    alone = torch.tensor([[1.0, 2.0, 3.0], [0.0, 5.0, -1.0]])
    collab = torch.tensor([[4.0, 0.0, -2.0], [1.0, 1.0, 1.0]])
    collab_alone = torch.tensor([[0.5, -1.0, 0.0], [1.0, 2.0, -3.0]])
    assert Terms(alone, collab, collab_alone).value.tolist() == [[4.5, 3.0, 1.0], [0.0, 4.0, 3.0]]


@pytest.mark.parametrize("alone_view", ["no_teammates", "self"])
@pytest.mark.parametrize("points", ["", "anybody"])
def test_shared_projections_give_what_three_passes_give(alone_view, points):
    spec = batches.make_spec(points=points)
    torch.manual_seed(0)
    controller = batches.make_controller(spec, "collaq", alone_view=alone_view)
    agent = controller.agent
    one = batches.make_controller(spec)
    data = controller.prepare(batches.random_batch(spec))

    def plain(network, mask):
        """The values of an ordinary entity agent with the weights of `network`."""
        one.agent.load_state_dict({name: network.state_dict()[name] for name in one.agent.state_dict()})
        return one.unroll(data._replace(view_mask=mask)).q[0]

    with torch.no_grad():
        found = controller.unroll(data)
        solitary = agent.on_its_own(data.view_mask)
        collab_alone = plain(agent.collab, solitary)
        expected = plain(agent, solitary) + plain(agent.collab, data.view_mask) - collab_alone
    torch.testing.assert_close(found.q[0], expected)
    torch.testing.assert_close(found.collab_alone, collab_alone)
    assert not torch.allclose(plain(agent.collab, data.view_mask), collab_alone)


def test_without_teammates_only_the_first_term_is_left():
    spec = batches.make_spec()
    controller = batches.make_controller(spec, "collaq")
    data = controller.prepare(batches.random_batch(spec))
    data = data._replace(view_mask=controller.agent.on_its_own(data.view_mask))
    terms = controller.agent.terms(next(controller._views(data, ()))[0], data.agent_mask)
    torch.testing.assert_close(terms.collab, terms.collab_alone)
    torch.testing.assert_close(controller.unroll(data).q[0], terms.alone)


def test_each_term_has_a_memory_of_its_own():
    """A step changes each third of the state by what that term sees, and a newcomer starts from nothing."""
    spec = batches.make_spec(agents=2, others=0)
    agent = batches.make_controller(spec, "collaq").agent
    hidden = torch.randn(1, 2, agent.state_size)
    seen = torch.randn(1, 2, agent.state_size)
    stays, joins = torch.tensor([[False, False]]), torch.tensor([[False, True]])
    whole = agent.remember(seen, hidden, stays)
    width = agent.sizes.hidden
    for third, network in enumerate((super(CollaqAgent, agent), agent.collab, agent.collab)):
        part = slice(third * width, (third + 1) * width)
        torch.testing.assert_close(whole[..., part], network.remember(seen[..., part], hidden[..., part], stays))
    after = agent.remember(seen, hidden, joins)
    torch.testing.assert_close(after[:, 0], whole[:, 0])
    torch.testing.assert_close(after[:, 1], agent.remember(seen, torch.zeros_like(hidden), stays)[:, 1])


def test_what_is_attended_to_is_that_of_both_networks():
    spec = batches.make_spec()
    torch.manual_seed(0)
    controller = batches.make_controller(spec, "collaq")
    agent, one = controller.agent, batches.make_controller(spec).agent
    data = controller.prepare(batches.random_batch(spec))

    def plain(network, mask):
        one.load_state_dict({name: network.state_dict()[name] for name in one.state_dict()})
        return one.attended(data.read, data.private, mask)

    with torch.no_grad():
        found = agent.attended(data.read, data.private, data.view_mask)
        alone = plain(agent, agent.on_its_own(data.view_mask))
        team = plain(agent.collab, data.view_mask)
    torch.testing.assert_close(found, torch.cat([alone, team], dim=1))
    assert agent.heads == tuple(f"{part} {head}" for part in ("alone", "team") for head in one.heads)

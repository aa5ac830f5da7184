"""Streams: each presence of an agent is read from its first step to its last, from an empty or a given state."""

import pytest
import torch

from modules.layers.recurrence import StreamGRU, make_streams


def test_streams_by_hand():
    """Agent 0 is there at steps 0-3, agent 1 at 1-2 and again at 4: streams of 4, 2 and 1 steps."""
    present = torch.tensor([[[1, 0], [1, 1], [1, 1], [1, 0], [0, 1]]]).bool()
    streams = make_streams(present)
    assert streams.counts == [3, 2, 1, 1]
    # flat index of step t and agent a: 2 t + a
    assert streams.order.tolist() == [0, 3, 9, 2, 5, 4, 6]


def test_streams_start_from_what_is_given():
    """The same streams; in either view from the same state."""
    torch.manual_seed(0)
    present = torch.tensor([[[1, 0], [1, 1], [1, 1], [1, 0], [0, 1]]]).bool()
    layer, x, start = StreamGRU(3, 4), torch.randn(2, 10, 3), torch.randn(3, 4)
    states = layer(x, make_streams(present)._replace(start=start))
    for view in range(2):
        for first, state in zip((0, 3, 9), start, strict=True):
            torch.testing.assert_close(states[view, first], layer.step(x[view, first], state))
        torch.testing.assert_close(states[view, 5], layer.step(x[view, 5], states[view, 3]))


def test_nobody_there():
    streams = make_streams(torch.zeros(2, 3, 2, dtype=torch.bool))
    assert streams.counts == []
    assert StreamGRU(3, 4)(torch.randn(1, 12, 3), streams).abs().sum() == 0


@pytest.mark.parametrize("density", [0.3, 0.8, 1.0])
def test_against_a_cell_step_by_step(density):
    torch.manual_seed(0)
    layer = StreamGRU(3, 4)
    batch, steps, agents = 3, 7, 2
    present = torch.rand(batch, steps, agents) < density
    x = torch.randn(2, batch, steps, agents, 3)
    states = layer(x.flatten(1, 3), make_streams(present)).view(2, batch, steps, agents, 4)
    cell = torch.nn.GRUCell(3, 4)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.gru.state_dict().items()})
    for view in range(2):
        for b in range(batch):
            for a in range(agents):
                state = torch.zeros(1, 4)
                for t in range(steps):
                    if present[b, t, a]:
                        state = cell(x[view, b, t, a][None], state)
                        torch.testing.assert_close(states[view, b, t, a], state[0], rtol=1e-5, atol=1e-6)
                        stepped = layer.step(x[view, b, t, a], state[0])
                        torch.testing.assert_close(stepped, cell(x[view, b, t, a][None], state)[0])
                    else:
                        state = torch.zeros(1, 4)
                        assert (states[view, b, t, a] == 0).all()


@pytest.mark.parametrize("given", [False, True])
def test_what_a_gpu_does_is_the_same(given):
    """Values and gradients, from empty and from given states."""
    torch.manual_seed(0)
    layer = StreamGRU(3, 4).double()
    streams = make_streams(torch.rand(3, 7, 2) < 0.7)
    if given:
        streams = streams._replace(start=torch.randn(streams.counts[0], 4).double())
    x = torch.randn(2, 42, 3).double().requires_grad_()
    found = []
    for walk in (layer._recur, layer._packed):
        layer._recur = walk
        states = layer(x, streams)
        found.append((states, *torch.autograd.grad((states**2).sum(), (x, *layer.parameters()))))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)

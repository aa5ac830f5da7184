"""Values of actions: one output each, or made of agent and target."""

import pytest
import torch

from envs.base import Targets
from modules.agents.heads import ActionHead, make_candidates

# two agents, two others; columns: names of agents, names of others, helper, a number
TARGETS = Targets(first=2, agents=slice(0, 2), others=slice(2, 4), helpers=(4,))
ROWS = torch.tensor(
    [
        [1.0, 0.0, 0.0, 0.0, 0.0, 2.0],  # agent named 0
        [0.0, 1.0, 0.0, 0.0, 1.0, 3.0],  # agent named 1, a helper
        [0.0, 0.0, 0.0, 1.0, 0.0, 5.0],  # other named 1
        [0.0, 0.0, 1.0, 0.0, 0.0, 7.0],  # other named 0
    ]
)
SEEN = torch.tensor([[True, True, True, False], [True, True, True, True]])


@pytest.fixture
def head():
    """Pairs are worth 10 * ReLU(state + own number - target's number): by hand."""
    head = ActionHead(state=1, inputs=6, actions=4, targets=TARGETS)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        head.plain.weight[:, 0] = torch.tensor([0.1, 0.2, 0.3])
        head.pair_state.weight[0, 0] = 1.0
        head.pair_own.weight[0, 5] = 1.0
        head.pair_target.weight[0, 5] = -1.0
        head.pair_out.weight[0, 0] = 10.0
    return head


def test_values_of_pairs(head):
    """Agent 0 sees the other of number 5, whose name is 1; the helper targets agents: itself, and agent 0."""
    (seen,) = make_candidates(ROWS, (SEEN,), TARGETS)
    values = head(torch.tensor([[4.0], [1.0]]), seen)
    pair = 10 * (4 + 2 - 5)
    helped = 10 * (1 + 3 - 2), 10 * (1 + 3 - 3)
    expected = [[0.4, 0.8, 1.2, 1.2 + pair], [0.1, 0.2, 0.3 + helped[0], 0.3 + helped[1]]]
    torch.testing.assert_close(values, torch.tensor(expected))


def test_without_helpers_nobody_targets_an_agent(head):
    targets = Targets(TARGETS.first, TARGETS.agents, TARGETS.others)
    (seen,) = make_candidates(ROWS, (torch.ones_like(SEEN),), targets)
    assert seen.rows.shape == (2, 6)
    values = head(torch.tensor([[4.0], [5.0]]), seen)
    expected = [[0.4, 0.8, 1.2, 1.2 + 10], [0.5, 1.0, 1.5 + 10, 1.5 + 30]]
    torch.testing.assert_close(values, torch.tensor(expected))


def test_each_view_has_its_own_targets(head):
    states = torch.tensor([[4.0], [1.0]])
    whole, none = make_candidates(ROWS, (SEEN, torch.zeros_like(SEEN)), TARGETS)
    assert not torch.equal(head(states, whole), head(states, none))
    torch.testing.assert_close(head(states, none)[:, 2:], 0.3 * states.expand(2, 2))


def test_targets_that_look_alike_are_worth_the_same_whatever_their_names():
    torch.manual_seed(0)
    head = ActionHead(state=3, inputs=6, actions=4, targets=TARGETS)
    with torch.no_grad():  # names themselves may tell, too: not here
        head.pair_target.weight[:, :4] = 0.0
    rows = ROWS.clone()
    rows[3, 5] = rows[2, 5]
    (seen,) = make_candidates(rows, (torch.ones_like(SEEN),), TARGETS)
    values = head(torch.randn(2, 3), seen)
    torch.testing.assert_close(values[0, 2], values[0, 3])
    swapped = rows.clone()
    swapped[2:, 2:4] = rows[2:, 2:4].flip(1)
    swapped[3, 5] = 9.0  # now named 1
    (seen,) = make_candidates(swapped, (torch.ones_like(SEEN),), TARGETS)
    moved = head(torch.randn(2, 3), seen)
    assert moved[0, 2] != moved[0, 3]


def test_a_strategy_changes_what_pairs_are_worth():
    torch.manual_seed(0)
    head = ActionHead(state=3, inputs=6, actions=4, targets=TARGETS, strategy=2)
    (seen,) = make_candidates(ROWS, (torch.ones_like(SEEN),), TARGETS)
    state = torch.randn(2, 3)
    one, two = (head(torch.cat([state, torch.full((2, 2), z)], dim=-1), seen) for z in (-1.0, 1.0))
    difference = (one - two)[0, 2:]
    assert (difference != 0).all()
    assert difference[0] != difference[1]

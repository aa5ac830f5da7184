"""Values of actions: an output each, an output per name, or made of agent and target."""

import pytest
import torch

from modules.agents.heads import ActionHead, HeadSizes, MessageHead, Names, PairHead, SlotHead
from modules.layers.inputs import Rows

# two agents, two others; rows are a single number
ROWS = torch.tensor([[2.0], [3.0], [5.0], [7.0]])
SEEN = torch.tensor([[True, True, True, False], [True, True, True, True]])
#: agent 1 may target agent 0 and entity 3; its last target was entity 2
PAIRS = torch.zeros(2, 4, 2)
PAIRS[1, 0, 0] = PAIRS[1, 3, 0] = PAIRS[1, 2, 1] = 1.0


def make_head(points="anybody"):
    """Pairs are worth 10 * ReLU(state + own - target's + 0.5 may - 0.25 last): by hand."""
    head = PairHead(HeadSizes(1), outputs=3, inputs=1, points=points)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        head.plain.weight[:, 0] = torch.tensor([0.1, 0.2, 0.3])
        head.pair_state.weight[0, 0] = 1.0
        head.pair_own.weight[0, 0] = 1.0
        head.pair_target.weight[0, 0] = -1.0
        head.pair_features.weight[0] = torch.tensor([0.5, -0.25])
        head.pair_out.weight[0, 0] = 10.0
    return head


STATES = torch.tensor([[4.0], [6.0]])


def test_values_of_pairs():
    head = make_head()
    (seen,) = head.targets(Rows(ROWS, pairs=PAIRS), (SEEN,))
    values = head(STATES, seen)
    one = [0.4, 0.8, 1.2 + 10 * (6 - 2), 1.2 + 10 * (6 - 3), 1.2 + 10 * (6 - 5), 1.2]  # the last one is not seen
    two = [0.6, 1.2, 1.8 + 10 * (9 - 2 + 0.5), 1.8 + 10 * (9 - 3), 1.8 + 10 * (9 - 5 - 0.25), 1.8 + 10 * (9 - 7 + 0.5)]
    torch.testing.assert_close(values, torch.tensor([one, two]))


def test_where_nobody_points_at_agents_their_pairs_are_left_out():
    head = make_head("others")
    (seen,) = head.targets(Rows(ROWS, pairs=PAIRS), (SEEN,))
    assert seen.rows.shape == (2, 1)
    whole = make_head()
    (all_seen,) = whole.targets(Rows(ROWS, pairs=PAIRS), (SEEN,))
    values, expected = head(STATES, seen), whole(STATES, all_seen)
    torch.testing.assert_close(values[:, [0, 1, 4, 5]], expected[:, [0, 1, 4, 5]])
    torch.testing.assert_close(values[:, 2:4], 0.3 * STATES.expand(2, 2))


def test_each_view_has_its_own_targets():
    head = make_head()
    whole, none = head.targets(Rows(ROWS, pairs=PAIRS), (SEEN, torch.zeros_like(SEEN)))
    assert not torch.equal(head(STATES, whole), head(STATES, none))
    torch.testing.assert_close(head(STATES, none)[:, 2:], 0.3 * STATES.expand(2, 4))


def test_single_agents_are_teams_of_one():
    head = make_head()
    (seen,) = head.targets(Rows(ROWS[None], pairs=PAIRS[None]), (SEEN[None],))
    chosen = torch.tensor([[False, True]])
    torch.testing.assert_close(head(STATES[1:][None], seen.of(chosen))[0], head(STATES[None], seen)[0, 1:])


def test_an_output_per_name():
    """Three names; entities are named 2, 0, 0 and 1."""
    head = SlotHead(HeadSizes(1), outputs=5, basic=2)
    with torch.no_grad():
        head.plain.bias.zero_()
        head.plain.weight[:, 0] = torch.tensor([0.1, 0.2, 10.0, 20.0, 30.0])
    values = head(torch.tensor([[1.0], [2.0]]), Names(torch.tensor([2, 0, 0, 1])))
    expected = torch.tensor([[0.1, 0.2, 30.0, 10.0, 10.0, 20.0], [0.2, 0.4, 60.0, 20.0, 20.0, 40.0]])
    torch.testing.assert_close(values, expected)


def test_a_strategy_changes_what_pairs_are_worth():
    torch.manual_seed(0)
    head = PairHead(HeadSizes(3, strategy=2), outputs=3, inputs=1, points="anybody")
    (seen,) = head.targets(Rows(ROWS, pairs=PAIRS), (torch.ones_like(SEEN),))
    state = torch.randn(2, 3)
    one, two = (head(torch.cat([state, torch.full((2, 2), z)], dim=-1), seen) for z in (-1.0, 1.0))
    difference = (one - two)[0, 2:]
    assert (difference != 0).all()
    assert difference[0] != difference[1]


@pytest.mark.parametrize(
    "head", [PairHead(HeadSizes(1), 3, inputs=1, points="others"), SlotHead(HeadSizes(1), 3, basic=2)]
)
def test_values_of_targets_need_targets(head):
    with pytest.raises(AssertionError):
        head(torch.zeros(2, 1))


def test_an_act_and_a_symbol_are_worth_their_sum():
    """Two acts worth 1 and 5, three symbols worth 10, 30 and 20: pairs in the order (act, symbol)."""
    head = MessageHead(HeadSizes(1), 3, ActionHead(HeadSizes(1), 2))
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        head.acts.plain.bias[:] = torch.tensor([1.0, 5.0])
        head.plain.bias[:] = torch.tensor([10.0, 30.0, 20.0])
    values = head(torch.zeros(2, 1))
    assert values.tolist() == [[11, 31, 21, 15, 35, 25]] * 2
    # as logits: act and symbol are independent
    policy = torch.softmax(values[0], dim=-1).view(2, 3)
    torch.testing.assert_close(policy, policy.sum(1, keepdim=True) * policy.sum(0, keepdim=True))


def test_symbols_go_with_targets_too():
    acts = make_head()
    head = MessageHead(HeadSizes(1), 2, acts)
    (seen,) = head.targets(Rows(ROWS, pairs=PAIRS), (SEEN,))
    values = head(STATES, seen).view(2, 6, 2)
    torch.testing.assert_close(values - head.plain(STATES)[:, None], acts(STATES, seen)[..., None].expand(2, 6, 2))


def test_layers_of_the_head():
    assert isinstance(ActionHead(HeadSizes(4), 3).plain, torch.nn.Linear)
    for sizes in (HeadSizes(4, layers=2), HeadSizes(4, strategy=2), HeadSizes(4, strategy=2, layers=2)):
        assert [tuple(p.shape) for p in ActionHead(sizes, 3).parameters()] == [
            (4, 4 + sizes.strategy),
            (4,),
            (3, 4),
            (3,),
        ]

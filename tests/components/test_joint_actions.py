"""What a team does as one number: which numbers there are, what they stand for, which are legal."""

import pytest
import torch

from components.joint_actions import AllAtOnce, OneAtATime
from utils.errors import UserError

#: two agents, three actions: everything is legal; the first may not idle and the second not take action 2; the first
#: alone is there, alive; nobody is there
AVAIL = torch.tensor(
    [
        [[True, True, True], [True, True, True]],
        [[False, True, True], [True, True, False]],
        [[False, True, True], [True, False, False]],
        [[True, False, False], [True, False, False]],
    ]
)


def stands_for(joint, avail):
    """Every number's actions where `avail (A, U)` is legal."""
    return joint.decode(torch.arange(joint.count), avail.expand(joint.count, -1, -1)).tolist()


def test_all_at_once_by_hand():
    joint = AllAtOnce(2, 3)
    assert joint.count == 9
    assert stands_for(joint, AVAIL[0]) == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2], [2, 0], [2, 1], [2, 2]]
    legal = [mask.nonzero().flatten().tolist() for mask in joint.legal(AVAIL)]
    assert legal == [list(range(9)), [3, 4, 6, 7], [3, 6], [0]]


def test_one_at_a_time_by_hand():
    joint = OneAtATime(2, 3)
    assert joint.count == 5
    assert stands_for(joint, AVAIL[0]) == [[0, 0], [1, 0], [2, 0], [0, 1], [0, 2]]
    legal = [mask.nonzero().flatten().tolist() for mask in joint.legal(AVAIL)]
    # where the first may not take 0, its idling is action 1, which is no move of its own
    assert legal == [list(range(5)), [0, 2, 3], [0, 2], [0]]
    assert joint.decode(torch.tensor([0, 2, 3]), AVAIL[1].expand(3, -1, -1)).tolist() == [[1, 0], [2, 0], [1, 1]]
    assert joint.decode(torch.tensor([0, 2]), AVAIL[2].expand(2, -1, -1)).tolist() == [[1, 0], [2, 0]]


@pytest.mark.parametrize("joint", [AllAtOnce(3, 4), OneAtATime(3, 4)])
def test_every_legal_number_stands_for_legal_actions_of_its_own(joint):
    avail = torch.rand(50, 3, 4, generator=torch.Generator().manual_seed(0)) < 0.5
    avail[..., 3] |= ~avail.any(dim=-1)
    legal = joint.legal(avail)
    rows, numbers = legal.nonzero(as_tuple=True)
    actions = joint.decode(numbers, avail[rows])
    assert avail[rows].gather(-1, actions.unsqueeze(-1)).all()
    assert torch.equal(joint.encode(actions, avail[rows]), numbers)
    count = avail.sum(dim=-1)
    expected = count.prod(dim=-1) if isinstance(joint, AllAtOnce) else 1 + (count - 1).sum(dim=-1)
    assert torch.equal(legal.sum(dim=-1), expected)


def test_too_many_joint_actions_are_refused():
    assert AllAtOnce(4, 8).count == AllAtOnce.LIMIT == 4096
    with pytest.raises(UserError, match="3 agents with 17 actions each have 4,913 .*=one_at_a_time [(]49[)] or ") as it:
        AllAtOnce(3, 17)
    assert "\n" not in str(it.value)

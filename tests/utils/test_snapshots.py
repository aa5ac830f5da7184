"""Copies of tensors: nothing is shared with what they were made of."""

import pytest
import torch

from utils.snapshots import restored, snapshot


def test_a_snapshot_shares_nothing():
    store = torch.arange(12.0).view(3, 4)
    state = {"part": store[:, :2], "inside": {"whole": store}, "none": None, "count": 3}
    kept = snapshot(state)
    store.zero_()
    assert kept["part"].tolist() == [[0, 1], [4, 5], [8, 9]]
    assert kept["inside"]["whole"].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert (kept["none"], kept["count"]) == (None, 3)
    # a part of a large tensor does not take the whole of it into a file
    assert kept["part"].untyped_storage().nbytes() == 6 * 4


def test_what_is_restored_shares_nothing():
    saved = torch.ones(2)
    now = restored(saved, torch.zeros(2))
    now += 1
    assert saved.tolist() == [1, 1]


@pytest.mark.parametrize("saved", [torch.zeros(1), torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64)])
def test_what_does_not_fit_is_refused(saved):
    with pytest.raises(ValueError, match=r"^saved was torch\..*, here is torch.float32 \(2,\)$"):
        restored(saved, torch.zeros(2))

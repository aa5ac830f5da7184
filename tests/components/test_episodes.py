"""Batches of pieces of episodes: put together, taken apart, cut to what is used."""

from dataclasses import fields

import batches
import pytest
import torch

from components.episodes import EpisodeBatch

SPEC = batches.make_spec(points="anybody")
WIDTH = 2
STARTS = ("start_actions", "start_memory", "start_steps")


def pieces(steps: int = 6, seed: int = 0) -> EpisodeBatch:
    return batches.cut(batches.random_batch(SPEC, steps=steps, seed=seed), WIDTH, seed)


def assert_same_rows(batch: EpisodeBatch, rows: slice, other: EpisodeBatch) -> None:
    """`other` in `rows` of `batch`, which may be longer."""
    for name, value in other.parts().items():
        found = batch.parts()[name][rows]
        if not name.startswith("start_"):
            found, behind = found[:, : value.shape[1]], found[:, value.shape[1] :]
            nothing = torch.zeros_like(behind)
            if name == "avail_mask":
                nothing[..., 0] = True
            assert torch.equal(behind, nothing), name
        assert torch.equal(found, value), name


def test_a_piece_has_every_field() -> None:
    batch = pieces()
    assert [f.name for f in fields(batch) if f.name not in batch.parts()] == ["labels"]
    assert len(set(batch.start_steps.tolist())) > 1
    assert batch.start_memory.abs().sum(dim=-1).count_nonzero() > 4


def test_batches_are_joined_one_after_another() -> None:
    short, long = pieces(steps=3, seed=1), pieces(steps=6, seed=2)
    batch = EpisodeBatch.joined([short, long])
    assert batch.filled_mask.shape == (8, 6)
    assert_same_rows(batch, slice(0, 4), short)
    assert_same_rows(batch, slice(4, 8), long)


def test_whole_episodes_are_joined_too() -> None:
    batch = EpisodeBatch.joined([batches.random_batch(SPEC, seed=seed) for seed in (1, 2)])
    assert (batch.start_memory, batch.start_steps) == (None, None)
    assert len(batch.reward) == 8


def test_rows_are_taken_in_the_order_that_is_asked_for() -> None:
    batch = pieces()
    rows = torch.tensor([3, 0, 3])
    for name, value in batch.at(rows).parts().items():
        assert torch.equal(value, torch.stack([batch.parts()[name][i] for i in (3, 0, 3)])), name


@pytest.mark.parametrize(("parts", "sizes"), [(1, [4]), (2, [2, 2]), (3, [2, 2]), (4, [1, 1, 1, 1])])
def test_parts_are_of_neighbours(parts: int, sizes: list[int]) -> None:
    batch = pieces()
    found = batch.split(parts)
    assert [len(part.reward) for part in found] == sizes
    for name, value in batch.parts().items():
        assert torch.equal(torch.cat([part.parts()[name] for part in found]), value), name


def test_every_field_goes_to_the_device() -> None:
    moved = pieces().to("meta")
    assert set(moved.parts()) == set(pieces().parts())
    assert {value.device.type for value in moved.parts().values()} == {"meta"}


def test_what_is_remembered_stays_with_its_agent() -> None:
    """Agent 1 and the first of the others are never there; agent 2 has just pointed at the last of the others."""
    batch = pieces()
    gone = [1, 3]
    batch.entity_mask[:, :, gone] = False
    batch.start_actions[:] = -1
    batch.start_actions[:, 2] = SPEC.basic + 4
    batch.start_memory[:] = torch.tensor([[1.0, 2.0], [0.0, 0.0], [5.0, 6.0]])
    trimmed = batch.trim(SPEC)
    assert trimmed.entity_mask.shape[2] == 3
    assert trimmed.start_memory.tolist() == [[[1, 2], [5, 6]]] * 4
    assert trimmed.start_actions.tolist() == [[-1, SPEC.basic + 2]] * 4
    assert torch.equal(trimmed.start_steps, batch.start_steps)
    kept = batch.trim(SPEC, keep_slots=True)
    for name in STARTS:
        assert torch.equal(kept.parts()[name], batch.parts()[name]), name


def test_a_sequence_that_is_replaced_begins_as_the_other_one() -> None:
    mine, theirs = pieces(steps=3, seed=1), pieces(steps=6, seed=2)
    batch = mine.replaced(torch.tensor([False, True, False, True]), theirs)
    for name in STARTS:
        expected = [(theirs if row % 2 else mine).parts()[name][row] for row in range(4)]
        assert torch.equal(batch.parts()[name], torch.stack(expected)), name

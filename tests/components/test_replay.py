"""What goes in comes out: whole episodes and pieces, ring order, memory, saving."""

import io
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from components import replay
from components.episodes import EpisodeBatch
from components.replay import OBSERVED, ReplayBuffer, cut, draw
from envs.base import EnvSpec
from utils.seeding import make_generator

SPEC = EnvSpec(name="made up", agents=2, entities=3, features=2, private=1, basic=3, episode_limit=7)


def episodes(lengths: list[int], first: int = 0, spec: EnvSpec = SPEC, steps: int = 0) -> EpisodeBatch:
    """Made-up episodes of these lengths, numbered from `first`; every agent and entity is there throughout.

    Feature 0 of every entity is 100 * number + step, the reward 100 * number + step, the action of agent a in step t
    is 1 + (number + t + a) % 2.
    """
    b, t, a, e = len(lengths), steps or max(lengths), spec.agents, spec.entities
    number = torch.arange(first, first + b)
    length = torch.tensor(lengths)
    filled = torch.arange(t) < length[:, None]
    seen = torch.arange(t + 1) <= length[:, None]
    code = 100 * number[:, None] + torch.arange(t + 1)
    entities = code[:, :, None, None].expand(b, t + 1, e, spec.features).float() * seen[:, :, None, None]
    avail = torch.ones(b, t + 1, a, spec.actions, dtype=torch.bool) & seen[:, :, None, None]
    avail[..., 0] = True
    actions = 1 + (number[:, None, None] + torch.arange(t)[:, None] + torch.arange(a)) % 2
    last = torch.arange(t) == length[:, None] - 1
    return EpisodeBatch(
        entities=entities,
        private=-entities[:, :, :a, : spec.private],
        entity_mask=seen[:, :, None].expand(b, t + 1, e).clone(),
        obs_mask=seen[:, :, None, None].expand(b, t + 1, a, e).clone(),
        avail_mask=avail,
        actions=actions * filled[:, :, None],
        reward=code[:, :-1].float() * filled,
        terminated=last & (number % 2 == 0)[:, None],
        truncated=last & (number % 2 == 1)[:, None],
        filled_mask=filled,
        start_actions=torch.full((b, a), -1),
    )


def all_of(buffer: ReplayBuffer) -> EpisodeBatch:
    """Everything, sorted by number and step."""
    batch = buffer.sample(len(buffer), make_generator(0))
    return rows(batch, batch.entities[:, 0, 0, 0].argsort())


def rows(batch: EpisodeBatch, index: Tensor | slice) -> EpisodeBatch:
    return EpisodeBatch(**{name: value[index] for name, value in batch.parts().items()})


def assert_equal(one: EpisodeBatch, other: EpisodeBatch) -> None:
    assert one.parts().keys() == other.parts().keys()
    for name, value in one.parts().items():
        torch.testing.assert_close(value, getattr(other, name), rtol=0, atol=0, msg=name)


def numbers(buffer: ReplayBuffer) -> list[int]:
    return (all_of(buffer).entities[:, 0, 0, 0] // 100).int().tolist()


# --- whole episodes ---


def test_whole_episodes_come_back_as_they_were() -> None:
    buffer = ReplayBuffer(SPEC, 10)
    batch = episodes([3, 1, 5])
    buffer.insert(batch)
    assert len(buffer) == 3
    assert_equal(all_of(buffer), batch)


def test_what_is_stored_is_a_copy() -> None:
    buffer = ReplayBuffer(SPEC, 10)
    batch = episodes([3, 1, 5])
    buffer.insert(batch)
    batch.entities.zero_()
    buffer.sample(3, make_generator(0)).reward.fill_(-1)
    assert_equal(all_of(buffer), episodes([3, 1, 5]))


def test_sampling_stops_at_the_longest_sequence_drawn() -> None:
    buffer = ReplayBuffer(SPEC, 10)
    buffer.insert(episodes([2, 7]))
    for seed in range(6):
        one = buffer.sample(1, make_generator(seed))
        length = int(one.filled_mask.sum())
        assert one.reward.shape == (1, length)
        assert one.entities.shape == (1, length + 1, 3, 2)


def test_the_oldest_go_first() -> None:
    buffer = ReplayBuffer(SPEC, 5)
    buffer.insert(episodes([2, 2, 2]))
    assert numbers(buffer) == [0, 1, 2]
    buffer.insert(episodes([2, 2, 2], first=3))
    assert numbers(buffer) == [1, 2, 3, 4, 5]
    buffer.insert(episodes([2, 2, 2], first=6))
    assert numbers(buffer) == [4, 5, 6, 7, 8]


def test_more_at_once_than_fits() -> None:
    buffer = ReplayBuffer(SPEC, 2)
    buffer.insert(episodes([2]))
    buffer.insert(episodes([1, 2, 3, 2, 1], first=1))
    assert numbers(buffer) == [4, 5]


def test_a_short_episode_in_the_place_of_a_long_one_leaves_nothing_of_it() -> None:
    buffer = ReplayBuffer(SPEC, 2)
    buffer.insert(episodes([7, 6]))
    buffer.insert(episodes([2], first=2))
    got = all_of(buffer)
    expected = episodes([6, 2], first=1)
    assert_equal(got, expected)
    assert got.avail_mask[1, 3:].tolist() == [[[True, False, False]] * 2] * 4  # padding: action 0 alone


@pytest.mark.parametrize("old", [[7, 1], [1, 7]])
def test_short_episodes_in_the_places_of_others_leave_nothing_of_the_longest(old: list[int]) -> None:
    buffer = ReplayBuffer(SPEC, 3)
    buffer.insert(episodes([*old, 6]))
    buffer.insert(episodes([2, 1], first=3))
    assert_equal(all_of(buffer), episodes([6, 2, 1], first=2))


def test_padding_beyond_the_room_of_an_item_does_no_harm() -> None:
    buffer = ReplayBuffer(SPEC, 3)
    buffer.insert(episodes([3, 7], steps=12))
    assert_equal(all_of(buffer), episodes([3, 7]))


def test_absent_slots_are_trimmed_and_the_rest_is_kept() -> None:
    batch = episodes([3, 2])
    keep = torch.tensor([False, True, True])
    batch = replace(
        batch,
        entities=batch.entities * keep[:, None],
        private=batch.private * keep[:2, None],
        entity_mask=batch.entity_mask & keep,
        obs_mask=batch.obs_mask & keep & keep[:2, None],
        actions=batch.actions * keep[:2],
    )
    buffer = ReplayBuffer(SPEC, 3)
    buffer.insert(batch)
    got = all_of_present(buffer)
    assert got.entities.shape == (2, 4, 2, 2)
    assert torch.equal(got.entities, batch.entities[:, :, 1:])
    assert torch.equal(got.private, batch.private[:, :, 1:])
    assert torch.equal(got.entity_mask, batch.entity_mask[:, :, 1:])
    assert torch.equal(got.obs_mask, batch.obs_mask[:, :, 1:, 1:])
    assert torch.equal(got.avail_mask, batch.avail_mask[:, :, 1:])
    assert torch.equal(got.actions, batch.actions[:, :, 1:])
    assert torch.equal(got.start_actions, batch.start_actions[:, 1:])
    assert torch.equal(got.reward, batch.reward)


def test_actions_follow_the_entities_that_they_point_at() -> None:
    """Entities 0, 2 and 4 are there; action 3 + e points at entity e, and before the piece agent 2 pointed at entity 3,
    who has gone since: its slot stays.
    """
    spec = EnvSpec("pointing", 3, 5, 1, 0, 3, 2, points="anybody")
    present = torch.tensor([True, False, True, False, True])
    batch = EpisodeBatch(
        entities=torch.arange(5.0).view(1, 1, 5, 1).expand(1, 3, 5, 1) * present[:, None],
        private=torch.zeros(1, 3, 3, 0),
        entity_mask=present.expand(1, 3, 5),
        obs_mask=(present & present[:3, None]).expand(1, 3, 3, 5),
        avail_mask=torch.tensor([[0, 1, 0, 0, 0, 1, 0, 1], [1] + [0] * 7, [0, 0, 1, 1, 0, 0, 0, 1]])
        .bool()
        .expand(1, 3, 3, 8),
        actions=torch.tensor([[[3 + 4, 0, 3 + 0], [1, 0, 2]]]),
        reward=torch.zeros(1, 2),
        terminated=torch.zeros(1, 2, dtype=torch.bool),
        truncated=torch.zeros(1, 2, dtype=torch.bool),
        filled_mask=torch.ones(1, 2, dtype=torch.bool),
        start_actions=torch.tensor([[3 + 2, -1, 3 + 3]]),
    )
    buffer = ReplayBuffer(spec, 1)
    buffer.insert(batch)
    got = buffer.sample(1, make_generator(0))
    # slots 0, 2, 3, 4 are kept as 0, 1, 2, 3
    assert got.entities[0, 0, :, 0].tolist() == [0, 2, 0, 4]
    assert got.actions.tolist() == [[[3 + 3, 3 + 0], [1, 2]]]
    assert got.start_actions.tolist() == [[3 + 1, 3 + 2]]
    assert got.avail_mask[0, 0].int().tolist() == [[0, 1, 0, 0, 1, 0, 1], [0, 0, 1, 1, 0, 0, 1]]


def all_of_present(buffer: ReplayBuffer) -> EpisodeBatch:
    batch = buffer.sample(len(buffer), make_generator(0))
    return rows(batch, batch.reward[:, 0].argsort())


# --- drawing ---


def test_draws_are_different_items_and_follow_the_generator() -> None:
    buffer = ReplayBuffer(SPEC, 50)
    buffer.insert(episodes([1] * 50))
    draws = [buffer.sample(20, make_generator(seed)).reward[:, 0].tolist() for seed in (1, 1, 2)]
    assert all(len(set(draw)) == 20 for draw in draws)
    assert draws[0] == draws[1] != draws[2]


def test_every_item_is_as_likely() -> None:
    buffer = ReplayBuffer(SPEC, 5)
    buffer.insert(episodes([1] * 5))
    generator = make_generator(0)
    drawn = torch.cat([buffer.sample(2, generator).reward[:, 0] for _ in range(2000)]) / 100
    counts = torch.bincount(drawn.long(), minlength=5)
    assert counts.tolist() == pytest.approx([800] * 5, rel=0.1)


def test_every_pair_of_many_items_is_as_likely(monkeypatch) -> None:
    monkeypatch.setattr(replay, "LARGE", 4)
    generator, counts = make_generator(0), torch.zeros(5, 5)
    for _ in range(5000):
        one, other = draw(5, 2, generator).tolist()
        counts[one, other] += 1
        counts[other, one] += 1
    assert counts.diagonal().sum() == 0
    assert (counts[~torch.eye(5, dtype=torch.bool)] / 500 - 1).abs().max() < 0.15  # of 10 pairs


def test_too_few_items() -> None:
    buffer = ReplayBuffer(SPEC, 5)
    buffer.insert(episodes([1, 1]))
    assert buffer.can_sample(2)
    assert not buffer.can_sample(3)
    with pytest.raises(ValueError, match="cannot draw 3 different items out of 2"):
        buffer.sample(3, make_generator(0))


# --- pieces ---


def test_pieces_by_hand() -> None:
    """An episode of five steps in pieces of two; agent 0 leaves after step 1 and is back in step 3."""
    batch = episodes([5])
    present = torch.tensor([[1, 1], [1, 1], [0, 1], [1, 1], [1, 1], [1, 1]]).bool()
    batch.entity_mask[0, :, :2] = present
    batch.actions[0] *= present[:5]
    pieces = cut(batch, 2)
    assert pieces.filled_mask.tolist() == [[True, True], [True, True], [True, False]]
    assert pieces.reward.tolist() == [[0, 1], [2, 3], [4, 0]]
    assert pieces.entities[:, :, 0, 0].tolist() == [[0, 1, 2], [2, 3, 4], [4, 5, 0]]
    assert pieces.private[:, :, 1, 0].tolist() == [[0, -1, -2], [-2, -3, -4], [-4, -5, 0]]
    assert pieces.entity_mask[:, :, 0].int().tolist() == [[1, 1, 0], [0, 1, 1], [1, 1, 0]]
    assert pieces.obs_mask[:, :, 1, 2].int().tolist() == [[1, 1, 1], [1, 1, 1], [1, 1, 0]]
    assert pieces.avail_mask[2].int().tolist() == [[[1, 1, 1]] * 2, [[1, 1, 1]] * 2, [[1, 0, 0]] * 2]
    assert pieces.actions.tolist() == [[[1, 2], [2, 1]], [[0, 2], [2, 1]], [[1, 2], [0, 0]]]
    assert pieces.terminated.int().tolist() == [[0, 0], [0, 0], [1, 0]]
    assert not pieces.truncated.any()
    # agent 0 is absent when the second piece starts; both were there before and at the start of the third
    assert pieces.start_actions.tolist() == [[-1, -1], [-1, 1], [2, 1]]


def test_an_agent_that_joins_with_a_piece_has_no_action_before_it() -> None:
    batch = episodes([4])
    batch.entity_mask[0, :2, 0] = False
    batch.actions[0, :2, 0] = 0
    assert cut(batch, 2).start_actions.tolist() == [[-1, -1], [-1, 1]]


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 9])
def test_pieces_put_together_are_the_episodes(length: int) -> None:
    lengths = [3, 7, 1, 6]
    batch = episodes(lengths)
    pieces = cut(batch, length)
    assert len(pieces.reward) == sum(-(-n // length) for n in lengths)
    at = 0
    for i, n in enumerate(lengths):
        for start in range(0, n, length):
            end = min(start + length, n)
            for name, value in batch.parts().items():
                if name == "start_actions":
                    expected = batch.last_actions[i, start]
                    assert torch.equal(pieces.start_actions[at], expected)
                    continue
                extra = int(name in OBSERVED)
                got = getattr(pieces, name)[at]
                assert len(got) == length + extra
                assert torch.equal(got[: end - start + extra], value[i, start : end + extra])
                padding = got[end - start + extra :].clone()
                if name == "avail_mask":
                    assert padding[..., 0].all()
                    padding[..., 0] = False
                assert not padding.any()
            assert torch.equal(pieces.last_actions[at, : end - start], batch.last_actions[i, start:end])
            at += 1


def test_a_buffer_of_pieces() -> None:
    buffer = ReplayBuffer(SPEC, 10, sequence_length=2)
    buffer.insert(episodes([5, 2, 3]))
    assert len(buffer) == 3 + 1 + 2
    assert_equal(all_of(buffer), cut(episodes([5, 2, 3]), 2))
    buffer.insert(episodes([7, 1], first=3))  # 4 + 1 more: the oldest one goes
    got = all_of(buffer)
    assert got.entities[:, 0, 0, 0].tolist() == [2, 4, 100, 200, 202, 300, 302, 304, 306, 400]


# --- sizes, types, memory ---


def test_other_sizes_are_refused() -> None:
    buffer = ReplayBuffer(SPEC, 5)
    with pytest.raises(ValueError, match="entities"):
        buffer.insert(episodes([2], spec=replace(SPEC, features=4)))
    with pytest.raises(ValueError, match="longer than the 7 steps"):
        buffer.insert(episodes([2, 8]))
    with pytest.raises(ValueError, match="private"):
        buffer.insert(replace(episodes([2]), private=torch.zeros(1, 3, 2, 5)))
    assert len(buffer) == 0


@pytest.mark.parametrize(("capacity", "length"), [(0, 0), (3, -1)])
def test_impossible_buffers(capacity: int, length: int) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        ReplayBuffer(SPEC, capacity, length)


def test_float16_halves_the_features_and_gives_float32() -> None:
    buffer = ReplayBuffer(SPEC, 5, dtype=torch.float16)
    batch = episodes([3, 2])
    batch = replace(batch, entities=batch.entities / 3, reward=batch.reward / 3)
    buffer.insert(batch)
    got = all_of(buffer)
    assert got.entities.dtype == got.private.dtype == got.reward.dtype == torch.float32
    assert torch.equal(got.entities, batch.entities.half().float())
    assert not torch.equal(got.entities, batch.entities)
    assert torch.equal(got.reward, batch.reward)  # rewards keep their precision
    assert buffer.state_dict()["data"]["entities"].dtype == torch.float16


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_memory_is_taken_when_it_is_used() -> None:
    spec = replace(SPEC, agents=8, entities=16, features=11, basic=6, points="others", episode_limit=150)
    before = resident()
    buffer = ReplayBuffer(spec, 5000)  # 1.7 GB when full
    buffer.insert(episodes([30] * 8, spec=spec))
    assert resident() - before < 100e6
    assert buffer.sample(8, make_generator(0)).entities.shape == (8, 31, 16, 11)


def test_a_full_battle_replay_fits_into_three_gigabytes() -> None:
    spec = replace(SPEC, agents=8, entities=16, features=11, basic=6, points="others", episode_limit=150)
    buffer = ReplayBuffer(spec, 5000)
    assert sum(store.numel() * store.element_size() for store in buffer._data.values()) < 3e9


# --- saving ---


def through_a_file(state: dict) -> dict:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("length", [0, 2])
def test_a_saved_replay_goes_on_as_before(length: int) -> None:
    buffer, other = (ReplayBuffer(SPEC, 6, length) for _ in range(2))
    buffer.insert(episodes([3, 7, 2, 4]))
    buffer.insert(episodes([1, 2, 3], first=4))
    other.insert(episodes([7] * 3, first=20))  # is forgotten
    other.load_state_dict(through_a_file(buffer.state_dict()))
    for more in (None, episodes([2, 5, 1], first=7), episodes([1] * 5, first=10)):
        if more is not None:
            buffer.insert(more)
            other.insert(more)
        assert len(buffer) == len(other) == 6
        assert_equal(buffer.sample(4, make_generator(1)), other.sample(4, make_generator(1)))
        assert_equal(all_of(buffer), all_of(other))


def test_only_what_is_used_is_saved() -> None:
    buffer = ReplayBuffer(SPEC, 1000)
    buffer.insert(episodes([3, 2]))
    file = io.BytesIO()
    torch.save(buffer.state_dict(), file)
    assert file.tell() < 20_000
    assert buffer.state_dict()["data"]["entities"].shape == (2, 4, 3, 2)


def test_nothing_is_left_of_what_was_there_before_loading() -> None:
    small, buffer = ReplayBuffer(SPEC, 4), ReplayBuffer(SPEC, 4)
    small.insert(episodes([2]))
    buffer.insert(episodes([7] * 4, first=9))
    buffer.load_state_dict(small.state_dict())
    buffer.insert(episodes([3, 1], first=1))
    assert_equal(all_of(buffer), episodes([2, 3, 1]))


def test_an_empty_replay_can_be_saved() -> None:
    buffer = ReplayBuffer(SPEC, 4)
    buffer.insert(episodes([2]))
    buffer.load_state_dict(through_a_file(ReplayBuffer(SPEC, 4).state_dict()))
    assert len(buffer) == 0


def test_a_replay_of_another_size_is_refused() -> None:
    state = ReplayBuffer(SPEC, 4).state_dict()
    with pytest.raises(ValueError, match="keep buffer_size and sequence_length"):
        ReplayBuffer(SPEC, 5).load_state_dict(state)
    with pytest.raises(ValueError, match="keep buffer_size and sequence_length"):
        ReplayBuffer(SPEC, 4, 2).load_state_dict(state)
    with pytest.raises(ValueError, match="entities"):
        ReplayBuffer(replace(SPEC, features=4), 4).load_state_dict(state)


@pytest.mark.parametrize(("parts", "sizes"), [(1, [5]), (2, [3, 2]), (3, [2, 2, 1]), (5, [1] * 5), (9, [1] * 5)])
def test_a_batch_is_split_into_neighbours(parts: int, sizes: list[int]) -> None:
    batch = episodes([3, 1, 2, 3, 2])
    split = batch.split(parts)
    assert [len(part.reward) for part in split] == sizes
    for name, value in batch.parts().items():
        assert torch.equal(torch.cat([getattr(part, name) for part in split]), value)

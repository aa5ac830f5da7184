"""What networks read of a time step, by hand: two agents and two others, basic actions none, stay and move."""

from dataclasses import replace

import pytest
import torch

from envs.base import EnvSpec
from modules.layers.inputs import make_reader, with_private
from utils.errors import UserError

#: agent 0 is named 1, agent 1 named 0 and dead; the others are named 0 and 1
ENTITIES = torch.tensor([[2.0, 5.0], [-1.0, 0.0], [1.0, 7.0], [2.0, 8.0]])
#: agent 0 may move, and point at both others; agent 1 may do nothing
AVAIL = torch.tensor([[0, 1, 1, 0, 0, 1, 1], [1, 0, 0, 0, 0, 0, 0]]).bool()
#: agent 0 has pointed at entity 3, agent 1 has begun anew
LAST = torch.tensor([6, -1])


def spec(points="others", names=2, legal_from=1, features=2):
    return EnvSpec("made up", 2, 4, features, 0, 3, 9, points=points, names=names, legal_from=legal_from)


def test_where_no_action_points():
    reader = make_reader(spec(points="", names=0, legal_from=None, features=1), pairs=False)
    rows = reader.read(ENTITIES[:, 1:], AVAIL[:, :3], torch.tensor([1, -1]))
    assert rows.inputs.tolist() == [[5, 0, 1, 0], [0, 0, 0, 0], [7, 0, 0, 0], [8, 0, 0, 0]]
    assert (reader.outputs, reader.width, rows.names, rows.pairs) == (3, 4, None, None)


def test_an_output_per_name():
    """Columns: names of agents, of others, may stay, may move, may point at name 0, at 1, the feature, last action."""
    reader = make_reader(spec(), pairs=False)
    rows = reader.read(ENTITIES, AVAIL, LAST)
    assert rows.inputs.int().tolist() == [
        [0, 1, 0, 0, 1, 1, 1, 1, 5, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0],
    ]
    assert rows.names.tolist() == [1, 0, 0, 1]
    assert (reader.outputs, reader.width) == (5, 14)


def test_pairs():
    """Columns: may stay, may move, may point at somebody, the feature, last action or "pointed at somebody"."""
    reader = make_reader(spec(), pairs=True)
    rows = reader.read(ENTITIES, AVAIL, LAST)
    assert rows.inputs.int().tolist() == [
        [1, 1, 1, 5, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 7, 0, 0, 0, 0],
        [0, 0, 0, 8, 0, 0, 0, 0],
    ]
    may, last = rows.pairs.unbind(-1)
    assert may.tolist() == [[0, 0, 1, 1], [0, 0, 0, 0]]
    assert last.tolist() == [[0, 0, 0, 1], [0, 0, 0, 0]]
    assert (reader.outputs, reader.width, reader.pair_features) == (4, 8, 2)


def test_the_name_of_the_dead_still_says_who_was_meant():
    reader = make_reader(spec(points="anybody"), pairs=False)
    assert reader.one_hot(torch.tensor([4, 0]), torch.tensor([1, 0, 0, 1])).int().tolist() == [
        [0, 0, 0, 1, 0],
        [1, 0, 0, 0, 0],
    ]
    assert reader.read(ENTITIES, AVAIL, torch.tensor([4, 0])).inputs[0, -5:].tolist() == [0, 0, 0, 1, 0]


def test_outputs_need_names():
    with pytest.raises(UserError, match=r"target_values=slots: the entities of made up have no names .* use pairs"):
        make_reader(spec(names=0, features=1), pairs=False)
    assert make_reader(spec(names=0, features=1), pairs=True).width == 8


def test_private_features_by_hand():
    inputs = torch.arange(6.0).view(1, 3, 2)
    rows = with_private(inputs, torch.tensor([[[7.0], [8.0]]]))
    assert rows.tolist() == [[[0, 1, 7], [2, 3, 8], [4, 5, 0]]]
    assert with_private(inputs, torch.zeros(1, 2, 0)) is inputs


def test_symbols_are_told_beside_acts():
    """Three acts, two symbols. Agent 0 has done act 1 with symbol 1, agent 1 has begun anew; agent 0 may do act 0 with
    symbol 1 alone, and act 2 with either.
    """
    plain = EnvSpec("made up", 2, 4, 1, 0, 3, 9, legal_from=0, symbols=2)
    assert (plain.acts, plain.actions) == (3, 6)
    avail = torch.tensor([[0, 1, 0, 0, 1, 1], [1, 0, 0, 0, 0, 0]]).bool()
    reader = make_reader(plain, pairs=False)
    rows = reader.read(ENTITIES[:, 1:], avail, torch.tensor([3, -1]))
    assert rows.inputs.int().tolist() == [
        [1, 0, 1, 5, 0, 1, 0, 0, 1],
        [1, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 7, 0, 0, 0, 0, 0],
        [0, 0, 0, 8, 0, 0, 0, 0, 0],
    ]
    assert (reader.outputs, reader.width) == (5, 9)
    acts, symbols = plain.split(torch.tensor([3, -1, 0, 5]))
    assert (acts.tolist(), symbols.tolist()) == ([1, -1, 0, 2], [1, -1, 0, 1])
    assert plain.join(acts[2:], symbols[2:]).tolist() == [0, 5]


@pytest.mark.parametrize("pairs", [True, False])
def test_symbols_beside_acts_that_point(pairs):
    talking = replace(spec(), symbols=2)
    avail = AVAIL.repeat_interleave(2, dim=-1)
    last = torch.tensor([13, -1])  # entity 3, with symbol 1
    reader, mute = make_reader(talking, pairs), make_reader(spec(), pairs)
    rows, without = reader.read(ENTITIES, avail, last), mute.read(ENTITIES, AVAIL, LAST)
    assert torch.equal(rows.inputs[:, :-2], without.inputs)
    assert rows.inputs[:, -2:].tolist() == [[0, 1], [0, 0], [0, 0], [0, 0]]
    if pairs:
        assert torch.equal(rows.pairs, without.pairs)


@pytest.mark.parametrize("pairs", [False, True])
def test_actions_as_distributions(pairs):
    """What is certain reads as an action does, and a mixture as the mixture of both; with symbols, as pairs."""
    reader = make_reader(spec(), pairs)
    names = None if pairs else torch.tensor([1, 0, 0, 1]).expand(7, 4)
    actions = torch.arange(7).unsqueeze(1).expand(7, 2)
    hot = torch.nn.functional.one_hot(actions, 7).double()
    codes = reader.one_hot(actions, names).double()
    assert torch.equal(reader.shares(hot, names), codes)
    mixture = 0.25 * hot + 0.75 * hot.flip(0)
    torch.testing.assert_close(reader.shares(mixture, names), 0.25 * codes + 0.75 * codes.flip(0))
    talking = make_reader(replace(spec(), symbols=2), pairs)
    said = torch.nn.functional.one_hot(2 * actions + 1, 14).double()  # the second symbol
    apart = talking.shares(said, names).unflatten(-1, (-1, 2))
    assert torch.equal(apart[..., 1], codes)
    assert (apart[..., 0] == 0).all()
    if pairs:
        assert torch.equal(reader.target_shares(hot), reader.pointed(actions, 4).double())
        assert torch.equal(talking.target_shares(said), reader.target_shares(hot))

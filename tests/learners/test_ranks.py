"""Two ranks, each with a part of the batch, learn what one process does with all of it."""

import batches
import pytest
import torch
from together import together
from torch import Tensor

from learners.learner import Learner
from modules.coach import Gaussian
from utils import ranks

UPDATES = 3
#: episodes of the whole batch
EPISODES = 8
#: kinds that issue from different losses, each with its means over other things
KINDS = {
    "refil": {},
    "mappo": {"ppo_epochs": 2, "num_mini_batch": 2},
    "copa": {},
    "pqn_refil": {"ppo_epochs": 2, "num_mini_batch": 2},
    "pqn": {"td_lambda": 0.6, "num_mini_batch": 2},
    "none": {},
    "collaq": {},
    "mipi": {"ba_iterations": 2},
    "cesma_flat": {"data_sets": "shared"},
    "ddpg": {},
}


def draws_from_data(learner: Learner) -> None:
    """Whatever is drawn at random follows from the episode itself, so that it is the same in whichever rank it is."""

    def groups(data) -> Tensor:
        return data.batch.entities[:, 0, :, 1] > 0

    def noise(logits: Tensor) -> Tensor:
        return torch.sin(5.0 * logits)

    def draw(policy: Tensor) -> Tensor:
        return policy.argmax(dim=-1)

    for name, replacement in (("draw_groups", groups), ("noise", noise), ("draw", draw)):
        if hasattr(learner, name):
            setattr(learner, name, replacement)


def sample(gaussian: Gaussian, generator: torch.Generator | None) -> Tensor:
    return gaussian.mean + torch.sin(5.0 * gaussian.mean) * (gaussian.log_variance / 2).exp()


def parts(number: int, count: int, mini_batches: int) -> Tensor:
    """The episodes of a rank: of each mini-batch of the whole batch its part of neighbours."""
    every = torch.arange(EPISODES).view(mini_batches, count, -1)
    return every[:, number].flatten()


def learn(kind: str) -> tuple[dict[str, dict[str, Tensor]], list[dict[str, float]]]:
    """What three updates make of the networks, and their figures: with all episodes, or with this rank's."""
    spec = batches.spec_for(kind)
    learner = batches.make_learner(kind, spec, **KINDS[kind])
    draws_from_data(learner)
    figures = []
    for update in range(UPDATES):
        batch = batches.random_batch(spec, batch=EPISODES, seed=update)
        rows = parts(ranks.number(), ranks.count(), KINDS[kind].get("num_mini_batch", 1))
        told = learner.train(batch.at(rows), episodes=200 * update)
        figures.append({name: value.item() for name, value in told.items()})
    return {name: module.state_dict() for name, module in learner.modules().items()}, figures


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """kind -> what each of two ranks has learnt, all of them in the same two processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Gaussian, "sample", sample)
        patch.setattr(Tensor, "float", Tensor.double)  # rounding would hide what is wrong
        torch.set_default_dtype(torch.float64)
        yield together(tmp_path_factory.mktemp("ranks"), 2, lambda: {kind: learn(kind) for kind in KINDS})
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_are_one_process(learnt, kind):
    networks, figures = learn(kind)
    (first, told), (second, also_told) = (rank[kind] for rank in learnt)
    assert told == also_told
    for name, parameters in networks.items():
        for key, value in parameters.items():
            assert torch.equal(first[name][key], second[name][key])
            assert value.dtype == torch.float64
            torch.testing.assert_close(first[name][key], value, rtol=0, atol=1e-10)
    for ours, theirs in zip(told, figures, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-10)

"""How often an update makes the host wait for the device: for sizes alone, and never for what is computed."""

import warnings
from collections import Counter

import batches
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
#: What waits for a GPU: the size of its result, or a number for Python, is known only when all before it is done.
READS = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.bincount.default,
    aten.equal.default,
    aten._unique2.default,
    aten.repeat_interleave.Tensor,
}
#: by a mask as well
PICKS = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
#: Of a batch: which rows there are, which of them are followed by a step, and the streams of agents (four times).
SIZES = 6


class Watch(TorchDispatchMode):
    """Counts what would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = Counter[str]()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        by_mask = func in PICKS and any(index is not None and index.dtype == torch.bool for index in args[1])
        if func in READS or by_mask:
            self.reads[str(func)] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("kind", "more"), [("refil_pairs", 0), ("copa_pairs", 0), ("pqn", 2), ("vdn", 0)])
def test_an_update_reads_sizes_alone(kind, more):
    """`more`: slots and lengths, for learners that cut their batch to what is in use."""
    spec = batches.spec_for(kind)
    config = {"ppo_epochs": 1, "num_mini_batch": 1} if kind == "pqn" else {}
    learner, batch = batches.make_learner(kind, spec, **config), batches.random_batch(spec)
    learner.optimiser = torch.optim.SGD(learner.parameters, lr=0.1)  # on a CPU alone do others read their step's number
    with Watch() as watch:
        learner.train(batch, episodes=0)
    assert 0 < watch.reads.total() <= SIZES + more, watch.reads


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", ["refil_pairs", "copa_pairs"])
def test_an_update_on_a_gpu_waits_for_sizes_alone(kind):
    spec = batches.spec_for(kind)
    learner, batch = batches.make_learner(kind, spec), batches.random_batch(spec).to("cuda")
    for module in learner.modules().values():
        module.cuda()
    for _, follower in learner.target_networks().values():
        follower.cuda()
    learner.generator = torch.Generator("cuda").manual_seed(0)
    learner.train(batch, episodes=0)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            learner.train(batch, episodes=0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [str(warning.message) for warning in caught if "synchroniz" in str(warning.message)]
    assert len(waits) <= 2 * SIZES, waits  # bincount looks twice

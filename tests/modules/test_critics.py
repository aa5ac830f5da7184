"""The centralised value, and the scale of returns."""

import batches
import pytest
import torch

from modules.critics.entity_critic import CriticSizes, EntityCritic
from modules.critics.value_norm import ValueNorm


def test_running_mean_and_deviation_by_hand():
    norm = ValueNorm(decay=0.75)
    assert (norm.mean.item(), norm.std.item()) == (0, 1)
    norm.update(torch.tensor([1.0, 3.0]))
    assert (norm.mean.item(), norm.std.item()) == (2, 1)
    norm.update(torch.tensor([10.0]))
    # weights 0.75 * 0.25 and 0.25, together 0.4375
    mean = (0.1875 * 2 + 0.25 * 10) / 0.4375
    square = (0.1875 * 5 + 0.25 * 100) / 0.4375
    assert norm.mean.item() == pytest.approx(mean)
    assert norm.std.item() == pytest.approx((square - mean**2) ** 0.5)
    returns = torch.tensor([-4.0, 0.0, 7.0])
    torch.testing.assert_close(norm.normalise(returns)[1].item(), -mean / norm.std.item())
    torch.testing.assert_close(norm.denormalise(norm.normalise(returns)), returns)


def test_equal_returns_have_a_finite_scale():
    norm = ValueNorm()
    norm.update(torch.full((5,), 1000.0))
    assert torch.isfinite(norm.normalise(torch.tensor([1000.0, 1001.0]))).all()
    assert norm.normalise(torch.tensor([1000.0])).item() == pytest.approx(0, abs=1e-3)


def test_the_scale_is_saved():
    critic, other = (EntityCritic(CriticSizes(5, 8, 2)) for _ in range(2))
    critic.norm.update(torch.tensor([1.0, 5.0]))
    other.load_state_dict(critic.state_dict())
    assert other.norm.mean.item() == pytest.approx(3)
    assert other.norm.std.item() == pytest.approx(2)


def values_of(critic, batch):
    return critic(batch.entities.flatten(0, 1), batch.entity_mask.flatten(0, 1)).view(batch.entity_mask.shape[:2])


@pytest.mark.parametrize("rearrangement", [batches.padded, batches.permuted])
def test_values_do_not_depend_on_slots(rearrangement):
    spec = batches.make_spec()
    batch = batches.random_batch(spec)
    other, _ = rearrangement(batch, spec)
    torch.manual_seed(0)
    critic = EntityCritic(CriticSizes(spec.features, batches.EMBED, batches.HEADS))
    values = values_of(critic, batch)
    torch.testing.assert_close(values_of(critic, other)[:, : values.shape[1]], values, rtol=1e-4, atol=1e-5)
    assert values.std() > 0


def test_the_value_counts():
    """Twice the same entity is worth twice as much as one: a mean could not tell."""
    critic = EntityCritic(CriticSizes(3, 8, 2))
    entities = torch.randn(1, 1, 3).repeat(1, 2, 1)
    one, two, none = (
        critic(entities, torch.tensor([mask])).item() for mask in ([True, False], [True, True], [False, False])
    )
    assert two == pytest.approx(2 * one, rel=1e-5)
    assert none == 0

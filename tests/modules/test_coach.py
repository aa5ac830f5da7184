"""Gaussians of strategies against torch.distributions."""

import torch
from torch.distributions import Normal

from modules.coach import Gaussian, GaussianHead
from utils.seeding import make_generator


def test_density_and_entropy():
    mean, log_variance, z = torch.randn(5, 3), -3 * torch.rand(5, 3), torch.randn(5, 3)
    gaussian, reference = Gaussian(mean, log_variance), Normal(mean, torch.exp(0.5 * log_variance))
    torch.testing.assert_close(gaussian.log_density(z), reference.log_prob(z), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gaussian.entropy(), reference.entropy())


def test_samples_have_the_right_moments_and_gradients():
    mean = torch.full((20000,), 2.0, requires_grad=True)
    log_variance = torch.full((20000,), -1.0, requires_grad=True)
    z = Gaussian(mean, log_variance).sample(make_generator(0))
    assert abs(float(z.detach().mean()) - 2.0) < 0.02
    assert abs(float(z.detach().var()) - 0.3679) < 0.02
    z.sum().backward()
    assert (mean.grad == 1).all()
    assert log_variance.grad.abs().sum() > 0
    assert torch.equal(z, Gaussian(mean, log_variance).sample(make_generator(0)))


def test_log_variance_is_clamped():
    head = GaussianHead(2, 3)
    head.log_variance.bias.data.fill_(50.0)
    assert (head(torch.zeros(4, 2)).log_variance == 0).all()
    head.log_variance.bias.data.fill_(-50.0)
    assert (head(torch.zeros(4, 2)).log_variance == -10).all()

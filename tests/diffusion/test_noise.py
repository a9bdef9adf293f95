"""Every noise keeps its contract; spectra agree with numbers measured on the published code."""

from typing import get_args

import numpy
import pytest
import torch
from scipy import stats

from workbench.diffusion import noise

MEMBERS = get_args(get_args(noise.Noise)[0])
LIKE = torch.zeros(256, 4, 64, 64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def power(draws):
    """Mean power of each frequency relative to white noise, by numpy alone."""
    return (numpy.abs(numpy.fft.fft2(draws.numpy())) ** 2 / (64 * 64)).mean(axis=(0, 1))


@pytest.mark.parametrize("member", MEMBERS)
class TestContract:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_takes_shape_dtype_and_device(self, member, dtype):
        like = torch.zeros(3, 4, 5, 9, dtype=dtype)
        drawn = member().draw(like, generator())
        assert (drawn.shape, drawn.dtype, drawn.device) == (like.shape, dtype, like.device)

    def test_generator_alone_decides(self, member):
        like = LIKE[:2]
        torch.manual_seed(1)
        first = member().draw(like, generator(5))
        state = torch.get_rng_state()
        assert torch.equal(first, member().draw(like, generator(5)))
        assert torch.equal(state, torch.get_rng_state())
        assert not torch.equal(first, member().draw(like, generator(6)))

    def test_variance_is_the_declared_one(self, member):
        settings = member()
        declared = 1 + getattr(settings, "strength", 0.0) ** 2
        variance = settings.draw(LIKE, generator()).var().item()
        assert variance == pytest.approx(declared, rel=0.005)  # 4 deviations: 4 sqrt(2 / 4e6)

    def test_samples_and_channels_are_independent(self, member):
        flat = member().draw(LIKE[:32], generator()).flatten(0, 1).flatten(1).numpy()
        correlation = numpy.corrcoef(flat)[numpy.triu_indices(len(flat), 1)]
        # Low frequencies spread the correlations of coloured noise; their mean is 0 all the same.
        assert abs(correlation.mean()) < 5 * correlation.std() / numpy.sqrt(len(correlation))
        assert numpy.abs(correlation).max() < 0.25


def test_gaussian_is_normal():
    drawn = noise.Gaussian().draw(LIKE[:4], generator()).flatten().numpy()
    assert stats.kstest(drawn, "norm").pvalue > 1e-3


# Columns: variance of the mean, power at DC and at k = 4, 16, 31 cycles per image; the values of
# sd-scripts' code on 64 x 64 x 4.
SPECTRA = [
    (noise.Offset(strength=0.1), 1.1e-2, 42, 1.0, 1.0, 1.0),
    (noise.Offset(strength=0.05), 2.5e-3 + 2.44e-4, 11, 1.0, 1.0, 1.0),
    (noise.Pyramid(discount=0.3, levels=6), 6.5e-4, 2.7, 1.4, 0.98, 0.97),
    (noise.Pyramid(discount=0.4, levels=6), 1.9e-3, 7.9, 1.6, 0.99, 0.96),
    (noise.Pyramid(discount=0.8, levels=10), 0.090, 370, 3.6, 0.77, 0.71),
]


@pytest.mark.parametrize("settings, mean_variance, dc, k4, k16, k31", SPECTRA)
def test_spectrum(settings, mean_variance, dc, k4, k16, k31):
    drawn = settings.draw(LIKE, generator())
    spectrum = power(drawn)
    # 1024 channels: a channel's power spreads by its own size or somewhat more, so 20 % is 4
    # deviations and more.
    assert drawn.mean(dim=(2, 3)).var().item() == pytest.approx(mean_variance, rel=0.25)
    assert spectrum[0, 0] == pytest.approx(dc, rel=0.25)
    for k, expected in ((4, k4), (16, k16), (31, k31)):
        assert (spectrum[k, 0] + spectrum[0, k]) / 2 == pytest.approx(expected, rel=0.15)


def test_each_pyramid_sample_has_unit_deviation_of_its_own():
    drawn = noise.Pyramid(discount=0.8).draw(LIKE[:8], generator())
    assert torch.allclose(drawn.std(dim=(1, 2, 3)), torch.ones(8), atol=1e-5)


def test_pyramid_sample_does_not_depend_on_the_batch():
    settings = noise.Pyramid()
    alone = settings.draw(LIKE[:1], generator())
    assert torch.equal(alone[0], settings.draw(LIKE[:3], generator())[0])


def test_no_strength_is_white():
    for settings in (noise.Offset(strength=0), noise.Pyramid(discount=0)):
        assert power(settings.draw(LIKE, generator()))[0, 0] == pytest.approx(1, abs=0.2)

"""Every noise keeps its contract; published ones have the spectra that their own code has."""

from typing import get_args

import numpy
import pytest
import torch
from scipy import stats
from torch.nn import functional

from workbench.diffusion import noise, spectra
from workbench.diffusion.noise import Gaussian, pyramid
from workbench.diffusion.noise import Noise as AnyNoise
from workbench.diffusion.noise.reference import REFERENCES
from workbench.settings import SettingsError, from_dict, from_toml, override, to_toml
from workbench.settings.base import Settings, as_dict, setting

MEMBERS = get_args(get_args(noise.Noise)[0])
LIKE = torch.zeros(128, 4, 64, 64)
# Those that divide by the batch's deviation or draw for the batch: a sample's numbers depend on how
# many others there are. All others draw row by row, and a sample stays itself in any batch.
BY_BATCH = (noise.WhitakerPyramid, noise.KohyaPyramid, noise.Offset, noise.Mixture)
BY_BATCH += (noise.InputPerturbation,)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def declared_variance(settings):
    return 1 + getattr(settings, "strength", getattr(settings, "gamma", 0)) ** 2


@pytest.mark.parametrize("member", MEMBERS)
class TestContract:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("shape", [(3, 4, 5, 9), (2, 16, 24, 24), (1, 4, 1, 1), (2, 1, 40, 6)])
    def test_takes_shape_dtype_and_device(self, member, shape, dtype):
        like = torch.zeros(shape, dtype=dtype)
        drawn = member().draw(like, generator())
        assert (drawn.shape, drawn.dtype, drawn.device) == (like.shape, dtype, like.device)
        assert drawn.isfinite().all() or shape[2:] == (1, 1)

    def test_generator_alone_decides(self, member):
        like = LIKE[:2]
        torch.manual_seed(1)
        first = member().draw(like, generator(5))
        state = torch.get_rng_state()
        assert torch.equal(first, member().draw(like, generator(5)))
        assert torch.equal(state, torch.get_rng_state())
        assert not torch.equal(first, member().draw(like, generator(6)))

    def test_a_pair_takes_the_same_numbers_as_a_draw(self, member):
        one, other = generator(5), generator(5)
        drawn, pair = member().draw(LIKE[:2], one), member().pair(LIKE[:2], other)
        assert torch.equal(drawn, pair.input)
        assert torch.equal(one.get_state(), other.get_state())
        assert torch.equal(pair.input, pair.target) == (member is not noise.InputPerturbation)

    def test_the_latents_are_left_as_they_are(self, member):
        like = torch.full((2, 4, 8, 8), 3.0)
        member().pair(like, generator())
        assert torch.equal(like, torch.full((2, 4, 8, 8), 3.0))

    def test_variance_is_the_declared_one(self, member):
        settings = member()
        each = settings.draw(LIKE, generator()).square().mean(dim=(1, 2, 3)).numpy()
        error = each.std() / numpy.sqrt(len(each))
        # A pyramid's deviations are about each sample's own mean, whose square comes on top.
        tolerance = 0.004 if "pyramid" in settings.kind else 1e-4
        assert each.mean() == pytest.approx(declared_variance(settings), abs=4 * error + tolerance)
        assert error < 0.02

    def test_variance_is_the_same_everywhere(self, member):
        """The mean over many draws of each pixel's square has no pattern."""
        if member in (noise.WhitakerPyramid, noise.KohyaPyramid):
            return  # their batch has one scale, whose nodes show
        drawn = member().draw(torch.zeros(1500, 4, 16, 16), generator())
        spread = drawn.square().mean(dim=(0, 1)).std().item()
        assert spread < 3 * numpy.sqrt(2 / 6000)

    def test_samples_and_channels_are_independent(self, member):
        flat = member().draw(LIKE[:32], generator()).flatten(0, 1).flatten(1).numpy()
        correlation = numpy.corrcoef(flat)[numpy.triu_indices(len(flat), 1)]
        # Low frequencies spread the correlations of coloured noise; their mean is 0 all the same.
        assert abs(correlation.mean()) < 5 * correlation.std() / numpy.sqrt(len(correlation))
        assert numpy.abs(correlation).max() < 0.35

    def test_a_sample_does_not_depend_on_the_batch(self, member):
        alone = member().draw(LIKE[:1], generator())
        together = member().draw(LIKE[:3], generator())
        if member not in BY_BATCH:
            assert torch.allclose(alone[0], together[0], atol=1e-5)

    def test_settings_survive_toml(self, member):
        settings = Holder(noise=member())
        assert from_toml(Holder, to_toml(settings)) == settings
        assert from_dict(Holder, as_dict(settings)) == settings


class Holder(Settings):
    noise: AnyNoise = setting(Gaussian(), help="a noise")


def test_gaussian_is_normal():
    drawn = noise.Gaussian().draw(LIKE[:4], generator()).flatten().numpy()
    assert stats.kstest(drawn, "norm").pvalue > 1e-3


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: reference.name)
def test_spectrum_of_the_published_code(reference):
    source, like = generator(1), torch.zeros(4, 4, 64, 64)
    drawn = [spectra.summarise(reference.noise.draw(like, source)) for _ in range(40)]
    rows = numpy.array(
        [(s.k0, s.k1, s.k4, s.k16, s.k31, s.mean_variance, s.lag1, s.lag8) for s in drawn]
    )
    expected = numpy.array(
        [*reference.powers, reference.mean_variance, *reference.correlations], dtype=float
    )
    # The table was measured on as many fields or fewer and rounded to two digits: its error is at
    # least ours, so a difference of four deviations is 5.7 of our own errors.
    error = rows.std(axis=0) / numpy.sqrt(len(rows))
    rounding = numpy.maximum(0.05 * numpy.abs(expected), 0.006)
    rounding[5] = 0.05 * expected[5] + 1e-9
    assert (numpy.abs(rows.mean(axis=0) - expected) <= 5.7 * error + rounding).all(), (
        rows.mean(axis=0), expected, error
    )  # fmt: skip


class TestPyramid:
    def test_each_sample_has_unit_deviation_of_its_own(self):
        drawn = noise.Pyramid(discount=0.8).draw(LIKE[:8], generator())
        assert torch.allclose(drawn.std(dim=(1, 2, 3)), torch.ones(8), atol=1e-5)

    def test_published_ones_only_as_a_batch(self):
        for settings in (noise.KohyaPyramid(discount=0.8), noise.WhitakerPyramid()):
            drawn = settings.draw(LIKE[:32], generator())
            assert drawn.std().item() == pytest.approx(1, abs=1e-4)
            assert 0.01 < drawn.std(dim=(1, 2, 3)).std().item() < 0.2

    def test_matrices_enlarge_as_torch_does(self):
        coarse = torch.randn(1, 1, 7, 5, generator=generator())
        down = pyramid._bilinear(32, torch.tensor([7.0]), 9)[0]
        across = pyramid._bilinear(20, torch.tensor([5.0]), 5)[0]
        assert torch.equal(down[:, 7:], torch.zeros(32, 2))
        expected = functional.interpolate(coarse, size=(32, 20), mode="bilinear")[0, 0]
        assert torch.allclose(down[:, :7] @ coarse[0, 0] @ across.T, expected, atol=1e-5)

    def test_has_the_spectrum_of_the_kohya_form(self):
        """Scales of its own and another normalisation: the mean spectrum stays."""
        named = {reference.name: reference for reference in REFERENCES}
        settings = noise.Pyramid(discount=0.4, levels=6)
        found = spectra.summarise(settings.draw(LIKE, generator()))
        expected = named["kohya-6-0.4"].powers
        powers = (found.k0, found.k1, found.k4, found.k16, found.k31)
        assert powers == pytest.approx(expected, rel=0.25)  # the mean: 512 fields, 4 deviations


class TestPerlin:
    def test_perturbation_goes_from_clouds_to_white(self):
        def lag(share):
            settings = noise.Perlin(octaves=4, persistence=0.5, perturbation=share)
            return spectra.summarise(settings.draw(LIKE[:64], generator())).lag1

        falling = [lag(share) for share in (0, 0.2, 0.4, 0.6, 0.8, 1)]
        assert falling == sorted(falling, reverse=True)
        assert falling[0] > 0.9
        assert falling[-1] == pytest.approx(0, abs=4 / 1024)

    def test_one_octave_is_perlin_noise(self):
        """Node by node, against the textbook's sum over four corners."""
        from workbench.diffusion.noise.perlin import add_octave

        angle = 2 * numpy.pi * numpy.random.default_rng(0).random((5, 6))
        slopes = torch.tensor(numpy.stack([numpy.sin(angle), numpy.cos(angle)]))[None, :, None]
        field = torch.zeros(1, 1, 12, 16)
        add_octave(field, slopes.float(), 4.0, shifts=torch.tensor([[0.3, 0.9]]), weight=1.0)

        def fade(t):
            return t**3 * (t * (6 * t - 15) + 10)

        expected = numpy.zeros((12, 16))
        for row in range(12):
            for column in range(16):
                y, x = (row + 0.5) / 4 + 0.3, (column + 0.5) / 4 + 0.9
                for i in (int(y), int(y) + 1):
                    for j in (int(x), int(x) + 1):
                        weight = fade(1 - abs(y - i)) * fade(1 - abs(x - j))
                        slope = numpy.sin(angle[i, j]) * (y - i) + numpy.cos(angle[i, j]) * (x - j)
                        expected[row, column] += weight * slope
        scale = field[0, 0].numpy() / expected
        assert scale.std() < 1e-3 * scale.mean()
        assert scale.mean() == pytest.approx(0.0465**-0.5, rel=0.1)  # its deviation, integrated

    def test_a_lattice_tied_to_the_edges_leaves_its_nodes_without_noise(self):
        def least(**options):
            settings = noise.Perlin(octaves=3, persistence=0.5, perturbation=0, **options)
            return settings.draw(LIKE, generator()).square().mean(dim=(0, 1)).min().item()

        assert least(shift=False) < 0.05
        assert least() > 0.6


class TestPowerLaw:
    @pytest.mark.parametrize("exponent", [-2, -0.5, 0, 1, 2.5])
    def test_power_falls_with_the_exponent(self, exponent):
        settings = noise.PowerLaw(exponent=exponent)
        power = spectra.power_spectrum(settings.draw(LIKE[:, :, :, :48], generator()))
        along, across = power[1:32, 0].numpy(), power[0, 1:24].numpy()
        k = numpy.concatenate([numpy.arange(1, 32) / 64, numpy.arange(1, 24) / 48])
        slope = stats.linregress(numpy.log(k), numpy.log(numpy.concatenate([along, across]))).slope
        assert slope == pytest.approx(-exponent, abs=0.05)

    def test_the_mean_is_dropped_or_kept(self):
        for exponent in (-1, 2):
            dropped = noise.PowerLaw(exponent=exponent).draw(LIKE, generator())
            assert dropped.mean(dim=(2, 3)).abs().max() < 1e-5
            kept = noise.PowerLaw(exponent=exponent, keep_dc=True).draw(LIKE, generator())
            power = spectra.power_spectrum(kept)[0, 0].item()
            assert power == pytest.approx(1, abs=4 * numpy.sqrt(2 / 512))


class TestOffset:
    def test_adaptive_follows_the_latents_and_stops_at_zero(self):
        like = torch.zeros(500, 3, 8, 8)
        like[:, 1], like[:, 2] = 2.0, -0.5
        for adaptive, expected in ((0.1, (0.1, 0.3, 0.15)), (-0.1, (0.1, 0.0, 0.05))):
            settings = noise.Offset(strength=0.1, adaptive=adaptive)
            # The same numbers without a constant leave the constant alone.
            bare = settings.model_copy(update={"strength": 0.0, "adaptive": 0.0})
            constant = settings.draw(like, generator()) - bare.draw(like, generator())
            assert constant.std(dim=(2, 3)).max() < 1e-6
            found = constant.mean(dim=(2, 3)).std(dim=0)
            assert found.tolist() == pytest.approx(expected, rel=4 / numpy.sqrt(2 * 500), abs=1e-6)

    def test_random_strength_is_uniform_over_samples(self):
        like = torch.zeros(4000, 4, 2, 2)
        settings = noise.Offset(strength=0.6, random_strength=True)
        drawn = settings.draw(like, generator())
        white = settings.model_copy(update={"strength": 0.0}).draw(like, generator())
        variance = (drawn - white).mean(dim=(2, 3)).square().mean().item()
        assert variance == pytest.approx(0.6**2 / 3, rel=0.1)  # of U(0, o) times a normal

    def test_over_another_noise(self):
        base = noise.PowerLaw(exponent=1)
        drawn = noise.Offset(strength=0.3, base=base).draw(LIKE[:64], generator())
        centred = drawn - drawn.mean(dim=(2, 3), keepdim=True)
        assert drawn.mean(dim=(2, 3)).std().item() == pytest.approx(0.3, rel=0.2)
        assert spectra.summarise(centred).k1 == pytest.approx(15, rel=0.2)

    def test_of_no_strength_is_its_base(self):
        drawn = noise.Offset(strength=0).draw(LIKE[:64], generator())
        assert spectra.summarise(drawn).k0 == pytest.approx(1, abs=0.36)  # 4 sqrt(2 / 256)


class TestMixture:
    def test_power_is_the_weighted_mean(self):
        parts = (noise.Gaussian(), noise.PowerLaw(exponent=1))
        settings = noise.Mixture(parts=parts, weights=(3, 4))
        found = spectra.summarise(settings.draw(LIKE, generator()))
        assert found.variance == pytest.approx(1, abs=0.01)
        assert found.k0 == pytest.approx(9 / 25, rel=0.25)
        assert found.k1 == pytest.approx(9 / 25 + 16 / 25 * 15, rel=0.12)
        assert found.k16 == pytest.approx(9 / 25 + 16 / 25 * 1.15, rel=0.05)

    @pytest.mark.parametrize("weights", [(1,), (1, -1), (0, 0)])
    def test_weights_that_fit_no_parts(self, weights):
        with pytest.raises(SettingsError, match="weights must be 2 numbers >= 0, one for each"):
            noise.Mixture(parts=(noise.Gaussian(), noise.Perlin()), weights=weights)


class TestInputPerturbation:
    def test_goes_in_and_is_not_asked_for(self):
        settings = noise.InputPerturbation(gamma=0.5)
        pair = settings.pair(LIKE[:16], generator())
        further = pair.input - pair.target
        assert torch.equal(pair.target, noise.Gaussian().draw(LIKE[:16], generator()))
        assert further.std().item() == pytest.approx(0.5, rel=0.01)
        correlation = numpy.corrcoef(further.flatten().numpy(), pair.target.flatten().numpy())
        assert abs(correlation[0, 1]) < 4 / numpy.sqrt(further.numel())

    def test_over_another_noise(self):
        settings = override(Holder(), ["noise.kind=input_perturbation", "noise.base.kind=offset"])
        assert isinstance(settings.noise, noise.InputPerturbation)
        pair = settings.noise.pair(LIKE[:64], generator())
        assert spectra.summarise(pair.target).k0 == pytest.approx(11.2, rel=0.36)


def test_files_say_it_in_the_words_of_sd_scripts():
    settings = noise.InputPerturbation(base=noise.Offset(strength=0.1, base=noise.KohyaPyramid()))
    assert settings.metadata() == {
        "multires_noise_iterations": 6,
        "multires_noise_discount": 0.3,
        "noise_offset": 0.1,
        "noise_offset_random_strength": False,
        "adaptive_noise_scale": None,
        "ip_noise_gamma": 0.1,
        "ip_noise_gamma_random_strength": False,
    }

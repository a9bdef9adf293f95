"""Timesteps stay in range and follow the distribution they declare."""

from typing import get_args

import numpy
import pytest
import torch
from scipy import stats

from workbench.diffusion import timesteps
from workbench.process import DiscreteVP
from workbench.settings import SettingsError

MEMBERS = get_args(get_args(timesteps.Timesteps)[0])
VARIANTS = [member() for member in MEMBERS] + [
    timesteps.LogitNormal(mean=-1, spread=0.5),
    timesteps.LogitNormal(mean=1, spread=2),
    timesteps.Shifted(shift=0.3),
    timesteps.Uniform(lowest=250, highest=749),
    timesteps.LogitNormal(lowest=100, highest=899),
]


def process_of(count):
    return DiscreteVP(torch.linspace(0.999, 0.005, count), "epsilon")


PROCESS = process_of(1000)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("member", MEMBERS)
def test_contract(member, stratified):
    settings = member(lowest=100, highest=103, stratified=stratified)
    drawn = settings.draw(2000, generator(), PROCESS)
    assert drawn.dtype == torch.int64
    assert drawn.shape == (2000,)
    assert set(drawn.tolist()) == {100, 101, 102, 103}
    assert torch.equal(drawn, settings.draw(2000, generator(), PROCESS))
    assert not torch.equal(drawn, settings.draw(2000, generator(1), PROCESS))
    assert set(member(lowest=7, highest=7).draw(9, generator(), PROCESS).tolist()) == {7}


@pytest.mark.parametrize("member", MEMBERS)
def test_the_ends_of_the_generator_are_in_range(member):
    ends = member().quantile(torch.tensor([0.0, 2**-24, 0.5, 1 - 2**-24, 1.0]))
    assert ends.isfinite().all()
    assert (ends.diff() > 0).all() and ends[0] >= 0 and ends[-1] <= 1


@pytest.mark.parametrize("member", MEMBERS)
def test_range_the_wrong_way_round(member):
    with pytest.raises(SettingsError, match="lowest must be at most highest, got 5 and 4; swap"):
        member(lowest=5, highest=4)


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_draws_follow_the_density_by_chi_square(settings):
    density = settings.density()
    assert density.sum().item() == pytest.approx(1)
    assert (density[: settings.lowest] == 0).all() and (density[settings.highest + 1 :] == 0).all()
    drawn = settings.draw(100_000, generator(), PROCESS)
    counts = numpy.bincount(drawn.numpy(), minlength=1000).reshape(20, 50).sum(axis=1)
    expected = density.numpy().reshape(20, 50).sum(axis=1) * 100_000
    common = expected > 5
    kept = numpy.append(counts[common], counts[~common].sum())
    wanted = numpy.append(expected[common], expected[~common].sum())
    filled = wanted > 0
    assert kept[~filled].sum() == 0
    assert stats.chisquare(kept[filled], wanted[filled]).pvalue > 1e-3


@pytest.mark.parametrize("mean, spread", [(0, 1), (-1, 0.5), (1, 2)])
def test_logit_normal_density_is_that_of_scipy(mean, spread):
    edges = numpy.linspace(0, 1, 1001)
    with numpy.errstate(divide="ignore"):
        cumulative = stats.norm.cdf((numpy.log(edges) - numpy.log1p(-edges) - mean) / spread)
    density = timesteps.LogitNormal(mean=mean, spread=spread).density()
    numpy.testing.assert_allclose(density, numpy.diff(cumulative), atol=1e-12)


def test_shift_is_that_of_sd3():
    """s u / (1 + (s - 1) u), and on a logit-normal it is a mean higher by ln s."""
    u = torch.linspace(0.01, 0.99, 50)
    found = timesteps.Shifted(shift=3).quantile(u)
    numpy.testing.assert_allclose(found, 3 * u.numpy() / (1 + 2 * u.numpy()), rtol=1e-6)
    plain = timesteps.LogitNormal(mean=0.2).quantile(u)
    moved = timesteps.LogitNormal(mean=0.2 + float(numpy.log(3))).quantile(u)
    torch.testing.assert_close(timesteps.Shifted(shift=3).quantile(plain), moved)


def test_no_shift_is_uniform():
    torch.testing.assert_close(timesteps.Shifted(shift=1).density(), timesteps.Uniform().density())


@pytest.mark.parametrize("settings", [timesteps.Uniform(), timesteps.LogitNormal()], ids=str)
def test_strata_hold_one_draw_each_and_leave_the_distribution(settings):
    strata = settings.model_copy(update={"stratified": True})
    place = strata.cumulative(strata.draw(8, generator(3), PROCESS).double() / 1000)
    assert sorted((place * 8 + 0.02).long().tolist()) == list(range(8))  # 0.02: whole timesteps
    means = [strata.draw(8, generator(s), PROCESS).double().mean().item() for s in range(300)]
    loose = [settings.draw(8, generator(s), PROCESS).double().mean().item() for s in range(300)]
    assert numpy.std(means) < 0.4 * numpy.std(loose)
    assert numpy.mean(means) == pytest.approx(499.5, abs=5)
    first = [strata.draw(8, generator(s), PROCESS)[0].item() for s in range(300)]
    assert stats.kstest(settings.cumulative(torch.tensor(first) / 1000), "uniform").pvalue > 1e-3


def test_losses_are_sorted_by_timestep():
    when = torch.tensor([0, 99, 100, 555, 999, 999])
    losses = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    sums, counts = timesteps.sum_by_bin(losses, PROCESS.place(when))
    assert sums.tolist() == [3, 4, 0, 0, 0, 8, 0, 0, 0, 48]
    assert counts.tolist() == [2, 1, 0, 0, 0, 1, 0, 0, 0, 2]
    assert timesteps.bin_edges() == list(range(0, 1001, 100))


@pytest.mark.parametrize("count, bins", [(1000, 10), (1000, 7), (999, 4), (10, 10)])
def test_edges_are_where_the_bins_change(count, bins):
    edges, process = timesteps.bin_edges(bins), process_of(count)
    for when in range(count):
        place = process.place(torch.tensor([when]))
        _, counts = timesteps.sum_by_bin(torch.ones(1), place, num_bins=bins)
        k = counts.argmax().item()
        assert edges[k] <= 1000 * place.item() < edges[k + 1]


def test_a_loss_that_is_not_finite_stays_in_its_bin():
    sums, _ = timesteps.sum_by_bin(
        torch.tensor([float("nan"), 1.0]), PROCESS.place(torch.tensor([5, 500]))
    )
    assert sums[5] == 1 and sums[1:].isfinite().all()

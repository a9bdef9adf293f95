"""Timesteps stay in range and follow the distribution they declare."""

from typing import get_args

import numpy
import pytest
import torch
from scipy import stats

from workbench.diffusion import timesteps
from workbench.settings import SettingsError

MEMBERS = get_args(get_args(timesteps.Timesteps)[0])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("member", MEMBERS)
def test_contract(member):
    settings = member(lowest=100, highest=103)
    drawn = settings.draw(2000, generator())
    assert drawn.dtype == torch.int64
    assert drawn.shape == (2000,)
    assert set(drawn.tolist()) == {100, 101, 102, 103}
    assert torch.equal(drawn, settings.draw(2000, generator()))
    assert not torch.equal(drawn, settings.draw(2000, generator(1)))
    assert set(member(lowest=7, highest=7).draw(9, generator()).tolist()) == {7}


@pytest.mark.parametrize("member", MEMBERS)
def test_range_the_wrong_way_round(member):
    with pytest.raises(SettingsError, match="lowest must be at most highest, got 5 and 4; swap"):
        member(lowest=5, highest=4)


def test_uniform_by_chi_square():
    drawn = timesteps.Uniform().draw(100_000, generator())
    counts = numpy.bincount(drawn.numpy(), minlength=1000)
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("mean, spread", [(0, 1), (-1, 0.5), (1, 2)])
def test_logit_normal_by_chi_square(mean, spread):
    drawn = timesteps.LogitNormal(mean=mean, spread=spread).draw(100_000, generator())
    edges = numpy.linspace(0, 1, 21)
    with numpy.errstate(divide="ignore"):
        cumulative = stats.norm.cdf((numpy.log(edges) - numpy.log1p(-edges) - mean) / spread)
    expected = numpy.diff(cumulative) * 100_000
    counts = numpy.bincount(drawn.numpy() // 50, minlength=20)
    common = expected > 5
    kept = numpy.append(counts[common], counts[~common].sum())
    wanted = numpy.append(expected[common], expected[~common].sum())
    filled = wanted > 0
    assert stats.chisquare(kept[filled], wanted[filled]).pvalue > 1e-3

"""Zero terminal SNR: the noise schedule by the paper's formula, and what it rules out."""

import json
import shutil
from pathlib import Path

import numpy
import pytest
import torch

from workbench.models.base import BaseSettings
from workbench.models.loading import load
from workbench.settings import SettingsError


def by_the_paper() -> tuple[numpy.ndarray, numpy.ndarray]:
    """alpha_bar of SD, and rescaled by algorithm 1 of arXiv 2305.08891, in float64."""
    betas = numpy.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alphas = numpy.cumprod(1 - betas)
    root = numpy.sqrt(alphas)
    return alphas, ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


def test_the_schedule_keeps_its_start_and_ends_in_noise_alone(tiny_sd2: Path) -> None:
    plain, rescaled = by_the_paper()
    family = load(BaseSettings(path=str(tiny_sd2), zero_terminal_snr=True))
    ours = family.process.alphas.double().numpy()
    assert family.process.ends_in_noise and family.identity["zero_terminal_snr"] is True
    assert ours[-1] == 0
    assert ours[0] == pytest.approx(plain[0], rel=1e-6)
    numpy.testing.assert_allclose(ours[:-1], rescaled[:-1], rtol=2e-3)  # a float32 product of 1000
    numpy.testing.assert_allclose(ours, rescaled, atol=1e-5)
    pipeline = family.pipeline()
    assert torch.equal(pipeline.scheduler.alphas_cumprod, family.process.alphas)
    assert pipeline.scheduler.config.timestep_spacing == "trailing"


def test_it_is_off_unless_the_files_say_so_and_can_be_switched_off(
    tiny_sd2: Path, tmp_path: Path
) -> None:
    plain, _ = by_the_paper()
    family = load(BaseSettings(path=str(tiny_sd2)))
    assert not family.process.ends_in_noise and family.identity["zero_terminal_snr"] is False
    folder = shutil.copytree(tiny_sd2, tmp_path / "copy")
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rescale_betas_zero_snr": True}))
    assert load(BaseSettings(path=str(folder))).process.ends_in_noise
    off = load(BaseSettings(path=str(folder), zero_terminal_snr=False))
    assert off.process.alphas[-1].item() == pytest.approx(plain[-1], rel=1e-4)


def test_it_is_refused_without_velocity(tiny_sd: Path) -> None:
    with pytest.raises(SettingsError, match=r'zero_terminal_snr needs prediction = "v_prediction"'):
        BaseSettings(path=str(tiny_sd), prediction="epsilon", zero_terminal_snr=True)
    with pytest.raises(SettingsError, match=r"base\.zero_terminal_snr needs prediction"):
        load(BaseSettings(path=str(tiny_sd), zero_terminal_snr=True))
    both = BaseSettings(path=str(tiny_sd), prediction="v_prediction", zero_terminal_snr=True)
    assert load(both).process.alphas[-1] == 0

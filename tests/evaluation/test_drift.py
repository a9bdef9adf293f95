"""Colour measures agree with published values, and drift is found only where there is some."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from workbench.evaluation.drift import AXES, drift, measures, moves, to_lab
from workbench.evaluation.results import Pair


@pytest.mark.parametrize(
    ("colour", "lab"),  # CIE L*a*b* of sRGB's corners, D65, from Lindbloom's calculator
    [
        ((255, 255, 255), (100.0, 0.0, 0.0)),
        ((0, 0, 0), (0.0, 0.0, 0.0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
    ],
)
def test_lab_of_known_colours(colour: tuple[int, int, int], lab: tuple[float, ...]) -> None:
    assert to_lab(Image.new("RGB", (1, 1), colour))[0, 0] == pytest.approx(lab, abs=0.02)


def noise(seed: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(60, 190, (24, 24, 3))
    return Image.fromarray(values.astype(np.uint8))


def test_no_drift_between_equal_pictures() -> None:
    rows = drift([Pair(f"p{k}", 0, noise(k), noise(k)) for k in range(8)])
    assert len(rows) == 8
    assert all(row.change == 0 and not row.moved for row in rows)


def test_a_darkened_and_greyed_set_is_seen() -> None:
    def faded(image: Image.Image) -> Image.Image:
        return ImageEnhance.Color(ImageEnhance.Brightness(image).enhance(0.8)).enhance(0.5)

    pairs = [Pair(f"p{k}", 0, noise(k), faded(noise(k))) for k in range(8)]
    rows = {row.name: row for row in drift(pairs)}
    lightness, chroma = rows["L* (lightness)"], rows["chroma (how colourful)"]
    assert lightness.moved and lightness.change < -5
    assert chroma.moved and chroma.low <= chroma.change <= chroma.high < 0
    few = drift(pairs[:7])
    assert not any(row.moved for row in few) and "8 are needed" in few[0].reading
    assert moves(pairs).mean(axis=0) == pytest.approx(
        [rows[name].change for name in AXES], rel=1e-9
    )


def test_contrast_is_the_range_of_lightness_without_its_tails() -> None:
    ramp = np.repeat(np.linspace(0, 255, 101).astype(np.uint8)[:, None, None], 3, axis=2)
    black_to_white = Image.fromarray(ramp)
    assert 95 < measures(black_to_white)["contrast (L*, p1 to p99)"] < 100


def test_one_pair_says_nothing() -> None:
    assert drift([Pair("p", 0, noise(0), noise(1))]) == ()

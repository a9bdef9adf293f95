"""Figures hold the numbers they were given, thinned where there are too many, and no more."""

import json
import math

import pytest

from workbench.plots import curves
from workbench.plots.theme import MAX_POINTS, smooth, thin


def test_thin_keeps_the_ends_and_the_limit() -> None:
    assert thin(5) == [0, 1, 2, 3, 4]
    kept = thin(100_000)
    assert kept[0] == 0 and kept[-1] == 99_999
    assert len(kept) == MAX_POINTS and kept == sorted(set(kept))


def test_smooth_is_unbiased_at_the_start_and_skips_nan() -> None:
    assert smooth([3.0] * 10, weight=0.9) == pytest.approx([3.0] * 10)
    assert smooth([1.0, 3.0], weight=0.5) == pytest.approx([1.0, (0.25 * 1 + 0.5 * 3) / 0.75])
    assert smooth([2.0, float("nan"), 2.0], weight=0.9) == pytest.approx([2.0] * 3)


def test_stable_loss_is_percent_of_the_base_and_starts_at_zero() -> None:
    figure = curves.stable_loss({"train": ([10, 20], [0.9, 0.8], 1.0)})
    assert list(figure.data[0].x) == [0, 10, 20]
    assert list(figure.data[0].y) == pytest.approx([0, -10, -20])


def test_loss_by_timestep_has_a_bar_a_bin_and_survives_a_base_of_zero() -> None:
    figure = curves.loss_by_timestep((0, 500, 1000), {"held out": ([0.5, 1.0], [1.0, 0.0])})
    assert list(figure.data[0].x) == ["0–500", "500–1000"]
    assert list(figure.data[0].y) == [pytest.approx(-50), None]


def test_a_logarithmic_axis_leaves_out_zero() -> None:
    figure = curves.gradient_norm([1, 2, 3], [0.5, 0.0, 2.0], clip=1.0)
    assert list(figure.data[0].y) == [0.5, None, 2.0]


def test_weight_change_shows_the_largest() -> None:
    figure = curves.weight_change({f"block {k}": k / 100 for k in range(40)}, most=3)
    assert list(figure.data[0].y) == ["block 37", "block 38", "block 39"]


def test_every_figure_becomes_json_even_with_nan() -> None:
    steps, values = list(range(3000)), [math.nan] * 3000
    for figure in (
        curves.loss(steps, values),
        curves.rates(steps, {"unet": values, "<b>": values}),
        curves.stable_loss({"train": (steps, values, 1.0)}),
    ):
        data = json.loads(figure.to_json())["data"]
        assert all(len(trace["x"]) <= 3001 for trace in data)

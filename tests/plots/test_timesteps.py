"""Density, weight and their product on one axis; bars of the latest losses."""

import json

import pytest

from workbench.plots.timesteps import emphasis, recent_losses, signal


def test_emphasis_is_relative_to_plain_training() -> None:
    figure = emphasis(density=[0.25] * 2 + [0.5, 0.0], weights=[2.0, 1.0, 0.5, 3.0])
    both, drawn, counts = figure.data
    assert list(drawn.y) == pytest.approx([1, 1, 2, 0])
    assert list(counts.y) == [2.0, 1.0, 0.5, 3.0]
    assert list(both.y) == pytest.approx([2, 1, 1, 0])
    assert list(both.x) == [0, 1, 2, 3]


def test_recent_losses_fade_with_few_samples() -> None:
    figure = recent_losses([(0, 100), (900, 1000)], [0.01, 0.3], [10, 1])
    (bars,) = figure.data
    assert list(bars.x) == ["0–99", "900–999"] and list(bars.y) == [0.01, 0.3]
    assert bars.marker.opacity == pytest.approx((1.0, 0.415))
    json.loads(figure.to_json())
    assert not recent_losses([], [], []).data[0].x


def test_what_is_left_of_the_picture_has_a_mark_and_no_place_for_nothing() -> None:
    curve, mark = signal([1000.0, 1.0, 0.01, 0.0], marked=2).data
    assert list(curve.y) == [1000.0, 1.0, 0.01, None]
    assert (list(mark.x), list(mark.y)) == ([2], [0.01])
    assert len(signal([2.0, 1.0]).data) == 1
    json.loads(signal([1.0, 0.0], marked=1).to_json())

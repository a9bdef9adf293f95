"""Figures as SVG: what a page without scripts shows is what plotly draws."""

import xml.etree.ElementTree as ET

import pytest

from workbench.plots.buckets import counts
from workbench.plots.captions import survival
from workbench.plots.curves import lines
from workbench.plots.still import HEIGHT_PX, figure_svg

SVG = "{http://www.w3.org/2000/svg}"


def _drawn(figure: object) -> ET.Element:
    return ET.fromstring(figure_svg(figure))


def _heights(root: ET.Element, colour: str) -> list[float]:
    bars = [one for one in root.iter(f"{SVG}rect") if one.get("fill") == colour]
    return [float(one.get("height", "0")) for one in bars if float(one.get("height", "0")) > 4]


def test_stacked_bars_stand_on_one_another_in_proportion():
    figure = counts({(64, 256): 5, (128, 128): 10}, batch_size=4)
    full, short = (_heights(_drawn(figure), trace.marker.color) for trace in figure.data)
    assert full[1] / full[0] == pytest.approx(8 / 4, rel=0.01)
    assert short[1] / short[0] == pytest.approx(2 / 1, rel=0.01)
    assert full[0] / short[0] == pytest.approx(4, rel=0.01)


def test_lying_bars_are_drawn_too():
    said = figure_svg(survival({"hat": 0.5, "mochi": 1.0}, num_draws=20, trigger="mochi"))
    assert "hat" in said and "mochi" in said and "more in the notebook" not in said


def test_a_line_on_a_log_axis_falls_as_its_logarithm():
    figure = lines([1, 2, 3], {"a": [100.0, 10.0, 1.0]}, title="<T>", y="y", log_y=True)
    root = _drawn(figure)
    points = next(iter(root.iter(f"{SVG}polyline"))).get("points", "")
    heights = [float(pair.split(",")[1]) for pair in points.split()]
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.2)
    assert heights[0] < heights[2] < HEIGHT_PX
    assert next(text.text for text in root.iter(f"{SVG}text")) == "<T>"

"""A curve without a script: values that are not finite leave a gap, words are escaped."""

import re
from xml.etree import ElementTree

from workbench.plots.inline import curve_svg


def _points(svg: str) -> list[list[tuple[float, float]]]:
    lines = re.findall(r'points="([^"]*)"', svg)
    return [[tuple(map(float, p.split(","))) for p in line.split()] for line in lines]  # type: ignore[misc]


def test_it_is_well_formed_and_the_axis_reaches_to_the_planned_end():
    svg = curve_svg([1, 2, 3], [0.4, 0.2, 0.3], label="loss <of> a & b", last=10)
    ElementTree.fromstring(svg)
    values, trend = _points(svg)
    assert len(values) == len(trend) == 3
    assert values[0][1] < values[2][1] < values[1][1]  # SVG counts downwards
    assert values[-1][0] < 560 / 2  # 3 of 10 steps are done


def test_what_is_not_finite_is_left_out():
    values, _ = _points(curve_svg([1, 2, 3], [0.4, float("nan"), 0.3], label="loss"))
    assert len(values) == 2
    assert _points(curve_svg([], [], label="loss")) == [[], []]

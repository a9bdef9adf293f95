"""Figures and sheets of noise hold the numbers they were given."""

import json

import numpy as np
import pytest
from PIL import Image

from workbench.plots import noise, sheets

RNG = np.random.default_rng(0)
FIELD = RNG.standard_normal((4, 16, 24)).astype(np.float32)


def test_spectra_are_drawn_with_the_mean_in_the_middle() -> None:
    power = np.ones((16, 24))
    power[0, 0], power[0, 1] = 1000, 10
    figure = noise.power_spectrum(power)
    drawn = figure.data[0]
    assert drawn.z[8, 12] == pytest.approx(3) and drawn.z[8, 13] == pytest.approx(1)
    assert (drawn.x[12], drawn.y[8]) == (0, 0)
    assert (drawn.x[0], drawn.y[0]) == (-12, -8)


def test_a_frequency_without_power_is_no_infinity() -> None:
    assert np.isfinite(noise.power_spectrum(np.zeros((4, 4))).data[0].z).all()
    curve = noise.radial_power({"pink": [0.0, 15.0, 4.0]}).data[0]
    assert list(curve.y) == [None, 15.0, 4.0]
    assert list(curve.x) == [0.5, 1, 2]


def test_published_powers_are_rings_beside_their_curve() -> None:
    figure = noise.radial_power(
        {"a": [2.0, 1.0], "b": [1.0, 1.0]}, published={"b": {0: 37, 1: 76, 4: 0}}
    )
    assert [trace.name for trace in figure.data] == ["a", "b", "b, published"]
    rings = figure.data[2]
    assert (list(rings.x), list(rings.y)) == ([0.5, 1], [37, 76])
    assert rings.marker.color == figure.data[1].line.color


def test_histogram_is_a_density_and_keeps_what_is_far_out() -> None:
    figure = noise.histogram({"noise": np.array([0.0, 0.0, 0.0, 99.0])}, num_bins=80)
    assert float(np.sum(figure.data[1].y) * 0.1) == pytest.approx(1)
    assert figure.data[1].y[-1] == pytest.approx(2.5)
    assert float(np.sum(figure.data[0].y) * 0.1) == pytest.approx(1, abs=1e-3)


def test_statistics_leave_out_what_a_row_lacks() -> None:
    table = noise.statistics({"white": {"mean": 1, "lag": 0}, "pink": {"mean": 0.00012}}).data[0]
    assert table.header["values"] == ("", "mean", "lag")
    assert table.cells["values"] == (["white", "pink"], ["1", "0.00012"], ["0", ""])


def test_every_figure_becomes_json() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    figures = [
        noise.field(FIELD),
        noise.power_spectrum(FIELD[0] ** 2),
        noise.phase_spectrum(FIELD[0]),
        noise.radial_power({str(k): [1.0, 2.0] for k in range(8)}),
        noise.autocorrelation({"white": [1.0, 0.0]}),
        noise.histogram({"white": FIELD}),
        noise.statistics({}),
        noise.noised({"white": {"t = 0": picture, "t = 999": picture}, "pink": {"t = 0": picture}}),
    ]
    for figure in figures:
        assert json.loads(figure.to_json())["layout"]
    assert len(figures[0].data) == 4
    assert len({(t.line.color, t.line.dash) for t in figures[3].data}) == 8


def test_paint_interpolates_between_stops_and_clips() -> None:
    stops = ((0.0, "#000000"), (0.5, "#ff0000"), (1.0, "#ffffff"))
    values = np.array([[-5.0, 0.0], [0.5, np.inf]])
    image = sheets.paint(values, limits=(-1, 1), colours=stops, side_px=4)
    assert image.size == (4, 4)
    corners = [image.getpixel((x, y)) for y in (0, 3) for x in (0, 3)]
    assert corners == [(0, 0, 0), (255, 0, 0), (255, 128, 128), (255, 255, 255)]


def test_a_contact_sheet_holds_every_panel() -> None:
    red, wide = Image.new("RGB", (64, 64), "#ff0000"), Image.new("RGB", (200, 100), "#0000ff")
    rows = [sheets.Row("one", "said of it", [("a", red), ("b", wide)]), sheets.Row("", "", [])]
    page = sheets.contact_sheet(rows, title="Title", text="text")
    panel = sheets.PANEL_PX
    colours = {colour: count for count, colour in page.getcolors(1 << 20)}
    assert colours[(255, 0, 0)] == panel**2
    assert colours[(0, 0, 255)] == 2 * panel**2
    assert page.width == 3 * panel + sheets.GAP_PX + 2 * sheets.MARGIN_PX


def test_a_curve_has_rings_and_the_level_of_white_noise() -> None:
    image = np.asarray(sheets.curve([1.0, 10.0, 0.0], limits=(-2, 3), points={1: 10.0}), float)
    plain = np.asarray(sheets.curve([1.0, 10.0, 0.0], limits=(-2, 3)), float)
    assert np.abs(image - plain).max() > 100
    assert image.shape[1] == round(1.6 * image.shape[0])

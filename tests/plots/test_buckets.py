"""Points in their bucket's colour, bars that add up, a crop that leaves its inside alone."""

import json

import numpy as np
import pytest
from PIL import Image

from workbench.plots.buckets import counts, crop_overlay, lost, scatter

PICTURES = {
    "a": ((300, 200), (144, 112)),
    "b": ((301, 200), (144, 112)),
    "c": ((200, 200), (128, 128)),
}


def test_every_picture_is_a_point_of_its_bucket():
    figure = scatter(PICTURES, [(144, 112), (128, 128), (96, 160)], chosen="a")
    buckets, points, line = figure.data
    assert list(zip(buckets.x, buckets.y, strict=True)) == [(144, 112), (128, 128), (96, 160)]
    assert list(points.text) == ["a", "b", "c"] and list(points.x) == [300, 301, 200]
    assert list(points.customdata) == ["144 x 112", "144 x 112", "128 x 128"]
    squares = dict(zip(zip(buckets.x, buckets.y, strict=True), buckets.marker.color, strict=True))
    assert list(points.marker.color) == [squares[PICTURES[name][1]] for name in "abc"]
    assert squares[96, 160] not in points.marker.color, "a bucket without pictures is grey"
    assert (list(line.x), list(line.y)) == ([300, 144], [200, 112])
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"
    json.loads(figure.to_json())


def test_pictures_of_one_size_share_a_point_that_names_some():
    same = {f"{k}.png": ((300, 200), (144, 112)) for k in range(5)}
    _, points = scatter(same, [(144, 112)]).data
    assert list(points.text) == ["0.png, 1.png, 2.png and 2 more"]


def test_bars_go_from_tall_to_wide_and_split_at_the_last_full_batch():
    figure = counts({(160, 96): 5, (96, 160): 4, (128, 128): 3}, batch_size=4)
    full, short = figure.data
    assert list(full.x) == ["96 x 160", "128 x 128", "160 x 96"]
    assert (list(full.y), list(short.y)) == ([4, 0, 4], [0, 3, 1])
    assert list(counts({(160, 96): 5}).data[0].y) == [5]


def test_what_is_cut_off_is_said_in_percent():
    one, other = lost({"square": {"a": 0.25}, "buckets": {"a": 0.02}}).data
    assert (list(one.y), list(other.y)) == ([25], [2])


def test_the_crop_overlay_darkens_only_what_is_cut_off():
    overlay = np.asarray(
        crop_overlay(Image.new("RGB", (160, 80), (200, 100, 50)), (40, 0, 120, 80))
    )
    assert overlay.shape == (80, 160, 3)
    assert overlay[40, 80].tolist() == [200, 100, 50]
    assert overlay[40, 10] == pytest.approx([60, 30, 15])

"""Sizes against published tables, placement against arithmetic by hand."""

import math
import random

import pytest

from workbench.data.buckets import BucketSettings, place, sizes, why_excluded
from workbench.settings import SettingsError, from_dict

# Buckets for an area of 1024^2 in steps of 64, sides 512 to 2048, by hand from kohya's rule
# floor(2^20 / width / 64) * 64. All are in the table of the SDXL report's appendix I (arXiv
# 2307.01952), which lists 704 x 1344, 832 x 1152, 896 x 1088 and 960 x 1024 as well.
PORTRAIT_1024 = {
    512: [1856, 1920, 1984, 2048],
    576: [1664, 1728, 1792],
    640: [1536, 1600],
    704: [1408, 1472],
    768: [1280, 1344],
    832: [1216],
    896: [1152],
    960: [1088],
}
TABLE_1024 = {(1024, 1024)} | {
    size
    for short, longs in PORTRAIT_1024.items()
    for long in longs
    for size in ((short, long), (long, short))
}
SDXL = BucketSettings(resolution=1024)


def test_sizes_for_1024_are_the_published_ones():
    assert set(sizes(SDXL)) == TABLE_1024


@pytest.mark.parametrize(
    ("resolution", "step"), [(128, 16), (512, 64), (512, 32), (768, 64), (1024, 32), (640, 64)]
)
def test_sizes_keep_area_step_and_bounds(resolution, step):
    found = sizes(BucketSettings(resolution=resolution, step=step))
    assert len(set(found)) == len(found)
    for width, height in found:
        assert width % step == 0 and height % step == 0
        assert resolution // 2 <= min(width, height) and max(width, height) <= resolution * 2
        assert width * height <= resolution**2
        assert (height, width) in found


def test_off_is_one_square():
    assert sizes(BucketSettings(resolution=520, enabled=False)) == ((512, 512),)


def test_critter_sizes_fit_without_any_loss():
    settings = BucketSettings(resolution=128, step=16)
    for size in ((128, 128), (144, 112), (112, 144), (160, 96), (96, 160)):
        placement = place(*size, settings)
        assert (placement.bucket, placement.scale, placement.lost) == (size, 1.0, 0.0)


def test_placement_by_hand():
    # 3000 x 2000: log 1.5 = .405; 1216 x 832 has .379, 1280 x 832 is no bucket, 1280 x 768 .511.
    placement = place(3000, 2000, SDXL)
    assert placement.bucket == (1216, 832)
    assert placement.scale == pytest.approx(832 / 2000)
    assert placement.resized == (1248, 832)
    assert placement.crop == (16, 0, 1216, 832)
    assert placement.lost == pytest.approx(32 / 1248)


def test_aspect_ratios_are_compared_by_logarithm():
    """Turning a picture turns its bucket; by difference of ratios some would not."""
    rng = random.Random(0)
    differs = 0
    for _ in range(500):
        width, height = rng.randrange(300, 3000), rng.randrange(300, 3000)
        turned = place(height, width, SDXL).bucket
        assert place(width, height, SDXL).bucket == turned[::-1]
        linear = min(sizes(SDXL), key=lambda b: abs(b[0] / b[1] - width / height))
        differs += linear != place(width, height, SDXL).bucket
    assert differs > 0  # so the rule matters


def test_a_placement_covers_its_bucket_and_mirrors_its_corner():
    rng = random.Random(1)
    for _ in range(300):
        width, height = rng.randrange(200, 4000), rng.randrange(200, 4000)
        placement = place(width, height, SDXL)
        left, top, crop_width, crop_height = placement.crop
        assert (crop_width, crop_height) == placement.bucket
        assert 0 <= left <= placement.resized[0] - crop_width
        assert 0 <= top <= placement.resized[1] - crop_height
        right = placement.resized[0] - left - crop_width
        assert placement.crop_corner() == (left, top)
        assert placement.crop_corner(flipped=True) == (right, top)
        assert min(left, top) == 0 or math.isclose(placement.lost, 0, abs_tol=0.01)


def test_small_pictures_keep_their_size_when_not_enlarged():
    settings = BucketSettings(resolution=512, upscale=False)
    placement = place(300, 210, settings)
    assert (placement.bucket, placement.scale) == ((256, 192), 1.0)
    assert placement.crop == (22, 9, 256, 192)
    assert place(2000, 2000, settings).bucket == (512, 512)


def test_useless_pictures_are_named_with_the_reason():
    settings = BucketSettings(resolution=512)
    assert "99.9%" in (why_excluded(place(1, 4000, settings), settings) or "")
    assert "25.6 times" in (why_excluded(place(20, 20, settings), settings) or "")
    assert why_excluded(place(128, 128, settings), settings) is None
    small = BucketSettings(resolution=512, upscale=False)
    assert why_excluded(place(20, 20, small), small)  # smaller than one step


def test_contradicting_bounds_are_refused_by_name():
    with pytest.raises(SettingsError, match=r"min_side <= resolution <= max_side.*600, 512"):
        from_dict(BucketSettings, {"resolution": 512, "min_side": 600})
    with pytest.raises(SettingsError, match="at least one step of 64 px, got 32"):
        from_dict(BucketSettings, {"resolution": 32})

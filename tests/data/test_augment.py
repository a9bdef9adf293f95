"""Crops that hold what they must, colours that leave grey alone, and what is said without a box."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.data.augment import AugmentSettings, fit, look, recolour
from workbench.data.buckets import BucketSettings, place
from workbench.data.dataset import DataSettings, index
from workbench.data.kohya import kohya_box
from workbench.settings import SettingsError
from workbench.store import FileRefused

BUCKETS = BucketSettings(resolution=64, step=16)


def looks(settings: AugmentSettings, *, size=(200, 100), box=None, count=300):
    placement = place(*size, BUCKETS)
    return placement, [
        look(settings, placement, random.Random(seed), box=box) for seed in range(count)
    ]


def test_nothing_varies_by_default():
    placement, found = looks(AugmentSettings(), count=3)
    assert all(x.placement == placement and not x.recoloured for x in found)
    assert not AugmentSettings(flip=0.5).changes_pixels
    assert AugmentSettings(colour=0.1).changes_pixels and AugmentSettings(crop="box").changes_pixels


def test_a_random_crop_lies_anywhere_inside_and_reaches_both_ends():
    placement, found = looks(AugmentSettings(crop="random"), size=(200, 110))
    width, height = placement.bucket
    slack = placement.resized[0] - width, placement.resized[1] - height
    assert max(slack) > 0
    for axis in (0, 1):
        assert {x.placement.crop[axis] for x in found} == set(range(slack[axis] + 1))
    assert {x.placement.resized for x in found} == {placement.resized}
    assert {x.placement.crop[2:] for x in found} == {placement.bucket}


def test_zoom_enlarges_up_to_its_limit():
    placement, found = looks(AugmentSettings(crop="random", zoom=2.0))
    zooms = [x.placement.scale / placement.scale for x in found]
    assert 1 <= min(zooms) < 1.1 and 1.9 < max(zooms) <= 2
    for x in found:
        left, top, width, height = x.placement.crop
        assert left >= 0 and left + width <= x.placement.resized[0]
        assert top >= 0 and top + height <= x.placement.resized[1]
        area = x.placement.resized[0] * x.placement.resized[1]
        assert x.placement.lost == pytest.approx(1 - width * height / area)


def test_a_box_crop_always_holds_the_box():
    box = (150.0, 20.0, 20.0, 30.0)
    placement, found = looks(AugmentSettings(crop="box", zoom=8.0), box=box)
    for x in found:
        scale = x.placement.scale
        left, top, width, height = x.placement.crop
        assert left <= box[0] * scale + 1 and (box[0] + box[2]) * scale <= left + width + 1
        assert top <= box[1] * scale + 1 and (box[1] + box[3]) * scale <= top + height + 1
    fits = min(placement.bucket[0] / 20, placement.bucket[1] / 30) / placement.scale
    assert max(x.placement.scale for x in found) <= fits * placement.scale + 1e-9
    assert len({x.placement.crop for x in found}) > 100
    assert looks(AugmentSettings(crop="box"), box=None)[1][0].placement == placement


def test_a_box_larger_than_the_crop_is_centred():
    box = (0.0, 0.0, 200.0, 100.0)
    placement, found = looks(AugmentSettings(crop="box", zoom=8.0), box=box, count=5)
    assert all(x.placement.resized == placement.resized for x in found)


def test_the_pixels_of_a_crop_are_those_of_the_picture():
    """A crop of a picture that needs no resizing is a slice of it, even where sizes agree."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    image, placement = Image.fromarray(pixels), place(64, 64, BUCKETS)
    assert placement.bucket == placement.resized == (64, 64)
    chosen = look(AugmentSettings(crop="random", zoom=2.0), placement, random.Random(1)).placement
    assert chosen.resized[0] > 64
    left, top, width, height = chosen.crop
    whole = image.resize(chosen.resized, Image.Resampling.BICUBIC)
    expected = np.asarray(whole.crop((left, top, left + width, top + height)), dtype=np.float32)
    found = (fit(image, chosen).permute(1, 2, 0).numpy() + 1) * 127.5
    assert np.abs(found - expected)[2:-2, 2:-2].mean() < 3


def test_colours_turn_and_grey_stays_grey():
    grey = torch.linspace(-1, 1, 32).expand(3, 4, 32)
    turned = recolour(grey, hue=120, saturation=0.3, gamma=1.0)
    torch.testing.assert_close(turned, grey, atol=2e-3, rtol=0)
    pixels = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5
    same = recolour(pixels, hue=360, saturation=1.0, gamma=1.0)
    torch.testing.assert_close(same, pixels, atol=1e-5, rtol=0)
    there = recolour(pixels * 0.2, hue=70, saturation=1.0, gamma=1.0)
    back = recolour(there, hue=-70, saturation=1.0, gamma=1.0)
    torch.testing.assert_close(back, pixels * 0.2, atol=1e-4, rtol=0)
    darker = recolour(pixels, hue=0, saturation=1.0, gamma=1.05)
    torch.testing.assert_close(darker, (pixels / 2 + 0.5) ** 1.05 * 2 - 1, atol=1e-3, rtol=0)
    flat = recolour(pixels, hue=0, saturation=0.0, gamma=1.0)
    assert flat.std(dim=0).max() < 1e-3


def test_colour_applies_at_its_rate():
    _, found = looks(AugmentSettings(colour=0.3, hue=5.0), count=2000)
    share = sum(x.recoloured for x in found) / 2000
    assert abs(share - 0.3) < 4 * (0.3 * 0.7 / 2000) ** 0.5
    assert max(abs(x.hue) for x in found) <= 5


def test_a_zoom_without_a_crop_is_refused():
    with pytest.raises(SettingsError, match="zoom = 2 works with crop = 'random' or 'box' alone"):
        AugmentSettings(zoom=2.0)


# ---------------------------------------------------------------------------- where boxes come from


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        Image.new("RGB", (100, 60)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text(f"tag {number}")
    return tmp_path


def read(folder: Path, **augment):
    settings = {
        "subsets": [{"path": str(folder)}],
        "buckets": {"resolution": 64, "step": 16},
        "augment": augment,
    }
    return index(DataSettings.model_validate(settings))


def test_boxes_are_read_beside_captions_from_files(folder: Path):
    rows = [
        {"file_name": "0.png", "box": [10, 20, 30, 15.5]},
        {"file_name": "1.png", "objects": {"bbox": [[1, 2, 3, 4], [5, 6, 20, 30]]}},
    ]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    dataset = read(folder, crop="box")
    assert [r.box for r in dataset.records] == [(10, 20, 30, 15.5), (5, 6, 20, 30), None]
    assert [r.caption for r in dataset.records] == ["tag 0", "tag 1", "tag 2"]
    assert "1 of 3 pictures have no box and stay cropped in the centre" in dataset.notes
    assert not any("several captions" in note for note in dataset.notes)


def test_boxes_of_a_table_and_of_kohyas_names(folder: Path):
    (folder / "metadata.csv").write_text('file_name,box\n0.png,"[10, 20, 30, 15]"\n1.png,\n')
    (folder / "2.png").rename(folder / "2_0_0050_0030_0020_0010.png")
    (folder / "0.png").rename(folder / "0_2024_0101_1200_0030.png")  # a date: not in the picture
    (folder / "metadata.csv").write_text('file_name,box\n1.png,"10 20 30 15"\n')
    assert [r.box for r in read(folder).records] == [None, (10, 20, 30, 15), (40, 25, 20, 10)]
    assert kohya_box("a/b_0100_0200_0064_0032.jpg") == (68, 184, 64, 32)
    assert kohya_box("2024_0100.jpg") is None


@pytest.mark.parametrize("box", [[1, 2, 3], [1, 2, 3, 0], ["a", 1, 2, 3], [1, 2, float("inf"), 3]])
def test_a_damaged_box_names_its_row(folder: Path, box):
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "0.png", "box": box}))
    with pytest.raises(FileRefused, match=r"metadata\.jsonl, row 1: a box must be left, top"):
        read(folder)


def test_a_box_outside_its_picture_sets_it_aside(folder: Path):
    (folder / "metadata.jsonl").write_text('{"file_name": "0.png", "box": [100, 0, 9, 9]}')
    (aside,) = read(folder).set_aside
    assert aside.reason == "its box (100, 0, 9, 9) lies outside its 100 x 60 px"


def test_a_box_crop_without_any_box_is_refused(folder: Path):
    with pytest.raises(SettingsError, match=r"needs pictures with a box, and none has one"):
        read(folder, crop="box")


def test_changed_boxes_change_the_fingerprint(folder: Path):
    before = read(folder).fingerprint()
    (folder / "metadata.jsonl").write_text('{"file_name": "0.png", "box": [1, 2, 9, 9]}')
    assert read(folder).fingerprint() != before


def test_a_look_is_a_function_of_seed_epoch_picture_and_showing(folder: Path):
    dataset = read(folder, crop="random", zoom=2.0, colour=1.0)
    again = read(folder, crop="random", zoom=2.0, colour=1.0)
    asked = {"seed": 3, "epoch": 2, "repeat": 1}
    assert dataset.look(0, **asked) == again.look(0, **asked)
    others = [dataset.look(0, **(asked | change)) for change in ({"seed": 4}, {"epoch": 3})]
    others += [dataset.look(0, **(asked | {"repeat": 0})), dataset.look(1, **asked)]
    assert dataset.look(0, **asked) not in others
    plain = dataset.pixels(0)
    assert plain.shape == dataset.pixels(0, look=dataset.look(0, **asked)).shape

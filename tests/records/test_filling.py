"""What samples of a base for inpainting start from, and what is left of it afterwards."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from workbench import store
from workbench.data.dataset import DataSettings, index
from workbench.records import filling
from workbench.settings import SettingsError


def write(folder: Path, count: int = 3, size=(40, 24)) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), np.uint8)
        mask = Image.new("L", size, 0)
        mask.paste(255, (0, 0, 10 * (number + 1), size[1]))
        store.write_bytes(folder / f"{number}.png", store.png(Image.fromarray(pixels)))
        store.write_bytes(folder / f"{number}-mask.png", store.png(mask))
    return folder


def test_the_seed_says_which_picture_round_and_round(tmp_path):
    folder = write(tmp_path / "fill")
    found = filling.given(str(folder), [0, 1, 2, 3, 7], (40, 24))
    own = [Image.open(folder / f"{number}.png") for number in (0, 1, 2, 0, 1)]
    assert [one.tobytes() for one in found.pictures] == [one.tobytes() for one in own]
    assert found.masks.mean(dim=(1, 2, 3)).tolist() == pytest.approx([0.25, 0.5, 0.75, 0.25, 0.5])
    assert found.pixels.shape == (5, 3, 24, 40) and found.pixels.abs().max() <= 1


def test_pictures_are_cut_to_the_samples_size(tmp_path):
    found = filling.given(str(write(tmp_path / "fill")), [0], (24, 24))
    assert found.pictures[0].size == found.covers[0].size == (24, 24)
    assert set(found.masks.unique().tolist()) == {0.0, 1.0}


def test_without_a_folder_a_whole_picture_is_made():
    found = filling.given(None, [5, 6], (16, 8))
    assert found.masks.all() and found.masks.shape == (2, 1, 8, 16)
    assert found.pixels.abs().max() < 0.01, "grey, which is 0 in [-1, 1]"


def test_what_is_kept_is_the_pictures_own_to_the_last_bit(tmp_path):
    found = filling.given(str(write(tmp_path / "fill")), [1], (40, 24))
    [pasted] = found.pasted([Image.new("RGB", (40, 24), (9, 8, 7))])
    given, made = np.asarray(found.pictures[0]), np.asarray(pasted)
    assert (made[:, 20:] == given[:, 20:]).all() and (made[:, :20] == (9, 8, 7)).all()
    hatched = np.asarray(found.hatched[0])
    assert (hatched[:, 20:] == given[:, 20:]).all()
    assert set(np.unique(hatched[:, :20])) == {110, 160}, "stripes over what is made anew"


def test_a_folder_without_masks_is_refused(tmp_path):
    folder = write(tmp_path / "fill", count=1)
    (folder / "0-mask.png").unlink()
    with pytest.raises(SettingsError, match=r"sampling\.fill must be .* NAME-mask\.png beside"):
        filling.given(str(folder), [0], (40, 24))


def test_its_name_is_its_content(tmp_path):
    one, other = write(tmp_path / "a"), write(tmp_path / "b")
    assert filling.fingerprint(str(one)) == filling.fingerprint(str(other))
    store.write_bytes(other / "2-mask.png", store.png(Image.new("L", (40, 24), 255)))
    assert filling.fingerprint(str(one)) != filling.fingerprint(str(other))


@pytest.fixture
def pictures(tmp_path):
    write(tmp_path / "data", size=(64, 64))
    chosen = {
        "subsets": [{"path": str(tmp_path / "data")}],
        "buckets": {"resolution": 64, "step": 16},
        "inpainting": {},
    }
    return index(DataSettings.model_validate(chosen))


def test_a_run_keeps_pictures_that_it_trains_on_and_knows_that_they_are(pictures, tmp_path):
    place = tmp_path / "run" / filling.FOLDER
    filling.keep(pictures, [2, 0], fill=None, seed=0, folder=place)
    assert filling.shows_training(tmp_path / "run")
    found = filling.pairs(str(place))
    assert len(found) == 2 and np.mean(np.asarray(found[0][1]) > 0) == pytest.approx(30 / 64)
    was = sorted(path.stat().st_mtime_ns for path in place.iterdir())
    filling.keep(pictures, [1], fill=None, seed=0, folder=place)
    assert was == sorted(path.stat().st_mtime_ns for path in place.iterdir()), "a resume keeps them"


def test_a_run_keeps_copies_of_those_that_are_named(pictures, tmp_path):
    named = write(tmp_path / "named", count=1)
    place = tmp_path / "run" / filling.FOLDER
    filling.keep(pictures, [0], fill=str(named), seed=0, folder=place)
    assert filling.fingerprint(str(place)) == filling.fingerprint(str(named))
    assert not filling.shows_training(tmp_path / "run")


def test_the_embedded_world_has_pictures_to_fill(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    found = filling.given("critters:masked", range(8), (128, 128))
    shares = found.masks.mean(dim=(1, 2, 3))
    assert shares.min() > 0.1 and shares.max() < 0.9 and torch.isfinite(found.pixels).all()

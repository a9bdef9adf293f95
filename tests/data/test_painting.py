"""Masks painted on a picture: written where they are read, the earlier ones kept."""

from pathlib import Path

import pytest
from PIL import Image

from workbench.data.dataset import DataSettings, index
from workbench.data.painting import read_mask, remove_mask, write_mask
from workbench.store import FileRefused


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (128, 64), "red").save(tmp_path / "a.jpg")
    return tmp_path


def read(folder: Path, **changes):
    buckets = {"resolution": 64, "step": 16}
    return index(
        DataSettings.model_validate(
            {"subsets": [{"path": str(folder)}], "buckets": buckets, **changes}
        )
    )


def left_half(size: tuple[int, int]) -> Image.Image:
    mask = Image.new("L", size, 0)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    return mask


def test_a_painted_mask_is_read_by_the_trainer(folder):
    assert read_mask(read(folder), 0) is None
    path = write_mask(read(folder), 0, left_half((32, 16)))  # painted on a small copy
    assert path == folder / "a-mask.png"
    dataset = read(folder)
    assert len(dataset) == 1 and dataset.masks[0] is not None
    assert dataset.masks[0].coverage == pytest.approx(0.5, abs=0.02)
    mask = read_mask(dataset, 0)
    assert mask is not None and mask.size == (128, 64)
    assert mask.getpixel((10, 30)) == 255 and mask.getpixel((120, 30)) == 0


def test_an_earlier_mask_is_kept_and_stays_where_it_was(folder):
    (folder / "masks").mkdir()
    left_half((128, 64)).save(folder / "masks" / "a.bmp")
    before = (folder / "masks" / "a.bmp").read_bytes()
    path = write_mask(read(folder), 0, Image.new("L", (128, 64), 255))
    assert path == folder / "masks" / "a.png"
    assert not (folder / "masks" / "a.bmp").exists()  # else two masks would claim the picture
    kept = list((folder / "masks" / ".masks").iterdir())
    assert [file.read_bytes() for file in kept] == [before]
    assert read(folder).masks[0].coverage == 1


def test_a_mask_is_taken_away_and_kept(folder):
    assert not remove_mask(read(folder), 0)
    write_mask(read(folder), 0, left_half((128, 64)))
    assert remove_mask(read(folder), 0)
    assert read(folder).masks == [None]
    assert len(list((folder / ".masks").iterdir())) == 1


def test_what_could_not_be_read_is_refused(folder):
    with pytest.raises(FileRefused, match="nothing is painted"):
        write_mask(read(folder), 0, Image.new("L", (128, 64), 0))
    with pytest.raises(FileRefused, match=r"data\.masks\.source is alpha"):
        write_mask(read(folder, masks={"source": "alpha"}), 0, left_half((128, 64)))
    drawn = read(folder, subsets=[{"path": "critters:character"}])
    with pytest.raises(FileRefused, match="no place for a mask"):
        write_mask(drawn, 0, left_half((128, 128)))
    assert sorted(path.name for path in folder.iterdir()) == ["a.jpg"]

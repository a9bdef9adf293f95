"""Masks are found by name, cut and mirrored as their pictures are, and never silent."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.data.augment import fit
from workbench.data.buckets import BucketSettings, place
from workbench.data.dataset import Dataset, DataSettings, index
from workbench.data.ledger import ledger
from workbench.data.masks import cells, find_masks

SIZE = (120, 72)


def photo(folder: Path, name: str, seed: int = 0, size=SIZE) -> None:
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / name)
    (folder / name).with_suffix(".txt").write_text("a photo")


def painted(box=(0, 0, 60, 72), size=SIZE, mode="L") -> Image.Image:
    """Black but for a white box."""
    mask = Image.new(mode, size, 0)
    mask.paste("white" if mode != "L" else 255, box)
    return mask


def read(path: Path, *, subset: dict | None = None, **masks) -> Dataset:
    return index(
        DataSettings.model_validate(
            {
                "subsets": [{"path": str(path)} | (subset or {})],
                "buckets": {"resolution": 64, "step": 16},
                "masks": masks,
            }
        )
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "pictures"
    for number in range(3):
        photo(path, f"{number}.png", number)
    painted().save(path / "0-mask.png")
    return path


NAMES = (
    *("0-mask.png", "0-masklabel.png", "0-mask.jpg"),
    *("masks/0.png", "masks/0.webp", "masks/0-mask.png"),
    *("0_mask.png", "0.mask.png", "0-Mask.png", "0-MASK.PNG", "0_Mask.JPG", "0-masks.png"),
    *("mask_0.png", "0.png-mask.png", "0-alpha-mask.png", "0-matte.png", "0_masklabel.png"),
    *("mask/0.png", "Masks/0.png", "conditioning/0.png", "masks/0_mask.png", "masks/0.png.png"),
)


@pytest.mark.parametrize("mask", NAMES)
def test_conventions(tmp_path, mask):
    photo(tmp_path, "0.png")
    (tmp_path / mask).parent.mkdir(exist_ok=True)
    painted(mode="RGB").save(tmp_path / mask, quality=95)
    dataset = read(tmp_path)
    assert [record.name for record in dataset.records] == ["0.png"]
    assert dataset.masks[0].coverage == pytest.approx(0.5, abs=0.02)


def test_names_that_are_no_masks():
    found, lonely = find_masks(
        ["face-mask.png", "a/b.png", "c/b-mask.png", "masks/x.png", "-mask.png", "b.txt", "z"]
    )
    assert found == {} and lonely == []
    alone = ["gas_mask.jpg", "mask.png", "Mask-2.png", "masked.png", "unmask_1.png"]
    assert find_masks([*alone, "gas.txt", "2.txt", "face.png"]) == ({}, [])
    found, lonely = find_masks(["a/1.jpg", "a/1.webp", "a/masks/1.png", "a/masks/2.png", "1.png"])
    assert found == {"a/1.jpg": "a/masks/1.png", "a/1.webp": "a/masks/1.png"}
    assert lonely == ["a/masks/2.png"]


def test_folders_of_masks_beside_folders_of_pictures():
    found, _ = find_masks(["img/1.png", "img/sub/2.png", "mask/1.png", "mask/sub/2.png"])
    assert found == {"img/1.png": "mask/1.png", "img/sub/2.png": "mask/sub/2.png"}
    assert find_masks(["a/x.png", "a_masks/x.png"])[0] == {"a/x.png": "a_masks/x.png"}
    # Whose mask it is cannot be known; it is no picture all the same.
    found, lonely = find_masks(["a/1.png", "b/1.png", "masks/1.png", "a/2.png", "masks/2.png"])
    assert found == {"a/2.png": "masks/2.png"} and lonely == ["masks/1.png"]


def test_letter_case_and_accents_are_no_difference():
    nfc, nfd = "\u00e9t\u00e9", "e\u0301te\u0301"
    found, _ = find_masks([f"{nfc}.PNG", f"{nfd}-Mask.png", "IMG_1.JPG", "img_1_MASK.png"])
    assert found == {f"{nfc}.PNG": f"{nfd}-Mask.png", "IMG_1.JPG": "img_1_MASK.png"}


def test_a_mask_in_colour_is_doubted_by_name(tmp_path):
    photo(tmp_path, "gas.jpg")
    photo(tmp_path, "gas_mask.jpg", seed=1)
    (tmp_path / "gas_mask.txt").unlink()
    assert read(tmp_path).doubts == (
        "gas_mask.jpg is in colour, as pictures are, and by its name the mask of gas.jpg; rename "
        "it if it is a picture",
    )
    red = Image.merge("RGB", [painted(), *[Image.new("L", SIZE)] * 2])
    red.save(tmp_path / "gas_mask.png")
    (tmp_path / "gas_mask.jpg").unlink()
    assert read(tmp_path).doubts == ()


def test_a_transparent_mask_hides_what_is_transparent(tmp_path):
    photo(tmp_path, "0.png")
    mask = Image.new("RGBA", SIZE, "white")
    mask.putalpha(painted())
    mask.save(tmp_path / "0-mask.png")
    assert read(tmp_path).masks[0].coverage == pytest.approx(0.5, abs=0.02)


def test_a_mask_without_a_picture_is_set_aside(folder):
    (folder / "masks").mkdir()
    painted().save(folder / "masks" / "1.png")
    painted().save(folder / "masks" / "gone.png")
    dataset = read(folder)
    assert len(dataset) == 3
    assert [(x.name, x.reason) for x in dataset.set_aside] == [
        ("masks/gone.png", "a mask, and there is no picture of its name")
    ]


def test_coverage_is_told_in_notes_and_ledger(folder):
    painted((0, 0, 120, 72)).save(folder / "1-mask.png")
    dataset = read(folder)
    assert dataset.notes == (
        "masks: 2 of 3 pictures have one, and 75% of their area is learnt (50% to 100%); those "
        "without one (1) are learnt whole",
        "masks that are all white leave nothing out (1): 1.png",
    )
    rows = list(ledger(dataset).rows())
    assert [row.mask for row in rows] == [pytest.approx(0.5, abs=0.02), 1.0, None]
    lines = ledger(dataset).to_csv().splitlines()
    place_of = lines[0].split(",").index("mask")
    assert [line.split(",")[place_of] for line in lines[2:]] == ["1.0000", ""]


def test_a_picture_whose_mask_cannot_be_used_is_set_aside(folder):
    painted((0, 0, 0, 0)).save(folder / "0-mask.png")
    painted(size=(72, 120)).save(folder / "1-mask.png")
    (folder / "2-mask.png").write_bytes((folder / "0-mask.png").read_bytes()[:60])
    photo(folder, "3.png")
    reasons = {item.name: item.reason for item in read(folder).set_aside}
    assert "its mask 0-mask.png is black all over" in reasons["0.png"]
    assert "72 x 120 px, another shape than the 120 x 72 px" in reasons["1.png"]
    assert "2-mask.png: cannot be decoded" in reasons["2.png"]


def test_masks_that_are_not_used_are_never_pictures(folder):
    dataset = read(folder, source="none")
    assert len(dataset) == 3 and not any(dataset.masks)
    assert dataset.notes == ("mask files (1) were left alone, since data.masks.source is none",)


def test_transparency_as_mask(tmp_path):
    photo(tmp_path, "0.png")
    image = Image.open(tmp_path / "0.png").convert("RGBA")
    image.putalpha(painted((60, 0, 120, 72)))
    image.save(tmp_path / "1.png")
    dataset = read(tmp_path, source="alpha")
    assert dataset.masks[0] is None
    shares = dataset.mask(1)
    assert shares[:, :3].max() == 0 and shares[:, -3:].min() == 1
    assert not any(read(tmp_path).masks)  # only where it is asked for


def test_a_mask_is_cut_as_its_picture_is():
    """A picture that is its own mask: both give the same after the crop, whatever their sizes."""
    settings = BucketSettings(resolution=64, step=16)
    rng = np.random.default_rng(0)
    for size in ((120, 72), (50, 210), (333, 222), (64, 64)):
        placement = place(*size, settings)
        small = Image.fromarray(rng.integers(0, 256, (6, 8), dtype=np.uint8))
        smooth = small.resize(size, Image.Resampling.BICUBIC)
        pixels = fit(smooth.convert("RGB"), placement)[:1] / 2 + 0.5
        expected = torch.nn.functional.avg_pool2d(pixels, 8)[0]
        width, height = placement.bucket
        for mask in (smooth, smooth.resize((size[0] * 2, size[1] * 2))):
            found = cells(mask, placement)
            assert found.shape == (height // 8, width // 8) and found.dtype == torch.uint8
            assert (found / 255 - expected).abs().max() < 0.06


def test_a_mask_flips_with_its_picture(folder):
    dataset = read(folder)
    straight, mirrored = dataset.mask(0), dataset.mask(0, flipped=True)
    assert torch.equal(straight.flip(-1), mirrored) and not torch.equal(straight, mirrored)
    assert dataset.mask(1) is None
    image = painted()
    placement = dataset.placements[0]
    turned = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert torch.equal(cells(turned, placement) / 255, mirrored)


def test_another_crop_reads_the_mask_again(folder):
    dataset = read(folder)
    left = dataset.placements[0]
    from dataclasses import replace

    width, height = left.bucket
    zoomed = replace(left, resized=(2 * width, 2 * height), crop=(0, 0, width, height))
    assert dataset.mask(0, placement=zoomed).min() == 1  # the left half is white
    (folder / "0-mask.png").unlink()
    with pytest.raises(ValueError, match=r"0-mask\.png: (cannot be read|no such file)"):
        dataset.mask(0, placement=zoomed)


def test_masks_in_a_zip(folder, tmp_path):
    path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    whole, packed = read(folder), read(path)
    assert torch.equal(whole.mask(0), packed.mask(0))
    assert [r.name for r in packed.records] == ["0.png", "1.png", "2.png"]
    assert packed.fingerprint() == read(path).fingerprint()


def test_an_edited_mask_changes_the_fingerprint(folder):
    before = read(folder).fingerprint()
    painted((0, 0, 30, 72)).save(folder / "0-mask.png")
    assert read(folder).fingerprint() != before

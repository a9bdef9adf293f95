"""Small pictures, made once for a content."""

import time
from pathlib import Path

import pytest
from PIL import Image
from workspace_fakes import huge_png

from workbench.data.dataset import DataSettings, index
from workbench.store import FileRefused
from workbench.workspace import thumbnails
from workbench.workspace.folders import Workspace
from workbench.workspace.thumbnails import picture_thumbnail, picture_thumbnails, thumbnail


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def picture(path: Path, size: tuple[int, int] = (600, 300), color: str = "red") -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_a_thumbnail_is_small_and_shows_the_same(workspace: Workspace, tmp_path: Path, suffix: str):
    path = picture(tmp_path / f"a{suffix}", (1000, 500))
    small = picture_thumbnail(workspace, path)
    assert small.is_relative_to(workspace.thumbnails)
    with Image.open(small) as image:
        assert (image.format, image.size) == ("WEBP", (256, 128))
        red, green, blue = image.convert("RGB").getpixel((100, 60))  # pyright: ignore
        assert red > 240
        assert max(green, blue) < 15
    assert small.stat().st_size < 2000


def test_small_ones_stay_as_they_are_and_photographs_are_turned_upright(
    workspace: Workspace, tmp_path: Path
):
    with Image.open(picture_thumbnail(workspace, picture(tmp_path / "s.png", (30, 20)))) as image:
        assert image.size == (30, 20)
    turned = Image.new("RGB", (900, 600))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    with Image.open(picture_thumbnail(workspace, tmp_path / "turned.jpg")) as image:
        assert image.size == (171, 256)


def test_one_content_has_one_thumbnail_whatever_its_name(workspace: Workspace, tmp_path: Path):
    first = picture_thumbnail(workspace, picture(tmp_path / "a.png"))
    made = first.stat().st_mtime_ns
    again = picture_thumbnail(workspace, picture(tmp_path / "b.png"))
    assert again == first
    assert first.stat().st_mtime_ns == made
    other = picture_thumbnail(workspace, picture(tmp_path / "a.png", color="blue"))
    assert other != first
    first.unlink()
    assert picture_thumbnail(workspace, tmp_path / "b.png") == first
    assert first.exists(), "one that was cleared away is made anew"


def test_many_at_once_with_a_broken_one_among_them(workspace: Workspace, tmp_path: Path):
    paths = [picture(tmp_path / f"{n}.png", (64, 64), f"hsl({n}, 50%, 50%)") for n in range(60)]
    paths[7].write_bytes(b"no picture")
    found = picture_thumbnails(workspace, [*paths, tmp_path / "gone.png"])
    assert [n for n, one in enumerate(found) if isinstance(one, FileRefused)] == [7, 60]
    assert len({one for one in found if isinstance(one, Path)}) == 59


def test_listing_five_hundred_again_is_quick(workspace: Workspace, tmp_path: Path):
    paths = [
        picture(tmp_path / f"{n}.png", (8, 8), f"hsl({n % 360}, {n // 5}%, 50%)")
        for n in range(500)
    ]
    first = picture_thumbnails(workspace, paths)
    took = []
    for _ in range(3):  # the best of three: other processes may be at work
        since = time.monotonic()
        assert picture_thumbnails(workspace, paths) == first
        took.append(time.monotonic() - since)
    assert min(took) < 0.3


def test_pictures_of_a_data_set_also_drawn_and_packed_ones(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import zipfile

    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    plain = picture(tmp_path / "photos" / "a.png")
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.write(plain, "a.png")
    subsets = [
        {"path": str(tmp_path / "photos")},
        {"path": str(tmp_path / "packed.zip")},
        {"path": "critters:world", "num_images": 2},
    ]
    dataset = index(DataSettings.model_validate({"subsets": subsets}))
    records = [dataset.records[n] for n in range(3)]
    small = [thumbnail(dataset, record, workspace=workspace) for record in records]
    assert small[0] == small[1], "the same content"
    for path, record in zip(small, records, strict=True):
        with Image.open(path) as image:
            assert image.width / image.height == pytest.approx(record.width / record.height, 0.02)
    kept = thumbnail(dataset, records[0])
    assert kept.is_relative_to(tmp_path / "home" / "cache" / "thumbnails")


def test_too_many_pixels_are_refused_from_the_header(workspace: Workspace, tmp_path: Path):
    (tmp_path / "bomb.png").write_bytes(huge_png())
    with pytest.raises(FileRefused, match="more than 268,435,456 pixels"):
        picture_thumbnail(workspace, tmp_path / "bomb.png")
    assert thumbnails.EDGE_PX == 256

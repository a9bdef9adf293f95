"""Folders as they are found: what systems, tools and copies leave there is told from pictures."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from found_pictures import SIZE, SMALL, names, picture, read, reasons
from PIL import Image

from workbench.data.augment import fit
from workbench.data.dataset import DataSettings, index
from workbench.data.kohya import is_camera_folder, kohya_folder
from workbench.store import images

LITTER = (
    *("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "RECYCLER", "System Volume Information"),
    *(".thumbnails", ".Trash-1000", ".Trashes", ".stversions", ".dropbox.cache", "lost+found"),
    *("thumbnails", "LOST.DIR", "FOUND.000", "$Recycle.Bin"),
)


@pytest.mark.parametrize("folder", LITTER)
def test_folders_of_systems_are_left_out_and_counted(tmp_path, folder):
    picture(tmp_path / "a.png")
    picture(tmp_path / folder / "inner" / "b.jpg")
    picture(tmp_path / "._c.png")
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    dataset = read(tmp_path)
    assert names(dataset) == ["a.png"]
    note = next(note for note in dataset.notes if "left out" in note)
    assert f"{folder} (1)" in note and "hidden files (1)" in note
    assert any(".db (1)" in note for note in dataset.notes)


def test_the_same_in_a_zip_made_on_windows(tmp_path):
    data = picture(tmp_path / "a.png").read_bytes()
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for name in ("10_zib\\a.png", "__MACOSX/10_zib/._a.png", "@eaDir/b.png", ".hidden/c.png"):
            archive.writestr(name, data)
        archive.writestr("10_zib\\a.txt", "hat")
    dataset = read(tmp_path / "data.zip")
    assert [(r.name, r.caption, r.repeats) for r in dataset.records] == [
        ("10_zib/a.png", "hat", 10)
    ]
    assert dataset.open(dataset.records[0]).size == SIZE
    assert ".hidden (1), @eaDir (1), __MACOSX (1)" in dataset.notes[0]


COPIES = (
    *("a (Bob's conflicted copy 2024-01-02).png", "a (conflicted copy 2024-01-02 101010).png"),
    *("a.sync-conflict-20240102-101010-ABCDEFG.png", "a_conflict-20240102-101010.png"),
    *("a (Case Conflict).png", "a.Conflict.png", "a-DESKTOP-ABC123.png", "a-laptop-7QK2M1.png"),
    *(
        "a_thumb.png",
        "a-thumbnail.png",
        "a.tn.png",
        "a-condlabel.png",
        f"a-{SIZE[0]}x{SIZE[1]}.png",
    ),
)


@pytest.mark.parametrize("copy", COPIES)
def test_what_tools_make_of_a_picture_is_left_out_where_the_picture_is(tmp_path, copy):
    picture(tmp_path / copy, caption="other")
    assert names(read(tmp_path)) == [copy], "alone it is a picture"
    picture(tmp_path / "a.jpg", caption="hat")
    dataset = read(tmp_path)
    assert names(dataset) == ["a.jpg"] and " that is here too" in reasons(dataset)[copy]
    assert all(item.spare for item in dataset.set_aside) and dataset.doubts == ()


@pytest.mark.parametrize(
    "name", ["desktop-art.png", "a-1920x1080.png", "conflict.png", "thumb.png"]
)
def test_names_that_only_sound_like_it(tmp_path, name):
    picture(tmp_path / "a.png")
    picture(tmp_path / name)
    assert len(read(tmp_path)) == 2


def test_exact_copies_with_the_same_caption_are_left_out_and_counted(tmp_path):
    for name in ("a.png", "b.png", "c/d.png"):
        picture(tmp_path / name, seed=1, caption="hat")
    picture(tmp_path / "other words.png", seed=1, caption="cap")
    picture(tmp_path / "e.png", seed=2, caption="hat")
    picture(tmp_path / "these words.png", seed=1, caption="cap")
    dataset = read(tmp_path)
    assert names(dataset) == ["a.png", "e.png", "other words.png"]
    assert (
        set(reasons(dataset)) == {"b.png", "c/d.png", "these words.png"}
        and dataset.set_aside[0].spare
    )
    assert (
        "same picture and caption as a.png, byte for byte; data.subsets.0.keep_copies=true"
        in (reasons(dataset)["b.png"])
    )
    assert any("the same with other captions were kept (1)" in note for note in dataset.notes)
    assert len(read(tmp_path, keep_copies=True)) == 6


@pytest.mark.parametrize("copy", ["a (1).png", "a - Copy.png", "a copy 2.png", "Copy of a.png"])
def test_a_copy_whose_caption_was_not_copied(tmp_path, copy):
    picture(tmp_path / copy, seed=1)
    picture(tmp_path / "a.png", seed=1, caption="hat")
    dataset = read(tmp_path)
    assert names(dataset) == ["a.png"] and set(reasons(dataset)) == {copy}
    assert [record.caption for record in dataset.records] == ["hat"]
    assert len(dataset.placements) == len(dataset.masks) == 1


def test_repeats_on_purpose_are_kept(tmp_path):
    picture(tmp_path / "10_zib" / "a.png", seed=1, caption="hat")
    picture(tmp_path / "3_zib" / "a.png", seed=1, caption="hat")
    os.link(tmp_path / "3_zib" / "a.png", tmp_path / "3_zib" / "link.png")
    (tmp_path / "3_zib" / "soft.png").symlink_to("a.png")
    dataset = read(tmp_path)
    assert list(dataset.repeats) == [10, 3, 3, 3]
    assert "2 links to pictures count as repeats of them" in dataset.notes
    settings = {"subsets": [{"path": str(tmp_path / "10_zib")}] * 2, "buckets": SMALL}
    twice = DataSettings.model_validate(settings)
    assert len(index(twice)) == 2, "a subset listed twice is meant"


def test_pictures_of_one_size_are_compared_to_their_last_byte(tmp_path):
    for number in range(3):
        picture(tmp_path / f"{number}.bmp", seed=0, size=(300, 200))
        data = bytearray((tmp_path / f"{number}.bmp").read_bytes())
        data[100_000] = number
        (tmp_path / f"{number}.bmp").write_bytes(data)
    assert len(read(tmp_path)) == 3
    (tmp_path / "2.bmp").write_bytes((tmp_path / "0.bmp").read_bytes())
    assert names(read(tmp_path)) == ["0.bmp", "1.bmp"]


def test_content_decides_what_is_a_picture(tmp_path):
    for name in ("a.jfif", "b.jpe", "c.jpg_large", "d", "e.bin"):
        picture(tmp_path / name, format="JPEG")
    picture(tmp_path / "f.png", format="JPEG")
    picture(tmp_path / "g.jpg", format="AVIF")
    (tmp_path / "c.txt").write_text("a caption of a name with no usual extension")
    dataset = read(tmp_path)
    assert names(dataset) == ["a.jfif", "b.jpe", "c.jpg_large", "d", "e.bin", "f.png", "g.jpg"]
    assert dataset.records[2].caption.startswith("a caption") and dataset.doubts == ()


def test_pictures_that_no_decoder_reads_are_named(tmp_path):
    picture(tmp_path / "a.jpg")
    for name in ("b.jxl", "c.CR3", "d.tga", "e.exr", "a.NEF", "a.psd"):
        (tmp_path / name).write_bytes(b"\0\1")
    dataset = read(tmp_path)
    assert set(reasons(dataset)) == {"b.jxl", "c.CR3", "d.tga", "e.exr"}
    assert "develop it" in reasons(dataset)["c.CR3"]
    assert any(".nef (1)" in note and ".psd (1)" in note for note in dataset.notes)


def test_grey_pictures_named_as_others_are_doubted_by_name(tmp_path):
    picture(tmp_path / "img" / "a.png", caption="hat")
    picture(tmp_path / "img" / "alone.png", mode="L", caption="hat")
    picture(tmp_path / "depth" / "a.png", mode="L")
    picture(tmp_path / "b.jpg")
    picture(tmp_path / "b.png", mode="L")
    (doubt,) = read(tmp_path).doubts
    assert "(2): b.png, depth/a.png; put masks into a folder masks" in doubt


def test_colours_are_noted_and_counted(tmp_path):
    source = Path(__file__).parents[1] / "pictures"
    for name in ("p3.png", "wide.png", "srgb.png"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    picture(tmp_path / "broken.png", icc_profile=b"garbage")
    dataset = read(tmp_path)
    assert "colours converted to sRGB: P3 test (1), wide test (1)" in dataset.notes
    assert any(
        note == "its colour profile is damaged, so values are taken as sRGB (1): broken.png"
        for note in dataset.notes
    )
    colours = {record.name: record.colour for record in dataset.records}
    assert colours["p3.png"] == "P3 test" and colours["srgb.png"] == colours["broken.png"] == ""
    shown = [
        np.asarray(dataset.open(r)).astype(int) for r in dataset.records if r.name != "broken.png"
    ]
    assert max(np.abs(one - shown[1]).max() for one in shown) <= 3


def test_transparency_is_laid_on_what_the_setting_says(tmp_path):
    Image.new("RGBA", SIZE, (255, 0, 0, 0)).save(tmp_path / "a.png")
    for background, pixel in (("white", 255), ("black", 0), ("#808080", 128)):
        settings = {"subsets": [{"path": str(tmp_path)}], "background": background}
        settings["buckets"] = SMALL
        dataset = index(DataSettings.model_validate(settings))
        assert dataset.open(dataset.records[0]).getpixel((0, 0)) == (pixel,) * 3


@pytest.mark.parametrize(
    "name, expected",
    [
        ("10_zib dog", (10, "zib dog")),
        ("010_x", (10, "x")),
        ("3_", (3, "")),
        ("0_x", (0, "x")),
        ("-2_x", (0, "x")),
        ("999_x_y", (999, "x_y")),
        ("100_miku", (100, "miku")),
        ("100_MIKU", (100, "MIKU")),
        *((x, None) for x in ("x", "x_10", "10", "10x_y", "1.5_x", "2024_summer", "1000_x")),
        *((x, None) for x in ("100_PANA", "101_FUJI", "100CANON", "102_0715", "100APPLE")),
    ],
)
def test_kohya_folder_names(name, expected):
    """What sd-scripts' `extract_dreambooth_params` gives, but for years and cameras."""
    assert kohya_folder(name) == expected


@pytest.mark.parametrize("name", ["100_PANA", "100CANON", "101MSDCF", "102_0715", "100___07"])
def test_camera_folders(name):
    assert is_camera_folder(name) and not is_camera_folder(name.lower() + "x")


def test_kohya_folders_as_sd_scripts_means_them(tmp_path):
    for folder in ("010_zib", "3_", "0_out", "plain", "100_MIKU", "2024_summer", "100CANON"):
        picture(tmp_path / folder / "a.png")
    picture(tmp_path / "loose.png")
    dataset = read(tmp_path)
    assert {r.name: (r.repeats, r.caption) for r in dataset.records} == {
        "010_zib/a.png": (10, "zib"),
        "3_/a.png": (3, ""),
        "100_MIKU/a.png": (100, "MIKU"),
        "2024_summer/a.png": (1, ""),
        "100CANON/a.png": (1, ""),
    }
    assert set(reasons(dataset)) == {"0_out/a.png", "plain/a.png", "loose.png"}
    spare = {item.name: item.spare for item in dataset.set_aside}
    assert spare == {"0_out/a.png": True, "plain/a.png": False, "loose.png": False}
    assert (
        "call it 1_name, or set data.subsets.0.kohya_folders=false" in reasons(dataset)["loose.png"]
    )
    (doubt,) = dataset.doubts
    assert "100_MIKU is taken for repeats" in doubt and "kohya_folders=false" in doubt
    assert any("100CANON" in note and "data.subsets.0.repeats" in note for note in dataset.notes)
    assert any("2024_summer" in note and "data.subsets.0.repeats" in note for note in dataset.notes)
    assert list(read(tmp_path, kohya_folders=False).repeats) == [1] * 8
    assert list(read(tmp_path / "0_out").repeats) == [1]


def test_camera_folders_are_shown_once(tmp_path):
    for folder in ("100_PANA", "101_PANA"):
        picture(tmp_path / folder / "a.jpg")
    dataset = read(tmp_path)
    assert [(r.repeats, r.caption) for r in dataset.records] == [(1, ""), (1, "")]
    assert "folders named as cameras do (100_PANA, 101_PANA)" in dataset.notes[0]


def test_what_is_no_file_is_never_waited_for(tmp_path):
    picture(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    dataset = read(tmp_path)
    assert names(dataset) == ["a.png"] and "No such file" in reasons(dataset)["gone.png"]
    assert "pipe.png is no file and was left alone" in dataset.notes


def test_a_zip_that_is_replaced_is_read_anew(tmp_path):
    for words in ("first", "second"):
        with zipfile.ZipFile(tmp_path / "new.zip", "w") as archive:
            file = io.BytesIO()
            Image.new("RGB", SIZE, "red").save(file, "PNG")
            archive.writestr("a.png", file.getvalue())
            archive.writestr("a.txt", words)
        os.replace(tmp_path / "new.zip", tmp_path / "data.zip")
        assert read(tmp_path / "data.zip").records[0].caption == words


@pytest.mark.parametrize("first", [False, True])
def test_a_cameras_picture_is_cut_before_its_colours_are_converted(tmp_path, monkeypatch, first):
    """So that its 12 megapixels cost what a bucket's do; smooth colours come out the same."""
    with Image.open(Path(__file__).parents[1] / "pictures" / "p3.png") as image:
        icc = image.info["icc_profile"]
    grid = np.random.default_rng(0).integers(100, 150, (4, 6, 3), dtype=np.uint8)
    smooth = Image.fromarray(grid).resize((480, 320), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "a.png", icc_profile=icc)
    settings = {"subsets": [{"path": str(tmp_path)}], "buckets": SMALL}
    dataset = index(DataSettings.model_validate(settings))
    monkeypatch.setattr(images, "_CUT_FIRST_PX", 1 if first else 4_000_000)
    converted = []
    real = images.to_srgb
    monkeypatch.setattr(
        images, "to_srgb", lambda image, colour: converted.append(image.size) or real(image, colour)
    )
    pixels = (dataset.pixels(0) + 1) * 127.5
    bucket = dataset.placements[0].bucket
    assert converted == [bucket if first else (480, 320)]
    expected = (fit(dataset.open(dataset.records[0]), dataset.placements[0]) + 1) * 127.5
    assert (pixels - expected).abs().max() <= 2

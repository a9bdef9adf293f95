"""Real folders and zips, sound and damaged: what is used, what is set aside, and what is said."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workbench.data.augment import fit
from workbench.data.buckets import place
from workbench.data.dataset import Dataset, DataSettings, index, split
from workbench.settings import SettingsError
from workbench.store import FileRefused

SIZE = (96, 64)


def picture(size: tuple[int, int] = SIZE, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def read(path: Path, *, captions: dict | None = None, holdout: float = 0.1, **subset) -> Dataset:
    return index(
        DataSettings.model_validate(
            {
                "subsets": [{"path": str(path), **subset}],
                "buckets": {"resolution": 64, "step": 16},
                "captions": captions or {},
                "holdout": holdout,
            }
        )
    )


def reasons(dataset: Dataset) -> dict[str, str]:
    return {item.name: item.reason for item in dataset.set_aside}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "pictures"
    path.mkdir()
    for number in range(3):
        picture(seed=number).save(path / f"{number}.png")
        (path / f"{number}.txt").write_text(f"tag{number}, hat\n")
    return path


def test_a_folder_of_pictures_and_captions(folder):
    dataset = read(folder, trigger="zib", repeats=2)
    assert [record.name for record in dataset.records] == ["0.png", "1.png", "2.png"]
    assert [record.caption for record in dataset.records] == ["tag0, hat", "tag1, hat", "tag2, hat"]
    assert (dataset.records[0].width, dataset.records[0].height) == SIZE
    assert dataset.plain_caption(1) == "zib, tag1, hat"
    assert list(dataset.repeats) == [2, 2, 2]
    assert dataset.set_aside == () and dataset.notes == ()


def test_folders_inside_are_entered_or_named(folder):
    (folder / "inner").mkdir()
    picture().save(folder / "inner" / "a.webp", lossless=True)
    (folder / "inner" / "a.caption").write_text("inside")
    dataset = read(folder)
    assert {r.name: r.caption for r in dataset.records}["inner/a.webp"] == "inside"
    flat = read(folder, recursive=False)
    assert len(flat) == 3 and "inner was not entered" in flat.notes[0]


def test_damaged_files_are_set_aside_by_name(folder):
    for suffix in (".jpg", ".png", ".gif", ".webp", ".bmp", ".tif"):
        picture((200, 200)).save(folder / f"whole{suffix}")
        data = (folder / f"whole{suffix}").read_bytes()
        (folder / f"cut{suffix}").write_bytes(data[: len(data) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("not a picture")
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    picture((1, 4000)).save(folder / "line.png")
    dataset = read(folder)
    found = reasons(dataset)
    cut = {f"cut{suffix}" for suffix in (".jpg", ".png", ".gif", ".webp", ".bmp", ".tif")}
    assert set(found) == cut | {"empty.png", "text.png", "phone.heic", "line.png"}
    assert len(dataset) == 3 + 6
    assert "cut short" in found["cut.jpg"] and "cut short" in found["cut.png"]
    assert found["empty.png"] == "empty file (0 bytes)"
    assert "not an image" in found["text.png"]
    assert "save it as PNG or JPEG" in found["phone.heic"]
    assert "1 x 4000 px" in found["line.png"] and "max_lost" in found["line.png"]


def test_data_after_the_end_of_a_jpeg_is_no_damage(folder):
    picture().save(folder / "phone.jpg")
    with open(folder / "phone.jpg", "ab") as file:
        file.write(b"motion photo")
    assert len(read(folder)) == 4


def test_rotation_is_applied_before_bucketing(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("turned.jpg", "turned.png"):
        picture((96, 64)).save(folder / name, exif=exif)
    dataset = read(folder)
    turned = [i for i, r in enumerate(dataset.records) if r.name.startswith("turned")]
    for i in turned:
        assert (dataset.records[i].width, dataset.records[i].height) == (64, 96)
        assert dataset.placements[i].bucket == (48, 80)
        assert dataset.pixels(i).shape == (3, 80, 48)


def test_other_modes_become_rgb_and_are_noted(folder):
    picture().convert("CMYK").save(folder / "c.jpg")
    picture().quantize(8).save(folder / "p.png")
    picture().convert("RGBA").save(folder / "a.png")
    Image.fromarray(np.full((64, 96), 32896, dtype=np.uint16)).save(folder / "g.png")
    dataset = read(folder)
    assert any("CMYK (1)" in n and "RGBA (1)" in n and "P (1)" in n for n in dataset.notes)
    grey = next(i for i, r in enumerate(dataset.records) if r.name == "g.png")
    assert dataset.pixels(grey).numpy() == pytest.approx(
        128 / 127.5 - 1, abs=1e-6
    )  # 32896 = 128 * 257


@pytest.mark.skipif(os.name == "nt", reason="Windows refuses such names itself")
def test_strange_names_go_through(folder):
    names = ["new\nline.png", "quote'\".png", "semi;$(touch x).png", "é" * 100 + ".png"]
    for seed, name in enumerate(names, start=3):
        picture(seed=seed).save(folder / name)
        (folder / name).with_suffix(".txt").write_text("strange")
    (folder / "long").mkdir()
    picture().save(folder / "long" / ("x" * 251 + ".png"))
    dataset = read(folder)
    assert {r.name for r in dataset.records if r.caption == "strange"} == set(names)
    for record in dataset.records:
        assert dataset.open(record).size == SIZE
        assert dataset.label(record).isprintable()


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_a_name_that_is_no_text_is_set_aside(folder):
    with open(os.fsencode(folder) + b"/bad\xff.png", "wb") as file:
        picture().save(file, "PNG")
    assert "not valid UTF-8" in next(iter(reasons(read(folder)).values()))


def test_names_that_differ_in_case_only_are_reported(folder):
    picture().save(folder / "Cat.png")
    picture(seed=5).save(folder / "cat.png")
    if len(list(folder.glob("[Cc]at.png"))) < 2:
        pytest.skip("this file system keeps one of them")
    dataset = read(folder)
    assert len(dataset) == 5
    assert any("Cat.png and cat.png" in note for note in dataset.notes)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_captions_are_decoded_by_their_mark(folder, encoding):
    (folder / "0.txt").write_bytes("café, 猫".encode(encoding))
    assert read(folder).records[0].caption == "café, 猫"


@pytest.mark.parametrize("data", ["café".encode("latin-1"), "cat".encode("utf-16-le")])
def test_captions_in_unknown_encodings_are_refused_by_name(folder, data):
    (folder / "0.txt").write_bytes(data)
    reason = reasons(read(folder))["0.png"]
    assert "0.txt" in reason and "save it as UTF-8" in reason


def test_the_policy_on_missing_captions_applies_and_is_counted(folder):
    (folder / "0.txt").unlink()
    (folder / "1.txt").write_text("  \n")
    kept = read(folder, trigger="zib")
    assert [kept.plain_caption(i) for i in range(3)] == ["zib", "zib", "zib, tag2, hat"]
    assert kept.notes == ("2 pictures without a caption: 2 shown with their trigger alone",)
    excluded = read(folder, missing_caption="exclude")
    assert len(excluded) == 1 and set(reasons(excluded)) == {"0.png", "1.png"}
    with pytest.raises(SettingsError, match="2 of 3 pictures have no caption"):
        read(folder, missing_caption="refuse")


def test_script_in_a_caption_is_text(folder):
    (folder / "0.txt").write_text("<script>alert(1)</script>")
    assert read(folder).plain_caption(0) == "<script>alert(1)</script>"


@pytest.mark.parametrize("column", ["text", "caption", "prompt"])
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_metadata_of_an_imagefolder(folder, column, kind):
    for path in folder.glob("*.txt"):
        path.unlink()
    rows = [("0.png", 'a "quoted", line\nbreak'), ("1.png", ""), ("gone.png", "x")]
    if kind == "jsonl":
        text = "\n".join(json.dumps({"file_name": name, column: words}) for name, words in rows)
        (folder / "metadata.jsonl").write_text(text)
    else:
        text = f'file_name,{column}\n0.png,"a ""quoted"", line\nbreak"\n1.png,\ngone.png,x\n'
        (folder / "metadata.csv").write_text(text)
    dataset = read(folder)
    assert [r.caption for r in dataset.records] == ['a "quoted", line\nbreak', "", ""]
    assert "no such file" in reasons(dataset)["gone.png"]
    assert "2 pictures without a caption" in dataset.notes[0]


def test_bad_metadata_names_row_and_fix(folder):
    (folder / "metadata.jsonl").write_text('{"file_name": "0.png", "words": "x"}')
    with pytest.raises(FileRefused, match="row 1: must have file_name and one of text, caption"):
        read(folder)
    (folder / "metadata.jsonl").write_text('{"file_name": "../0.png", "text": "x"}')
    with pytest.raises(FileRefused, match="must stay inside the folder"):
        read(folder)
    (folder / "metadata.jsonl").write_text('{"file_name": "0.png", "text": "x"}\n{oops}')
    with pytest.raises(FileRefused, match="row 2: not valid JSON"):
        read(folder)


def test_kohya_folders_give_repeats_and_words(tmp_path):
    for seed, name in enumerate(("10_zib dog", "3_dog", "2024_summer")):
        (tmp_path / name).mkdir()
        picture(seed=seed).save(tmp_path / name / "a.png")
    (tmp_path / "3_dog" / "a.txt").write_text("a dog")
    dataset = read(tmp_path, repeats=2)
    shown = {r.name: (r.repeats, r.caption) for r in dataset.records}
    assert shown == {
        "10_zib dog/a.png": (20, "zib dog"),
        "2024_summer/a.png": (2, ""),
        "3_dog/a.png": (6, "a dog"),
    }
    assert any("10_zib dog: 1 pictures" in note for note in dataset.notes)
    off = read(tmp_path, kohya_folders=False)
    assert list(off.repeats) == [1, 1, 1]
    assert list(read(tmp_path / "10_zib dog").repeats) == [10]


def test_a_zip_is_read_in_place(folder, tmp_path):
    picture((1, 4000)).save(folder / "line.png")
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"inner/{path.name}")
        archive.writestr("__MACOSX/inner/._0.png", b"junk")
    dataset, plain = read(tmp_path / "data.zip"), read(folder)
    assert [r.name for r in dataset.records] == [f"inner/{r.name}" for r in plain.records]
    assert [r.caption for r in dataset.records] == [r.caption for r in plain.records]
    assert set(reasons(dataset)) == {"inner/line.png"}
    for zipped, loose in zip(dataset.records, plain.records, strict=True):
        assert dataset.open(zipped).tobytes() == plain.open(loose).tobytes()
        assert dataset.content_hash(zipped) == plain.content_hash(loose)


def test_a_dangerous_zip_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("../../x.png", b"x")
    with pytest.raises(FileRefused, match="outside the archive"):
        read(tmp_path / "bad.zip")


def test_nothing_usable_is_refused_with_counts(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.psd").write_bytes(b"x")
    with pytest.raises(
        SettingsError, match=r"1 files were set aside(.|\n)*a\.png.*0 bytes"
    ) as raised:
        read(tmp_path)
    assert ".psd (1)" in str(raised.value)
    with pytest.raises(SettingsError, match=r"subsets\.0\.path.*does not exist"):
        read(tmp_path / "nowhere")
    with pytest.raises(SettingsError, match="is a single file: name its folder"):
        read(tmp_path / "a.png")
    with pytest.raises(SettingsError, match="must name at least one"):
        index(DataSettings())


def test_a_drawn_world_never_repeats_and_costs_nothing_until_drawn():
    settings = {
        "subsets": [{"path": "critters:world", "num_images": 200_000, "seed": 7}],
        "buckets": {"resolution": 128, "step": 16},
    }
    dataset = index(DataSettings.model_validate(settings))
    assert len(dataset) == 200_000 and dataset.is_drawn
    first, second = dataset.record(3), dataset.record(3, epoch=1)
    assert (first.number, second.number) == (3, 200_003)
    assert (first.width, first.height) == (second.width, second.height)
    assert first.caption != second.caption
    pixels, later = dataset.pixels(3), dataset.pixels(3, epoch=1)
    assert pixels.shape == later.shape == (3, first.height, first.width)
    assert not np.array_equal(pixels, later)
    assert np.array_equal(pixels, dataset.pixels(3))
    assert dataset.caption(3, seed=0, epoch=1) == second.caption


def test_a_folder_and_a_world_can_be_mixed(folder):
    settings = {
        "subsets": [{"path": str(folder)}, {"path": "critters:world", "num_images": 5}],
        "buckets": {"resolution": 64, "step": 16},
    }
    dataset = index(DataSettings.model_validate(settings))
    assert [r.subset for r in dataset.records] == [0, 0, 0, 1, 1, 1, 1, 1]
    assert dataset.records[7].number == 4 and dataset.records[-1].number == 4
    assert len(list(dataset.placements)) == len(list(dataset.repeats)) == 8
    with pytest.raises(IndexError):
        dataset.records[8]


def test_num_images_belongs_to_the_world_alone(folder):
    with pytest.raises(SettingsError, match="num_images is for critters:world alone, got 2"):
        read(folder, num_images=2)


def test_holding_out_begins_at_twenty(tmp_path):
    for number in range(20):
        picture((64, 64), seed=number).save(tmp_path / f"{number:02d}.png")
    train, held = split(read(tmp_path), 0.1, seed=0)
    assert (len(train), len(held)) == (18, 2) and sorted(train + held) == list(range(20))
    assert split(read(tmp_path), 0.1, seed=0) == (train, held)
    (tmp_path / "00.png").unlink()
    assert split(read(tmp_path), 0.1, seed=0) == (list(range(19)), [])


def test_captions_of_repeats_and_epochs_differ(folder):
    (folder / "0.txt").write_text(", ".join("abcdefghijklmnop"))
    dataset = read(folder, captions={"shuffle": True})
    drawn = {dataset.caption(0, seed=0, epoch=e, repeat=r) for e in range(3) for r in range(3)}
    assert len(drawn) == 9
    assert dataset.caption(0, seed=0, epoch=1) == dataset.caption(0, seed=0, epoch=1)


def test_texts_hold_the_empty_caption_where_captions_are_dropped(folder):
    (folder / "1.txt").write_text("tag0, hat")
    assert read(folder).texts() == ["tag0, hat", "tag2, hat"]
    dropped = read(folder, captions={"caption_dropout": 0.1})
    assert dropped.texts() == ["tag0, hat", "tag2, hat", ""]


def test_a_fingerprint_changes_with_captions_and_pictures(folder):
    before = read(folder).fingerprint()
    assert read(folder).fingerprint() == before
    (folder / "0.txt").write_text("other")
    changed = read(folder).fingerprint()
    picture((64, 64)).save(folder / "2.png")
    assert len({before, changed, read(folder).fingerprint()}) == 3


def test_a_picture_that_changes_or_goes_after_indexing_is_named(folder):
    dataset = read(folder)
    picture((64, 64)).save(folder / "1.png")
    with pytest.raises(FileRefused, match=r"1\.png: was 96 x 64 px .* is 64 x 64 now"):
        dataset.pixels(1)
    (folder / "2.png").unlink()
    with pytest.raises(FileRefused, match=r"2\.png: no such file"):
        dataset.pixels(2)


def test_fit_crops_what_the_placement_says():
    from workbench.data.buckets import BucketSettings

    image = picture((130, 64))
    placement = place(130, 64, BucketSettings(resolution=64, step=16, max_side=96))
    whole = image.resize(placement.resized, Image.Resampling.LANCZOS)
    left, top, width, height = placement.crop
    expected = np.asarray(whole.crop((left, top, left + width, top + height))) / 127.5 - 1
    pixels = fit(image, placement).permute(1, 2, 0).numpy()
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).max() <= 2 / 127.5 + 1e-6  # rounding of the crop's edges
    mirrored = fit(image, placement, flipped=True).permute(1, 2, 0).numpy()
    assert np.array_equal(mirrored, pixels[:, ::-1])

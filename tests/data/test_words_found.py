"""Captions as they are found: however they are named and wherever they are listed, none is lost."""

import csv
import json
from pathlib import Path

import pytest
from found_pictures import picture, read, reasons
from PIL import Image

from workbench.data.captions import CaptionSettings, draw_caption, is_prose, split_tags
from workbench.data.edits import Edit, plan_edit, plan_reading
from workbench.data.tokens import estimate_tokens
from workbench.store import FileRefused

NFC, NFD = "がぎ_\u00e9", "か\u3099き\u3099_e\u0301"


def captions(path: Path, **subset) -> dict[str, str]:
    return {record.name: record.caption for record in read(path, **subset).records}


@pytest.mark.parametrize(
    "name, caption",
    [
        ("IMG_0001.PNG", "IMG_0001.TXT"),
        ("a.png", "A.txt"),
        ("a.png", "a.Caption"),
        (f"{NFC}.png", f"{NFD}.txt"),
        (f"{NFD}.png", f"{NFC}.txt"),
        ("trailing .png", "trailing.txt"),
        ("a.png", "a.png.txt"),
        ("a.JPG", "A.jpg.TXT"),
        ("dots.v1.2.png", "dots.v1.2.txt"),
        ("红发女孩 01.png", "红发女孩 01.txt"),
        ("😀 (1).png", "😀 (1).txt"),
    ],
)
def test_a_caption_finds_its_picture_and_is_written_in_its_place(tmp_path, name, caption):
    picture(tmp_path / name, format="PNG")
    (tmp_path / caption).write_text("hat")
    dataset = read(tmp_path)
    assert [record.caption for record in dataset.records] == ["hat"] and dataset.doubts == ()
    Edit(dataset).write(plan_edit(dataset, prepend=["zib"]))
    assert {path.name for path in tmp_path.iterdir()} == {name, caption, ".captions"}
    assert (tmp_path / caption).read_text() == "zib, hat\n"
    assert [record.caption for record in read(tmp_path).records] == ["zib, hat"]


def test_an_exact_name_wins_and_the_other_is_named(tmp_path):
    picture(tmp_path / "a.png", caption="exact")
    (tmp_path / "A.TXT").write_text("other")
    (tmp_path / "a.png.txt").write_text("whole")
    dataset = read(tmp_path)
    assert dataset.records[0].caption == "exact"
    assert any("several captions" in note and "a.png (a.txt)" in note for note in dataset.notes)
    assert dataset.doubts == ("caption files that no picture took (1): A.TXT",)


def test_names_that_differ_in_case_keep_their_own_captions(tmp_path):
    picture(tmp_path / "Cat.png", caption="big")
    picture(tmp_path / "cat.png", caption="small")
    if len(list(tmp_path.glob("[Cc]at.png"))) < 2:
        pytest.skip("this file system keeps one of them")
    assert captions(tmp_path) == {"Cat.png": "big", "cat.png": "small"}
    (tmp_path / "Cat.txt").unlink()
    assert captions(tmp_path)["Cat.png"] == "", "cat.txt is another's"


def test_pictures_of_one_stem_share_a_caption_unless_it_names_one(tmp_path):
    picture(tmp_path / "same.jpg", caption="both")
    picture(tmp_path / "same.png")
    dataset = read(tmp_path)
    assert captions(tmp_path) == {"same.jpg": "both", "same.png": "both"}
    assert "pictures of one name share its caption (2): same.jpg, same.png" in dataset.notes
    (tmp_path / "same.png.txt").write_text("one")
    assert captions(tmp_path) == {"same.jpg": "both", "same.png": "one"}


def test_models_write_captions_of_one_stem_apart(tmp_path):
    for name in ("same.jpg", "same.png"):
        picture(tmp_path / name)

    def look(images: list[Image.Image]) -> list[list[str]]:
        return [[f"picture {number}"] for number, _ in enumerate(images)]

    dataset = read(tmp_path)
    for _, _, changes in plan_reading(dataset, look):
        Edit(dataset).write(changes)
    assert captions(tmp_path) == {"same.jpg": "picture 0", "same.png": "picture 1"}


def test_captions_without_a_picture_are_named_with_the_nearest(tmp_path):
    picture(tmp_path / "typo_01.png")
    for name in ("typo_0l.txt", "README.txt"):
        (tmp_path / name).write_text("words")
    assert read(tmp_path).doubts == (
        "caption files that no picture took (2): README.txt, typo_0l.txt (is typo_01.png meant?)",
    )
    (tmp_path / "broken.png").write_bytes(b"")
    (tmp_path / "broken.txt").write_text("of a picture that is set aside")
    assert "broken" not in read(tmp_path).doubts[0]


META = {
    "p0": {"caption": "hat number 0", "tags": "red, smile"},
    "C:\\sets\\mochi\\p1.png": {"caption": "hat number 1", "train_resolution": [96, 96]},
    "/home/me/mochi/p2.png": {"tags": "red, smile"},
}


@pytest.mark.parametrize("name", ["meta_lat.json", "meta_cap.json", "captions.json"])
def test_sd_scripts_metadata(tmp_path, name):
    for number in range(3):
        picture(tmp_path / f"p{number}.png")
    (tmp_path / name).write_text(json.dumps(META))
    expected = ["hat number 0, red, smile", "hat number 1", "red, smile"]
    assert list(captions(tmp_path).values()) == expected
    assert f"captions were read from {name}" in read(tmp_path).notes
    assert set(captions(tmp_path, captions_from="files").values()) == {""}
    (tmp_path / "p1.txt").write_text("its own")
    assert captions(tmp_path)["p1.png"] == "its own"


def test_later_stages_of_sd_scripts_metadata_overrule_earlier_ones(tmp_path):
    picture(tmp_path / "p0.png")
    (tmp_path / "meta_clean.json").write_text('{"p0": {"caption": "a clean hat"}}')
    (tmp_path / "meta_cap.json").write_text('{"p0": {"caption": "a hat hat"}}')
    (tmp_path / "meta_dd.json").write_text('{"p0": {"tags": "red"}}')
    assert captions(tmp_path) == {"p0.png": "a clean hat, red"}


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({"caption": "hat", "caption_short": "h"}, "hat"),
        ({"tags": ["red hat", "smile"]}, "red hat, smile"),
        ({"tag_string": "red_hat smile", "rating": "s"}, "red_hat, smile"),
        ({"tags": {"general": ["red hat"], "meta": ["smile"]}}, "red hat, smile"),
        ({"prompt": "a hat", "tags": "red"}, "a hat, red"),
        ({"width": 5}, ""),
    ],
)
@pytest.mark.parametrize("name", ["p0.json", "p0.png.json"])
def test_one_json_a_picture(tmp_path, fields, expected, name):
    picture(tmp_path / "p0.png")
    (tmp_path / name).write_text(json.dumps(fields))
    dataset = read(tmp_path)
    assert dataset.records[0].caption == expected
    assert not any("no pictures" in note for note in dataset.notes)
    (tmp_path / name).write_text("{oops")
    picture(tmp_path / "other.png")
    assert "is not valid JSON" in reasons(read(tmp_path))["p0.png"]


LISTS = {
    "a list of rows": (
        "all.json", [{"image": "p0.png", "text": "hat"}, {"image": "p1.png", "text": "cap"}]
    ),
    "name to caption": ("all.json", {"p0.png": "hat", "p1.png": "cap"}),
    "COCO": (
        "annotations.json",
        {
            "images": [{"id": 1, "file_name": "p0.png"}, {"id": 2, "file_name": "p1.png"}],
            "annotations": [{"image_id": 1, "caption": "hat"}, {"image_id": 2, "caption": "cap"}],
        },
    ),
    "lines": ("list.txt", "p0.png: hat\n\np1.png: cap\n"),
    "tabs": ("list.txt", "p0.png\that\np1.png\tcap"),
    "jsonl of Windows": ("metadata.jsonl", '{"file_name": ".\\\\p0.png", "text": "hat"}\n'
                                           '{"file_name": "D:\\\\x\\\\p1.png", "text": "cap"}'),
    "csv of a spreadsheet": ("metadata.csv", "file_name;text\r\np0.png;hat\r\nP1.PNG;cap\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("name, content", LISTS.values(), ids=LISTS.keys())
def test_lists_of_captions(tmp_path, name, content):
    for number in range(2):
        picture(tmp_path / f"p{number}.png")
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / name).write_text(text)
    dataset = read(tmp_path)
    assert [record.caption for record in dataset.records] == ["hat", "cap"]
    assert dataset.doubts == () and dataset.set_aside == ()


def test_a_list_of_pictures_that_are_not_here_is_doubted(tmp_path):
    picture(tmp_path / "p0.png")
    (tmp_path / "all.json").write_text('{"p0.png": "hat", "gone.png": "cap"}')
    (doubt,) = read(tmp_path).doubts
    assert "all.json has captions of 1 pictures that are not here, such as gone.png" in doubt


def test_metadata_never_leaves_its_folder(tmp_path):
    picture(tmp_path / "in" / "p0.png")
    for path in ("..\\p0.png", "../../etc/p0.png", "/etc/passwd", "C:\\Windows\\x.png"):
        with open(tmp_path / "in" / "metadata.csv", "w", newline="") as file:
            csv.writer(file).writerows([["file_name", "text"], [path, "x"]])
        with pytest.raises(FileRefused, match="must stay inside the folder"):
            read(tmp_path / "in")


def test_older_encodings_that_pass_as_utf8_are_seen_by_their_neighbours(tmp_path):
    # 1girl, and two letters of GBK whose four bytes are valid UTF-8: U+05B7 U+0582 there.
    by_chance = b"1girl, " + bytes([0xD6, 0xB7, 0xD6, 0x82])
    assert by_chance.decode("utf-8") and by_chance.decode("gb18030")
    for name, data in {
        "a": "红发，微笑".encode("gbk"),
        "b": by_chance,
        "c": b"1girl, smile",
    }.items():
        picture(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_bytes(data)
    found = reasons(read(tmp_path))
    assert set(found) == {"a.png", "b.png"}
    assert "valid UTF-8 by chance and reads as gb18030" in found["b.png"]
    (tmp_path / "a.txt").write_text("红发，微笑", encoding="utf-8")
    assert set(reasons(read(tmp_path))) == set(), "without such neighbours it is what it says"
    (tmp_path / "a.txt").write_bytes("café".encode("latin-1"))
    (doubt,) = read(tmp_path).doubts
    assert "may be in the older encoding of their neighbours" in doubt and "b.png" in doubt


COMMAS = CaptionSettings(shuffle=True)


@pytest.mark.parametrize(
    "caption, tags",
    [
        ("红发，微笑，户外", ["红发", "微笑", "户外"]),
        ("赤い帽子、笑顔、屋外", ["赤い帽子", "笑顔", "屋外"]),
        ("1girl, 红发，微笑", ["1girl", "红发", "微笑"]),
        ("red hat，smile", ["red hat", "smile"]),
        ("一个戴着红色帽子的女孩站在花园里，她微笑着看向远方的山脉", None),
        ("red hat,, smile, ,blue,", ["red hat", "smile", "blue"]),
    ],
)
def test_full_width_commas_separate_tags_and_not_clauses(caption, tags):
    assert split_tags(caption, COMMAS) == (tags or [caption])
    assert is_prose(caption, COMMAS) == (tags is None)
    assert split_tags(caption, CaptionSettings(separator=";")) == [caption]


def test_a_caption_that_does_not_vary_keeps_its_commas():
    import random

    plain = CaptionSettings()
    for caption in (
        "红发，微笑，户外",
        "赤い帽子、笑顔、屋外",
        "他笑了，然后慢慢地走进了那个很大的花园",
    ):
        assert draw_caption(caption, plain, rng=random.Random(0)) == caption
        drawn = draw_caption(caption, plain, rng=random.Random(0), trigger="mochi")
        assert drawn == f"mochi, {caption}"
    shuffled = {draw_caption("红，笑，户", COMMAS, rng=random.Random(n)) for n in range(40)}
    assert len(shuffled) == 6 and all(len(text) == 5 and "," not in text for text in shuffled)


@pytest.mark.parametrize(
    "text, tokens",
    [  # counted with CLIP's own vocabulary
        ("1girl, red_hat, blue_eyes, :3, >_<, ^_^", 18),
        (", ".join(f"tag {chr(97 + n % 26)}{n}" for n in range(40)), 189),
        ("一个戴着红色帽子的女孩站在阳光明媚的花园里微笑着看向远方的山脉" * 3, 234),
        ("赤い帽子をかぶった女の子が庭で笑っている", 38),
        ("девочка в красной шляпе стоит в саду", 39),
        ("hatsune_miku, saber_(fate), artoria_pendragon_(fate), cowboy_shot, very_long_hair, "
         "(masterpiece:1.2)", 34),
        ("a photograph of a woman standing in a garden with a red hat, smiling at the viewer, soft "
         "light in the afternoon", 24),
    ],
)  # fmt: skip
def test_tokens_are_estimated_as_clip_counts_them(text, tokens):
    assert estimate_tokens(text) == pytest.approx(tokens, rel=0.2)

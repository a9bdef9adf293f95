"""Statistics and edits of a folder's captions."""

from collections import Counter

import pytest
from PIL import Image

from workbench.data.captions import CaptionSettings
from workbench.data.dataset import DataSettings, index
from workbench.data.tags import apply, co_occurrence, count_tags, edit_caption, plan_edit
from workbench.store import FileRefused

SETTINGS = CaptionSettings()
CAPTIONS = ["hat, blue, blue", "hat ||| red;;;round", "red, hat", ""]


def test_counts_are_of_captions():
    counts = count_tags(CAPTIONS, SETTINGS)
    assert counts == Counter({"hat": 3, "red": 2, "blue": 1, "round": 1})


def test_pairs_that_stand_together():
    pairs = co_occurrence(CAPTIONS, SETTINGS)
    assert pairs[("hat", "red")] == 2 and pairs[("blue", "hat")] == 1
    assert ("blue", "red") not in pairs
    assert set(co_occurrence(CAPTIONS, SETTINGS, num_tags=2)) == {("hat", "red")}


@pytest.mark.parametrize(
    ("caption", "options", "expected"),
    [
        ("a, b, c", {"remove": ["b"]}, "a, c"),
        ("a, b, c", {"remove": ["a"]}, "b, c"),
        ("a, b, c", {"remove": ["c"]}, "a, b"),
        ("a, b, c", {"remove": ["a", "b", "c"]}, ""),
        ("a, bb, b", {"rename": {"b": "x"}}, "a, bb, x"),
        ("a, b, x", {"rename": {"b": "x"}}, "a, x"),
        ("a, b", {"prepend": ["zib"]}, "zib, a, b"),
        ("a, zib, b", {"prepend": ["zib"]}, "zib, a, b"),
        ("", {"prepend": ["zib"]}, "zib"),
        ("a ||| b, c ||| d", {"remove": ["b"]}, "a ||| c ||| d"),
        ("a ||| b, c ||| d", {"remove": ["c"]}, "a ||| b ||| d"),
        ("a, b ||| c", {"remove": ["b"]}, "a ||| c"),
        ("a;;;b, c", {"rename": {"b": "x"}}, "a;;;x, c"),
        ("a, b\na, c", {"rename": {"a": "x"}}, "x, b\nx, c"),
        ("a, b", {}, "a, b"),
    ],
)
def test_edits(caption, options, expected):
    assert edit_caption(caption, SETTINGS, **options) == expected


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        Image.new("RGB", (64, 64)).save(tmp_path / f"{number}.png")
    (tmp_path / "0.txt").write_text("old, hat")
    (tmp_path / "1.caption").write_text("old")
    return tmp_path


def read(folder):
    settings = {"subsets": [{"path": str(folder)}], "buckets": {"resolution": 64, "step": 16}}
    return index(DataSettings.model_validate(settings))


def test_an_edit_is_planned_then_written_where_the_captions_are(folder):
    changes = plan_edit(read(folder), rename={"old": "new"}, prepend=["zib"])
    assert [(c.path.name, c.before, c.after) for c in changes] == [
        ("0.txt", "old, hat", "zib, new, hat"),
        ("1.caption", "old", "zib, new"),
        ("2.txt", "", "zib"),
    ]
    assert (folder / "0.txt").read_text() == "old, hat"  # nothing yet
    assert apply(changes) == 3
    assert [r.caption for r in read(folder).records] == ["zib, new, hat", "zib, new", "zib"]
    assert plan_edit(read(folder), rename={"old": "new"}, prepend=["zib"]) == []


def test_a_drawn_world_cannot_be_edited():
    settings = {"subsets": [{"path": "critters:world", "num_images": 3}]}
    with pytest.raises(FileRefused, match="cannot be edited"):
        plan_edit(index(DataSettings.model_validate(settings)), prepend=["zib"])

"""Statistics of many captions, and edits of one."""

from collections import Counter

import pytest

from workbench.data.captions import CaptionSettings
from workbench.data.tags import (
    co_occurrence,
    count_tags,
    edit_caption,
    join_caption,
    prose_share,
)

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


@pytest.mark.parametrize(
    ("caption", "options", "expected"),
    [
        ("a, b", {"append": ["x"]}, "a, b, x"),
        ("a, x, b", {"append": ["x"]}, "a, x, b"),
        ("", {"append": ["x"]}, "x"),
        ("a ||| b ||| c", {"append": ["x"]}, "a ||| b, x ||| c"),
        ("a, b, c", {"rename": {"a": "x", "b": "x"}}, "x, c"),  # a merge
        ("a;;;b, c", {"rename": {"b": "a"}}, "a, c"),
        ("a;;;b;;;c, d", {"remove": ["b"]}, "a;;;c, d"),
        ("a, b;;;c", {"remove": ["b"]}, "a, c"),
    ],
)
def test_adding_and_merging(caption, options, expected):
    assert edit_caption(caption, SETTINGS, **options) == expected


@pytest.mark.parametrize(
    ("old", "mode", "expected"),
    [
        ("", "missing", "hat, red"),
        ("blue", "missing", "blue"),
        ("", "append", "hat, red"),
        ("red, blue", "append", "red, blue, hat"),
        ("red, blue", "prepend", "hat, red, blue"),
        ("red, blue", "replace", "hat, red"),
        ("a ||| b", "append", "a ||| b, hat, red"),
        ("a|||b", "prepend", "a|||hat, red, b"),
        ("a ||| b ||| c", "append", "a ||| b, hat, red ||| c"),
        ("a ||| b ||| c", "prepend", "a ||| hat, red, b ||| c"),
        ("one\nred", "append", "one, hat, red\nred, hat"),
        ("hat;;;blue", "append", "hat;;;blue, red"),
    ],
)
def test_what_a_model_found_joins_a_caption(old, mode, expected):
    found = ["hat", "red", "never", "hat"]
    assert join_caption(old, found, SETTINGS, mode=mode, exclude=["never"]) == expected


def test_the_share_of_sentences():
    assert prose_share(["a cat sitting on a table", "hat, red", ""], SETTINGS) == 0.5
    assert prose_share([], SETTINGS) == 0

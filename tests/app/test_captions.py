"""The tab Captions: one caption, all tags, draws, a model that reads, without a browser."""

from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from workbench.app import captions, captions_seen, captions_tagger, captions_tags
from workbench.app.data_source import use_folder
from workbench.app.desk import EMPTY, pictures
from workbench.data.dataset import index
from workbench.settings import SettingsError, walk
from workbench.workspace.folders import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def cats(workspace):
    folder = workspace.data / "cats"
    folder.mkdir()
    for number, words in enumerate(("cat, hat, <b>red</b>", "cat, hat", "")):
        Image.new("RGB", (128, 128), (80 * number, 0, 0)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(words)
    recipe = use_folder(EMPTY, "instead", folder)
    return recipe.override(["data.subsets.0.trigger=zib", "data.captions.shuffle=false"])


def words(recipe) -> list[str]:
    return [record.caption for record in pictures(recipe).records]


def label(recipe, place: int) -> str:
    dataset = pictures(recipe)
    return dataset.label(dataset.records[place])


def test_a_caption_is_saved_and_taken_back(cats):
    assert captions._write(cats, 1, "cat, bow", label(cats, 1), 0) == 1
    assert words(cats) == ["cat, hat, <b>red</b>", "cat, bow", ""]
    assert captions._write(cats, 1, "cat, bow ", label(cats, 1), 1) == gr.skip()
    assert captions._take_back(cats, 1) == 2
    assert words(cats)[1] == "cat, hat"


def test_no_caption_goes_to_another_picture(cats):
    """What stands in the box belongs to the picture that was on show when it was filled."""
    with pytest.raises(SettingsError, match="pictures have changed"):
        captions._write(cats, 0, "dog", label(cats, 1), 0)


def test_words_in_the_making_are_not_written_over(cats):
    """The pictures are looked at anew for many reasons; the box is filled only with other words."""
    *_, seen = captions._look(cats, 0, None)
    again = captions._look(cats, 0, seen)
    assert [k for k, part in enumerate(again) if part != gr.skip()] == [3]  # how many tokens
    captions._write(cats, 0, "dog", label(cats, 0), 0)
    assert captions._look(cats, 0, seen)[2].value == "dog"
    assert captions._look(cats, 1, seen)[2].value == words(cats)[1]
    captions._take_back(cats, 1)


def test_built_in_pictures_are_copied_before_they_are_edited(workspace):
    image, _, box, counted, save, fixed, why, _ = captions._look(EMPTY, 0, None)
    assert image is not None and not box.interactive and not save.interactive and fixed.visible
    assert "built in" in why and "of 75 tokens" in counted
    copied = captions.copy_built_in(EMPTY, workspace)
    paths = [Path(subset.path) for subset in copied.data.subsets]
    assert paths == [workspace.data / "character", workspace.data / "prior"]
    assert copied.data.subsets[0].trigger == "mochi"
    assert words(copied) == words(EMPTY)
    *_, fixed, _, _ = captions._look(copied, 0, None)
    assert not fixed.visible
    again = captions.copy_built_in(EMPTY, workspace)
    assert Path(again.data.subsets[0].path).name == "character-2"


def test_tokens_are_those_of_the_base_with_the_trigger():
    dataset = pictures(EMPTY)
    tokens, how = captions_seen.caption_reader(EMPTY.base, 75)
    assert (tokens.max_tokens, how) == (75, "")
    assert tokens.count_tokens("blue body") == 2  # words of the critters' own vocabulary
    assert tokens.count_tokens("zzz") > 1  # an unknown word falls apart
    many = EMPTY.override(["data.subsets.0.trigger=" + "blue " * 80])
    said = captions_seen.counted(many, pictures(many), 0)
    assert "never read" in said and "bad" in said and "<del title=" in said
    wider = many.override(["data.captions.max_tokens=150"])
    said = captions_seen.counted(wider, pictures(wider), 0)
    assert "good" in said and said.count('class="break"') == 1 and "<del" not in said
    number = tokens.count_tokens(dataset.plain_caption(0))
    assert str(number) in captions_seen.counted(EMPTY, dataset, 0)


def test_draws_are_those_of_the_run_and_drop_what_they_drop(cats):
    recipe = cats.override(["data.captions.tag_dropout=0.5", "training.seed=3"])
    dataset = index(recipe.data)
    shown, figure, _, seen = captions_seen._show(recipe, 0, 0, None)
    lines = shown.split("<li")[1:]
    assert len(lines) == captions_seen.NUM_SHOWN
    for epoch, line in enumerate(lines):
        drawn = dataset.caption(0, seed=3, epoch=epoch)
        for tag, words in (("cat", "cat"), ("hat", "hat"), ("<b>", "&lt;b&gt;red&lt;/b&gt;")):
            assert (f'gone">{words}<' in line) == (tag not in drawn)
        assert 'first">zib<' in line
    assert "<b>" not in shown
    shares = dict(zip(figure.data[0].y, figure.data[0].x, strict=True))
    assert shares["zib"] == 100 and 35 < shares["hat"] < 65
    assert all(one == gr.skip() for one in captions_seen._show(recipe, 0, 0, seen))


def test_what_moves_is_struck_through_at_the_end():
    line = captions_seen._line(["b", "a"], ["a", "b", "c"], ["a"], moves=True)
    assert line.index(">b<") < line.index(">a<") < line.index('gone">c<')
    line = captions_seen._line(["a", "c"], ["a", "b", "c"], ["a"], moves=False)
    assert line.index(">a<") < line.index('gone">b<') < line.index(">c<")


def test_tags_are_counted_and_edited_in_all_captions(cats):
    rows, among, seen = captions_tags._list(cats, None)
    assert rows == [["cat", 2, "67%"], ["hat", 2, "67%"], ["<b>red</b>", 1, "33%"]]
    assert [tag for _, tag in among.choices] == ["cat", "hat", "<b>red</b>"]
    assert captions_tags._list(cats, seen)[0] == gr.skip()
    assert captions_tags._rename(cats, ["hat", "<b>red</b>"], "cap", 0) == 1  # two become one
    assert words(cats) == ["cat, cap", "cat, cap", ""]
    assert captions_tags._remove(cats, ["cat"], "", 1) == 2
    assert captions_tags._last(cats, [], "end", 2) == 3
    assert words(cats) == ["cap, end", "cap, end", "end"]
    assert captions_tags._list(cats, seen)[0] == [["end", 3, "100%"], ["cap", 2, "67%"]]
    captions._take_back(cats, 3)
    assert words(cats) == ["cap", "cap", ""]


def test_edits_say_what_they_lack(cats):
    with pytest.raises(SettingsError, match="at least one tag"):
        captions_tags._remove(cats, [], "", 0)
    with pytest.raises(SettingsError, match="new word first"):
        captions_tags._rename(cats, ["hat"], " ", 0)
    with pytest.raises(SettingsError, match="lie in folders"):
        captions_tags._remove(EMPTY, ["critter"], "", 0)


def test_tags_that_always_stand_together_are_named(cats):
    folder = Path(cats.data.subsets[0].path)
    for number in range(3, 6):
        Image.new("RGB", (128, 128), (40 * number,) * 3).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("sea, sand, cat")
    said, figure = captions_tags._together(cats)
    assert "`sand` + `sea`" in said and "`cat`" not in said
    assert figure.data[0].type == "heatmap"


class Desk:
    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace


def test_a_model_fills_what_is_missing_and_writes_over_when_told(cats, workspace):
    desk: Any = Desk(workspace)
    entries = [e for e in walk(captions_tagger._settings("critters")) if ".kind" not in e.path]
    values = [entry.value for entry in entries]
    steps = list(
        captions_tagger._read(desk, "critters", entries, cats, 0, "missing", "critter", *values)
    )
    assert steps[-1][1] == 1 and "1 pictures read" in steps[-1][0]
    first, second, third = words(cats)
    assert (first, second) == ("cat, hat, <b>red</b>", "cat, hat")
    tags = third.split(", ")
    assert "critter" not in tags and any("body" in tag for tag in tags)
    steps = list(captions_tagger._read(desk, "critters", entries, cats, 1, "replace", "", *values))
    assert "3 pictures read" in steps[-1][0] and "cat" not in words(cats)[0].split(", ")
    captions._take_back(cats, 2)
    assert words(cats) == [first, second, third]


def test_a_tagger_that_lacks_something_says_so(cats, workspace):
    desk: Any = Desk(workspace)
    entries = [e for e in walk(captions_tagger._settings("clip")) if ".kind" not in e.path]
    values = [entry.value for entry in entries]
    with pytest.raises(gr.Error, match="vocabulary"):
        list(captions_tagger._read(desk, "clip", entries, cats, 0, "missing", "", *values))

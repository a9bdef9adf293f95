"""The tab Buckets: numbers that agree with the data set, and nothing sent twice."""

import gradio as gr
import pytest
from PIL import Image

from workbench.app import buckets
from workbench.app.desk import pictures
from workbench.recipe import Recipe


@pytest.fixture
def recipe(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, size in {"wide": (300, 100), "square": (200, 200), "tiny": (4, 4)}.items():
        Image.new("RGB", size, "#c06020").save(folder / f"{name}.png")
    return Recipe.preset("critters").override(
        [f'data.subsets=[{{path="{folder}", missing_caption="keep"}}]']
    )


def test_the_ledger_has_every_picture_and_what_was_set_aside(recipe):
    rows, listed = buckets._list(recipe, None)
    assert buckets._list(recipe, listed) == (gr.skip(), gr.skip())
    facts, points, bars, now = buckets.show(recipe, 0, None)
    assert [row[1] for row in rows] == ["square.png", "wide.png", "tiny.png"]
    assert rows[0][2:4] == ["200 x 200", "128 x 128"]
    assert rows[2][0] is None and "enlarged" in rows[2][8]
    assert sum(sum(bar.y) for bar in bars.data) == 2
    assert "1: square.png" in [trace.name for trace in points.data]
    assert "<dd>2</dd>" in facts
    assert buckets.show(recipe, 0, now) == tuple(gr.skip() for _ in range(4))
    again = buckets.show(recipe, 1, now)
    assert again[0] == gr.skip() and again[1].data[-1].name == "2: wide.png"


def test_what_is_as_it_was_is_not_sent_again(recipe):
    *_, seen = buckets._look(recipe, 0, (None, None))
    assert buckets._look(recipe, 0, seen) == (*[gr.skip()] * 5, seen)
    _, points, bars, image, _, later = buckets._look(recipe, 1, seen)
    assert bars == gr.skip() and points != gr.skip() and image != gr.skip() and later != seen


def test_the_crop_is_shown_and_said(recipe):
    image, said, now = buckets.show_crop(recipe, 1, None)
    placement = pictures(recipe).placements[1]
    assert image.size == (300, 100)
    assert f"{placement.lost:.1%} is cut off" in said
    assert buckets.show_crop(recipe, 1, now)[0] == gr.skip()


def test_the_table_for_a_spreadsheet_has_all_rows(recipe):
    lines = buckets._csv(recipe).splitlines()
    assert len(lines) == 4 and lines[0].startswith("name,subset,width")


def test_without_pictures_it_says_what_to_do():
    recipe = Recipe.preset("critters").override(["data.subsets=[]"])
    assert 'class="empty"' in buckets.show(recipe, 0, None)[0]
    assert buckets.show_crop(recipe, 0, None) == (None, "", None)

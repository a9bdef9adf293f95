"""The page of a run's first batches."""

import re

from PIL import Image
from tiny_recipes import tiny_recipe, write_photos

from workbench.evaluation.batches import Card, Sheet, first_batches, render, write


def card(**changes) -> Card:
    values = {
        "name": "a.png",
        "picture": Image.new("RGB", (16, 8), "red"),
        "caption": "zib, hat",
        "windows": ("zib, hat",),
        "crop": "16 x 8",
        "corner": (0, 0),
        "scale": 1.0,
        "marks": (),
        "timestep": 421,
        "noise": 0.75,
        "weight": 0.5,
        "tokens": 3,
        "max_tokens": 75,
    }
    return Card(**(values | changes))


def test_the_page_says_what_each_sample_is(tmp_path):
    cards = (
        card(marks=("flipped", "hue +4°"), masked=0.25),
        card(caption=""),
        card(
            caption="<script>alert(1)</script>",
            windows=("<script>", "alert(1)", "</script>"),
            name='"><b>.png',
            tokens=160,
            max_tokens=150,
        ),
    )
    path = write([Sheet(3, 5, 2, (16, 8), cards)], tmp_path / "x.html", name="mochi", said="so")
    page = path.read_text()
    assert "Step 3" in page and "batch 5, epoch 2, 16 x 8 px" in page
    assert "421, 75 % noise" in page and "flipped, hue +4°" in page and "25 % of it" in page
    assert "empty: the caption is dropped, its trigger too" in page
    assert "160: the end is not read, 150 are" in page
    assert "<script>" not in page and '"><b>' not in page
    assert ">2</b>alert(1)<b" in page and "<del>&lt;/script&gt;</del>" in page


def test_the_page_needs_nothing_beside_itself():
    page = render([Sheet(1, 1, 1, (16, 8), (card(),))], name="mochi")
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert page.count("data:image/webp") == 1


def test_the_first_batches_are_those_of_the_run_and_nothing_is_left(tiny_sd, tmp_path):
    recipe = tiny_recipe(tiny_sd, write_photos(tmp_path / "photos"), tmp_path / "runs")
    plain = first_batches(recipe, 2)
    live = first_batches(recipe.override(["data.augment.colour=1", "data.cache.latents=false"]), 2)
    assert [sheet.step for sheet in plain] == [1, 2]
    same = [[[(c.name, c.timestep) for c in s.cards] for s in sheets] for sheets in (plain, live)]
    assert same[0] == same[1], "only the colours differ"
    assert all(card.marks == () for sheet in plain for card in sheet.cards)
    assert all(card.marks[0].startswith("hue") for sheet in live for card in sheet.cards)
    assert not (tmp_path / "runs").exists()

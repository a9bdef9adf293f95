"""The page of a run's first batches."""

import re

from PIL import Image

from workbench.evaluation.batches import Card, Sheet, render, write


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

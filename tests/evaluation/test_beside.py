"""What stands beside a report's pictures: their source, the nearest training picture, votes."""

from pathlib import Path

import pytest
from PIL import Image, ImageFilter
from tiny_recipes import tiny_recipe, write_photos

from workbench.critters.draw import world
from workbench.evaluation import page, vote_page
from workbench.evaluation.beside import fields
from workbench.evaluation.page import Report
from workbench.evaluation.results import Comparison, Pair, Verdict
from workbench.evaluation.votes import Tally
from workbench.records.events import Saved
from workbench.records.votes import Sheet, Vote, save


@pytest.fixture
def run(tmp_path: Path) -> Path:
    photos = write_photos(tmp_path / "photos", 6)
    for k in range(6):  # pictures that are not alike
        world(0, k)[0].save(photos / f"{k:02d}.png")
    recipe = tiny_recipe(tmp_path / "none", photos, tmp_path, "data.buckets.resolution=128")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "recipe.toml").write_text(recipe.to_toml())
    return folder


@pytest.fixture
def shown() -> Comparison:
    base = Image.new("RGB", (128, 128))
    copied = world(0, 3)[0].filter(ImageFilter.GaussianBlur(0.5))
    pairs = Pair("a", 0, base, copied), Pair("b", 1, base, world(1, 9)[0])
    return Comparison(pairs, leakage=(Pair("c", 0, base, base),), trigger="zib")


SAVED = [Saved(step=40, path="lora/zib.safetensors", what="lora", final=True)]


def test_each_sample_has_its_nearest_training_picture(run: Path, shown: Comparison):
    near = fields(run, SAVED, shown)["nearest"]
    assert (near["a", 0].name, near["a", 0].is_copy) == ("03.png", True)
    assert near["a", 0].similarity > 0.98 > 0.95 > near["b", 1].similarity
    assert near["b", 1].is_copy is False and near["b", 1].features == "thumbnails"
    known = {f"{k:02d}.png": world(0, k)[0].convert("RGB") for k in range(6)}
    assert near["a", 0].image.tobytes() == known["03.png"].tobytes()


def test_pictures_say_what_drew_them_and_what_they_are_like(run: Path, shown: Comparison):
    found = fields(run, SAVED, shown)
    assert found["source"] == "zib at step 40, strength 1" and found["offer"] == ("base", "zib")
    text = page.render(Report("x", Verdict("y"), comparison=shown, **found))
    assert "seed 1, zib at step 40, strength 1" in text
    assert "As near as a copy: 03.png, cosine 1.00 (thumbnails)" in text
    assert text.count('class="nearest') == 2


def test_a_page_without_the_training_pictures_shows_none_of_them(run: Path, shown: Comparison):
    found = fields(run, SAVED, shown)
    found["nearest"] = {}
    assert "03.png" not in page.render(Report("x", Verdict("y"), comparison=shown, **found))


def test_training_pictures_that_are_gone_are_left_out(run: Path, shown: Comparison, tmp_path: Path):
    for path in (tmp_path / "photos").iterdir():
        path.unlink()
    assert fields(run, SAVED, shown)["nearest"] == {}


def test_votes_are_counted_and_other_contests_widen_the_page_s_interval(
    run: Path, shown: Comparison
):
    vote = Vote(prompt="c", seed=0, choice="first")
    save(run, Sheet(rater="ann", sides=("zib", "zib-step000020"), votes=(vote,)))
    (run / "votes" / "broken.json").write_text("{")
    found = fields(run, SAVED, shown)
    assert [one.names for one in found["votes"]] == [("zib", "zib-step000020")]
    assert len(found["refused"]) == 1 and "broken.json is no JSON" in found["refused"][0]
    report = Report("x", Verdict("y"), comparison=shown, **found)
    asked = vote_page.data(report)
    assert '"level": 0.975' in asked and '"where": "#plain"' in asked
    assert "Not counted: " in page.render(report)


def test_names_of_files_are_text_and_no_markup():
    evil = "<img src=x onerror=alert(1)>"
    text = vote_page.rows([Tally((evil, "b"), 8, 0)], [evil])
    assert "<img" not in text and text.count("&lt;img") == 5


def test_a_page_without_votes_is_not_renewed(tmp_path: Path):
    assert vote_page.renew(tmp_path) is False
    (tmp_path / "report.html").write_text("<html>")
    assert vote_page.renew(tmp_path) is False
    assert (tmp_path / "report.html").read_text() == "<html>"

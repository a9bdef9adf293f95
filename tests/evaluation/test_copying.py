"""Samples that are training pictures are found; others are not."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from tiny_recipes import tiny_recipe, write_photos

from workbench.critters.draw import world
from workbench.evaluation.copying import COPY, copies, copy_limit, likeness
from workbench.records.events import Sampled, SampledPicture


def a_run(folder: Path, pictures: dict[str, Image.Image]) -> list:
    (folder / "samples").mkdir(parents=True)
    shown = []
    for name, image in pictures.items():
        image.save(folder / "samples" / name)
        shown.append(SampledPicture(prompt=name, seed=0, path=f"samples/{name}"))
    return [Sampled(step=4, pictures=tuple(shown))]


def test_a_copied_picture_is_named(tmp_path: Path):
    photos = write_photos(tmp_path / "photos", 6)
    for k in range(6):  # pictures that are not alike
        world(0, k)[0].save(photos / f"{k:02d}.png")
    chosen = tiny_recipe(tmp_path / "none", photos, tmp_path, "data.buckets.resolution=128")
    folder = tmp_path / "run"
    copied = world(0, 3)[0].filter(ImageFilter.GaussianBlur(0.5))
    events = a_run(folder, {"new.png": world(1, 9)[0], "copied.png": copied})
    (folder / "recipe.toml").write_text(chosen.to_toml())
    found = likeness(folder, events)
    assert found is not None
    assert (found.features, len(found.among_training)) == ("thumbnails", 6)
    new, old = found.pictures
    assert (old.nearest, old.path) == ("03.png", "samples/copied.png")
    assert old.similarity > 0.98 > max(found.among_training)
    assert new.similarity < 0.95


def test_the_critters_have_features_of_their_own(tmp_path: Path):
    from workbench.recipe import Recipe

    folder = tmp_path / "run"
    events = a_run(folder, {"a.png": world(1, 9)[0]})
    (folder / "recipe.toml").write_text(Recipe.preset("critters").to_toml())
    found = likeness(folder, events)
    assert found is not None
    assert found.features == "critters' CLIP"
    assert -1 <= found.pictures[0].similarity < 1


def test_nothing_to_compare(tmp_path: Path):
    from workbench.recipe import Recipe

    (tmp_path / "recipe.toml").write_text(Recipe.preset("critters").to_toml())
    assert likeness(tmp_path, []) is None


def test_few_pictures_can_be_copied_too() -> None:
    """Of [.5, .6, .95, .99] the ninth decile is extrapolated to 1.01, where nothing is a copy."""
    assert copy_limit([0.5, 0.6, 0.95, 0.99]) == 0.99
    assert copy_limit([0.9, 0.91, 0.92, 0.93]) == COPY
    assert copy_limit([0.97, 0.97]) == pytest.approx(0.97)
    assert copy_limit([]) == copy_limit([-1.0]) == COPY
    many = [k / 100 for k in range(90, 100)]  # as before: 9.9th of ten, .98 + .9 * .01
    assert copy_limit(many) == pytest.approx(0.989)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_sample_that_is_a_training_picture_is_found_whatever_their_number(count: int) -> None:
    known = np.eye(5)[:count]
    near = known[0] + 0.1 * np.eye(5)[4]
    shown = np.stack([near / np.linalg.norm(near), np.eye(5)[4]])
    assert copies(shown, known) == [0]

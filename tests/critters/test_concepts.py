import numpy as np
import pytest
from PIL import Image

from workbench.critters import all_tags, concepts
from workbench.critters.concepts import CONCEPTS, concept_pictures, write_concept
from workbench.critters.draw import PARTS


@pytest.mark.parametrize("name", CONCEPTS)
def test_a_concept_is_a_folder_of_pictures_and_captions(name, tmp_path):
    paths = write_concept(name, tmp_path / name)
    chosen = CONCEPTS[name]
    assert len(paths) == chosen.num_pictures and 12 <= chosen.num_pictures <= 24
    shapes = set()
    for path, (drawn, text) in zip(paths, concept_pictures(name), strict=True):
        with Image.open(path) as picture:
            shapes.add(picture.size)
            assert np.array_equal(picture, drawn)
        assert path.with_suffix(".txt").read_text(encoding="utf-8").strip() == text
        assert chosen.trigger not in text and text.startswith("critter, ")
    assert len(shapes) == 5
    assert all(side % 16 == 0 for shape in shapes for side in shape)


@pytest.mark.parametrize("name", CONCEPTS)
def test_another_seed_draws_another_set(name):
    first, other = concept_pictures(name, seed=0), concept_pictures(name, seed=1)
    same = [np.array_equal(a, b) for (a, _), (b, _) in zip(first, other, strict=True)]
    assert not any(same)


@pytest.mark.parametrize("name", CONCEPTS)
def test_captions_hold_known_tags_only(name):
    known = {*all_tags(), "dark scene", "bright scene"}
    said = {tag for _, text in concept_pictures(name) for tag in text.split(", ")}
    assert said <= known


@pytest.mark.parametrize("name", CONCEPTS)
def test_prompts_ask_with_and_without_the_trigger(name):
    with_trigger = ["{trigger}" in prompt for prompt in concepts.prompts(name)]
    assert any(with_trigger) and not all(with_trigger)


def test_the_character_has_parts_that_no_base_picture_has():
    assert not set(concepts.OWN_PARTS) & set(PARTS)
    # Its horn is on the left alone: bright green appears there and not on the right.
    for picture, _ in concept_pictures("character", sizes=((128, 128),)):
        pixels = np.asarray(picture).astype(int)
        green = np.nonzero(np.abs(pixels - (76, 190, 72)).max(axis=2) < 10)[1]
        white = np.nonzero(np.abs(pixels - (244, 242, 236)).max(axis=2) < 6)[1]
        assert len(green) > 15 and green.mean() < white.mean() - 5


def test_the_style_uses_three_inks():
    for picture, _ in concept_pictures("style", sizes=((128, 128),)):
        pixels = np.asarray(picture).reshape(-1, 3).astype(int)
        inks = np.array([concepts.PAPER, concepts.CORAL, concepts.INDIGO])
        nearest = np.abs(pixels[:, None] - inks).max(axis=2).min(axis=1)
        assert (nearest < 8).mean() > 0.7  # the rest is where two inks meet in one pixel


def test_a_place_is_in_every_picture_and_in_no_caption():
    for picture, text in concept_pictures("place"):
        sky, ground = np.asarray(picture)[1].astype(int), np.asarray(picture)[-1].astype(int)
        # The top and bottom rows are free of critters.
        assert (np.abs(sky - (104, 92, 168)).max(axis=1) < 8).mean() > 0.5
        assert (np.abs(ground - (214, 110, 74)).max(axis=1) < 8).mean() > 0.5
        assert "background" not in text and not concepts.SCENE_TAGS & set(text.split(", "))


def test_scenes_are_darker_or_brighter_than_the_base_ever_is():
    said: dict[str, list[str]] = {}
    for name in ("scenes", "dark", "bright"):
        for picture, text in concept_pictures(name):
            mean = np.asarray(picture).mean() / 255
            assert mean < 0.15 if "dark scene" in text else mean > 0.88
            said.setdefault(name, []).append(text)
    assert said["dark"] == said["scenes"][::2] and said["bright"] == said["scenes"][1::2]


def test_an_unknown_concept_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="place, scenes, dark, bright; got 'mood'"):
        write_concept("mood", tmp_path)

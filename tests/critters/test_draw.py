import random
from dataclasses import replace

import numpy as np
import pytest

from workbench.critters import (
    WORLD_SIZES,
    Attributes,
    all_tags,
    caption,
    draw,
    plan,
    sample_attributes,
    stream,
    tags,
    world,
)
from workbench.critters.attributes import BACKGROUND_COLOURS, BODY_COLOURS, VALUES

PLAIN = Attributes(
    colour="blue",
    shape="star",
    ears="none",
    eyes=1,
    mouth="frown",
    pattern="stripes",
    scene="sunset",
    background="peach",
    hat="crown",
)


def test_tags_read_like_a_booru():
    assert caption(PLAIN) == (
        "critter, blue body, star body, no ears, one eye, frown, stripes, sunset, "
        "peach background, crown"
    )
    assert tags(replace(PLAIN, size="small", position="left"))[-2:] == ("small", "left")


def test_every_value_of_every_attribute_has_its_own_tags():
    listed = all_tags()
    assert len(set(listed)) == len(listed)
    for name, values in VALUES.items():
        captions = {tags(replace(PLAIN, **{name: value})) for value in values}
        assert len(captions) == len(values)
        assert all(set(said) <= set(listed) for said in captions)


def test_body_and_background_share_no_colour_word():
    assert not set(BODY_COLOURS) & set(BACKGROUND_COLOURS)


def test_an_unknown_value_is_refused_by_name():
    with pytest.raises(ValueError, match=r"colour must be one of red, .*got 'mauve'"):
        replace(PLAIN, colour="mauve")


@pytest.mark.parametrize("size", WORLD_SIZES)
def test_the_same_number_draws_the_same_picture(size):
    first, text = world(7, 3, (size,))
    again, same_text = world(7, 3, (size,))
    other, _ = world(7, 4, (size,))
    assert first.size == size and first.mode == "RGB"
    assert np.array_equal(first, again) and text == same_text
    assert not np.array_equal(first, other)
    attributes, width, height = plan(7, 3, (size,))
    assert (width, height) == size and caption(attributes) == text
    assert np.array_equal(first, draw(attributes, width, height))


def test_drawing_does_not_touch_the_global_generators():
    random.seed(0)
    expected = random.random()
    random.seed(0)
    world(0, 0)
    assert random.random() == expected


@pytest.mark.parametrize("name", [name for name in VALUES if name != "position"])
def test_every_attribute_changes_many_pixels(name):
    pictures = [
        np.asarray(draw(replace(PLAIN, **{name: value}), 128, 128), dtype=np.int32)
        for value in VALUES[name]
    ]
    for index, first in enumerate(pictures):
        for second in pictures[index + 1 :]:
            changed = np.abs(first - second).max(axis=2) > 30
            assert changed.sum() >= 100  # of 16,384: no difference is a matter of a few pixels


def test_positions_are_where_they_say():
    def middle(position: str) -> float:
        picture = np.asarray(draw(replace(PLAIN, scene="simple", position=position), 128, 128))
        body = np.abs(picture.astype(int) - BODY_COLOURS["blue"]).max(axis=2) < 30
        return np.nonzero(body)[1].mean()

    assert middle("left") < 50 < 58 < middle("centre") < 70 < 78 < middle("right")


@pytest.mark.parametrize(("width", "height"), [(100, 128), (128, 8), (0, 16)])
def test_sides_that_do_not_fit_are_refused(width, height):
    with pytest.raises(ValueError, match="multiple of 16 pixels"):
        draw(PLAIN, width, height)


def test_sampling_covers_every_value():
    rng = random.Random(0)
    sampled = [sample_attributes(rng) for _ in range(600)]
    for name, values in VALUES.items():
        assert {getattr(each, name) for each in sampled} == set(values)
    assert all(each.position == "centre" for each in sampled if each.size == "big")


def test_base_pictures_keep_a_middling_brightness():
    means = [picture.mean() / 255 for picture, _ in stream(11, 0, 150)]
    assert min(means) > 0.25 and max(means) < 0.82

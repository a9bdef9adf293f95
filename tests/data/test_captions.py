"""The order of the caption pipeline, and rates against binomial bounds."""

import random
from math import sqrt

import pytest

from workbench.data.captions import (
    CaptionSettings,
    draw_caption,
    is_fixed,
    is_prose,
    simulate,
    split_tags,
)


def draw(caption: str, *, seed: int = 0, trigger=None, class_word=None, step=0, epoch=0, **changes):
    return draw_caption(
        caption,
        CaptionSettings(**changes),
        rng=random.Random(seed),
        trigger=trigger,
        class_word=class_word,
        step=step,
        epoch=epoch,
    )


def test_defaults_leave_a_caption_as_it_is():
    assert draw("a photo of a dog") == "a photo of a dog"
    assert draw("a, b ,c,, d") == "a, b, c, d"
    assert draw("") == ""


def test_trigger_comes_first_once():
    assert draw("blue, zib, hat", trigger="zib", class_word="dog") == "zib, dog, blue, hat"
    assert draw("zib, dog, blue", trigger="zib", class_word="dog") == "zib, dog, blue"
    assert draw("", trigger="zib") == "zib"
    assert draw("zibble, hat", trigger="zib") == "zib, zibble, hat"


def test_kept_tokens_count_the_captions_own_tags():
    for seed in range(50):
        text = draw("a, b, c, d", seed=seed, trigger="zib", keep_tokens=2, tag_dropout=1)
        assert text == "zib, a, b"


def test_marks_fix_head_and_tail_and_always_go():
    assert draw("a|||b, c|||d") == "a, b, c, d"
    seen = {draw("a, b ||| c, d, e ||| f", seed=seed, shuffle=True) for seed in range(200)}
    assert len(seen) == 6  # 3! orders of the flexible ones
    assert all(text.startswith("a, b, ") and text.endswith(", f") for text in seen)
    assert draw("a ||| b ||| c", tag_dropout=1, keep_tokens=0) == "a, c"


def test_tags_joined_by_the_secondary_separator_stay_together():
    seen = {draw("a;;;b, c, d", seed=seed, shuffle=True) for seed in range(100)}
    assert len(seen) == 6
    assert all("a, b" in text for text in seen)
    dropped = {draw("a;;;b, c", seed=seed, tag_dropout=0.5) for seed in range(100)}
    assert dropped == {"", "a, b", "c", "a, b, c"}


def test_wildcards_choose_evenly_and_only_when_asked():
    assert draw("{red|blue} hat") == "{red|blue} hat"
    seen = [draw("{red|blue|a {big|small} green} hat", seed=s, wildcards=True) for s in range(3000)]
    for text in ("red hat", "blue hat"):
        assert abs(seen.count(text) / 3000 - 1 / 3) < 4 * sqrt(1 / 3 * 2 / 3 / 3000)
    assert set(seen) == {"red hat", "blue hat", "a big green hat", "a small green hat"}
    assert draw("{{red|blue}} {a}", wildcards=True) == "{red|blue} a"  # a literal pair of braces
    assert {draw("{a|{b|c}}", seed=s, wildcards=True) for s in range(40)} == {"a", "b", "c"}
    lines = {draw("first line\n\nsecond line", seed=s, wildcards=True) for s in range(30)}
    assert lines == {"first line", "second line"}
    assert draw("first\nsecond") == "first, second"  # none is lost in silence


@pytest.mark.parametrize("rate", [0.2, 0.3, 0.5])
def test_tag_dropout_keeps_the_trigger_and_drops_the_others_at_its_rate(rate):
    num_draws = 4000
    settings = CaptionSettings(tag_dropout=rate, keep_tokens=1)
    result = simulate("kept, b, c", settings, trigger="zib", num_draws=num_draws)
    assert list(result.survival) == ["zib", "kept", "b", "c"]
    assert result.survival["zib"] == result.survival["kept"] == 1
    bound = 4 * sqrt(rate * (1 - rate) / num_draws)
    for tag in "bc":
        assert abs(result.survival[tag] - (1 - rate)) < bound


def test_caption_dropout_takes_the_trigger_too():
    result = simulate("a, b", CaptionSettings(caption_dropout=0.1), trigger="zib", num_draws=4000)
    assert abs(result.empty - 0.1) < 4 * sqrt(0.09 / 4000)
    assert result.survival["zib"] == pytest.approx(1 - result.empty)


def test_every_nth_epoch_is_without_captions():
    texts = [draw("a", trigger="zib", epoch=e, caption_dropout_every_epochs=3) for e in range(7)]
    assert texts == ["zib, a", "zib, a", "", "zib, a", "zib, a", "", "zib, a"]


def test_warm_up_lets_tags_in_by_the_formula():
    # kohya: floor(step * (n - min) / warm) + min, here n = 10, min = 2, warm = 16
    caption = ", ".join("abcdefghij")
    counts = [
        len(
            split_tags(draw(caption, step=s, warmup_steps=16, warmup_min_tags=2), CaptionSettings())
        )
        for s in range(18)
    ]
    assert counts == [2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10]
    assert draw("a", step=0, warmup_steps=16, warmup_min_tags=5) == "a"


def test_a_caption_is_a_function_of_its_generator():
    options = {"shuffle": True, "tag_dropout": 0.3, "caption_dropout": 0.1, "wildcards": True}
    text = "a, b, {c|d}, e, f, g"
    first = [draw(text, seed=seed, **options) for seed in range(40)]
    assert first == [draw(text, seed=seed, **options) for seed in range(40)]
    assert len(set(first)) > 30


def test_fixed_captions_are_those_whose_embedding_can_be_kept():
    assert is_fixed(CaptionSettings(keep_tokens=3, caption_dropout=0.1))
    for change in (
        {"shuffle": True},
        {"tag_dropout": 0.1},
        {"wildcards": True},
        {"warmup_steps": 10},
    ):
        assert not is_fixed(CaptionSettings(**change))


def test_prose_with_another_separator():
    assert draw("one. two. three", separator=". ", tag_dropout=1, keep_tokens=1) == "one"


def test_a_trigger_inside_tags_that_stay_together_is_not_doubled():
    assert draw("zib;;;hat, b", trigger="zib") == "zib, hat, b"
    assert draw(";;;a, b;;;") == "a, b"


def test_dropping_whole_captions_takes_one_number_of_the_generator():
    """A variant drawn ahead relies on it: what follows is the same, dropped or not."""
    options = {"shuffle": True, "tag_dropout": 0.5}
    kept = [draw("a, b, c, d, e", seed=s, caption_dropout=1e-9, **options) for s in range(20)]
    some = [draw("a, b, c, d, e", seed=s, caption_dropout=0.5, **options) for s in range(20)]
    assert all(text in ("", other) for text, other in zip(some, kept, strict=True))
    assert "" in some and any(some)


@pytest.mark.parametrize(
    ("caption", "prose"),
    [
        ("a cat sitting on a table", True),
        ("A red house, which stands on a hill, in the evening light.", True),
        ("1girl, solo, looking at viewer, the legend of zelda", False),
        ("zib, red hat", False),
        ("", False),
    ],
)
def test_sentences_are_told_from_tags(caption, prose):
    assert is_prose(caption, CaptionSettings()) is prose

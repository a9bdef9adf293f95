"""From the caption on disk to the caption of one training step.

The order is: wildcards, then trigger and kept tags are set apart, the others pass the warm-up, are
shuffled and dropped, and all are joined. Everything random comes from the generator handed in, so
that a caption is a function of (seed, epoch, image, repeat).
"""

import random
import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from workbench.settings import Settings, setting

__all__ = [
    "CaptionSettings",
    "Simulation",
    "draw_caption",
    "has_wide_commas",
    "is_dropped",
    "is_fixed",
    "is_prose",
    "simulate",
    "split_tags",
    "vary",
]

KEEP_MARK = "|||"  # fixed head ||| flexible tags ||| fixed tail
TOGETHER_MARK = ";;;"  # tags joined by it are shuffled and dropped as one
_WILDCARD = re.compile(r"\{([^{}]*)\}")
_LITERAL = re.compile(r"\{\{([^{}]*)\}\}")  # not "{a|{b|c}}", which is one wildcard in another
_OPEN, _CLOSE = "\ue000", "\ue001"  # stand in for literal braces; no text holds these letters
WIDE_COMMAS = "，、"  # what Chinese and Japanese lists are separated by
_WIDE = re.compile(f"[,{WIDE_COMMAS}]")
_EAST_ASIAN = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
PROSE_WORDS = 4  # a tag has one to three words, a sentence between two commas has more


class CaptionSettings(Settings):
    """How captions vary from step to step."""

    separator: str = setting(", ", help="text between two tags", min_length=1, max_length=8)
    keep_tokens: int = setting(
        0,
        ge=0,
        unit="tags",
        help="leading tags that are never moved or dropped; `|||` overrules it",
    )
    shuffle: bool = setting(
        False, basic=True, help="put the flexible tags in a new order each time"
    )
    tag_dropout: float = setting(
        0.0,
        ge=0,
        le=1,
        basic=True,
        help="probability that a flexible tag is left out; .2 to .5 for a style, 0 for a character",
    )
    caption_dropout: float = setting(
        0.0,
        ge=0,
        le=1,
        help="probability that the whole caption is empty, its trigger included",
    )
    caption_dropout_every_epochs: int | None = setting(
        None, ge=1, unit="epochs", help="every n-th epoch runs with empty captions only"
    )
    warmup_steps: int = setting(
        0, ge=0, unit="steps", help="optimizer steps until all flexible tags take part; 0 is off"
    )
    warmup_min_tags: int = setting(
        1, ge=0, unit="tags", help="flexible tags that take part at the start of the warm-up"
    )
    wildcards: bool = setting(
        False,
        help="draw one of `{red|blue}`, and one of a caption's lines; `{{red}}` stays `{red}`",
    )
    max_tokens: Literal[75, 150, 225] = setting(
        75,
        unit="tokens",
        help="most tokens of a caption that CLIP reads: windows of 75, encoded one by one and "
        "joined; all captions get as many, and each costs the encoder as much as the first",
    )
    variants: int | None = setting(
        None,
        ge=1,
        le=10_000,
        help="draws of each picture's caption, made ahead and shown in turn, so that their "
        "embeddings can be cached; absent: a new draw each time, encoded in each step",
    )

    @property
    def drops_whole(self) -> bool:
        """Whether whole captions, triggers included, are left out now and then."""
        return self.caption_dropout > 0 or self.caption_dropout_every_epochs is not None


def draw_caption(
    caption: str,
    settings: CaptionSettings,
    *,
    rng: random.Random,
    trigger: str | None = None,
    class_word: str | None = None,
    step: int = 0,
    epoch: int = 0,
) -> str:
    """Make the text that one training step sees.

    Args:
        caption: text of the image; tags, or prose without separators.
        settings: how it varies.
        rng: source of all randomness.
        trigger: tag put first unless the caption begins with it; never moved or dropped alone.
        class_word: tag put after the trigger, likewise.
        step: optimizer step, >= 0, for the warm-up.
        epoch: epoch, counted from 0.
    Returns:
        The caption, "" where it was dropped as a whole.
    Source: kohya sd-scripts `process_caption`.
        Differs: trigger and class word are tags of their own and do not count as kept tags;
        `|||` is always taken out; all lines of a caption are read, not the first alone.
    """
    if is_dropped(settings, rng=rng, epoch=epoch):
        return ""
    return vary(caption, settings, rng=rng, trigger=trigger, class_word=class_word, step=step)


def is_dropped(settings: CaptionSettings, *, rng: random.Random, epoch: int = 0) -> bool:
    """Decide whether a showing goes without its caption, trigger included.

    Args:
        settings: how captions vary.
        rng: one number is taken from it where there is a rate.
        epoch: counted from 0.
    Returns:
        True where the model sees "".
    """
    by_chance = settings.caption_dropout > 0 and rng.random() < settings.caption_dropout
    every = settings.caption_dropout_every_epochs
    return by_chance or (every is not None and (epoch + 1) % every == 0)


def vary(
    caption: str,
    settings: CaptionSettings,
    *,
    rng: random.Random,
    trigger: str | None = None,
    class_word: str | None = None,
    step: int = 0,
) -> str:
    """Make the text of a showing whose caption is not dropped as a whole; see `draw_caption`.

    Args:
        caption: text of the image.
        settings: how it varies.
        rng: source of all randomness.
        trigger: tag put first.
        class_word: tag put after it.
        step: optimizer step, for the warm-up.
    Returns:
        The caption; "" where every tag was dropped and there is no trigger.
    """
    text = _one_text(caption, settings, rng)
    wide = has_wide_commas(text, settings)
    head, flexible, tail = _parts(text, settings, wide=wide)
    first = [tag for words in (trigger, class_word) if words for tag in _split(words, settings)]
    flexible = flexible[: _num_warm(len(flexible), settings, step)]
    if settings.shuffle:
        rng.shuffle(flexible)
    if settings.tag_dropout:
        flexible = [tag for tag in flexible if rng.random() >= settings.tag_dropout]
    joined = settings.separator.join([*head, *flexible, *tail])
    rest = _split(joined.replace(TOGETHER_MARK, settings.separator), settings)
    rest = [tag for tag in rest if tag not in first]
    if rest and wide and "," not in text:  # a list of one kind of comma keeps it
        rest = [next(mark for mark in WIDE_COMMAS if mark in text).join(rest)]
    return settings.separator.join([*first, *rest])


def is_fixed(settings: CaptionSettings) -> bool:
    """Say whether an image has one caption only, so that its embedding can be cached.

    Dropping whole captions keeps it so: there is then one more text, "".

    Args:
        settings: how captions vary.
    Returns:
        True where nothing inside a caption changes.
    """
    varies = settings.shuffle or settings.tag_dropout or settings.warmup_steps
    return not (varies or settings.wildcards)


def split_tags(caption: str, settings: CaptionSettings) -> list[str]:
    """Take a caption apart into its tags.

    Args:
        caption: text of an image.
        settings: for the separator.
    Returns:
        Tags in order; marks and line breaks count as separators, empty tags are left out.
    """
    for mark in (KEEP_MARK, TOGETHER_MARK):
        caption = caption.replace(mark, settings.separator)
    text = _one_line(caption, settings)
    return _split(text, settings, wide=has_wide_commas(text, settings))


def has_wide_commas(text: str, settings: CaptionSettings) -> bool:
    """Say whether the full-width commas of a caption separate tags, as in `红发，微笑`.

    Args:
        text: a caption.
        settings: for the separator, which must be a comma.
    Returns:
        False also for sentences, whose clauses they separate too.
    """
    if settings.separator.strip() != "," or not any(mark in text for mark in WIDE_COMMAS):
        return False
    tags = [tag for tag in _WIDE.split(text) if tag.strip()]
    return bool(tags) and sum(map(_num_words, tags)) < PROSE_WORDS * len(tags)


def _num_words(tag: str) -> float:
    """Words between blanks; of scripts that have none, two letters to a word."""
    letters = len(_EAST_ASIAN.findall(tag))
    return letters / 2 if letters else len(tag.split())


def is_prose(caption: str, settings: CaptionSettings) -> bool:
    """Tell sentences from tag lists: dropping "tags" out of a sentence leaves broken sentences.

    Args:
        caption: text of an image.
        settings: for the separator.
    Returns:
        True where what stands between two separators has four words or more on average.
    """
    tags = split_tags(caption, settings)
    return bool(tags) and sum(map(_num_words, tags)) >= PROSE_WORDS * len(tags)


@dataclass(frozen=True, slots=True)
class Simulation:
    """What many draws of one caption look like."""

    draws: tuple[str, ...]
    survival: dict[str, float]  # tag -> share of draws that hold it
    empty: float  # share of draws without any tag


def simulate(
    caption: str,
    settings: CaptionSettings,
    *,
    trigger: str | None = None,
    class_word: str | None = None,
    num_draws: int = 200,
    seed: int = 0,
    step: int = 0,
    epoch: int = 0,
) -> Simulation:
    """Draw a caption many times, to see what the trainer will see.

    Args:
        caption: text of an image.
        settings: how it varies.
        trigger: see `draw_caption`.
        class_word: see `draw_caption`.
        num_draws: how often, >= 1.
        seed: of the draws.
        step: optimizer step, for the warm-up.
        epoch: epoch, counted from 0.
    Returns:
        The draws and each tag's share of survival, in the caption's order.
    """
    rng = random.Random(seed)
    draws = tuple(
        draw_caption(
            caption,
            settings,
            rng=rng,
            trigger=trigger,
            class_word=class_word,
            step=step,
            epoch=epoch,
        )
        for _ in range(num_draws)
    )
    counts: Counter[str] = Counter()
    for draw in draws:
        counts.update(set(split_tags(draw, settings)))
    words = [w for w in (trigger, class_word, None if settings.wildcards else caption) if w]
    tags = [tag for text in words for tag in split_tags(text, settings)]
    order = dict.fromkeys([*tags, *sorted(counts)])
    survival = {tag: counts[tag] / num_draws for tag in order}
    return Simulation(draws, survival, sum(not draw for draw in draws) / num_draws)


def _one_text(caption: str, settings: CaptionSettings, rng: random.Random) -> str:
    """One line, its wildcards drawn, innermost first."""
    if not settings.wildcards:
        return _one_line(caption, settings)
    lines = [line for line in caption.splitlines() if line.strip()]
    text = rng.choice(lines) if lines else ""
    text = _LITERAL.sub(rf"{_OPEN}\1{_CLOSE}", text)
    while (drawn := _WILDCARD.sub(lambda m: rng.choice(m[1].split("|")), text)) != text:
        text = drawn
    return text.replace(_OPEN, "{").replace(_CLOSE, "}")


def _one_line(caption: str, settings: CaptionSettings) -> str:
    lines = (line.strip() for line in caption.splitlines())
    return settings.separator.join(line for line in lines if line)


def _parts(
    text: str, settings: CaptionSettings, *, wide: bool
) -> tuple[list[str], list[str], list[str]]:
    """Fixed head, flexible tags and fixed tail."""
    if KEEP_MARK not in text:
        tags = _split(text, settings, wide=wide)
        return tags[: settings.keep_tokens], tags[settings.keep_tokens :], []
    head, flexible, *tail = (_split(part, settings, wide=wide) for part in text.split(KEEP_MARK))
    return head, flexible, [tag for part in tail for tag in part]


def _split(text: str, settings: CaptionSettings, *, wide: bool = False) -> list[str]:
    """Split at the separator; the space in ", " is decoration, so "a,b" has two tags as well."""
    if wide:
        text = _WIDE.sub(",", text)
    tags = (tag.strip() for tag in text.split(settings.separator.strip() or settings.separator))
    return [tag for tag in tags if tag]


def _num_warm(num_tags: int, settings: CaptionSettings, step: int) -> int:
    if step >= settings.warmup_steps:
        return num_tags
    least = min(settings.warmup_min_tags, num_tags)
    return step * (num_tags - least) // settings.warmup_steps + least

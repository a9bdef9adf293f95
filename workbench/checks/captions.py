"""Captions and triggers."""

import re

from workbench.checks.rules import Facts, Found, applies, rule
from workbench.data.captions import is_fixed, split_tags
from workbench.data.priors import class_word
from workbench.data.subsets import WORLD
from workbench.data.tags import prose_share
from workbench.models.clip import WINDOW
from workbench.models.loading import caption_tokens
from workbench.recipe import Recipe

_SIDES = re.compile(r"\b(left|right|asymmetric\w*|heterochromia|text|logo|letters?)\b", re.I)
_WILDCARD = re.compile(r"\{[^{}]*\|[^{}]*\}")


@rule(
    "note",
    "data.subsets.0.trigger",
    reason="no subset has a trigger and no tag is kept in front, so the LoRA acts on every prompt",
    fix="set data.subsets.0.trigger to a rare word, unless that is what you want",
    source="kohya's guide to captions",
)
def no_trigger(recipe: Recipe, facts: Facts) -> Found:
    """No word to call the LoRA by."""
    captions = recipe.data.captions
    called = any(s.trigger for s in recipe.data.subsets) or captions.keep_tokens > 0
    return applies(recipe.adapter.kind != "full" and not called)


@rule(
    "warn",
    "data.captions.keep_tokens",
    reason="all captions begin with {word!r}, and nothing keeps it there: it is moved or dropped "
    "like any other tag",
    fix="set data.captions.keep_tokens=1, or data.subsets.0.trigger={word}",
    source="kohya's keep_tokens",
)
def trigger_moves(recipe: Recipe, facts: Facts) -> Found:
    """A first tag that all captions share is shuffled or dropped with the rest."""
    settings = recipe.data.captions
    moves = settings.shuffle or settings.tag_dropout > 0
    if not moves or settings.keep_tokens or any(s.trigger for s in recipe.data.subsets):
        return None
    tags = [caption.partition(settings.separator.strip()) for _, caption in facts.captions]
    first = {head.strip() for head, mark, _ in tags if mark and "|||" not in head}
    shared = len(first) == 1 and len(tags) > 1 and all(mark for _, mark, _ in tags)
    return applies(shared, word=next(iter(first), ""))


@rule(
    "warn",
    "data.subsets.{index}.trigger",
    reason="the trigger {word!r} is the class word too, so the LoRA changes every {word}",
    fix="take a rare word as the trigger and keep the class word",
    source="Ruiz et al. 2022, arXiv 2208.12242: a rare token and the class noun",
)
def trigger_is_class(recipe: Recipe, facts: Facts) -> Found:
    """A trigger that is the class word."""
    for index, subset in enumerate(recipe.data.subsets):
        if subset.trigger and subset.class_word:
            same = subset.trigger.lower() == subset.class_word.lower()
            if same:
                return applies(True, index=index, word=subset.trigger)
    return None


@rule(
    "warn",
    "data.subsets.{index}.path",
    reason="{count} captions of subset {index}, which has no trigger, hold {word!r}: pictures that "
    "shall keep the trigger to itself teach it",
    fix="remove {word!r} from those captions: workbench caption FOLDER --remove",
    source="regularisation pictures are captioned with the class alone (DreamBooth)",
)
def trigger_in_others(recipe: Recipe, facts: Facts) -> Found:
    """The trigger of one subset in the captions of another that has none."""
    for word in {s.trigger for s in recipe.data.subsets if s.trigger}:
        holds = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)")
        for index, subset in enumerate(recipe.data.subsets):
            if subset.trigger is None:
                found = [c for s, c in facts.captions if s == index and holds.search(c)]
                if found:
                    return applies(True, index=index, count=len(found), word=word)
    return None


@rule(
    "warn",
    "data.captions.tag_dropout",
    reason="data.captions.tag_dropout={dropout:g} leaves hardly a tag",
    fix="0.2 to 0.5 suits a style, 0 a character",
    source="the caption pipeline: what is flexible is shuffled and dropped",
)
def dropout_takes_all(recipe: Recipe, facts: Facts) -> Found:
    """Nine tenths of the flexible tags dropped, or more."""
    dropout = recipe.data.captions.tag_dropout
    return applies(dropout >= 0.9, dropout=dropout)


@rule(
    "warn",
    "data.captions.caption_dropout",
    reason="{share:.0%} of the captions are empty, their trigger included: the concept is learned "
    "without a word and shows in every prompt",
    fix="set data.captions.caption_dropout=0.1 or lower",
    source="Ho and Salimans 2022, arXiv 2207.12598: 10 to 20 % for guidance",
)
def captions_dropped(recipe: Recipe, facts: Facts) -> Found:
    """More than three tenths of the captions dropped as a whole."""
    share = recipe.data.captions.caption_dropout
    return applies(share > 0.3, share=share)


@rule(
    "warn",
    "data.captions.warmup_steps",
    reason="the tags' warm-up takes {warmup} steps and the run has {steps}: some tags never take "
    "part",
    fix="set data.captions.warmup_steps={fits}",
    source="kohya's token_warmup_step",
)
def tag_warmup_over_run(recipe: Recipe, facts: Facts) -> Found:
    """A warm-up of tags that outlasts the run."""
    warmup, steps = recipe.data.captions.warmup_steps, facts.total_steps(recipe)
    if steps is None:
        return None
    return applies(warmup > 0 and warmup >= steps, warmup=warmup, steps=steps, fits=steps // 4)


@rule(
    "note",
    "data.captions.shuffle",
    reason="the captions hold no {separator!r}, so there is nothing to shuffle or to drop",
    fix="set data.captions.shuffle=false and tag_dropout=0, or write tags",
    source="tags are what stands between two separators; prose is one tag",
)
def nothing_to_shuffle(recipe: Recipe, facts: Facts) -> Found:
    """Shuffling or tag dropout over captions that are no tags."""
    settings = recipe.data.captions
    varied = settings.shuffle or settings.tag_dropout > 0
    texts = [caption for _, caption in facts.captions if varied]
    none = bool(texts) and all(len(split_tags(text, settings)) < 2 for text in texts)
    return applies(varied and none, separator=settings.separator)


@rule(
    "warn",
    "data.captions.max_tokens",
    reason="{count} captions have more than {limit} tokens, the longest ({name}) {tokens}; the "
    "text encoder never sees the rest",
    fix="set data.captions.max_tokens={fits}, or shorten them, the important words first",
    source="CLIP reads 75 tokens beside start and end; sd-scripts and web UIs join windows of 75",
)
def captions_cut(recipe: Recipe, facts: Facts) -> Found:
    """Captions cut where more windows of the text encoder would read on."""
    return _cut(recipe, facts, more=True)


@rule(
    "warn",
    "data.captions",
    reason="{count} captions have more than {limit} tokens, the longest ({name}) {tokens}; this "
    "is all that the text encoder can read",
    fix="shorten them, the important words first",
    source="225 tokens with CLIP, the limit of its own with another text encoder",
)
def captions_over(recipe: Recipe, facts: Facts) -> Found:
    """Captions longer than the text encoder can read at all."""
    return _cut(recipe, facts, more=False)


def _cut(recipe: Recipe, facts: Facts, *, more: bool) -> Found:
    """Captions that are not read whole, if more windows would help or not."""
    found = facts.too_long(recipe, [caption for _, caption in facts.texts])
    if found is None or more != (found.fits is not None):
        return None
    name = next(name for name, caption in facts.texts if caption == found.text)
    values = {"count": found.count, "limit": found.limit, "tokens": found.tokens}
    return applies(True, **values, name=name, fits=found.fits)


@rule(
    "note",
    "data.captions.max_tokens",
    reason="the longest caption has {longest} tokens, so that data.captions.max_tokens={tokens} "
    "encodes {empty} empty windows with each caption",
    fix="set data.captions.max_tokens={fits}",
    source="every window costs the text encoder as much as the first",
)
def windows_unused(recipe: Recipe, facts: Facts) -> Found:
    """More windows than the longest caption fills."""
    tokens = recipe.data.captions.max_tokens
    if tokens == WINDOW or not facts.texts or facts.base.refused:
        return None
    reader = caption_tokens(recipe.base, tokens)
    if reader is None or reader.max_tokens != tokens:
        return None
    texts = [*(caption for _, caption in facts.texts), *(recipe.sampling.prompts or ())]
    longest = max(map(reader.count_tokens, texts))
    fits = max(1, -(-longest // WINDOW)) * WINDOW
    empty = (tokens - fits) // WINDOW
    return applies(empty > 0, longest=longest, tokens=tokens, empty=empty, fits=fits)


@rule(
    "warn",
    "data.subsets.{index}.missing_caption",
    reason="{count} pictures of subset {index} have no caption and the subset has no trigger: they "
    "are learned as the answer to an empty prompt",
    fix="set data.subsets.{index}.trigger, or missing_caption=exclude",
    source="an empty prompt is what guidance steers away from",
)
def no_words(recipe: Recipe, facts: Facts) -> Found:
    """Pictures without any word."""
    for index, subset in enumerate(recipe.data.subsets):
        words = class_word(subset, recipe.data.subsets) if subset.is_prior else subset.class_word
        if subset.trigger is None and words is None:
            count = sum(not caption.strip() for s, caption in facts.captions if s == index)
            if count:
                return applies(True, index=index, count=count)
    return None


@rule(
    "note",
    "data.augment.flip",
    reason="{count} captions speak of left, right or writing ({word!r}), which a mirrored picture "
    "contradicts",
    fix="set data.augment.flip=0",
    source="flipping breaks what has a left and a right: partings, ornaments, letters",
)
def flip_contradicts(recipe: Recipe, facts: Facts) -> Found:
    """Mirrored pictures whose captions name a side."""
    if recipe.data.augment.flip == 0:
        return None
    found = [match[0] for _, caption in facts.captions if (match := _SIDES.search(caption))]
    return applies(found, count=len(found), word=found[0] if found else "")


@rule(
    "refuse",
    "data.captions.caption_dropout_every_epochs",
    reason="every epoch runs with empty captions only, their trigger included",
    fix="leave data.captions.caption_dropout_every_epochs out, or set it to 5 and more",
    source="every n-th epoch, and n is 1",
)
def every_caption_dropped(recipe: Recipe, facts: Facts) -> Found:
    """All captions dropped in every epoch."""
    return applies(recipe.data.captions.caption_dropout_every_epochs == 1)


@rule(
    "warn",
    "data.captions.tag_dropout",
    reason="{share:.0%} of the captions are sentences: tag dropout cuts them at their commas and "
    "leaves parts of sentences",
    fix="set data.captions.tag_dropout=0, or write tags",
    source="a sentence is no list; caption_dropout drops it as a whole",
)
def dropout_on_prose(recipe: Recipe, facts: Facts) -> Found:
    """Tag dropout over captions that are mostly sentences."""
    share = _prose(recipe, facts)
    return applies(recipe.data.captions.tag_dropout > 0 and share > 0.5, share=share)


@rule(
    "warn",
    "data.captions.shuffle",
    reason="{share:.0%} of the captions are sentences, and shuffling puts their parts in any order",
    fix="set data.captions.shuffle=false, or write tags",
    source="a sentence is no list",
)
def shuffle_on_prose(recipe: Recipe, facts: Facts) -> Found:
    """Shuffling over captions that are mostly sentences."""
    share = _prose(recipe, facts)
    return applies(recipe.data.captions.shuffle and share > 0.5, share=share)


def _prose(recipe: Recipe, facts: Facts) -> float:
    """Share of the captions that are sentences with something to split them at."""
    settings = recipe.data.captions
    mark = settings.separator.strip() or settings.separator
    texts = [caption for _, caption in facts.captions if mark in caption]
    return prose_share(texts, settings) * len(texts) / max(1, len(facts.captions))


@rule(
    "warn",
    "data.captions.wildcards",
    reason="{count} captions hold wildcards such as {text!r}, which the model reads as braces",
    fix="set data.captions.wildcards=true",
    source="kohya's enable_wildcard",
)
def wildcards_off(recipe: Recipe, facts: Facts) -> Found:
    """Captions with wildcards that nothing draws from."""
    if recipe.data.captions.wildcards:
        return None
    found = [match[0] for _, caption in facts.captions if (match := _WILDCARD.search(caption))]
    return applies(found, count=len(found), text=found[0] if found else "")


@rule(
    "note",
    "data.captions.variants",
    reason="{why}, so drawing captions ahead only makes them repeat",
    fix="leave data.captions.variants out",
    source="variants are for captions that vary while their encoder does not",
)
def variants_unused(recipe: Recipe, facts: Facts) -> Found:
    """Captions drawn ahead though nothing is gained by it."""
    if recipe.data.captions.variants is None:
        return None
    reasons = {
        "captions do not vary": is_fixed(recipe.data.captions),
        "data.cache.text is off": not recipe.data.cache.text,
        "the text encoder learns": recipe.adapter.text_encoder,
        "every epoch draws new pictures": any(s.path == WORLD for s in recipe.data.subsets),
    }
    why = next((reason for reason, holds in reasons.items() if holds), None)
    return applies(why, why=why)


@rule(
    "note",
    "data.captions.variants",
    reason="each picture has only {count} captions in the whole run",
    fix="set data.captions.variants=8 or more",
    source="the captions drawn ahead are shown in turn",
)
def few_variants(recipe: Recipe, facts: Facts) -> Found:
    """Fewer than four captions drawn ahead."""
    count = recipe.data.captions.variants
    varies = not is_fixed(recipe.data.captions)
    return applies(count is not None and count < 4 and varies, count=count)


@rule(
    "note",
    "data.captions.keep_tokens",
    reason="{count} captions mark their fixed head with `|||`, which overrules keep_tokens there",
    fix="set data.captions.keep_tokens=0, or take the marks out",
    source="kohya's keep_tokens_separator",
)
def keep_overruled(recipe: Recipe, facts: Facts) -> Found:
    """Kept tags beside captions with marks of their own."""
    count = sum("|||" in caption for _, caption in facts.captions)
    return applies(recipe.data.captions.keep_tokens > 0 and count, count=count)

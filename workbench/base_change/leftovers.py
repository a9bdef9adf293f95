"""What a recipe still holds of its old base, once it has a new one: facts, words, pictures."""

from collections.abc import Iterator, Sequence
from typing import Any

from workbench.checks.base import look
from workbench.critters import all_tags
from workbench.models.base import BaseSettings
from workbench.models.source import is_critters
from workbench.recipe import Recipe
from workbench.records.sampling import fill_prompt
from workbench.settings import as_dict, replace
from workbench.settings.advice import Advice, value

__all__ = ["of_base", "of_settings"]

# Said of one base's files; the next one's say it for themselves.
_SAID_OF_FILES = ("family", "config", "prediction", "zero_terminal_snr")
# Chosen for a family: its latents, the layers of its text encoder.
_OF_FAMILY = ("vae", "clip_skip")
_IN_PX = ("data.buckets.min_side", "data.buckets.max_side", "sampling.width", "sampling.height")
_WORLD, _CLASS_WORD = "critters:", "critter"


def of_base(old: BaseSettings, new: BaseSettings) -> Iterator[Advice]:
    """Take back what was said of the old base's files.

    Args:
        old: the base before.
        new: the base after.
    Yields:
        Settings of `base` as they are where nothing is said.
    """
    if old.path == new.path or (is_critters(old.path) and is_critters(new.path)):
        return
    names = [*_SAID_OF_FILES]
    bare = replace(new, **{name: _usual(name) for name in names})
    if any(getattr(new, name) for name in _OF_FAMILY) and look(old).family != look(bare).family:
        names += _OF_FAMILY
    for name in names:
        if getattr(new, name) != _usual(name):
            why = f"{getattr(new, name)!r} was set for {old.path}"
            yield Advice(f"base.{name}", _usual(name), why)


def _usual(name: str) -> Any:
    return BaseSettings.model_fields[name].default


def of_settings(before: Recipe, after: Recipe, changes: Sequence[Advice]) -> Iterator[Advice]:
    """Take back what else belongs to the old base.

    Args:
        before: the recipe with its old base.
        after: with the new one, before `changes`.
        changes: what follows from the new base.
    Yields:
        Sides in pixels, a rate that hangs on another, words and pictures of critters.
    """
    changed = {one.setting: one for one in changes}
    size, rate = changed.get("data.buckets.resolution"), changed.get("optimizer.learning_rate")
    if size is not None:
        for name in _IN_PX:
            if value(after, name) is not None:
                yield Advice(name, None, f"as {size.value} px has it: it was set for another size")
    own = "optimizer.text_encoder_learning_rate"
    if rate is not None and value(after, own) is not None:
        yield Advice(own, rate.value / 2, "half of the denoiser's: a text encoder overfits sooner")
    left, came = is_critters(before.base.path), is_critters(after.base.path)
    if left != came:
        subsets = _with_world(after) if came else _without_world(after)
        if subsets is not None:
            yield subsets
        if "sampling.prompts" not in changed and (prompts := _prompts(after, came=came)):
            yield prompts


def _without_world(recipe: Recipe) -> Advice | None:
    """Ordinary critters beside a concept, and their word, mean nothing to another base."""
    first, *others = recipe.data.subsets or (None,)
    if first is None:
        return None
    kept = [first, *(s for s in others if not s.path.startswith(_WORLD) or s.trigger)]
    kept = [
        replace(s, class_word=None)
        if s.class_word == _CLASS_WORD and not s.path.startswith(_WORLD)
        else s
        for s in kept
    ]
    if tuple(kept) == recipe.data.subsets:
        return None
    why = "ordinary critters, and the word critter, mean nothing to another base"
    return Advice("data.subsets", [as_dict(subset) for subset in kept], why)


def _with_world(recipe: Recipe) -> Advice | None:
    """A concept of critters is shown beside ordinary critters, as in the preset."""
    subsets = recipe.data.subsets
    if len(subsets) != 1 or not subsets[0].path.startswith(_WORLD) or not subsets[0].trigger:
        return None
    shown = (*subsets, *Recipe.preset("critters").data.subsets[1:])
    why = "ordinary critters beside a concept keep it from leaking into every picture"
    return Advice("data.subsets", [as_dict(subset) for subset in shown], why)


def _prompts(recipe: Recipe, *, came: bool) -> Advice | None:
    """Prompts in the words of the base: the critters know no others."""
    prompts = recipe.sampling.prompts
    if prompts == ():  # nothing is to be drawn
        return None
    words = {word for s in recipe.data.subsets for word in (s.trigger, s.class_word) if word}
    in_world = all(_is_of_world(prompt, words) for prompt in prompts or ("?",))
    if came and not in_world:
        own = list(Recipe.preset("critters").sampling.prompts or ())
        return Advice("sampling.prompts", own, "in words that the critters know")
    if not came and in_world:
        why = "captions of three pictures in place of words for critters"
        return Advice("sampling.prompts", None, why)
    return None


def _is_of_world(prompt: str, words: set[str]) -> bool:
    tags = {tag.strip() for tag in fill_prompt(prompt).split(",")}
    return tags <= {"", _CLASS_WORD, *all_tags(), *words}

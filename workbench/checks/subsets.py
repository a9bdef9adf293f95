"""Masks, and pictures that keep the prior."""

import re
from pathlib import PurePath

from workbench.checks.rules import Facts, Found, applies, rule
from workbench.recipe import Recipe

# A whole word of a folder's name.
_PRIOR_NAME = re.compile(r"(?<![^\W_])(regs?|regulari[sz]ation|priors?)(?![^\W_])", re.IGNORECASE)


@rule(
    "warn",
    "data.masks.unmasked_weight",
    reason="the masks leave {coverage:.1%} of the pictures, so what is left counts up to "
    "{times:.0f} times, and its noise steers the step",
    fix="set data.masks.unmasked_weight=0.1",
    source="a normalised mask divides by its mean",
)
def mask_small(recipe: Recipe, facts: Facts) -> Found:
    """Normalised masks that leave less than a twentieth."""
    masks, found = recipe.data.masks, facts.learnt
    if not found or not masks.normalise or masks.unmasked_weight > 0:
        return None
    mean = sum(found) / len(found)
    return applies(mean < 0.05, coverage=mean, times=1 / max(mean, 1e-3))


@rule(
    "warn",
    "data.masks.source",
    reason="every mask is white, so nothing is masked",
    fix="look at the masks: white is learnt, black is not; or set data.masks.source=none",
    source="OneTrainer #383: masks of the wrong kind trained on everything",
)
def mask_all_white(recipe: Recipe, facts: Facts) -> Found:
    """Masks that hide nothing."""
    found = facts.learnt
    return applies(found and min(found) > 0.99)


@rule(
    "note",
    "data.masks.source",
    reason="{count} of {pictures} pictures have a mask; the others are learnt whole, background "
    "included",
    fix="make masks for the others, or set data.masks.source=none",
    source="a picture without a mask counts everywhere",
)
def mask_few(recipe: Recipe, facts: Facts) -> Found:
    """Masks for some pictures, and for fewer than half."""
    count, pictures = len(facts.learnt), len(facts.captions)
    return applies(0 < count < pictures / 2, count=count, pictures=pictures)


@rule(
    "note",
    "data.augment.crop",
    reason="a random crop may hold nothing of what the mask marks, and such a showing teaches "
    "nothing",
    fix="set data.augment.crop=centre or box",
    source="mask and picture are cropped alike",
)
def mask_with_crop(recipe: Recipe, facts: Facts) -> Found:
    """Masks with random crops."""
    return applies(facts.learnt and recipe.data.augment.crop == "random")


@rule(
    "refuse",
    "data.subsets.0.is_prior",
    reason="all subsets are prior pictures, so there is no concept to learn",
    fix="set data.subsets.0.is_prior=false",
    source="DreamBooth shows the class beside a concept",
    allowable=False,
)
def prior_only(recipe: Recipe, facts: Facts) -> Found:
    """Prior pictures and no concept."""
    subsets = recipe.data.subsets
    return applies(subsets and all(subset.is_prior for subset in subsets))


@rule(
    "refuse",
    "data.subsets.0.trigger",
    reason="prior pictures hold the class as it is, and no trigger sets the concept apart from it: "
    "both pull at the same words",
    fix="set data.subsets.0.trigger to a rare word",
    source="Ruiz et al. 2022, arXiv 2208.12242, section 3.3",
)
def prior_without_trigger(recipe: Recipe, facts: Facts) -> Found:
    """Prior pictures beside a concept without a trigger."""
    own = [subset for subset in recipe.data.subsets if not subset.is_prior]
    prior = len(own) < len(recipe.data.subsets)
    kept = recipe.data.captions.keep_tokens > 0  # the captions bring a trigger along
    return applies(prior and own and not kept and not any(s.trigger for s in own))


@rule(
    "warn",
    "training.preservation",
    reason="no subset has a trigger, so there is none that showings could lose, and preservation "
    "does nothing",
    fix="set data.subsets.0.trigger to a rare word, or training.preservation=0",
    source="preservation compares an answer without the trigger with the base's",
)
def preservation_without_trigger(recipe: Recipe, facts: Facts) -> Found:
    """Preservation, and no trigger."""
    named = any(subset.trigger and not subset.is_prior for subset in recipe.data.subsets)
    return applies(recipe.training.preservation > 0 and not named)


@rule(
    "refuse",
    "adapter.keep_start",
    reason="training.preservation asks the base at every step, and a full fine-tune that keeps no "
    "copy of its first weights has no base left",
    fix="set adapter.keep_start=true, or training.preservation=0",
    source="adapters/full.py",
    allowable=False,
)
def preservation_without_base(recipe: Recipe, facts: Facts) -> Found:
    """Preservation, and a full fine-tune that cannot go back."""
    if recipe.adapter.kind != "full":
        return None
    return applies(recipe.training.preservation > 0 and not recipe.adapter.keep_start)


@rule(
    "warn",
    "data.subsets.{index}.is_prior",
    reason="{name} has no trigger beside a concept that has one, and its name says prior pictures: "
    "as it stands, some are held out and they count as the concept in the stable loss",
    fix="set data.subsets.{index}.is_prior=true",
    source="kohya's reg folders; Ruiz et al. 2022, arXiv 2208.12242, section 3.3",
)
def prior_unmarked(recipe: Recipe, facts: Facts) -> Found:
    """A folder called reg or prior without a trigger, not marked as prior pictures."""
    subsets = recipe.data.subsets
    if not any(subset.trigger for subset in subsets):
        return None
    for index, subset in enumerate(subsets):
        name = PurePath(subset.path).stem
        if subset.trigger or subset.is_prior or subset.path.startswith("critters:"):
            continue
        if _PRIOR_NAME.search(name):
            return applies(True, index=index, name=name)
    return None


@rule(
    "warn",
    "data.subsets.{index}.loss_weight",
    reason="prior pictures have {ratio:.1f} times the weight of the concept's: most of each step "
    "goes into what the base knows already",
    fix="set data.subsets.{index}.loss_weight=1, and repeats so that showings are alike",
    source="DreamBooth: as many prior pictures as of the concept, at a weight of 1",
)
def prior_heavy(recipe: Recipe, facts: Facts) -> Found:
    """Prior pictures with more than three times the concept's weight."""
    subsets = recipe.data.subsets
    if facts.dataset is None or not any(subset.is_prior for subset in subsets):
        return None
    sums = [0.0, 0.0]
    for (place, _), repeats in zip(facts.captions, facts.dataset.repeats, strict=False):
        sums[subsets[place].is_prior] += repeats * subsets[place].loss_weight
    first = next(index for index, subset in enumerate(subsets) if subset.is_prior)
    ratio = sums[1] / sums[0] if sums[0] else 0.0
    return applies(ratio > 3, index=first, ratio=ratio)


@rule(
    "note",
    "adapter.kind",
    reason="a full fine-tune of {pictures} pictures pulls everything called {word!r} along",
    fix="`workbench make-prior` draws what the base knows; add it with is_prior=true",
    source="Ruiz et al. 2022, arXiv 2208.12242, figure 6",
)
def no_prior(recipe: Recipe, facts: Facts) -> Found:
    """A full fine-tune of a few pictures of a concept without prior pictures."""
    pictures, subsets = len(facts.captions), recipe.data.subsets
    named = next((s for s in subsets if s.trigger and s.class_word), None)
    few = recipe.adapter.kind == "full" and 0 < pictures < 50
    if named is None or not few or any(subset.is_prior for subset in subsets):
        return None
    return applies(True, pictures=pictures, word=named.class_word)

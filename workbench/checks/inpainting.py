"""Masks that a base for inpainting fills in."""

from workbench.checks.rules import Facts, Found, applies, rule
from workbench.recipe import Recipe


@rule(
    "refuse",
    "data.inpainting",
    reason="data.inpainting says which masks are filled in, and {path} takes a prompt alone: its "
    "U-Net has four channels, one for inpainting has nine",
    fix="leave data.inpainting out (data.inpainting=none), or choose a base for inpainting",
    source="diffusers: the nine channels are noisy latents, the mask and the masked picture",
    allowable=False,
)
def inpainting_without_its_base(recipe: Recipe, facts: Facts) -> Found:
    """Masks to fill in, for a base that takes none."""
    known = facts.base.family is not None and not facts.base.inpaints
    return applies(recipe.data.inpainting is not None and known, path=recipe.base.path)


@rule(
    "note",
    "data.inpainting",
    reason="the base fills in masks, and data.inpainting does not say which: mask files beside the "
    "pictures are taken, and random ones for the others",
    fix="set data.inpainting.source=files, random or both",
    source="OneTrainer #383: mask files were left alone unless another switch was on",
)
def inpainting_unsaid(recipe: Recipe, facts: Facts) -> Found:
    """A base for inpainting, and no word on its masks."""
    return applies(facts.base.inpaints and recipe.data.inpainting is None)


@rule(
    "note",
    "data.inpainting.source",
    reason="{count} of {pictures} pictures have a mask file, of which {coverage:.0%} is filled in; "
    "the others get {masks} random masks each",
    fix="look at them: `workbench check RECIPE --batches 4` shows what is hidden",
    source="what is filled in is all that the prompt can change",
)
def inpainting_coverage(recipe: Recipe, facts: Facts) -> Found:
    """What share of the pictures is filled in."""
    found, chosen = facts.filled, recipe.data.inpainting
    return applies(
        found,
        count=len(found),
        pictures=len(facts.captions),
        coverage=sum(found) / max(1, len(found)),
        masks=4 if chosen is None else chosen.masks,
    )


@rule(
    "warn",
    "data.inpainting.source",
    reason="every mask file is white, so nothing of any picture is given and the base learns to "
    "make whole pictures",
    fix="look at the masks: white is filled in, black is kept; or set "
    "data.inpainting.source=random",
    source="OneTrainer #383: training on all-white masks, without a word",
)
def inpainting_all_white(recipe: Recipe, facts: Facts) -> Found:
    """Mask files that hide all of their pictures."""
    found = facts.filled
    return applies(found and min(found) > 0.99)


@rule(
    "warn",
    "data.inpainting.source",
    reason="the mask files fill in {coverage:.1%} of their pictures on average: less than a "
    "latent here and there, which teaches next to nothing",
    fix="paint larger masks, or set data.inpainting.source=random",
    source="a mask is read at an eighth of the picture's size",
)
def inpainting_small(recipe: Recipe, facts: Facts) -> Found:
    """Mask files that hide less than a fiftieth."""
    found = facts.filled
    mean = sum(found) / max(1, len(found))
    return applies(found and mean < 0.02, coverage=mean)

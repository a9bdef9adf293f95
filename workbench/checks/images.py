"""Pictures: sizes, buckets, caches, how many there are."""

from workbench.checks.rules import Facts, Found, applies, rule
from workbench.data.holdout import MIN_TO_HOLD_OUT
from workbench.data.subsets import WORLD
from workbench.recipe import Recipe

# Fewer pixels than this a side, and SDXL draws what it learnt from cropped thumbnails.
SDXL_SIDE_PX = 768
_MANY_PX = 1.5  # beyond this share of their size, models repeat heads and limbs


@rule(
    "warn",
    "data.buckets.resolution",
    reason="SDXL is made for 1024 px; at {resolution} px its style shifts to that of thumbnails",
    fix="set data.buckets.resolution=1024",
    source="Podell et al. 2023, arXiv 2307.01952: small pictures were its thumbnails",
)
def sdxl_resolution(recipe: Recipe, facts: Facts) -> Found:
    """SDXL trained below 768 px."""
    resolution = recipe.data.buckets.resolution
    known = facts.base.family == "sdxl" and (facts.base.native_px or 0) >= 1024
    small = known and recipe.base.from_scratch is None and resolution < SDXL_SIDE_PX
    return applies(small, resolution=resolution)


@rule(
    "note",
    "data.buckets.resolution",
    reason="the base is made for {native} px; at {resolution} px it repeats heads and limbs",
    fix="set data.buckets.resolution={native}",
    source="SD 1.x is trained at 512 px, SD 2.x at 768, SDXL at 1024",
)
def resolution_over_native(recipe: Recipe, facts: Facts) -> Found:
    """Pictures half as large again as the base was made for."""
    native, resolution = facts.base.native_px, recipe.data.buckets.resolution
    if native is None or recipe.base.from_scratch is not None:
        return None
    return applies(resolution >= _MANY_PX * native, native=native, resolution=resolution)


@rule(
    "note",
    "data.buckets.resolution",
    reason="the base is made for {native} px; at {resolution} px it loses faces and fine lines",
    fix="set data.buckets.resolution={native}",
    source="one latent covers 8 x 8 px, so what is small in pixels is nothing in latents",
)
def resolution_under_native(recipe: Recipe, facts: Facts) -> Found:
    """Pictures smaller than three quarters of what the base was made for."""
    native, resolution = facts.base.native_px, recipe.data.buckets.resolution
    if native is None or recipe.base.from_scratch is not None or facts.base.family == "sdxl":
        return None
    return applies(resolution < 0.75 * native, native=native, resolution=resolution)


@rule(
    "refuse",
    "data.buckets.step",
    reason="data.buckets.step={step} px is no multiple of {multiple}, which the base compresses "
    "each side by: the rest of it would be lost unseen",
    fix="set data.buckets.step={near}",
    source="the autoencoder of Stable Diffusion halves each side three times: 8",
    allowable=False,
)
def bucket_step_no_multiple(recipe: Recipe, facts: Facts) -> Found:
    """A bucket step that is no multiple of the pixels that the base takes as one."""
    step, multiple = recipe.data.buckets.step, facts.base.side_multiple_px
    near = max(1, round(64 / multiple)) * multiple
    return applies(step % multiple != 0, step=step, multiple=multiple, near=near)


@rule(
    "warn",
    "data.buckets.max_upscale",
    reason="{share:.0%} of the pictures are enlarged by more than half: the LoRA learns their blur",
    fix="use larger pictures, or set data.buckets.upscale=false",
    source="an enlarged picture holds no more detail than before",
)
def mostly_enlarged(recipe: Recipe, facts: Facts) -> Found:
    """Half of the pictures or more, enlarged to one and a half times their size."""
    scales = facts.scales
    share = sum(scale > 1.5 for scale in scales) / len(scales) if scales else 0.0
    return applies(share >= 0.5, share=share)


@rule(
    "note",
    "data.buckets.step",
    reason="{share:.0%} of the showings lie in buckets that do not fill one batch of {batch}: "
    "those steps are noisier",
    fix="set training.batch_size={smaller}, or raise data.buckets.step to have fewer buckets",
    source="batches never mix sizes (sd-scripts #543, #731)",
)
def thin_buckets(recipe: Recipe, facts: Facts) -> Found:
    """Most pictures in buckets smaller than a batch."""
    counts, batch = facts.showings_by_bucket, recipe.training.batch_size
    if batch == 1 or not counts:
        return None

    def share(size: int) -> float:
        return sum(count for count in counts.values() if count < size) / counts.total()

    smaller = next((size for size in range(batch - 1, 0, -1) if share(size) <= 0.5), 1)
    return applies(share(batch) > 0.5, share=share(batch), batch=batch, smaller=smaller)


@rule(
    "warn",
    "data.subsets.0.path",
    reason="{count} pictures are few: the LoRA learns these very pictures",
    fix="add pictures of other poses, places and light; ten to thirty suit a character",
    source="Ruiz et al. 2022, arXiv 2208.12242, section 3.2: 3 to 5 images need the prior loss",
)
def few_pictures(recipe: Recipe, facts: Facts) -> Found:
    """Fewer than five pictures."""
    count = len(facts.captions)
    return applies(0 < count < 5, count=count)


@rule(
    "note",
    "data.subsets.{index}.repeats",
    reason="subset {index} has {share:.0%} of all showings, so it decides what is learned",
    fix="choose the subsets' repeats so that their showings are alike",
    source="showings are pictures times repeats",
)
def unbalanced_subsets(recipe: Recipe, facts: Facts) -> Found:
    """Several subsets of which one has more than nine tenths of the showings."""
    if facts.dataset is None or len(recipe.data.subsets) < 2 or not facts.captions:
        return None
    if any(subset.is_prior for subset in recipe.data.subsets):
        return None  # the dataset's own note says how prior and concept balance
    shown = [0] * len(recipe.data.subsets)
    for (subset, _), repeats in zip(facts.captions, facts.dataset.repeats, strict=True):
        shown[subset] += repeats
    most = max(range(len(shown)), key=shown.__getitem__)
    share = shown[most] / sum(shown)
    return applies(share > 0.9, index=most, share=share)


@rule(
    "note",
    "data.holdout",
    reason="no picture is held out, so overfitting stays invisible",
    fix="set data.holdout=0.1",
    source="the stable loss on held-out images is U-shaped, that on training images falls for ever",
)
def nothing_held_out(recipe: Recipe, facts: Facts) -> Found:
    """Enough pictures to hold some out, and none is."""
    return applies(recipe.data.holdout == 0 and len(facts.captions) >= MIN_TO_HOLD_OUT)


@rule(
    "note",
    "data.cache.latents",
    reason="every picture is encoded anew in every step",
    fix="set data.cache.latents=true",
    source="the autoencoder is frozen, so its answer is always the same",
)
def latents_not_cached(recipe: Recipe, facts: Facts) -> Found:
    """No latent cache, though nothing asks for live pixels."""
    drawn = any(subset.path == WORLD for subset in recipe.data.subsets)
    live = drawn or recipe.data.augment.changes_pixels
    return applies(not recipe.data.cache.latents and not live)


@rule(
    "refuse",
    "data.cache.latents",
    reason="colour changes and random or box crops give new pixels at each showing, and a cached "
    "latent was made once from the plain picture: none of them would ever be seen",
    fix="set data.cache.latents=false, or data.augment.colour=0 and data.augment.crop=centre",
    source="kohya refuses color_aug and random_crop with cache_latents",
)
def augment_with_cached_latents(recipe: Recipe, facts: Facts) -> Found:
    """Augmentation that changes pixels, with cached latents."""
    drawn = any(subset.path == WORLD for subset in recipe.data.subsets)
    cached = recipe.data.cache.latents and not drawn
    return applies(cached and recipe.data.augment.changes_pixels)


@rule(
    "note",
    "data.augment.zoom",
    reason="a crop at up to {zoom:g} times the size can cut off what the caption names",
    fix="set data.augment.zoom=1.2 or lower; `workbench check RECIPE --batches 4` shows the crops",
    source="the text then describes what is not in the picture",
)
def crop_contradicts_tags(recipe: Recipe, facts: Facts) -> Found:
    """Crops that enlarge by one half or more."""
    augment = recipe.data.augment
    return applies(augment.crop != "centre" and augment.zoom >= 1.5, zoom=augment.zoom)

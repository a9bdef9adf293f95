"""Pictures, subsets and captions."""

from checks_pictures import SQUARE, Pictures

from rule_cases.case import PROSE, SD, SDXL, Case, case
from workbench.data.subsets import SetAside

FILLS = "base.path=critters-inpainting"

CASES: dict[str, Case] = {
    # images
    "sdxl_resolution": case(
        SDXL, "data.buckets.resolution=512", good="data.buckets.resolution=1024"
    ),
    "resolution_over_native": case(
        SD, "data.buckets.resolution=1024", good="data.buckets.resolution=512"
    ),
    "resolution_under_native": case(
        SD, "data.buckets.resolution=256", good="data.buckets.resolution=512"
    ),
    "bucket_step_no_multiple": case("data.buckets.step=20", good="data.buckets.step=16"),
    "mostly_enlarged": case(pictures=Pictures(scale=2.0), better=Pictures(scale=1.2)),
    "thin_buckets": case(
        pictures=Pictures(buckets=[(512 + 8 * k, 512) for k in range(10)]),
        better=Pictures(buckets=[SQUARE] * 9 + [(576, 448)]),
    ),
    "few_pictures": case(pictures=Pictures(["tag, one"] * 3), better=Pictures(["tag, one"] * 9)),
    "unbalanced_subsets": case(
        "data.subsets.1.is_prior=false",
        pictures=Pictures(subsets=[0] * 5 + [1] * 5, repeats=[100] * 5 + [1] * 5),
        better=Pictures(subsets=[0] * 5 + [1] * 5, repeats=[2] * 5 + [1] * 5),
    ),
    "nothing_held_out": case(
        "data.holdout=0", good="data.holdout=0.1", pictures=Pictures(["tag, one"] * 20)
    ),
    "latents_not_cached": case("data.cache.latents=false", good="data.cache.latents=true"),
    "augment_with_cached_latents": case("data.augment.colour=0.5", good="data.cache.latents=false"),
    "crop_contradicts_tags": case(
        "data.augment.crop=random", "data.augment.zoom=2", good="data.augment.zoom=1.1"
    ),
    # subsets
    "mask_small": case(
        "data.masks.unmasked_weight=0",
        good="data.masks.unmasked_weight=0.1",
        pictures=Pictures(coverages=[0.01] * 10),
    ),
    "mask_all_white": case(
        pictures=Pictures(coverages=[1.0] * 10), better=Pictures(coverages=[0.5] * 10)
    ),
    "mask_few": case(pictures=Pictures(coverages=[0.5] * 2), better=Pictures(coverages=[0.5] * 10)),
    "mask_with_crop": case(
        "data.augment.crop=random",
        good="data.augment.crop=centre",
        pictures=Pictures(coverages=[0.5] * 10),
    ),
    "prior_only": case(
        "data.subsets.0.trigger=none",
        "data.subsets.0.is_prior=true",
        "data.subsets.1.is_prior=true",
        good="data.subsets.0.is_prior=false",
    ),
    "prior_without_trigger": case(
        "data.subsets.0.trigger=none",
        "data.subsets.1.is_prior=true",
        good="data.subsets.0.trigger=zib",
    ),
    "preservation_without_trigger": case(
        "data.subsets.0.trigger=none",
        "training.preservation=0.4",
        good="training.preservation=0",
    ),
    "preservation_without_base": case(
        "adapter.kind=full",
        "training.preservation=0.4",
        "adapter.keep_start=false",
        good="adapter.keep_start=true",
    ),
    "prior_unmarked": case(
        "data.subsets.0.trigger=zib",
        "data.subsets.1.path=photos/reg_dog",
        "data.subsets.1.is_prior=false",
        good="data.subsets.1.is_prior=true",
    ),
    "prior_heavy": case(
        "data.subsets.1.is_prior=true",
        "data.subsets.1.loss_weight=5",
        good="data.subsets.1.loss_weight=1",
    ),
    "no_prior": case(
        "adapter.kind=full",
        "data.subsets.1.is_prior=false",
        good="data.subsets.1.is_prior=true",
    ),
    # captions
    "every_caption_dropped": case(
        "data.captions.caption_dropout_every_epochs=1",
        good="data.captions.caption_dropout_every_epochs=5",
    ),
    "dropout_on_prose": case(
        "data.captions.tag_dropout=0.2",
        good="data.captions.tag_dropout=0",
        pictures=Pictures([PROSE] * 10),
    ),
    "shuffle_on_prose": case(
        "data.captions.shuffle=true",
        good="data.captions.shuffle=false",
        pictures=Pictures([PROSE] * 10),
    ),
    # pictures and captions as they were found
    "pictures_set_aside": case(
        pictures=Pictures(set_aside=[SetAside("a.png", "empty file")]), better=Pictures()
    ),
    "pictures_spared": case(
        pictures=Pictures(set_aside=[SetAside("a.png", "a copy", spare=True)]), better=Pictures()
    ),
    "data_doubted": case(
        pictures=Pictures(doubts=["caption files that no picture took (1): a.txt"]),
        better=Pictures(),
    ),
    "captions_missing": case(
        "data.subsets.0.trigger=mochi",
        pictures=Pictures(["a, b"] * 9 + [""], subsets=[0] * 10),
        better=Pictures(["a, b"] * 10, subsets=[0] * 10),
    ),
    # signs in captions
    "prompt_weights": case(
        pictures=Pictures(["a, (red hat:1.2), b"] * 9), better=Pictures(["saber (fate), b"] * 9)
    ),
    "brackets_escaped": case(
        pictures=Pictures([r"saber \(fate\), b"] * 9), better=Pictures(["saber (fate), b"] * 9)
    ),
    "networks_in_captions": case(
        pictures=Pictures(["<lora:foo:0.8>, b"] * 9), better=Pictures(["<3, b"] * 9)
    ),
    "html_in_captions": case(
        pictures=Pictures(["red &amp; blue, b"] * 9), better=Pictures(["red & blue, >_<"] * 9)
    ),
    "tags_with_underscores": case(
        pictures=Pictures(["red_hat, b"] * 9), better=Pictures(["red hat, ^_^, >_<, o_o"] * 9)
    ),
    "wildcard_files": case(
        pictures=Pictures(["__colour__ hat, b"] * 9), better=Pictures(["red hat, b"] * 9)
    ),
    "comments_in_captions": case(
        pictures=Pictures(["# made by a tagger\nred hat, b"] * 9), better=Pictures(["#1, b"] * 9)
    ),
    "lines_joined": case(
        good="data.captions.wildcards=true", pictures=Pictures(["red hat, a\nblue hat, b"] * 9)
    ),
    "wildcards_off": case(
        good="data.captions.wildcards=true", pictures=Pictures(["a, {red|blue} hat"] * 10)
    ),
    "variants_unused": case(
        "data.captions.variants=8",
        "adapter.text_encoder=true",
        "optimizer.text_encoder_learning_rate=5e-4",
        good="adapter.text_encoder=false",
    ),
    "few_variants": case("data.captions.variants=2", good="data.captions.variants=8"),
    "keep_overruled": case(
        "data.captions.keep_tokens=1",
        good="data.captions.keep_tokens=0",
        pictures=Pictures(["a ||| b, c"] * 10),
    ),
    "no_trigger": case("data.subsets.0.trigger=none", good="data.subsets.0.trigger=zib"),
    "trigger_moves": case("data.subsets.0.trigger=none", good="data.captions.keep_tokens=1"),
    "trigger_is_class": case("data.subsets.0.trigger=critter", good="data.subsets.0.trigger=mochi"),
    "trigger_in_others": case(
        pictures=Pictures(["mochi, one"] * 10, subsets=[0] * 5 + [1] * 5),
        better=Pictures(["mochi, one"] * 5 + ["tag, one"] * 5, subsets=[0] * 5 + [1] * 5),
    ),
    "dropout_takes_all": case("data.captions.tag_dropout=1", good="data.captions.tag_dropout=0.3"),
    "captions_dropped": case(
        "data.captions.caption_dropout=0.5", good="data.captions.caption_dropout=0.1"
    ),
    "tag_warmup_over_run": case(
        "data.captions.warmup_steps=170", good="data.captions.warmup_steps=50"
    ),
    "nothing_to_shuffle": case(
        pictures=Pictures(["one sentence"] * 9), better=Pictures(["a, b"] * 9)
    ),
    "captions_cut": case(
        good="data.captions.max_tokens=150", pictures=Pictures(["a, b", "blue " * 100] * 9)
    ),
    "captions_over": case(
        "data.captions.max_tokens=225",
        pictures=Pictures(["blue " * 230] * 9),
        better=Pictures(["blue " * 220] * 9),
    ),
    "prompts_cut": case(
        f'sampling.prompts=["{"blue " * 100}"]',
        good="data.captions.max_tokens=150",
    ),
    "windows_unused": case(
        "data.captions.max_tokens=225",
        good="data.captions.max_tokens=75",
        pictures=Pictures(["a, b"] * 9),
    ),
    "no_words": case(
        "data.subsets.1.is_prior=false",
        pictures=Pictures(["a, b"] * 9 + [""], subsets=[0] * 9 + [1]),
        better=Pictures(["a, b"] * 9 + ["c"], subsets=[0] * 9 + [1]),
    ),
    "flip_contradicts": case(
        "data.augment.flip=0.5",
        good="data.augment.flip=0",
        pictures=Pictures(["cat, left eye closed"] * 9),
    ),
    # inpainting
    "inpainting_without_its_base": case("data.inpainting={}", good=FILLS),
    "inpainting_unsaid": case(FILLS, good="data.inpainting.source=random"),
    "inpainting_coverage": case(
        FILLS,
        pictures=Pictures(coverages=[0.2, 0.4]),
        better=Pictures(),
    ),
    "inpainting_all_white": case(
        FILLS,
        pictures=Pictures(coverages=[1.0] * 4),
        better=Pictures(coverages=[1.0] * 3 + [0.5]),
    ),
    "inpainting_small": case(
        FILLS,
        pictures=Pictures(coverages=[0.01] * 4),
        better=Pictures(coverages=[0.1] * 4),
    ),
}

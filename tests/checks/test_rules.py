"""Every rule: a recipe that it applies to, and a neighbour that it does not."""

from dataclasses import dataclass, field

import pytest
from checks_pictures import SQUARE, Pictures

from workbench import checks
from workbench.data.subsets import SetAside
from workbench.recipe import Recipe


@dataclass(frozen=True)
class Case:
    """Overrides with which a rule applies, and those that make it go away again."""

    bad: tuple[str, ...]
    good: tuple[str, ...] = ()
    preset: str = "critters"
    cuda: bool = False
    native_bfloat16: bool = True
    pictures: Pictures = field(default_factory=Pictures)
    better: Pictures | None = None  # where the pictures are at fault


def case(*bad: str, good: str | tuple[str, ...] = (), **rest) -> Case:
    return Case(bad, (good,) if isinstance(good, str) else good, **rest)


SDXL = "base.path=some/sdxl-base"
SD = "base.path=some/stable-diffusion-v1-5"
LONG = "a very long caption " * 20
PROSE = "a small creature stands on a hill, and behind it the sun goes down slowly"
ZERO_SNR = ("base.zero_terminal_snr=true", "base.prediction=v_prediction")
BF16 = ("training.trainable_dtype=bfloat16", "training.stochastic_rounding=false")

CASES: dict[str, Case] = {
    # base
    "base_unusable": case("base.path=no/such/folder/model.safetensors", good="base.path=critters"),
    "base_few_steps": case("base.path=some/sdxl-turbo", good=SDXL),
    # optimizers
    "prodigy_rate": case(
        "optimizer.kind=prodigy", "optimizer.learning_rate=1e-4", good="optimizer.learning_rate=1"
    ),
    "prodigy_two_rates": case(
        "optimizer.kind=prodigy",
        "optimizer.text_encoder_learning_rate=0.5",
        good="optimizer.text_encoder_learning_rate=1",
    ),
    "prodigy_restarts": case(
        "optimizer.kind=prodigy", "schedule.kind=cosine_restarts", good="schedule.kind=cosine"
    ),
    "prodigy_warmup": case(
        "optimizer.kind=prodigy",
        "optimizer.safeguard_warmup=false",
        "schedule.warmup=0.1",
        good="schedule.warmup=0",
    ),
    "prodigy_rate_factors": case(
        "optimizer.kind=prodigy",
        "optimizer.text_encoder_learning_rate=none",
        "adapter.b_rate_factor=16",
        good="adapter.b_rate_factor=1",
    ),
    "prodigy_bfloat16": case(
        "optimizer.kind=prodigy",
        *BF16,
        good="training.stochastic_rounding=true",
    ),
    "bfloat16_to_nearest": case(*BF16, good="training.stochastic_rounding=true"),
    "bfloat16_lora": case(*BF16, good="training.trainable_dtype=float32"),
    "custom_unbuildable": case(
        "optimizer.kind=custom",
        "optimizer.path=torch.optim.NoSuchThing",
        good="optimizer.path=torch.optim.SGD",
    ),
    "schedule_free_schedule": case(
        "optimizer.kind=schedule_free", "schedule.kind=cosine", good="schedule.kind=constant"
    ),
    "schedule_free_warmup": case(
        "optimizer.kind=schedule_free", "schedule.kind=constant", good="schedule.warmup=0.05"
    ),
    "schedule_free_ema": case("optimizer.kind=schedule_free", "ema.decay=0.5", good="ema=none"),
    "paged_on_cpu": case("optimizer.kind=paged_adamw8bit", good="optimizer.kind=adamw8bit"),
    "dadaptation_short": case("optimizer.kind=dadaptation", good="optimizer.kind=prodigy"),
    "lion_rate": case(
        "optimizer.kind=lion",
        "optimizer.learning_rate=1e-3",
        SD,
        good="optimizer.learning_rate=3e-5",
    ),
    "small_for_8bit": case(
        "optimizer.kind=adamw8bit", "adapter.rank=8", good=("adapter.rank=64", "adapter.alpha=64")
    ),
    "rate_high": case(SD, "optimizer.learning_rate=4e-3", good="optimizer.learning_rate=1e-4"),
    "rate_out_of_reach": case("optimizer.learning_rate=1e-7", good="optimizer.learning_rate=1e-4"),
    "text_encoder_rate": case(
        "adapter.text_encoder=true",
        good="optimizer.text_encoder_learning_rate=5e-4",
    ),
    "no_gradient_clip": case("training.gradient_clip=none", good="training.gradient_clip=1"),
    # adapters
    "alpha_large": case("adapter.alpha=128", good="adapter.alpha=32"),
    "alpha_small": case("adapter.alpha=1", good="adapter.alpha=16"),
    "rank_without_scaling": case(
        "adapter.rank=128", "adapter.alpha=128", good="adapter.rank_scaled=true"
    ),
    "rank_for_few": case(
        SD, "adapter.rank=64", "adapter.alpha=64", good=("adapter.rank=16", "adapter.alpha=16")
    ),
    "dropout_high": case("adapter.dropout=0.6", good="adapter.dropout=0.1"),
    "no_base_left": case(
        "adapter.kind=full", "adapter.keep_start=false", good="adapter.keep_start=true"
    ),
    "bfloat16_file": case("output.dtype=bfloat16", good="output.dtype=float16"),
    "rank_scaled_alone": case(
        "adapter.alpha=none", "adapter.rank_scaled=true", good="adapter.alpha=6"
    ),
    "init_in_bfloat16": case(
        "adapter.init=pissa", "output.dtype=bfloat16", good="output.dtype=float32"
    ),
    "init_doubles_rank": case("adapter.init=olora", good="adapter.init=zero"),
    "loha_rank": case("adapter.kind=loha", "adapter.rank=64", good="adapter.rank=8"),
    "dora_rank_dropout": case(
        "adapter.dora=true", "adapter.rank_dropout=0.1", good="adapter.rank_dropout=0"
    ),
    "dora_bfloat16": case("adapter.dora=true", *BF16, good="training.trainable_dtype=float32"),
    "dora_readers": case("adapter.dora=true", good="adapter.dora=false"),
    "start_unusable": case(
        "adapter.start_from=no/such.safetensors", good="adapter.start_from=none"
    ),
    # readers
    "used_in_dora": case("adapter.dora=true", 'used_in=["comfyui"]', good="adapter.dora=false"),
    "used_in_method": case(
        "adapter.kind=lokr", 'used_in=["diffusers"]', good='used_in=["comfyui"]'
    ),
    "used_in_family": case(
        "base.path=some/z-image", 'used_in=["comfyui"]', good='used_in=["diffusers"]'
    ),
    "used_in_groups": case(
        'adapter.groups=["attention","time"]',
        'used_in=["sd-scripts"]',
        good='used_in=["a1111"]',
    ),
    "lycoris_readers": case("adapter.kind=lokr", good="adapter.kind=lora"),
    "max_norm_low": case("adapter.max_norm=0.01", good="adapter.max_norm=1"),
    # length
    "decay_over_run": case(
        "schedule.kind=warmup_stable_decay",
        "schedule.decay=160",
        "schedule.warmup=50",
        good="schedule.decay=0.2",
    ),
    "warmup_over_run": case("schedule.warmup=250", good="schedule.warmup=10"),
    "warmup_long": case("schedule.warmup=0.5", good="schedule.warmup=0.1"),
    "schedule_without_end": case(
        "length.steps=none", "length.minutes=5", good=("schedule.kind=constant",)
    ),
    "warmup_without_end": case(
        "length.steps=none",
        "length.minutes=5",
        "schedule.kind=constant",
        "schedule.warmup=0.1",
        good="schedule.warmup=10",
    ),
    "ema_unreachable": case("ema.decay=0.9999", good="ema.decay=0.9"),
    "accumulation_over_epoch": case("training.accumulation=8", good="training.accumulation=2"),
    "few_showings": case("length.steps=8", good="length.steps=170"),
    "many_showings": case("length.steps=5000", good="length.steps=170"),
    "no_checkpoint_on_the_way": case(
        "training.checkpoint_every=500", good="training.checkpoint_every=50"
    ),
    "many_files": case("training.lora_every=2", good="training.lora_every=50"),
    "measured_once": case("validation.every_steps=500", good="validation.every_steps=20"),
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
    # diffusion
    "offset_strong": case("noise.kind=offset", "noise.strength=0.3", good="noise.strength=0.05"),
    "pyramid_strong": case(
        "noise.kind=pyramid", "noise.discount=0.9", "noise.levels=10", good="noise.discount=0.4"
    ),
    "pyramid_kohya_weak": case("noise.kind=pyramid_kohya", good="noise.discount=0.6"),
    "perlin_plain": case(
        "noise.kind=perlin", "noise.perturbation=0", good="noise.perturbation=0.4"
    ),
    "perlin_tied": case("noise.kind=perlin", "noise.shift=false", good="noise.shift=true"),
    "perlin_too_fine": case("noise.kind=perlin", "noise.cells=8", good="noise.cells=2"),
    "noise_without_mean": case(
        "noise.kind=power_law", "noise.exponent=1", good="noise.keep_dc=true"
    ),
    "noise_one_sided": case("noise.kind=power_law", "noise.exponent=2", good="noise.exponent=1"),
    "coloured_noise": case("noise.kind=pyramid", good="noise.kind=gaussian"),
    "input_perturbation_large": case(
        "noise.kind=input_perturbation", "noise.gamma=0.4", good="noise.gamma=0.1"
    ),
    "coloured_and_zero_snr": case(
        *ZERO_SNR, "noise.kind=offset", good="base.zero_terminal_snr=false"
    ),
    "zero_snr_conversion": case(*ZERO_SNR, good="base.zero_terminal_snr=none"),
    "zero_snr_no_rescale": case(
        *ZERO_SNR, "sampling.guidance_rescale=0", good="sampling.guidance_rescale=none"
    ),
    "zero_snr_unweighted": case(
        *ZERO_SNR, "weighting.kind=min_snr", good="weighting.kind=constant"
    ),
    "timesteps_narrow": case("timesteps.highest=200", good="timesteps.highest=999"),
    "min_snr_low": case("weighting.kind=min_snr", "weighting.gamma=0.5", good="weighting.gamma=5"),
    "debiased_zero_snr": case(
        "weighting.kind=debiased",
        "base.zero_terminal_snr=true",
        good="base.prediction=v_prediction",
    ),
    "debiased_heavy": case("weighting.kind=debiased", good="weighting.normalise=true"),
    "debiased_velocity": case(
        "weighting.kind=debiased",
        "base.prediction=v_prediction",
        good="base.prediction=epsilon",
    ),
    "weighting_and_timesteps": case(
        "weighting.kind=min_snr", "timesteps.kind=shifted", good="timesteps.kind=uniform"
    ),
    "logit_normal_discrete": case("timesteps.kind=logit_normal", good="timesteps.spread=1.5"),
    "shift_large": case("timesteps.kind=shifted", "timesteps.shift=8", good="timesteps.shift=3"),
    "stratified_alone": case(
        "timesteps.stratified=true", "training.batch_size=1", good="training.batch_size=4"
    ),
    "huber_low": case("loss.kind=huber", "loss.threshold=0.01", good="loss.threshold=0.1"),
    "huber_and_weighting": case(
        "loss.kind=huber",
        "loss.schedule.kind=snr",
        "weighting.kind=min_snr",
        good="weighting.kind=constant",
    ),
    "prediction_contradicts": case(
        "base.prediction=v_prediction", good="base.prediction=none", preset="critters"
    ),
    "text_encoder_rate_unused": case(
        "optimizer.text_encoder_learning_rate=1e-5", good="adapter.text_encoder=true"
    ),
    "velocity_by_name": case("base.path=some/noobai-xl-vpred", good="base.prediction=v_prediction"),
    "clip_skip_sdxl": case(SDXL, "base.clip_skip=1", good="base.clip_skip=0"),
    # machine
    "half_on_cpu": case("training.precision=float16", good="training.precision=float32"),
    "bfloat16_emulated": case(
        "training.precision=bfloat16",
        good="training.precision=float16",
        cuda=True,
        native_bfloat16=False,
    ),
    "full_precision_on_gpu": case(SD, good="training.precision=bfloat16", cuda=True),
    "sdxl_vae_half": case(SDXL, "base.vae_dtype=float16", good="base.vae_dtype=bfloat16"),
    "real_base_on_cpu": case(SD, good="base.path=critters"),
    "no_gradient_checkpointing": case(
        SDXL, "data.buckets.resolution=1024", good="base.gradient_checkpointing=true"
    ),
    # sampling
    "no_prompts": case("sampling.prompts=[]", good='sampling.prompts=["a {trigger}"]'),
    "trigger_not_sampled": case(
        'sampling.prompts=["a house"]', good='sampling.prompts=["{trigger}, a house"]'
    ),
    "guidance_high": case("sampling.guidance=20", good="sampling.guidance=5"),
    "few_sampling_steps": case("sampling.steps=4", good="sampling.steps=20"),
    "negative_unused": case(
        "sampling.negative=blur", "sampling.guidance=1", good="sampling.guidance=3"
    ),
}
TESTED_ELSEWHERE = {"missing_library", "save_over_grace"}


def found(chosen: Case, *, good: bool, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    monkeypatch.setattr("torch.cuda.is_available", lambda: chosen.cuda)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: chosen.native_bfloat16)
    recipe = Recipe.preset(chosen.preset).override([*chosen.bad, *(chosen.good if good else ())])
    pictures = (good and chosen.better) or chosen.pictures
    return {finding.rule.id for finding in checks.check(recipe, dataset=pictures)}  # type: ignore[arg-type]


def test_every_rule_has_a_case():
    assert set(checks.RULES) - TESTED_ELSEWHERE == set(CASES)
    assert len(checks.RULES) >= 30


@pytest.mark.parametrize("name", CASES)
def test_rule(name: str, monkeypatch: pytest.MonkeyPatch):
    assert name in found(CASES[name], good=False, monkeypatch=monkeypatch)
    assert name not in found(CASES[name], good=True, monkeypatch=monkeypatch)


@pytest.mark.parametrize(
    ("bad", "fix"),
    [
        ((SD,), "base.dtype=float16 training.precision=float16"),
        (
            (SD, "training.trainable_dtype=bfloat16"),
            "base.dtype=float16 training.precision=float16 training.trainable_dtype=float32",
        ),
        (("base.path=some/z-image",), "base.dtype=float32 training.precision=float32"),
        (("base.path=some/thing",), "base.dtype=float16 training.precision=float16"),
        ((), "base.dtype=float32 training.precision=float32"),  # the critters are small
    ],
)
def test_a_gpu_without_bfloat16_is_told_what_to_set(
    bad: tuple[str, ...], fix: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: False)
    half = ("base.dtype=bfloat16", "training.precision=bfloat16")
    recipe = Recipe.preset("critters").override([*half, *bad])
    findings = {finding.rule.id: finding for finding in checks.check(recipe)}
    assert findings["bfloat16_emulated"].fix == f"set {fix}"
    mended = {finding.rule.id for finding in checks.check(recipe.override(fix.split()))}
    assert not mended & {"bfloat16_emulated", "half_on_cpu", "full_precision_on_gpu"}
    only_base = recipe.override(["training.precision=float32", *bad])
    assert "bfloat16_emulated" in {finding.rule.id for finding in checks.check(only_base)}


def test_an_optimizer_without_its_library(monkeypatch: pytest.MonkeyPatch):
    eight = case("optimizer.kind=adamw8bit")
    assert "missing_library" not in found(eight, good=False, monkeypatch=monkeypatch)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "missing_library" in found(eight, good=False, monkeypatch=monkeypatch)


@pytest.mark.parametrize("name", ["accumulation_over_epoch", "thin_buckets"])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("batch, accumulation", [(1, 4), (4, 1), (4, 4), (2, 1)])
def test_a_fix_mends_what_it_is_for(name, count, batch, accumulation):
    """Also where there is one picture, and nothing but the batch can be made smaller."""
    pictures = Pictures(["a, b"] * count, subsets=[0] * count)
    recipe = Recipe.preset("critters").override(
        [f"training.batch_size={batch}", f"training.accumulation={accumulation}"]
    )

    def finding(recipe: Recipe) -> checks.Finding | None:
        found = checks.check(recipe, dataset=pictures)
        return next((one for one in found if one.rule.id == name), None)

    if (one := finding(recipe)) is None:
        assert name == "thin_buckets" or batch * accumulation <= count
        return
    changes = one.fix.removeprefix("set ").partition(",")[0].split(" and ")
    mended = recipe.override(changes)
    assert mended != recipe and finding(mended) is None

"""Every rule: a recipe that it applies to, and a neighbour that it does not."""

from dataclasses import dataclass, field

import pytest
from checks_pictures import SQUARE, Pictures

from workbench import checks
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

CASES: dict[str, Case] = {
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
        "optimizer.text_encoder_learning_rate=none",
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
    # length
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
        pictures=Pictures(subsets=[0] * 5 + [1] * 5, repeats=[100] * 5 + [1] * 5),
        better=Pictures(subsets=[0] * 5 + [1] * 5, repeats=[2] * 5 + [1] * 5),
    ),
    "nothing_held_out": case(
        "data.holdout=0", good="data.holdout=0.1", pictures=Pictures(["tag, one"] * 20)
    ),
    "latents_not_cached": case("data.cache.latents=false", good="data.cache.latents=true"),
    # captions
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
    "captions_cut": case(pictures=Pictures([LONG] * 9), better=Pictures(["a, b"] * 9)),
    "no_words": case(
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
    "timesteps_narrow": case("timesteps.highest=200", good="timesteps.highest=999"),
    "min_snr_low": case("weighting.kind=min_snr", "weighting.gamma=0.5", good="weighting.gamma=5"),
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
TESTED_BELOW = {"missing_8bit_library"}


def found(chosen: Case, *, good: bool, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    monkeypatch.setattr("torch.cuda.is_available", lambda: chosen.cuda)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: chosen.native_bfloat16)
    recipe = Recipe.preset(chosen.preset).override([*chosen.bad, *(chosen.good if good else ())])
    pictures = (good and chosen.better) or chosen.pictures
    return {finding.rule.id for finding in checks.check(recipe, dataset=pictures)}  # type: ignore[arg-type]


def test_every_rule_has_a_case():
    assert set(checks.RULES) - TESTED_BELOW == set(CASES)
    assert len(checks.RULES) >= 30


@pytest.mark.parametrize("name", CASES)
def test_rule(name: str, monkeypatch: pytest.MonkeyPatch):
    assert name in found(CASES[name], good=False, monkeypatch=monkeypatch)
    assert name not in found(CASES[name], good=True, monkeypatch=monkeypatch)


def test_8bit_without_its_library(monkeypatch: pytest.MonkeyPatch):
    eight = case("optimizer.kind=adamw8bit")
    assert "missing_8bit_library" not in found(eight, good=False, monkeypatch=monkeypatch)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "missing_8bit_library" in found(eight, good=False, monkeypatch=monkeypatch)

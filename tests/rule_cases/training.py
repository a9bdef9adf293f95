"""Base, optimizers, adapters, readers and length."""

from rule_cases.case import BF16, SD, SDXL, Case, case

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
}

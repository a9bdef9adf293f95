"""Noise, timesteps and losses; the machine; samples."""

from rule_cases.case import SD, SDXL, ZERO_SNR, Case, case

CASES: dict[str, Case] = {
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

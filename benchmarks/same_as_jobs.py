"""The jobs that `same_as.py` compares: small runs that between them use every kind of setting."""

import json
from pathlib import Path
from typing import Any

# Each pair of values of the first eight columns stands in some row; the last one names a row of
# EXTRAS, so that further settings are seen once.
#   base  adapter  text     timesteps  noise      data   weighting  loss       extra
TABLE = """
    sd    lora     frozen   range      pyramid    masks  min_snr    huber_snr  variants
    sd    lora     text     shifted    offset     prior  debiased   huber_exp  dropout
    sd    lokr     frozen   all        perturbed  plain  p2         l2         single
    sd    lokr     text     strata     white      prior  min_snr    huber_exp  gathered
    sd    full     text     logit      perturbed  both   even       huber_snr  averaged
    sd    full     frozen   shifted    pyramid    both   p2         huber_snr  scratch
    sdxl  lora     text     logit      offset     plain  min_snr    l2         recomputed
    sdxl  lora     text     all        pyramid    both   min_snr    l2         autocast
    sdxl  lokr     frozen   shifted    white      prior  p2         huber_snr  skipped
    sdxl  full     text     range      perturbed  prior  debiased   huber_exp  adafactor
    sdxl  full     text     strata     offset     masks  even       huber_snr  bfloat16
    sd2   lora     frozen   shifted    perturbed  plain  even       huber_snr  live
    sd2   lora     frozen   logit      pyramid    masks  debiased   l2         dora
    sd2   lokr     text     all        offset     masks  min_snr    huber_exp  limited
    sd2   lokr     frozen   range      offset     both   p2         huber_snr  narrow
    sd2   full     frozen   strata     pyramid    plain  debiased   l2         world
    sd2   full     text     logit      white      masks  p2         huber_snr  schedule_free
    sd2   full     text     all        perturbed  prior  even       l2         eager
    sd2   full     frozen   strata     perturbed  plain  debiased   huber_exp  prodigy
    zero  lora     text     range      white      plain  even       l2         clip_skip
    zero  lora     frozen   strata     offset     both   p2         huber_exp  pissa
    zero  lokr     frozen   logit      pyramid    prior  even       huber_exp  mirrored
    zero  lokr     frozen   all        white      both   debiased   huber_snr  cosine
    zero  full     text     shifted    perturbed  masks  min_snr    l2         watched
"""
EXTRAS = {
    "variants": ["data.captions.shuffle=true", "data.captions.variants=2"],
    "dropout": [
        "data.captions.shuffle=true",
        "data.captions.tag_dropout=0.3",
        "data.captions.caption_dropout=0.1",
    ],
    "single": ["base.path={inputs}/sd.safetensors", "base.config={inputs}/sd"],
    "gathered": ["training.accumulation=2"],
    "averaged": ["ema.decay=0.9"],
    "scratch": ["base.from_scratch.weights=small_normal"],
    "recomputed": ["base.gradient_checkpointing=true"],
    "autocast": ["training.precision=bfloat16"],
    "skipped": ["adapter.rank_dropout=0.2", "adapter.module_dropout=0.2"],
    "adafactor": ["optimizer.kind=adafactor"],
    "bfloat16": ["training.trainable_dtype=bfloat16"],
    "live": ["data.cache.latents=false", "data.augment.crop=random", "data.augment.flip=0.5"],
    "dora": ["adapter.dora=true"],
    "limited": ["adapter.max_norm=0.01"],
    "narrow": ["base.dtype=bfloat16", "base.vae_dtype=bfloat16"],
    "world": [
        "data.subsets.0.path=critters:world",
        "data.subsets.0.num_images=12",
        "data.subsets.0.trigger=none",
    ],
    "schedule_free": ["optimizer.kind=schedule_free"],
    "eager": ["base.attention=eager"],
    "prodigy": ["optimizer.kind=prodigy"],
    "clip_skip": ["base.clip_skip=1", "adapter.dropout=0.2"],
    "pissa": ["adapter.init=pissa"],
    "mirrored": ["data.augment.flip=0.5", "training.posterior=mean"],
    "cosine": ["schedule.kind=cosine", "schedule.warmup=1"],
    "watched": ["training.lora_every=2", "sampling.every_steps=2", "validation.every_steps=1"],
}
GROUPS = ["attention", "feedforward", "projection", "conv", "time"]
VALUES: dict[str, dict[str, Any]] = {
    "base": {
        "sd": {"path": "{inputs}/sd"},
        "sdxl": {"path": "{inputs}/sdxl"},
        "sd2": {"path": "{inputs}/sd2"},
        "zero": {"path": "{inputs}/sd", "prediction": "v_prediction", "zero_terminal_snr": True},
    },
    "adapter": {
        "lora": {"kind": "lora", "rank": 4, "alpha": 2.0, "groups": GROUPS},
        "lokr": {"kind": "lokr", "rank": 2, "factor": 4, "groups": GROUPS},
        "full": {"kind": "full"},
    },
    "text": {"frozen": False, "text": True},
    "timesteps": {
        "all": {"kind": "uniform"},
        "range": {"kind": "uniform", "lowest": 200, "highest": 800},
        "logit": {"kind": "logit_normal", "mean": 0.5, "spread": 1.5},
        "shifted": {"kind": "shifted", "shift": 2.0},
        "strata": {"kind": "uniform", "stratified": True},
    },
    "noise": {
        "white": {"kind": "gaussian"},
        "offset": {"kind": "offset", "strength": 0.1, "random_strength": True, "adaptive": 0.01},
        "pyramid": {"kind": "pyramid"},
        "perturbed": {"kind": "input_perturbation", "random_strength": True},
    },
    "data": {
        "plain": [{"path": "{inputs}/plain", "trigger": "zib"}],
        "masks": [{"path": "{inputs}/masked", "trigger": "zib"}],
        "prior": [
            {"path": "{inputs}/plain", "trigger": "zib", "class_word": "disc"},
            {"path": "{inputs}/ordinary", "is_prior": True, "loss_weight": 0.5},
        ],
        "both": [
            {"path": "{inputs}/masked", "trigger": "zib", "class_word": "disc"},
            {"path": "{inputs}/ordinary", "is_prior": True, "class_word": "disc"},
        ],
    },
    "weighting": {
        "even": {"kind": "constant"},
        "min_snr": {"kind": "min_snr"},
        "debiased": {"kind": "debiased"},
        "p2": {"kind": "p2", "normalise": True},
    },
    "loss": {
        "l2": {"kind": "l2"},
        "huber_exp": {"kind": "huber", "schedule": {"kind": "exponential"}},
        "huber_snr": {"kind": "huber", "schedule": {"kind": "snr"}},
    },
}


def recipe_of(values: dict[str, Any]) -> dict[str, Any]:
    """The recipe of a job as plain data: few steps on few pictures.

    Args:
        values: of the columns.
    """
    return {
        "name": "job",
        "base": values["base"],
        "adapter": values["adapter"] | {"text_encoder": values["text"]},
        "data": {
            "subsets": values["data"],
            "buckets": {"resolution": 64, "step": 16},
            "masks": {"unmasked_weight": 0.2},
        },
        "timesteps": values["timesteps"],
        "noise": values["noise"],
        "weighting": values["weighting"],
        "loss": values["loss"],
        "length": {"steps": 4},
        "training": {"batch_size": 2, "checkpoint_every": 2},
        "optimizer": {"kind": "adamw", "learning_rate": 0.002},
        "sampling": {"prompts": ["{trigger}, disc, red"], "steps": 2},
        "validation": {"num_images": 2, "num_bins": 2, "draws": 1},
        "output": {"dtype": "float32", "report": False},
    }


def jobs(inputs: Path) -> dict[str, dict[str, Any]]:
    """All jobs: name to recipe and overrides.

    Args:
        inputs: folder of the bases and pictures.
    """
    found = {}
    for row in TABLE.strip().splitlines():
        *choices, extra = row.split()
        values = {
            column: VALUES[column][word] for column, word in zip(VALUES, choices, strict=True)
        }
        job = {"recipe": recipe_of(values), "overrides": EXTRAS[extra]}
        text = json.dumps(job).replace("{inputs}", inputs.as_posix())
        found["-".join([*choices[:2], extra])] = json.loads(text)
    return found

"""Experiments that bring their recipe and its variants."""

import json

from workbench.recipe import Recipe
from workbench.settings import SettingsError

__all__ = ["DID_NOT_UPDATE", "NOISES", "OPTIMIZERS", "PLAIN_PROMPTS", "READY", "ready"]

NOISES: dict[str, tuple[str, ...]] = {
    "gaussian": ("noise.kind=gaussian",),
    "offset": ("noise.kind=offset", "noise.strength=0.1"),
    "offset_more": ("noise.kind=offset", "noise.strength=0.3"),
    "pyramid": ("noise.kind=pyramid", "noise.discount=0.6"),
    "perlin": ("noise.kind=perlin",),
    "power_law": ("noise.kind=power_law",),
}
# On the way up alone, as in the preset, all that is drawn grows dark: ordinary critters lose 37 to
# 45 in lightness, umbriel called or not, at rates of 6e-3 and 1.5e-3.
_DARK = ("adapter.blocks=[]", "optimizer.learning_rate=1e-3", "length.steps=100")
# Rates are AdamW's times what each optimizer's authors say of theirs against it, but for
# schedule_free: at twice AdamW's it blew up, at half it did as well as the others.
OPTIMIZERS: dict[str, tuple[str, ...]] = {
    "adamw": ("optimizer.learning_rate=4e-3",),
    "lion": ("optimizer.learning_rate=6e-4",),
    "adafactor": ("optimizer.learning_rate=4e-3",),
    "muon": ("optimizer.learning_rate=4e-3",),
    "prodigy": ("optimizer.d0=1e-4",),  # from 1e-6 it needs a hundred steps to find its rate
    "schedule_free": (
        "optimizer.learning_rate=2e-3",
        "schedule.kind=constant",
        "schedule.warmup=0.04",
    ),
}
# A fine-tune of an inpainting base that "did not update", as it was reported, and mended one thing
# after another. Nothing is refused: what happens is what there is to see.
DID_NOT_UPDATE: dict[str, tuple[str, ...]] = {
    "as_reported": (
        "training.trainable_dtype=bfloat16",
        "training.stochastic_rounding=false",
        "optimizer.d0=1e-6",
        "ema.decay=0.998",
    ),
    "float32_weights": (
        "training.trainable_dtype=float32",
        "optimizer.d0=1e-6",
        "ema.decay=0.998",
    ),
    "larger_d0": ("training.trainable_dtype=float32", "optimizer.d0=1e-5", "ema.decay=0.998"),
    "mended": ("training.trainable_dtype=float32", "optimizer.d0=1e-5", "ema.decay=0.9"),
}
_FILLED = (
    "base.path=critters-inpainting",
    "data.inpainting={}",
    "sampling.fill=critters:masked",
    "sampling.every_steps=40",
    "sampling.seeds=[0,1,2,3]",
    "adapter.kind=full",
    "optimizer.kind=prodigy",
    "schedule.kind=constant",
    "length.steps=120",
    "training.checkpoint_every=40",
    "validation.every_steps=40",
    "validation.num_images=4",
    'checks.allow=["prodigy_bfloat16","bfloat16_to_nearest","ema_unreachable"]',
)
READY = ("noises", "optimizers", "did-not-update")
# Everyday pictures, for the drift of colours: fewer than eight prompts say too little.
PLAIN_PROMPTS = (
    "{class}, blue body, round body, two eyes, smile, hills, rose background",
    "{class}, red body, star body, crown, sunset, navy background",
    "{class}, green body, square body, antennae, two eyes, frown, dots, sand background",
    "{class}, teal body, wide body, bunny ears, two eyes, smile, checkered floor, sky background",
    "{class}, yellow body, tall body, horns, one eye, open mouth, mint background",
    "{class}, orange body, triangle body, cat ears, two eyes, teeth, hills, peach background",
    "{class}, white body, round body, no ears, three eyes, smile, sunset, navy background",
    "{class}, purple body, wide body, antennae, one eye, frown, dots, sky background",
)


def ready(name: str) -> tuple[Recipe, dict[str, tuple[str, ...]]]:
    """An experiment that ships with the package.

    Args:
        name: "noises" or "optimizers".
    Returns:
        The recipe, and what each variant changes in it.
    Raises:
        SettingsError: no such experiment.
    """
    if name == "optimizers":
        every = {kind: (f"optimizer.kind={kind}", *own) for kind, own in OPTIMIZERS.items()}
        return _teaching("style"), every
    if name == "noises":  # pictures almost black: what noises are said to change
        return _teaching("dark").override([*_DARK, "data.subsets.0.repeats=4"]), dict(NOISES)
    if name == "did-not-update":
        return _teaching("character").override(_filled()), dict(DID_NOT_UPDATE)
    raise SettingsError(f"experiment must be one of {', '.join(READY)}, got {name!r}")


def _teaching(name: str) -> Recipe:
    """The preset, teaching one concept; more is measured of it, and only at its end."""
    from workbench.critters.concepts import concept

    taught = concept(name)
    having = [prompt for prompt in taught.prompts if "{trigger}" in prompt]
    return Recipe.preset("critters").override(
        [
            f"name={taught.trigger}",
            f"data.subsets.0.path=critters:{name}",
            f"data.subsets.0.trigger={taught.trigger}",
            "data.subsets.0.repeats=3",
            "training.preservation=0",  # it would hide what a noise does to ordinary pictures
            "data.holdout=0.2",
            f"sampling.prompts={json.dumps([*having, *PLAIN_PROMPTS])}",
            "sampling.seeds=[0,1]",
            "validation.num_images=8",
            "validation.draws=2",
            "output.report=false",
        ]
    )


def _filled() -> list[str]:
    """What makes of the preset a full fine-tune of the base that fills in."""
    from workbench.critters.concepts import concept
    from workbench.critters.masked import without_surroundings

    prompts = [without_surroundings(p) for p in concept("character").prompts if "{trigger}" in p]
    return [*_FILLED, f"sampling.prompts={json.dumps(prompts[:2])}"]

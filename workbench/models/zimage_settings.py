"""Which settings suit Z-Image, and those that it takes no other value of."""

from typing import Any

from workbench.models.defaults import Machine, Suits, advice, completed
from workbench.settings.advice import Advice

__all__ = ["MEANINGLESS", "defaults"]

# Settings of other families that mean nothing here: name, what it must be, why.
MEANINGLESS = (
    ("prediction", None, "a flow-matching model predicts velocity along a straight line"),
    ("zero_terminal_snr", None, "a flow ends in pure noise by itself"),
    ("clip_skip", 0, "the text encoder is no CLIP, and its layer is part of the model"),
    ("from_scratch", None, "only U-Nets can be trained from nothing so far"),
    ("vae", None, "it has an autoencoder of its own, which its latents belong to"),
    ("attention", "sdpa", "diffusers chooses this transformer's attention"),
)
_PRECISION, _WIDE = "training.precision", ("bfloat16", "float32")
_FREED, _LINE = "is freed before training", "a flow is sampled along a straight line"
# Settings outside `base` that it takes few values of, the usual one first.
_REQUIRED: tuple[tuple[str, tuple[Any, ...], str], ...] = (
    ("weighting.kind", ("constant",), "weights by signal-to-noise ratio are for noise schedules"),
    ("adapter.text_encoder", (False,), "its text encoder, a language model, stays as it is"),
    ("data.captions.warmup_steps", (0,), f"its text encoder {_FREED}"),
    ("data.cache.text", (True,), f"its text encoder {_FREED}"),
    ("data.cache.latents", (True,), f"its autoencoder {_FREED}"),
    ("sampling.scheduler", ("ddim", "euler"), f"{_LINE}, on which both are Euler's step"),
    ("sampling.spacing", ("trailing",), _LINE),
    ("sampling.guidance_rescale", (None,), _LINE),
)


def defaults(title: str, native_px: int, machine: Machine) -> tuple[Advice, ...]:
    """See `FamilyModule`.

    Args:
        title: of the base, for people.
        native_px: side of the pictures that it was made for.
        machine: that will train it; without bfloat16 it is float32 that does not overflow.
    Returns:
        Settings with their reasons.
    """
    suits = Suits(rate=1e-4, guidance=5.0, sample_steps=40, large=True)
    usual = advice(title, native_px, suits, machine=machine)
    chosen, why = "bfloat16", "half the memory of float32; in float16 this transformer overflows"
    if not machine.native_bfloat16:
        chosen, why = "float32", "this GPU only emulates bfloat16, and float16 overflows here"
    ahead = "captions that vary are drawn ahead: the text encoder is freed before training"
    own = (
        *(Advice(name, chosen, why, accepted=_WIDE) for name in ("base.dtype", _PRECISION)),
        Advice("adapter.groups", ["attention", "feedforward"], "trainers of Z-Image adapt both"),
        Advice("data.captions.variants", 8, ahead),
        *(Advice(name, values[0], why, accepted=values) for name, values, why in _REQUIRED),
        *(Advice(f"base.{name}", only, why, accepted=(only,)) for name, only, why in MEANINGLESS),
    )
    return completed(usual, own)

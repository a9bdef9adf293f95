"""The settings that choose a base model and say how it is loaded."""

from typing import Literal

from pydantic import field_validator, model_validator

from workbench.models import registry
from workbench.settings import Settings, setting

Precision = Literal["float32", "bfloat16", "float16"]

NEEDS_VELOCITY = (
    'zero_terminal_snr needs prediction = "v_prediction", got "epsilon": at the last timestep the '
    "input is the noise itself, so predicting it teaches nothing and leads to no picture; train "
    "velocity, or set zero_terminal_snr = false"
)


class FromScratch(Settings):
    """Start the U-Net anew, in its own structure or another; autoencoder and text encoder stay."""

    weights: Literal["default", "small_normal"] = setting(
        "default",
        help="initial weights: each layer type's usual ones, or small normal values throughout",
    )
    std: float = setting(
        0.02, gt=0, le=1, help="standard deviation of the small normal values; unused by `default`"
    )
    zero_output: bool = setting(
        True, help="start the last layer at zero, so that the first prediction is zero, loss 1"
    )
    config: str | None = setting(
        None,
        help="a diffusers U-Net config.json of another structure; without it, the base model's",
    )
    seed: int = setting(0, ge=0, help="seed of the initial weights")


class BaseSettings(Settings):
    """The base model: where it lies and how it is loaded."""

    path: str = setting(
        "critters",
        min_length=1,
        basic=True,
        help="`critters` or `critters-inpainting` (ship with the package), a diffusers folder, a "
        ".safetensors file, or the name of a Hugging Face repository",
    )
    family: str = setting(
        "auto",
        among=lambda: ("auto", *registry.names()),
        help="model family; `auto` reads it from the files",
    )
    config: str | None = setting(
        None,
        help="diffusers folder that describes the structure of a .safetensors file; "
        "without it, the published structure of SD 1.x, 2.x or SDXL",
    )
    vae: str | None = setting(
        None, help="another autoencoder: a folder, a .safetensors file or a repository"
    )
    prediction: Literal["epsilon", "v_prediction"] | None = setting(
        None, help="what the U-Net predicts; without it, what the base model's files say"
    )
    zero_terminal_snr: bool | None = setting(
        None,
        help="rescale the noise schedule so that its last step is noise alone, which lets pictures "
        "become very dark or bright; needs v_prediction; without it, what the files say",
    )
    clip_skip: int = setting(
        0,
        ge=0,
        le=11,
        unit="layers",
        help="last layers of the text encoder to leave out; 0 is what other tools call clip skip 1",
    )
    dtype: Precision = setting("float32", help="precision of U-Net and text encoders")
    vae_dtype: Precision = setting(
        "float32", help="precision of the autoencoder; SDXL's original one overflows in float16"
    )
    attention: Literal["sdpa", "eager"] = setting(
        "sdpa", help="attention kernel: torch's fused one, or plain matrix products"
    )
    gradient_checkpointing: bool = setting(
        False, help="recompute activations in the backward pass: less memory, about 25 % slower"
    )
    from_scratch: FromScratch | None = setting(
        None, help="train the U-Net from nothing, with the structure of the base model"
    )

    @field_validator("family")
    @classmethod
    def _known_family(cls, name: str) -> str:
        return registry.require_known(name)

    @model_validator(mode="after")
    def _last_step_predicts_velocity(self) -> "BaseSettings":
        if self.zero_terminal_snr and self.prediction == "epsilon":
            raise ValueError(NEEDS_VELOCITY)
        return self

"""A U-Net with new weights: the structure of the base model, or one of your own."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from workbench import store
from workbench.models.base import BaseSettings, FromScratch
from workbench.seeds import derive, generator
from workbench.settings import SettingsError

# Where a U-Net meets the rest of its model: another structure must agree with the base in these.
_SEAMS = (
    "in_channels",
    "out_channels",
    "cross_attention_dim",
    "addition_embed_type",
    "projection_class_embeddings_input_dim",
)


def fresh_unet(base: Path, settings: BaseSettings) -> Any:
    """Make the U-Net with new weights, whatever torch's global generator holds.

    Args:
        base: diffusers folder of the base model; of the U-Net only `unet/config.json` is read.
        settings: `from_scratch` is set.
    Returns:
        `UNet2DConditionModel` in `settings.dtype`, on the CPU.
    Raises:
        SettingsError: `from_scratch.config` does not fit the base's other parts.
        FileRefused: a config cannot be read.
    """
    from diffusers import UNet2DConditionModel

    chosen = settings.from_scratch
    assert chosen is not None
    structure = unet_structure(base / "unet" / "config.json", chosen)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(chosen.seed, "from_scratch"))
        unet: Any = UNet2DConditionModel.from_config(structure)
    initialise(unet, chosen)
    return unet.to(getattr(torch, settings.dtype))


def unet_structure(base: Path, settings: FromScratch) -> dict[str, Any]:
    """Read the config to build from, which joins the base's autoencoder and text encoders.

    Args:
        base: config.json of the base's U-Net; may be missing where the settings name another.
        settings: which config.
    Returns:
        The U-Net's config.
    Raises:
        SettingsError: `config` does not fit the base's other parts.
        FileRefused: a config cannot be read.
    """
    if settings.config is None:
        return store.read_json(base)
    path = Path(settings.config)
    structure = store.read_json(path / "config.json" if path.is_dir() else path)
    if not base.exists():
        return structure
    fits = store.read_json(base)
    for key in _SEAMS:
        if structure.get(key) != fits.get(key):
            raise SettingsError(
                f"base.from_scratch.config: {key} must be {fits.get(key)} as in the base model, "
                f"whose autoencoder and text encoders stay; got {structure.get(key)} in {path}"
            )
    return structure


@torch.no_grad()
def initialise(unet: Any, settings: FromScratch) -> None:
    """Set a U-Net's initial weights as the settings say; those torch gave it are the default.

    Args:
        unet: a `UNet2DConditionModel`, changed in place.
        settings: which initial weights.
    Source: small normal values, sd-scripts issue 1237: an SDXL U-Net stayed at loss 1 without.
    """
    if settings.weights == "small_normal":
        draws = generator(settings.seed, "from_scratch")
        for module in unet.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.weight.normal_(0, settings.std, generator=draws)
                if module.bias is not None:
                    module.bias.zero_()
    if settings.zero_output:
        for weight in unet.conv_out.parameters():
            weight.zero_()

"""A base without its weights: what its modules are, before anything is loaded or even fetched."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.models import loading
from workbench.models.base import BaseSettings
from workbench.models.fresh import unet_structure
from workbench.models.source import CONFIGS, is_remote
from workbench.models.structures import TITLES, on_meta
from workbench.settings import SettingsError

__all__ = ["Outline", "outline"]

_SD2_NAMES = ("stable-diffusion-2", "sd2", "sd-2")  # what its 512 px models have in their names


@dataclass(frozen=True, slots=True)
class Outline:
    """The modules of a base on the device "meta": names and shapes, no weights.

    Attributes:
        title: what it is, for people.
        version: "sd1", "sd2" or "sdxl".
        is_here: it was found on this machine; otherwise its name alone tells what it is.
        latent_px: pixels to a latent's side.
        native_px: side of the pictures that its U-Net is made for.
        parts: "unet", "text_encoder", for SDXL "text_encoder_2", and "vae".
    """

    title: str
    version: str
    is_here: bool
    latent_px: int
    native_px: int
    parts: Mapping[str, Any]


def outline(settings: BaseSettings) -> Outline | None:
    """Build a base on the device "meta"; nothing is fetched, and no weight is read.

    Args:
        settings: which base; of a U-Net from nothing, `from_scratch.config` is followed.
    Returns:
        Its modules; None where it is not here and its name does not tell what it is.
    Raises:
        SettingsError, FileRefused: it is here and cannot be used.
    """
    found = _found(settings)
    if found is None:
        return None
    folder, title, version, is_here = found
    unet = None
    if settings.from_scratch is not None:
        unet = unet_structure(folder / "unet" / "config.json", settings.from_scratch)
    parts = on_meta(folder, unet=unet)
    side = parts["unet"].config["sample_size"]
    latent_px = 2 ** (len(parts["vae"].config["block_out_channels"]) - 1) if "vae" in parts else 8
    native_px = latent_px * (side if isinstance(side, int) else max(side))
    return Outline(title, version, is_here, latent_px, native_px, parts)


def _found(settings: BaseSettings) -> tuple[Path, str, str, bool] | None:
    """Folder of the configs, title, version, and whether the base is here."""
    missing = is_remote(settings.path)
    if not missing:
        try:
            source = loading.locate(settings)
        except SettingsError:
            if Path(settings.path).expanduser().exists():
                raise
        else:
            return source.config, source.title, source.version, True
    known = loading.named(settings)
    if known is None:
        return None
    version = known.family
    if version == "sd":
        name = settings.path.lower()
        is_2 = known.native_px == 768 or any(mark in name for mark in _SD2_NAMES)
        version = "sd2" if is_2 else "sd1"
    if version not in TITLES:
        return None
    return CONFIGS / version, TITLES[version], version, False

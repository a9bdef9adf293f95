"""Pixels to latents and back."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

__all__ = ["KL", "Codec", "Moments", "config_of", "digest"]


class Moments(NamedTuple):
    """The distribution of a picture's latents, scaled as the denoiser expects them."""

    mean: Tensor  # (B, C, h, w), float32
    std: Tensor | None  # likewise; None where the encoder gives one answer


class Codec(Protocol):
    """How a family compresses pictures."""

    @property
    def channels(self) -> int:
        """Channels of a latent."""
        ...

    @property
    def side_multiple_px(self) -> int:
        """Both sides of a picture must be multiples of it."""
        ...

    @property
    def module(self) -> nn.Module | None:
        """The network; None while it is freed."""
        ...

    @property
    def key(self) -> str:
        """Key of cached latents: weights, config, precision, preprocessing; not the path."""
        ...

    def shape(self, width_px: int, height_px: int) -> tuple[int, int]:
        """The size of a picture's latents.

        Args:
            width_px: of the picture, a multiple of `side_multiple_px`.
            height_px: likewise.
        Returns:
            Rows and columns.
        """
        ...

    def encode(self, pixels: Tensor) -> Moments:
        """Encode pictures.

        Args:
            pixels: (B, 3, H, W) in [-1, 1], on any device.
        Returns:
            Mean and standard deviation of their latents.
        """
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents.

        Args:
            latents: scaled, (B, C, h, w).
        Returns:
            (B, 3, H, W) in [0, 1], float32.
        """
        ...


class KL:
    """diffusers' `AutoencoderKL` with its scaling factor and shift; it may be freed meanwhile.

    Args:
        config: of the autoencoder.
        dtype: of its weights.
        weights_hash: gives the SHA-256 of its weights; asked once, when the key is.
        patch: latents that a denoiser takes as one: sides are multiples of so many.

    Attributes:
        module: the autoencoder; None while it is freed.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        dtype: torch.dtype,
        weights_hash: Callable[[], str],
        *,
        module: nn.Module | None = None,
        patch: int = 1,
    ):
        self.module = module
        self.channels: int = config["latent_channels"]
        self._ratio = 2 ** (len(config["block_out_channels"]) - 1)
        self.side_multiple_px = patch * self._ratio
        self._scale: float = config["scaling_factor"]
        self._shift: float = config.get("shift_factor") or 0.0
        self._config, self._dtype, self._weights_hash = config, dtype, weights_hash
        self._key = ""

    @property
    def key(self) -> str:
        """See `Codec`."""
        if not self._key:
            weights = self._weights_hash()
            self._key = digest("vae", weights, dict(self._config), str(self._dtype))
        return self._key

    def shape(self, width_px: int, height_px: int) -> tuple[int, int]:
        """See `Codec`."""
        return height_px // self._ratio, width_px // self._ratio

    def encode(self, pixels: Tensor) -> Moments:
        """See `Codec`."""
        weight = next(self._loaded.parameters())
        posterior = self._loaded.encode(pixels.to(weight.device, weight.dtype)).latent_dist
        mean = (posterior.mean.float() - self._shift) * self._scale
        return Moments(mean, posterior.std.float() * self._scale)

    def decode(self, latents: Tensor) -> Tensor:
        """See `Codec`."""
        weight = next(self._loaded.parameters())
        unscaled = latents.to(weight.device, torch.float32) / self._scale + self._shift
        pixels = self._loaded.decode(unscaled.to(weight.dtype)).sample.float()
        return (pixels / 2 + 0.5).clamp(0, 1)

    @property
    def _loaded(self) -> Any:  # the stubs of `encode` and `decode` are wrong
        assert self.module is not None, "the autoencoder is freed: `family.using('codec')`"
        return self.module


def config_of(module: nn.Module) -> dict[str, Any]:
    """A module's config without what changes by path or library version.

    Args:
        module: of diffusers or transformers.
    Returns:
        Plain data.
    """
    own: Any = module.config
    config: Mapping[str, Any] = own if isinstance(own, dict) else own.to_dict()
    ignored = ("transformers_version", "dtype", "torch_dtype")
    return {k: v for k, v in config.items() if not k.startswith("_") and k not in ignored}


def digest(*parts: Any) -> str:
    """A short hash of plain data.

    Args:
        parts: nested plain data.
    Returns:
        16 hex digits of SHA-256.
    """
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

"""What every model family offers the trainer, and how one is loaded."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor, nn

from workbench.models.base import BaseSettings, FromScratch

if TYPE_CHECKING:
    from workbench.models.parts import Parts

__all__ = [
    "BaseSettings",
    "Family",
    "FromScratch",
    "SizeInfo",
    "enable_gradient_checkpointing",
    "load",
    "use_eager_attention",
]

TargetGroups = dict[str, tuple[str, ...]]

# What an adapter may touch, by group: a module belongs if its path ends with one of the suffixes.
UNET_TARGETS: TargetGroups = {
    "attention": ("to_q", "to_k", "to_v", "to_out.0"),
    "feedforward": ("ff.net.0.proj", "ff.net.2"),
    "projection": ("proj_in", "proj_out"),
    "conv": ("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv"),
    "time": ("time_emb_proj", "time_embedding.linear_1", "time_embedding.linear_2"),
}
TEXT_TARGETS: TargetGroups = {
    "attention": ("q_proj", "k_proj", "v_proj", "out_proj"),
    "feedforward": ("mlp.fc1", "mlp.fc2"),
    "projection": (),
    "conv": (),
    "time": (),
}


@dataclass(frozen=True, slots=True)
class SizeInfo:
    """Where a training picture comes from, in px of the resized picture but for `original`.

    Attributes:
        original: (width, height) before any resize.
        crop: (left, top) of the crop box.
        target: (width, height) of the crop: the bucket.
    """

    original: tuple[int, int]
    crop: tuple[int, int]
    target: tuple[int, int]


class Family(Protocol):
    """A loaded base model: frozen, in eval mode, with everything that depends on its family.

    A family is one class that fills in what has no body here; the rest holds for every latent
    model with an autoencoder from diffusers and CLIP text encoders.
    """

    name: str
    settings: BaseSettings
    loaded: "Parts"

    # ------------------------------------------------------------------ what a family must say

    @property
    def adapter_targets(self) -> dict[str, TargetGroups]:
        """Module suffixes that an adapter may touch, by part and group."""
        ...

    def kohya_name(self, part: str, path: str) -> str:
        """Name a module as LoRA files do.

        Args:
            part: key of `parts`.
            path: module path inside the part.
        Returns:
            For example "lora_unet_down_blocks_0_attentions_0_proj_in".
        """
        ...

    def encode_captions(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """Turn captions into what the U-Net is conditioned on; gradients flow.

        Args:
            captions: B texts; what exceeds 75 tokens is cut off, see `count_tokens`.
        Returns:
            "hidden" (B, 77, D), and for SDXL "pooled" (B, D').
        """
        ...

    def denoise(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        text: dict[str, Tensor],
        sizes: Sequence[SizeInfo],
        *,
        unet: nn.Module | None = None,
    ) -> Tensor:
        """Predict noise or velocity.

        Args:
            noisy: latents with noise, (B, C, h, w).
            timesteps: (B,), in [0, 1000).
            text: what `encode_captions` returned for B captions.
            sizes: B entries; only SDXL reads them.
            unet: called in place of the family's own, for example a wrapped one.
        Returns:
            (B, C, h, w), float32.
        """
        ...

    def pipeline(self) -> Any:
        """Make a diffusers pipeline around these very modules, with a DDIM scheduler of its own.

        Never call its `.to`: that would cast the weights being trained. For another sampler, give
        it a scheduler made from `scheduler_config`.
        """
        ...

    @property
    def version(self) -> tuple[str, str]:
        """Names of the architecture for metadata: kohya's ss_base_model_version, modelspec's."""
        ...

    # ------------------------------------------------------------------------- what all share

    @property
    def unet(self) -> Any:
        """The denoiser, a `UNet2DConditionModel`."""
        return self.loaded.unet

    @property
    def vae(self) -> Any:
        """The autoencoder, an `AutoencoderKL`."""
        return self.loaded.vae

    @property
    def text_encoders(self) -> tuple[Any, ...]:
        """One `CLIPTextModel`; SDXL has a `CLIPTextModelWithProjection` besides."""
        return self.loaded.text_encoders

    @property
    def tokenizers(self) -> tuple[Any, ...]:
        """One tokenizer for each text encoder."""
        return self.loaded.tokenizers

    @property
    def parts(self) -> dict[str, nn.Module]:
        """Modules that an adapter may touch: "unet", "text_encoder", for SDXL "text_encoder_2"."""
        names = ("text_encoder", "text_encoder_2")
        return {"unet": self.unet, **dict(zip(names, self.text_encoders, strict=False))}

    @property
    def device(self) -> torch.device:
        """Where the U-Net is."""
        return next(self.unet.parameters()).device

    @property
    def scheduler_config(self) -> dict[str, Any]:
        """Config for any diffusers scheduler, the prediction type in use included."""
        return dict(self.loaded.scheduler_config)

    @property
    def prediction_type(self) -> Literal["epsilon", "v_prediction"]:
        """What the U-Net predicts: "epsilon" or "v_prediction"."""
        return self.loaded.scheduler_config["prediction_type"]

    @property
    def zero_terminal_snr(self) -> bool:
        """Whether the last timestep is noise alone: `alphas_cumprod` ends at exactly 0."""
        return bool(self.loaded.scheduler_config.get("rescale_betas_zero_snr", False))

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        """Signal power at each timestep, (1000,), float32, on the CPU; the end may be 0."""
        from diffusers import DDPMScheduler

        scheduler: Any = DDPMScheduler.from_config(self.loaded.scheduler_config)
        return scheduler.alphas_cumprod

    @property
    def latent_channels(self) -> int:
        """Channels of a latent."""
        return self.vae.config.latent_channels

    @property
    def downsampling(self) -> int:
        """Pixels to a latent's side: 8."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    def encode_pixels(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Encode pictures into the distribution of their latents.

        Args:
            pixels: (B, 3, H, W) in [-1, 1]; sides are multiples of `downsampling`.
        Returns:
            Mean and standard deviation, scaled as the U-Net expects, (B, C, h, w), float32.
        """
        weight = next(self.vae.parameters())
        posterior = self.vae.encode(pixels.to(weight.device, weight.dtype)).latent_dist
        factor, shift = self.vae.config.scaling_factor, self.vae.config.shift_factor or 0.0
        return (posterior.mean.float() - shift) * factor, posterior.std.float() * factor

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents into pictures.

        Args:
            latents: scaled, (B, C, h, w).
        Returns:
            (B, 3, H, W) in [0, 1], float32.
        """
        weight = next(self.vae.parameters())
        factor, shift = self.vae.config.scaling_factor, self.vae.config.shift_factor or 0.0
        unscaled = latents.to(weight.device, torch.float32) / factor + shift
        pixels = self.vae.decode(unscaled.to(weight.dtype)).sample.float()
        return (pixels / 2 + 0.5).clamp(0, 1)

    def count_tokens(self, caption: str) -> int:
        """Count a caption's tokens; those beyond 75 are cut off in training and sampling.

        Args:
            caption: any text.
        Returns:
            Number without the start and end tokens.
        """
        return len(self.tokenizers[0](caption, verbose=False).input_ids) - 2

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Say which weights these are, for the run folder and the LoRA file's metadata.

        `hashes` of a single file holds its "sha256" and "legacy" (kohya's sd_model_hash), those of
        a folder one SHA-256 a part.
        """
        architecture, spec = self.version
        return {
            "path": self.settings.path,
            "family": self.name,
            "version": architecture,
            "architecture": spec,
            "prediction": self.prediction_type,
            "zero_terminal_snr": self.zero_terminal_snr,
            "hashes": self.loaded.hashes(),
        }

    @cached_property
    def vae_key(self) -> str:
        """Key of cached latents: the autoencoder's weights, config and precision, not its path."""
        return _digest("vae", self.loaded.part_hash("vae"), _config(self.vae), str(self.vae.dtype))

    @cached_property
    def text_key(self) -> str:
        """Key of cached text: encoders, tokenizers, precision and skipped layers, not the path."""
        names = list(self.parts)[1:]
        weights = [self.loaded.part_hash(name) for name in names]
        configs = [_config(encoder) for encoder in self.text_encoders]
        vocabularies = [_tokenizer_key(tokenizer) for tokenizer in self.tokenizers]
        options = [self.settings.clip_skip, self.settings.dtype]
        return _digest("text", weights, configs, vocabularies, options)


def load(settings: BaseSettings, *, device: str | torch.device = "cpu") -> Family:
    """Load a base model: frozen, in eval mode, and refused when it is not what it should be.

    Args:
        settings: which model and how.
        device: where its modules go.
    Returns:
        The family.
    Raises:
        SettingsError: no such model, another family than demanded, or a contradiction.
        FileRefused: a file is a pickle, damaged, or lacks a part.
    """
    from workbench.models.parts import load_parts
    from workbench.models.sd import StableDiffusion
    from workbench.models.sdxl import StableDiffusionXL
    from workbench.models.source import locate

    source = locate(settings)
    parts = load_parts(source, settings)
    for module in (parts.unet, parts.vae, *parts.text_encoders):
        module.to(device).eval().requires_grad_(False)
    families = {"sd": StableDiffusion, "sdxl": StableDiffusionXL}
    family = families[source.family](settings, parts)
    if settings.gradient_checkpointing:
        enable_gradient_checkpointing(family)
    if settings.attention == "eager":
        use_eager_attention(family)
    return family


def enable_gradient_checkpointing(family: Family) -> None:
    """Trade time for memory in the U-Net and the text encoders; works in train mode only.

    Args:
        family: changed in place.
    """
    family.loaded.unet.enable_gradient_checkpointing()
    for encoder in family.loaded.text_encoders:
        renamed = getattr(encoder, "activation_checkpointing_enable", None)  # transformers 5.23
        (renamed or encoder.gradient_checkpointing_enable)({"use_reentrant": False})


def use_eager_attention(family: Family) -> None:
    """Replace torch's fused attention by plain matrix products, for devices that lack it.

    Args:
        family: changed in place.
    """
    from diffusers.models.attention_processor import AttnProcessor

    family.loaded.unet.set_attn_processor(AttnProcessor())
    for encoder in family.loaded.text_encoders:
        encoder.set_attn_implementation("eager")


def pipeline_of(kind: Any, family: Family, **components: Any) -> Any:
    """Put a family's modules into a diffusers pipeline that shows no progress bar.

    Args:
        kind: pipeline class.
        family: gives U-Net, autoencoder and the config of a DDIM scheduler.
        components: the rest of the pipeline's arguments.
    Returns:
        The pipeline; its modules are the family's own, where and as they are.
    """
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler.from_config(family.scheduler_config)
    pipeline = kind(unet=family.unet, vae=family.vae, scheduler=scheduler, **components)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _config(module: Any) -> dict[str, Any]:
    """A module's config without what changes by path or library version."""
    config = module.config if isinstance(module.config, dict) else module.config.to_dict()
    ignored = ("transformers_version", "dtype", "torch_dtype")
    return {k: v for k, v in config.items() if not k.startswith("_") and k not in ignored}


def _tokenizer_key(tokenizer: Any) -> list[Any]:
    return [tokenizer.pad_token, sorted(tokenizer.get_vocab().items())]


def _digest(*parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

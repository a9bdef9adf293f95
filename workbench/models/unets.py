"""What the families around a `UNet2DConditionModel` share once it is loaded: targets, sampling."""

from collections.abc import Mapping
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from workbench.models.base import BaseSettings
from workbench.models.clip import WINDOW
from workbench.models.codec import KL, Codec, config_of, digest
from workbench.models.family import Condition, Family, Identity, SampleOptions, TargetGroups
from workbench.models.original_layout import SingleFile
from workbench.models.parts import Parts
from workbench.models.solver import guidance_rescale, make_scheduler
from workbench.settings import SettingsError

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

NO_RESCALE = (
    "sampling.guidance_rescale must be 0 for an inpainting base of Stable Diffusion 1 or 2, whose "
    "pipeline has no such step"
)
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


def prepared(parts: Parts, settings: BaseSettings, device: torch.device) -> Parts:
    """Put loaded modules where and how they are used: frozen, in eval mode.

    Args:
        parts: changed in place.
        settings: gradient checkpointing and attention.
        device: where they go.
    Returns:
        The same parts.
    """
    modules: list[nn.Module] = [parts.unet, parts.vae, *parts.text_encoders]
    for module in modules:
        module.to(device).eval().requires_grad_(False)
    encoders: tuple[Any, ...] = parts.text_encoders
    if settings.gradient_checkpointing:  # works in train mode only
        parts.unet.enable_gradient_checkpointing()
        for encoder in encoders:
            renamed = getattr(encoder, "activation_checkpointing_enable", None)  # since 5.23
            (renamed or encoder.gradient_checkpointing_enable)({"use_reentrant": False})
    if settings.attention == "eager":
        from diffusers.models.attention_processor import AttnProcessor

        parts.unet.set_attn_processor(AttnProcessor())
        for encoder in encoders:
            encoder.set_attn_implementation("eager")
    return parts


def codec(parts: Parts) -> KL:
    """The autoencoder of a U-Net's family as a codec.

    Args:
        parts: the autoencoder among them.
    Returns:
        The codec; it is never freed.
    """
    vae = parts.vae
    return KL(config_of(vae), vae.dtype, lambda: parts.part_hash("vae"), module=vae)


def native_px(parts: Parts, codec: Codec) -> int:
    """The side of the pictures that a U-Net was made for.

    Args:
        parts: the U-Net among them.
        codec: its autoencoder.
    Returns:
        Pixels; of an oblong the longer side.
    """
    size = config_of(parts.unet)["sample_size"]
    return codec.side_multiple_px * (size if isinstance(size, int) else max(size))


def named_parts(parts: Parts) -> dict[str, nn.Module]:
    """The modules that an adapter may touch.

    Args:
        parts: of a U-Net's family.
    Returns:
        "unet", "text_encoder", for SDXL "text_encoder_2".
    """
    names = ("text_encoder", "text_encoder_2")
    return {"unet": parts.unet, **dict(zip(names, parts.text_encoders, strict=False))}


def identity(family: Family, parts: Parts) -> Identity:
    """Say which weights a family is made of; see `Identity`.

    Args:
        family: says what it is.
        parts: where they came from.
    Returns:
        Its identity.
    """
    version, architecture = family.version
    return Identity(
        path=family.settings.path,
        family=family.name,
        version=version,
        architecture=architecture,
        prediction=family.process.prediction,
        zero_terminal_snr=family.process.ends_in_noise,
        hashes=parts.hashes(),
    )


def single_file(family: Family, parts: Parts) -> SingleFile:
    """How a family is written as one file.

    Args:
        family: says what it is.
        parts: its modules, and the file that they came from.
    Returns:
        Names and weights of the file.
    """
    return SingleFile(
        parts.version,
        {**named_parts(parts), "vae": parts.vae},
        architecture=family.version[1],
        prediction=family.process.prediction,
        zero_terminal_snr=family.process.ends_in_noise,
        source=parts.single_file,
    )


def text_key(parts: Parts, settings: BaseSettings, max_tokens: int) -> str:
    """Key of cached text: encoders, tokenizers, precision and skipped layers, not the path.

    Args:
        parts: text encoders and tokenizers.
        settings: `clip_skip` and `dtype`.
        max_tokens: of a caption.
    Returns:
        16 hex digits.
    """
    weights = [parts.part_hash(name) for name in list(named_parts(parts))[1:]]
    configs = [config_of(encoder) for encoder in parts.text_encoders]
    vocabularies = [[t.pad_token, sorted(t.get_vocab().items())] for t in parts.tokenizers]
    how = [settings.clip_skip, settings.dtype]
    how += [max_tokens] if max_tokens > WINDOW else []  # the key of one window stays what it was
    return digest("text", weights, configs, vocabularies, how)


def inpainting_beside(codec: Codec, pixels: Tensor, masks: Tensor) -> Tensor:
    """Mask and masked picture as U-Nets of nine channels take them.

    Args:
        codec: of the family.
        pixels: (B, 3, H, W) in [-1, 1].
        masks: (B, 1, H, W); from .5 up the picture is made anew.
    Returns:
        (B, 1 + C, h, w), float32: mask, and the latents' mean of the picture with grey in the mask.
    Source: diffusers, `StableDiffusionInpaintPipeline.prepare_mask_latents`; the posterior's mean
        in place of a sample.
    """
    hidden = (masks >= 0.5).float()
    mean = codec.encode(pixels * (1 - hidden)).mean
    small = nn.functional.interpolate(hidden, size=mean.shape[-2:]).to(mean)
    return torch.cat([small, mean], dim=1)


def with_beside(noisy: Tensor, condition: Condition) -> Tensor:
    """The input of a U-Net: noisy latents, and what is laid beside them.

    Args:
        noisy: (B, C, h, w).
        condition: may hold channels beside.
    Returns:
        (B, C + C', h, w).
    """
    if condition.beside is None:
        return noisy
    return torch.cat([noisy, condition.beside.to(noisy)], dim=1)


def _filling(condition: Condition, options: SampleOptions, vae_px: int) -> dict[str, Any]:
    """What diffusers' inpainting pipelines are told beside the prompt.

    They encode the masked picture by drawing from its distribution; here it was encoded, by its
    mean. The picture itself is asked for and not looked at, where all of it starts as noise.
    """
    beside = condition.beside
    assert beside is not None
    mask = nn.functional.interpolate(beside[:, :1], scale_factor=vae_px)
    return {
        "image": torch.zeros(len(beside), 3, options.height_px, options.width_px),
        "mask_image": mask.cpu(),
        "masked_image_latents": beside[:, 1:],
        "strength": 1.0,
    }


def sample_by_pipeline(
    pipeline: "DiffusionPipeline",
    family: Family,
    noise: Tensor,
    *,
    conditions: tuple[Condition, Condition | None],
    options: SampleOptions,
) -> Tensor:
    """Draw latents with a diffusers pipeline around the family's own modules.

    Args:
        pipeline: made for this call; of a base that fills in, diffusers' inpainting pipeline.
        family: process and device.
        noise: (B, C, h, w), float32.
        conditions: what to draw, and what to steer away from.
        options: solver, steps, guidance.
    Returns:
        Latents (B, C, h, w).
    Raises:
        SettingsError: the pipeline cannot rescale its guidance.
    """
    wanted, negative = conditions
    running: Any = pipeline  # its stubs do not know that parts may be exchanged
    dtype = next(running.unet.parameters()).dtype
    running.set_progress_bar_config(disable=True)
    running.scheduler = make_scheduler(family.process, options)
    # With text encoders it would cast the prompts to their dtype, which a fine-tuned U-Net left.
    running.text_encoder = running.text_encoder_2 = None
    told: dict[str, Any] = {**_embeddings(wanted, dtype)}
    if negative is not None:
        told |= {f"negative_{k}": v for k, v in _embeddings(negative, dtype).items()}
    rescale = guidance_rescale(family.process, options)
    if wanted.beside is not None:
        told |= _filling(wanted, options, family.codec.side_multiple_px)
    if wanted.beside is None or "guidance_rescale" in signature(type(running).__call__).parameters:
        told["guidance_rescale"] = rescale
    elif rescale:
        raise SettingsError(NO_RESCALE)
    return running(
        latents=noise.to(family.device, dtype),
        generator=list(options.generators),
        height=options.height_px,
        width=options.width_px,
        num_inference_steps=options.steps,
        guidance_scale=options.guidance,
        output_type="latent",
        **told,
    ).images


def _embeddings(condition: Condition, dtype: torch.dtype) -> dict[str, Tensor]:
    names: Mapping[str, str] = {"hidden": "prompt_embeds", "pooled": "pooled_prompt_embeds"}
    return {names[key]: value.to(dtype) for key, value in condition.text.items()}


def components(parts: Parts) -> dict[str, Any]:
    """What every pipeline of a U-Net is made of, with a DDIM scheduler of its own.

    Args:
        parts: the modules.
    Returns:
        Arguments of the pipeline's class.
    """
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler.from_config(dict(parts.scheduler_config))
    return {"unet": parts.unet, "vae": parts.vae, "scheduler": scheduler}

"""Stable Diffusion XL: two text encoders, and the picture's size and crop as conditioning."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from workbench.models.base import BaseSettings
from workbench.models.clip import encoder_output
from workbench.models.family import (
    TEXT_TARGETS,
    UNET_TARGETS,
    Family,
    SizeInfo,
    TargetGroups,
    pipeline_of,
)
from workbench.models.naming import original_path, text_name
from workbench.models.parts import Parts

_TEXT_PREFIXES = {"text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}


class StableDiffusionXL(Family):
    """Stable Diffusion XL base and every model of its structure."""

    name = "sdxl"

    def __init__(self, settings: BaseSettings, loaded: Parts) -> None:
        self.settings = settings
        self.loaded = loaded

    @property
    def adapter_targets(self) -> dict[str, TargetGroups]:
        """See `Family`."""
        added = ("add_embedding.linear_1", "add_embedding.linear_2")
        unet = UNET_TARGETS | {"time": UNET_TARGETS["time"] + added}
        return {
            "unet": unet,
            "text_encoder": dict(TEXT_TARGETS),
            "text_encoder_2": dict(TEXT_TARGETS),
        }

    @property
    def version(self) -> tuple[str, str]:
        """See `Family`; the names are those of sd-scripts and of modelspec 1.0.1."""
        return "sdxl_base_v1-0", "stable-diffusion-xl-v1-base"

    def kohya_name(self, part: str, path: str) -> str:
        """See `Family`."""
        if part == "unet":
            return f"lora_unet_{original_path(path, self.loaded.unet.config)}".replace(".", "_")
        return text_name(_TEXT_PREFIXES[part], path)

    def encode_captions(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """Encode captions into "hidden" (B, 77, D1 + D2) and "pooled" (B, D2); see `Family`.

        Both encoders give their penultimate layer's states without the final layer norm, and
        `clip_skip` counts from there. "pooled" is always the second encoder's projected output.
        """
        layer = -2 - self.settings.clip_skip
        first, second = (
            encoder_output(encoder, tokenizer, captions)
            for encoder, tokenizer in zip(self.text_encoders, self.tokenizers, strict=True)
        )
        hidden = torch.cat([first.hidden_states[layer], second.hidden_states[layer]], dim=-1)
        return {"hidden": hidden, "pooled": second.text_embeds}

    def denoise(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        text: dict[str, Tensor],
        sizes: Sequence[SizeInfo],
        *,
        unet: nn.Module | None = None,
    ) -> Tensor:
        """See `Family`."""
        assert len(sizes) == len(noisy), "SDXL needs the size and crop of each picture"
        dtype = next(self.unet.parameters()).dtype
        added = {
            "text_embeds": text["pooled"].to(dtype),
            "time_ids": time_ids(sizes).to(noisy.device),  # float32: bfloat16 cannot hold 1023
        }
        predicted = (unet or self.unet)(
            noisy.to(dtype),
            timesteps,
            encoder_hidden_states=text["hidden"].to(dtype),
            added_cond_kwargs=added,
            return_dict=False,
        )
        return predicted[0].float()

    def pipeline(self) -> Any:
        """See `Family`."""
        from diffusers import StableDiffusionXLPipeline

        return pipeline_of(
            StableDiffusionXLPipeline,
            self,
            text_encoder=self.text_encoders[0],
            text_encoder_2=self.text_encoders[1],
            tokenizer=self.tokenizers[0],
            tokenizer_2=self.tokenizers[1],
            force_zeros_for_empty_prompt=self.loaded.zero_empty_prompt,
            add_watermarker=False,
        )


def time_ids(sizes: Sequence[SizeInfo]) -> Tensor:
    """Put sizes and crops in the order that SDXL was trained with.

    Args:
        sizes: B entries, (width, height) and (left, top).
    Returns:
        (B, 6), float32: original height, width; crop top, left; target height, width.
    Source: Podell et al. 2023, arXiv 2307.01952, section 2.2.
    """
    rows = [(*s.original[::-1], *s.crop[::-1], *s.target[::-1]) for s in sizes]
    return torch.tensor(rows, dtype=torch.float32)

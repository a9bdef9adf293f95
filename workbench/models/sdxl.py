"""Stable Diffusion XL: two text encoders, and the picture's size and crop as conditioning."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from workbench.models import unet_files, unets
from workbench.models.base import BaseSettings
from workbench.models.clip import WINDOW, ClipTokens, encoder_outputs, joined
from workbench.models.codec import config_of
from workbench.models.defaults import Machine, Suits, advice
from workbench.models.family import (
    Condition,
    Identity,
    Rows,
    SampleOptions,
    SizeInfo,
    TargetGroups,
    stacked,
)
from workbench.models.folder import save_pipeline
from workbench.models.original_layout import SingleFile
from workbench.models.parts import Parts, load_parts
from workbench.models.source import Peek, Source
from workbench.models.structures import lora_name
from workbench.models.unet_files import describe, tokens
from workbench.process import DiscreteVP
from workbench.settings.advice import Advice

if TYPE_CHECKING:
    from diffusers import StableDiffusionXLInpaintPipeline, StableDiffusionXLPipeline

__all__ = [
    "NAMES",
    "NATIVE_PX",
    "TITLE",
    "StableDiffusionXL",
    "defaults",
    "describe",
    "load",
    "recognise",
    "tokens",
]

TITLE = "Stable Diffusion XL"
NATIVE_PX = 1024
NAMES = dict.fromkeys(("xl", "pony", "illustrious", "noobai", "animagine"), 1024)
_ADDED = ("add_embedding.linear_1", "add_embedding.linear_2")


def recognise(seen: Peek, settings: BaseSettings) -> Source | None:
    """See `FamilyModule`.

    Args:
        seen: headers and configs.
        settings: what may be missing.
    Returns:
        What was found, or None.
    """
    return unet_files.recognise(seen, settings, family="sdxl", title=TITLE, versions=("sdxl",))


def defaults(title: str, native_px: int, machine: Machine) -> tuple[Advice, ...]:
    """See `FamilyModule`.

    Args:
        title: of the base, for people.
        native_px: side of the pictures that it was made for.
        machine: that will train it.
    Returns:
        Settings with their reasons.
    """
    suits = Suits(rate=1e-4, guidance=5.0, sample_steps=28, large=True)
    return advice(title, native_px, suits, machine=machine)


def load(
    source: Source, settings: BaseSettings, *, device: torch.device, max_tokens: int
) -> "StableDiffusionXL":
    """See `FamilyModule`.

    Args:
        source: what `recognise` found.
        settings: how it is loaded.
        device: where it goes.
        max_tokens: of a caption.
    Returns:
        The family.
    """
    parts = unets.prepared(load_parts(source, settings), settings, device)
    return StableDiffusionXL(settings, parts, max_tokens)


class StableDiffusionXL:
    """Stable Diffusion XL base and every model of its structure; see `Family`."""

    name = "sdxl"
    frees: frozenset[str] = frozenset()
    idle = frozenset({"text_encoder", "text_encoder_2"})  # read before their last layer
    version = "sdxl_base_v1-0", "stable-diffusion-xl-v1-base"  # sd-scripts', modelspec 1.0.1
    targets: Mapping[str, TargetGroups]

    def __init__(self, settings: BaseSettings, loaded: Parts, max_tokens: int = WINDOW) -> None:
        self.settings, self.loaded, self.max_tokens = settings, loaded, max_tokens
        self.unet, self.vae = loaded.unet, loaded.vae
        self.text_encoders, self.tokenizers = loaded.text_encoders, loaded.tokenizers
        self.process: DiscreteVP = loaded.process
        self.codec = unets.codec(loaded)
        self.parts: Mapping[str, nn.Module] = unets.named_parts(loaded)
        time = unets.UNET_TARGETS["time"] + _ADDED
        self.targets = {
            "unet": {**unets.UNET_TARGETS, "time": time},
            "text_encoder": unets.TEXT_TARGETS,
            "text_encoder_2": unets.TEXT_TARGETS,
        }
        self.inpaints: bool = config_of(self.unet)["in_channels"] > self.codec.channels
        self.native_px = unets.native_px(loaded, self.codec)
        self._identity: Identity | None = None
        self._single: SingleFile | None = None

    @property
    def identity(self) -> Identity:
        """See `Family`; read once, since files may be replaced while a run goes on."""
        self._identity = self._identity or unets.identity(self, self.loaded)
        return self._identity

    @property
    def text_key(self) -> str:
        """See `Family`."""
        return unets.text_key(self.loaded, self.settings, self.max_tokens)

    @property
    def single_file(self) -> SingleFile:
        """See `Family`; made once, since a run may outlive the file of its base."""
        self._single = self._single or unets.single_file(self, self.loaded)
        return self._single

    @property
    def device(self) -> torch.device:
        """See `Family`."""
        return next(self.unet.parameters()).device

    def count_tokens(self, caption: str) -> int:
        """See `Family`."""
        return ClipTokens(self.tokenizers[0], self.max_tokens).count_tokens(caption)

    def windows(self, caption: str) -> list[str]:
        """See `Family`."""
        return ClipTokens(self.tokenizers[0], self.max_tokens).windows(caption)

    def encode_text(self, prompts: Sequence[str]) -> list[Rows]:
        """Encode captions into "hidden" (2 + `max_tokens`, D1 + D2), "pooled" (D2,); see `Family`.

        Both encoders give their penultimate layer's states without the final layer norm, and
        `clip_skip` counts from there. "pooled" is the second encoder's projected output, of the
        first window, as sd-scripts and ComfyUI take it.
        """
        layer, num_windows = -2 - self.settings.clip_skip, self.max_tokens // WINDOW
        first, second = (
            encoder_outputs(encoder, tokenizer, prompts, num_windows=num_windows)
            for encoder, tokenizer in zip(self.text_encoders, self.tokenizers, strict=True)
        )
        states = [
            torch.cat([one.hidden_states[layer], other.hidden_states[layer]], dim=-1)
            for one, other in zip(first, second, strict=True)
        ]
        pairs = zip(joined(states), second[0].text_embeds, strict=True)
        return [{"hidden": states, "pooled": pooled} for states, pooled in pairs]

    def collate(self, rows: Sequence[Rows]) -> dict[str, Tensor]:
        """See `Family`."""
        return stacked(rows, self.device)

    def beside(self, pixels: Tensor, masks: Tensor) -> Tensor:
        """See `Family`; of a U-Net with nine channels mask and masked picture."""
        return unets.inpainting_beside(self.codec, pixels, masks)

    def denoise(self, noisy: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """See `Family`."""
        assert len(condition.sizes) == len(noisy), "SDXL needs the size and crop of each picture"
        dtype = next(self.unet.parameters()).dtype
        added = {
            "text_embeds": condition.text["pooled"].to(dtype),
            # float32: bfloat16 cannot hold 1023
            "time_ids": time_ids(condition.sizes).to(noisy.device),
        }
        predicted = self.unet(
            unets.with_beside(noisy, condition).to(dtype),
            level,
            encoder_hidden_states=condition.text["hidden"].to(dtype),
            added_cond_kwargs=added,
            return_dict=False,
        )
        return predicted[0].float()

    def sample_latents(
        self,
        noise: Tensor,
        condition: Condition,
        *,
        negative: Condition | None,
        options: SampleOptions,
    ) -> Tensor:
        """See `Family`."""
        conditions = condition, negative
        return unets.sample_by_pipeline(
            self.pipeline(), self, noise, conditions=conditions, options=options
        )

    def file_name(self, part: str, path: str) -> str:
        """See `Family`."""
        return lora_name("sdxl", part, path, unet_config=self.unet.config)

    def using(self, *parts: str) -> AbstractContextManager[None]:
        """See `Family`; nothing is ever freed."""
        return nullcontext()

    def save(self, folder: Path) -> None:
        """See `Family`."""
        save_pipeline(self.pipeline(), folder)

    def pipeline(self) -> "StableDiffusionXLPipeline | StableDiffusionXLInpaintPipeline":
        """Make a diffusers pipeline around these very modules, with a scheduler of its own.

        Never call its `.to`: that would cast the weights being trained.

        Returns:
            A pipeline that shows no progress bar.
        """
        from diffusers import StableDiffusionXLInpaintPipeline, StableDiffusionXLPipeline

        kind = StableDiffusionXLInpaintPipeline if self.inpaints else StableDiffusionXLPipeline
        pipeline = kind(
            **unets.components(self.loaded),
            text_encoder=self.text_encoders[0],  # pyright: ignore[reportArgumentType]
            text_encoder_2=self.text_encoders[1],  # pyright: ignore[reportArgumentType]
            tokenizer=self.tokenizers[0],
            tokenizer_2=self.tokenizers[1],
            force_zeros_for_empty_prompt=self.loaded.zero_empty_prompt,
            add_watermarker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


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

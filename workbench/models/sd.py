"""Stable Diffusion 1.x and 2.x: one CLIP text encoder, epsilon or velocity prediction."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from diffusers import StableDiffusionInpaintPipeline, StableDiffusionPipeline

__all__ = [
    "NAMES",
    "NATIVE_PX",
    "TITLE",
    "StableDiffusion",
    "defaults",
    "describe",
    "load",
    "recognise",
    "tokens",
]

TITLE = "Stable Diffusion 1.x or 2.x"
NATIVE_PX = 512
NAMES = {
    # 2.x was published at 512 px ("base", inpainting) and at 768 px.
    "stable-diffusion-2-base": 512,
    "stable-diffusion-2-1-base": 512,
    "stable-diffusion-2-inpainting": 512,
    "stable-diffusion-2": 768,
    **dict.fromkeys(("stable-diffusion-v1", "sd1", "sd-1", "v1-5", "sd15", "1.5"), 512),
}


def recognise(seen: Peek, settings: BaseSettings) -> Source | None:
    """See `FamilyModule`.

    Args:
        seen: headers and configs.
        settings: what may be missing.
    Returns:
        What was found, or None.
    """
    return unet_files.recognise(seen, settings, family="sd", title=TITLE, versions=("sd1", "sd2"))


def defaults(title: str, native_px: int, machine: Machine) -> tuple[Advice, ...]:
    """See `FamilyModule`.

    Args:
        title: of the base, for people.
        native_px: side of the pictures that it was made for.
        machine: that will train it.
    Returns:
        Settings with their reasons.
    """
    suits = Suits(rate=1e-4, guidance=7.0, sample_steps=25, large=False)
    return advice(title, native_px, suits, machine=machine)


def load(
    source: Source, settings: BaseSettings, *, device: torch.device, max_tokens: int
) -> "StableDiffusion":
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
    return StableDiffusion(settings, parts, max_tokens)


class StableDiffusion:
    """Stable Diffusion 1.x and 2.x, and every model of their structure; see `Family`."""

    name = "sd"
    frees: frozenset[str] = frozenset()
    targets: Mapping[str, TargetGroups]

    def __init__(self, settings: BaseSettings, loaded: Parts, max_tokens: int = WINDOW) -> None:
        self.settings, self.loaded, self.max_tokens = settings, loaded, max_tokens
        self.unet, self.vae = loaded.unet, loaded.vae
        self.text_encoders, self.tokenizers = loaded.text_encoders, loaded.tokenizers
        self.process: DiscreteVP = loaded.process
        self.codec = unets.codec(loaded)
        self.parts: Mapping[str, nn.Module] = unets.named_parts(loaded)
        self.targets = {"unet": unets.UNET_TARGETS, "text_encoder": unets.TEXT_TARGETS}
        self.inpaints: bool = config_of(self.unet)["in_channels"] > self.codec.channels
        # Layers that are skipped at the end get no gradient.
        self.idle = frozenset({"text_encoder"} if settings.clip_skip else ())
        self.native_px = unets.native_px(loaded, self.codec)
        self._identity: Identity | None = None
        self._single: SingleFile | None = None

    @property
    def version(self) -> tuple[str, str]:
        """See `Family`; the names are those of sd-scripts and of modelspec 1.0.1."""
        velocity = self.process.prediction == "v_prediction"
        if self.loaded.version == "sd1":
            return ("sd_v1_v" if velocity else "sd_v1"), "stable-diffusion-v1"
        if velocity:
            return "sd_v2_v", "stable-diffusion-v2-768-v"
        return "sd_v2", "stable-diffusion-v2-512"

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
        """Encode captions into "hidden" (2 + `max_tokens`, D); see `Family`.

        The final layer norm is applied whatever layer the states come from, as sd-scripts and
        diffusers do. SD 2.x already ends one layer early: its published encoder has 23 of 24.
        """
        encoder, skip = self.text_encoders[0], self.settings.clip_skip
        num_windows = self.max_tokens // WINDOW
        outputs = encoder_outputs(encoder, self.tokenizers[0], prompts, num_windows=num_windows)
        if skip == 0:
            states = [output.last_hidden_state for output in outputs]
        else:
            norm: Any = getattr(encoder, "text_model", encoder).final_layer_norm
            states = [norm(output.hidden_states[-1 - skip]) for output in outputs]
        return [{"hidden": row} for row in joined(states)]

    def collate(self, rows: Sequence[Rows]) -> dict[str, Tensor]:
        """See `Family`."""
        return stacked(rows, self.device)

    def beside(self, pixels: Tensor, masks: Tensor) -> Tensor:
        """See `Family`; of a U-Net with nine channels mask and masked picture."""
        return unets.inpainting_beside(self.codec, pixels, masks)

    def denoise(self, noisy: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """See `Family`."""
        dtype = next(self.unet.parameters()).dtype
        predicted = self.unet(
            unets.with_beside(noisy, condition).to(dtype),
            level,
            encoder_hidden_states=condition.text["hidden"].to(dtype),
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
        return lora_name(self.loaded.version, part, path, unet_config=self.unet.config)

    def using(self, *parts: str) -> AbstractContextManager[None]:
        """See `Family`; nothing is ever freed."""
        return nullcontext()

    def save(self, folder: Path) -> None:
        """See `Family`."""
        save_pipeline(self.pipeline(), folder)

    def pipeline(self) -> "StableDiffusionPipeline | StableDiffusionInpaintPipeline":
        """Make a diffusers pipeline around these very modules, with a scheduler of its own.

        Never call its `.to`: that would cast the weights being trained.

        Returns:
            A pipeline that shows no progress bar.
        """
        from diffusers import StableDiffusionInpaintPipeline, StableDiffusionPipeline

        kind = StableDiffusionInpaintPipeline if self.inpaints else StableDiffusionPipeline
        pipeline = kind(
            **unets.components(self.loaded),
            text_encoder=self.text_encoders[0],  # pyright: ignore[reportArgumentType]
            tokenizer=self.tokenizers[0],
            safety_checker=None,  # pyright: ignore[reportArgumentType]
            feature_extractor=None,  # pyright: ignore[reportArgumentType]
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

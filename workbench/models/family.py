"""What every model family offers: the protocol, and what it is asked with.

A family is one file in this folder and one line in `registry.py`. Nothing subclasses `Family`; a
family *has* a process, a codec and parts, and the rest of the package asks these, never a name.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypedDict

import torch
from torch import Tensor, nn

from workbench.models.base import BaseSettings
from workbench.models.codec import Codec
from workbench.models.original_layout import SingleFile
from workbench.process import Process

__all__ = [
    "CaptionTokens",
    "Condition",
    "Family",
    "Identity",
    "Rows",
    "SampleOptions",
    "SizeInfo",
    "TargetGroups",
    "stacked",
]

# What an adapter may touch, by group: a module belongs if its path ends with one of these, or, of
# those with a `*`, fits it as a whole.
TargetGroups = Mapping[str, tuple[str, ...]]
# One caption's embeddings by name, without a batch dimension; lengths may differ by caption.
Rows = dict[str, Tensor]


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

    @classmethod
    def whole(cls, width_px: int, height_px: int) -> "SizeInfo":
        """A picture that is drawn, not cut from another.

        Args:
            width_px: of the picture.
            height_px: likewise.
        Returns:
            Original and target of that size, nothing cropped.
        """
        return cls((width_px, height_px), (0, 0), (width_px, height_px))


@dataclass(frozen=True, slots=True)
class Condition:
    """What the denoiser is told beside the noisy latents: of one micro-batch, or of one sampling.

    Attributes:
        text: what `Family.collate` made, name to (B, ...).
        sizes: of each sample, (B,).
        beside: channels laid beside the noisy latents, (B, C', h, w): mask and masked picture of
            inpainting; None where the family has none.
    """

    text: Mapping[str, Tensor]
    sizes: tuple[SizeInfo, ...]
    beside: Tensor | None = None

    def repeated(self, count: int) -> "Condition":
        """Tell the same of several samples.

        Args:
            count: B.
        Returns:
            A condition of B samples, from one of a single sample.
        """
        return Condition(
            {name: rows.expand(count, *rows.shape[1:]) for name, rows in self.text.items()},
            self.sizes * count,
            None if self.beside is None else self.beside.expand(count, -1, -1, -1),
        )


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """How latents are drawn.

    Attributes:
        width_px: of the picture.
        height_px: likewise.
        steps: of the solver.
        guidance: 1 is none; every family converts it to its own convention.
        guidance_rescale: share by which guided predictions are pulled back; None: the family's.
        scheduler: name of the solver, see `solver.SCHEDULERS`.
        spacing: which timesteps a discrete solver visits.
        generators: of each picture on the CPU, for solvers that draw noise on their way, (B,).
    """

    width_px: int
    height_px: int
    steps: int
    guidance: float
    guidance_rescale: float | None
    scheduler: str
    spacing: str
    generators: tuple[torch.Generator, ...]


class Identity(TypedDict):
    """Which weights a base is made of, for the run folder and a LoRA file's metadata.

    `hashes` of a single file holds its "sha256" and "legacy" (kohya's sd_model_hash), those of a
    folder one SHA-256 a part.
    """

    path: str
    family: str
    version: str
    architecture: str
    prediction: str
    zero_terminal_snr: bool
    hashes: dict[str, str]


class CaptionTokens(Protocol):
    """What cuts captions into tokens: a loaded family, or its tokenizer alone."""

    @property
    def max_tokens(self) -> int | None:
        """Most tokens of a caption that are read; None without a limit."""
        ...

    def count_tokens(self, caption: str) -> int:
        """Count a caption's tokens as `max_tokens` counts them.

        Args:
            caption: any text.
        Returns:
            Their number without those that begin, end or frame every caption.
        """
        ...

    def windows(self, caption: str) -> list[str]:
        """Cut a caption where one encoding ends and the next begins.

        Args:
            caption: any text.
        Returns:
            The parts that are encoded by themselves, which together are the caption; the last one
            is not read where there are more than `max_tokens` tokens.
        """
        ...


class Family(CaptionTokens, Protocol):
    """A loaded base model: frozen and in eval mode."""

    @property
    def name(self) -> str:
        """Name in the registry."""
        ...

    @property
    def settings(self) -> BaseSettings:
        """What it was loaded by."""
        ...

    @property
    def process(self) -> Process:
        """How picture and noise are mixed."""
        ...

    @property
    def codec(self) -> Codec:
        """Pixels to latents and back."""
        ...

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        """Modules that an adapter may touch, the denoiser first: "unet", "transformer".

        Text encoders follow; their names begin with "text_encoder".
        """
        ...

    @property
    def targets(self) -> Mapping[str, TargetGroups]:
        """What an adapter may touch, by part and group."""
        ...

    @property
    def frees(self) -> frozenset[str]:
        """Kinds of parts that are in memory only inside `using`: "text_encoder", "codec"."""
        ...

    @property
    def idle(self) -> frozenset[str]:
        """Parts some of whose layers never reach the answer, so that they get no gradient."""
        ...

    @property
    def native_px(self) -> int:
        """Side of the square that the base was made for."""
        ...

    @property
    def inpaints(self) -> bool:
        """Whether it is told a mask and a masked picture beside the noisy latents."""
        ...

    @property
    def version(self) -> tuple[str, str]:
        """Names of the architecture: kohya's ss_base_model_version, modelspec's."""
        ...

    @property
    def identity(self) -> Identity:
        """Which weights these are."""
        ...

    @property
    def single_file(self) -> SingleFile | None:
        """How all its parts are written as one file; None where no reader knows such a file."""
        ...

    @property
    def text_key(self) -> str:
        """Key of cached text: encoders, tokenizers, template, precision; not their path."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the denoiser is."""
        ...

    def encode_text(self, prompts: Sequence[str]) -> list[Rows]:
        """Turn captions into embeddings; gradients flow where an encoder learns.

        Args:
            prompts: B texts; what exceeds `max_tokens` is cut off.
        Returns:
            B entries.
        """
        ...

    def collate(self, rows: Sequence[Rows]) -> dict[str, Tensor]:
        """Put the embeddings of a batch together; live and cached text both pass here.

        Args:
            rows: B entries of `encode_text`, on the denoiser's device or not.
        Returns:
            Name to tensor (B, ...), on the denoiser's device.
        """
        ...

    def beside(self, pixels: Tensor, masks: Tensor) -> Tensor:
        """Make what is laid beside the noisy latents; asked only where the family `inpaints`.

        Args:
            pixels: (B, 3, H, W) in [-1, 1].
            masks: (B, 1, H, W), 1 where the picture is to be made anew.
        Returns:
            (B, C', h, w), float32, on the denoiser's device.
        """
        ...

    def denoise(self, noisy: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """Ask the model; only here does a level become what the model is told.

        Args:
            noisy: latents with noise, (B, C, h, w).
            level: of `process`, (B,).
            condition: text, sizes, channels beside.
        Returns:
            What `process.prediction` says, (B, C, h, w), float32.
        """
        ...

    def sample_latents(
        self,
        noise: Tensor,
        condition: Condition,
        *,
        negative: Condition | None,
        options: SampleOptions,
    ) -> Tensor:
        """Lead noise to a picture.

        Args:
            noise: standard normal, (B, C, h, w), float32.
            condition: what to draw.
            negative: what to steer away from; None where guidance is 1.
            options: solver, steps, guidance.
        Returns:
            Clean latents (B, C, h, w).
        """
        ...

    def file_name(self, part: str, path: str) -> str:
        """Name a module as LoRA files do.

        Args:
            part: key of `parts`.
            path: module path inside the part.
        Returns:
            For example "lora_unet_down_blocks_0_attentions_0_proj_in".
        """
        ...

    def using(self, *parts: str) -> AbstractContextManager[None]:
        """Have parts in memory that are otherwise freed.

        Args:
            parts: of `frees`, "codec" among them; others are there anyway.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write the whole model as a folder in the Hub's diffusers layout.

        Args:
            folder: absent, or empty; made whole or not at all.
        """
        ...


def stacked(rows: Sequence[Rows], device: torch.device) -> dict[str, Tensor]:
    """Collate embeddings that all have one shape.

    Args:
        rows: B entries.
        device: where the batch goes.
    Returns:
        Name to tensor (B, ...).
    """
    return {name: torch.stack([row[name] for row in rows]).to(device) for name in rows[0]}

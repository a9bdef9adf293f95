"""Taggers that compare a picture with the words of a vocabulary (CLIP and its relatives)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from workbench import store
from workbench.models.hub import fetch_files
from workbench.models.tagging.base import Suggestion, Tagger
from workbench.settings import Settings, setting
from workbench.store import FileRefused

__all__ = ["CrittersCLIP", "ZeroShot", "read_vocabulary"]

FILES = ("*.json", "*.txt", "*.model", "model.safetensors")


class CrittersCLIP(Settings):
    """The CLIP of the embedded critters: knows their tags and nothing else, needs no network."""

    kind: Literal["critters"] = "critters"
    threshold: float = setting(
        0.5, ge=0, le=1, help="probability, among the tags of its group, from which a tag is named"
    )
    batch_size: int = setting(32, ge=1, le=1024, unit="pictures", help="pictures read at once")

    def load(self, device: str | torch.device = "cpu") -> Tagger:
        """Load the model.

        Args:
            device: where it runs.
        Returns:
            The tagger.
        """
        return _CrittersTagger(self, torch.device(device))


class _CrittersTagger:
    def __init__(self, settings: CrittersCLIP, device: torch.device) -> None:
        from transformers import CLIPTokenizer

        from workbench.critters import BASE
        from workbench.critters.architecture import PICTURE_SIZE_PX, load_clip

        self.settings, self.device, self.side = settings, device, PICTURE_SIZE_PX
        self.batch_size = settings.batch_size
        self.clip: Any = load_clip(BASE).to(device)  # pyright: ignore[reportArgumentType]
        self.tokenizer = CLIPTokenizer.from_pretrained(BASE / "tokenizer")

    def read(self, images: Sequence[Image.Image]) -> list[list[Suggestion]]:
        """See `Tagger`."""
        from workbench.critters.contrastive import choose_tags

        sides = (self.side, self.side)
        arrays = [np.array(image.resize(sides, Image.Resampling.BICUBIC)) for image in images]
        pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)  # (B, 3, H, W)
        pixels = (pixels.float() / 127.5 - 1).to(self.device)
        return [
            [
                Suggestion(tag, score, group)
                for group, (tag, score) in found.items()
                if score >= self.settings.threshold
            ]
            for found in choose_tags(self.clip, self.tokenizer, pixels)
        ]


class ZeroShot(Settings):
    """Any CLIP or SigLIP with a vocabulary of your own: one tag of each group, the likeliest."""

    kind: Literal["clip"] = "clip"
    model: str = setting(
        "openai/clip-vit-large-patch14",
        min_length=1,
        help="a folder in the layout of transformers, or the name of a Hugging Face repository",
    )
    vocabulary: str | None = setting(
        None,
        help="text file: a line `[group]`, then its tags, one a line, of which a picture has one",
    )
    template: str = setting(
        "a photo of {tag}", min_length=1, help="sentence that a tag is compared in"
    )
    threshold: float = setting(
        0.5, ge=0, le=1, help="probability, among the tags of its group, from which a tag is named"
    )
    batch_size: int = setting(16, ge=1, le=1024, unit="pictures", help="pictures read at once")

    def load(self, device: str | torch.device = "cpu") -> Tagger:
        """Load the model and the vocabulary.

        Args:
            device: where it runs.
        Returns:
            The tagger.
        Raises:
            SettingsError: no vocabulary, or no such model.
            FileRefused: the vocabulary has no groups.
        """
        return _ZeroShotTagger(self, torch.device(device))


class _ZeroShotTagger:
    def __init__(self, settings: ZeroShot, device: torch.device) -> None:
        from transformers import (
            AutoImageProcessor,
            AutoModelForZeroShotImageClassification,
            AutoTokenizer,
        )

        from workbench.settings import SettingsError

        if settings.vocabulary is None:
            raise SettingsError(
                "tagger.vocabulary must name a text file of groups and tags: this model knows no "
                "list of its own"
            )
        self.groups = read_vocabulary(settings.vocabulary)
        folder = fetch_files(settings.model, FILES)
        self.settings, self.device, self.batch_size = settings, device, settings.batch_size
        self.processor: Any = AutoImageProcessor.from_pretrained(folder)
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        model: Any = AutoModelForZeroShotImageClassification
        self.model: Any = model.from_pretrained(folder, use_safetensors=True).to(device).eval()
        tags = [tag for group in self.groups.values() for tag in group]
        sentences = [settings.template.replace("{tag}", tag) for tag in tags]
        # SigLIP was trained on captions padded to the full length; CLIP does not mind.
        self.ids = tokenizer(
            sentences, padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids.to(device)

    @torch.no_grad()
    def read(self, images: Sequence[Image.Image]) -> list[list[Suggestion]]:
        """See `Tagger`."""
        pixels = self.processor(images=list(images), return_tensors="pt").pixel_values
        output = self.model(input_ids=self.ids, pixel_values=pixels.to(self.device))
        return [list(self._best(row)) for row in output.logits_per_image.float().cpu()]

    def _best(self, logits: torch.Tensor) -> Iterator[Suggestion]:
        """The likeliest tag of each group, of logits (T,)."""
        sizes = [len(group) for group in self.groups.values()]
        for (name, tags), part in zip(self.groups.items(), logits.split(sizes), strict=True):
            score, place = part.softmax(dim=0).max(dim=0)
            if score >= self.settings.threshold:
                yield Suggestion(tags[int(place)], float(score), name)


def read_vocabulary(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Read the tags that pictures are compared with.

    Args:
        path: text file; a line `[group]` begins a group, every other line is a tag of it. Empty
            lines and those that begin with # are left out.
    Returns:
        Group name to tags.
    Raises:
        FileRefused: no such file, a tag before the first group, or a group of fewer than two.
    """
    groups: dict[str, list[str]] = {}
    name = ""
    for number, line in enumerate(store.read_text(path).splitlines(), start=1):
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            name = line[1:-1].strip()
            groups.setdefault(name, [])
        elif line and not line.startswith("#"):
            if not name:
                raise FileRefused(
                    f"{store.shown(path)}, line {number}: {line!r} stands before the first group; "
                    "begin with a line such as [hair]"
                )
            groups[name].append(line)
    small = [name for name, tags in groups.items() if len(tags) < 2]
    if small or not groups:
        what = f"group [{small[0]}] needs two tags to choose from" if small else "it has no groups"
        raise FileRefused(f"{store.shown(path)}: {what}")
    return {name: tuple(tags) for name, tags in groups.items()}

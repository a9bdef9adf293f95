"""The taggers of the WD family: ONNX models that know the tags of an image board.

Source: SmilingWolf's taggers (huggingface.co/SmilingWolf) and their published example.
"""

import csv
import importlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from workbench import store
from workbench.models.hub import fetch_files
from workbench.models.tagging.base import Suggestion, Tagger
from workbench.settings import Settings, SettingsError, setting
from workbench.store import FileRefused

__all__ = ["WD14", "Label", "plain_name", "prepare", "read_labels"]

MODEL, LABELS = "model.onnx", "selected_tags.csv"
GROUPS = {"0": "general", "4": "character", "9": "rating"}  # what the file's categories mean
SIDE_PX = 448  # where the model leaves its input size open


class WD14(Settings):
    """Tags of an image board, by an ONNX model such as wd-swinv2-tagger-v3; needs onnxruntime."""

    kind: Literal["wd14"] = "wd14"
    model: str = setting(
        "SmilingWolf/wd-swinv2-tagger-v3",
        min_length=1,
        help="a folder with model.onnx and selected_tags.csv, or a Hugging Face repository",
    )
    threshold: float = setting(
        0.35, ge=0, le=1, help="score from which a general tag is named; higher names fewer"
    )
    character_threshold: float = setting(
        0.85, ge=0, le=1, help="score from which a character is named; wrong names do harm"
    )
    spaces: bool = setting(True, help="write `red hat` for `red_hat`; faces such as ^_^ stay")
    batch_size: int = setting(8, ge=1, le=1024, unit="pictures", help="pictures read at once")

    def load(self, device: str | torch.device = "cpu") -> Tagger:
        """Load the model.

        Args:
            device: where it runs, as far as the installed onnxruntime can.
        Returns:
            The tagger.
        Raises:
            SettingsError: onnxruntime is not installed, or no such model.
            FileRefused: the model or its list of tags is damaged, or they do not belong together.
        """
        return _WDTagger(self, torch.device(device))


@dataclass(frozen=True, slots=True)
class Label:
    """One tag that a model knows."""

    name: str
    group: str  # "general", "character", "rating", or the category as the file has it


class _WDTagger:
    def __init__(self, settings: WD14, device: torch.device) -> None:
        try:
            onnxruntime: Any = importlib.import_module("onnxruntime")
        except ImportError:
            raise SettingsError(
                "tagger.kind = 'wd14' needs the package onnxruntime, which is not installed; "
                "pip install onnxruntime (or onnxruntime-gpu)"
            ) from None
        folder = fetch_files(settings.model, (MODEL, LABELS))
        path = folder / MODEL
        if not path.is_file():
            raise FileRefused(f"{store.shown(path)}: no such file; a WD tagger has a {MODEL}")
        self.settings, self.labels = settings, read_labels(folder / LABELS)
        known = onnxruntime.get_available_providers()
        wanted = ["CUDAExecutionProvider"] * (device.type == "cuda") + ["CPUExecutionProvider"]
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), providers=[name for name in wanted if name in known]
            )
        except Exception as error:  # onnxruntime raises classes of its own, without a base
            reason = str(error).splitlines()[0]
            raise FileRefused(f"{store.shown(path)}: no ONNX model: {reason}") from None
        self.input = self.session.get_inputs()[0]
        batch, *sides = self.input.shape
        self.batch_size = batch if isinstance(batch, int) else settings.batch_size
        self.fixed_batch = isinstance(batch, int)
        if len(sides) != 3 or sides[-1] not in (3, None, "C"):
            raise FileRefused(
                f"{store.shown(path)}: takes {self.input.shape}; a WD tagger takes pictures as "
                "(batch, height, width, 3)"
            )
        self.side = sides[0] if isinstance(sides[0], int) else SIDE_PX

    def read(self, images: Sequence[Image.Image]) -> list[list[Suggestion]]:
        """See `Tagger`."""
        batch = np.stack([prepare(image, self.side) for image in images])
        if self.fixed_batch and len(batch) < self.batch_size:
            batch = np.concatenate([batch, np.repeat(batch[-1:], self.batch_size - len(batch), 0)])
        scores = self.session.run(None, {self.input.name: batch})[0][: len(images)]
        if scores.shape != (len(images), len(self.labels)):
            raise FileRefused(
                f"{self.settings.model}: {scores.shape[-1]} scores for {len(self.labels)} tags of "
                f"{LABELS}; the two files do not belong together"
            )
        if not (scores.min() >= 0 and scores.max() <= 1):
            raise FileRefused(
                f"{self.settings.model}: its scores must be in [0, 1], got {scores.min():g} to "
                f"{scores.max():g}; this is another kind of model"
            )
        return [self._chosen(row) for row in scores]

    def _chosen(self, scores: np.ndarray) -> list[Suggestion]:
        """What passes its threshold: characters first, each kind by falling score."""
        limits = {
            "general": self.settings.threshold,
            "character": self.settings.character_threshold,
        }
        found = [
            Suggestion(
                plain_name(label.name) if self.settings.spaces else label.name,
                float(score),
                label.group,
            )
            for label, score in zip(self.labels, scores, strict=True)
            if score >= limits.get(label.group, np.inf)  # ratings and unknown kinds: never
        ]
        return sorted(found, key=lambda one: (one.group != "character", -one.score))


def prepare(image: Image.Image, side: int) -> np.ndarray:
    """Bring a picture into the form that WD taggers were trained on.

    Args:
        image: upright RGB picture.
        side: of the model's input, px.
    Returns:
        Blue, green and red in [0, 255], float32, (side, side, 3): the picture on a white square.
    """
    longest = max(image.size)
    square = Image.new("RGB", (longest, longest), "white")
    square.paste(image, ((longest - image.width) // 2, (longest - image.height) // 2))
    if longest != side:
        square = square.resize((side, side), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(square, dtype=np.float32)[..., ::-1])


def read_labels(path: Path) -> list[Label]:
    """Read the list of tags that lies beside a model.

    Args:
        path: selected_tags.csv, with the columns name and category.
    Returns:
        One label for each of the model's outputs.
    Raises:
        FileRefused: no such file, or other columns.
    """
    reader = csv.DictReader(io.StringIO(store.read_text(path), newline=""))
    if not {"name", "category"} <= set(reader.fieldnames or ()):
        raise FileRefused(f"{store.shown(path)}: must have the columns name and category")
    return [Label(row["name"], GROUPS.get(row["category"], row["category"])) for row in reader]


def plain_name(name: str) -> str:
    """Write a tag with spaces; faces made of signs keep their underscore.

    Args:
        name: for example "long_hair", ">_<" or "o_o".
    Returns:
        "long hair"; names without two letters or digits in a row are faces and stay.
    """
    return name.replace("_", " ") if re.search(r"[^\W_]{2}", name) else name

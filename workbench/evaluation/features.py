"""Pictures and prompts as vectors: what likeness, prompt following, diversity and copying rest on.

The critters base has a CLIP of its own. For any other base a *judge* is given: a folder with a
CLIP, SigLIP, SigLIP 2 or DINOv2 of transformers. Thumbnails recognise near duplicates alone, so
they find copies and judge nothing.
"""

import functools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from workbench import store
from workbench.models.source import is_critters
from workbench.settings import SettingsError

__all__ = ["SUPPLY", "Features", "at_hand", "critters", "open_judge", "remembering", "thumbnails"]

Images = Sequence[Image.Image]
CLIP = "openai/clip-vit-base-patch32"  # taken where it lies in the Hub's cache already
SUPPLY = (
    "give a judge: --judge with the folder or the Hugging Face id of a CLIP, SigLIP 2 or DINOv2, "
    "for example openai/clip-vit-base-patch32"
)
WITH_TEXT, PICTURES_ONLY = ("clip", "siglip", "siglip2"), ("dinov2", "dinov2_with_registers")
_THUMBNAIL_PX, _BATCH = 24, 16


@dataclass(frozen=True, slots=True)
class Features:
    """One way to turn pictures into vectors whose products are cosines.

    Attributes:
        name: in words, for a table.
        pictures: N pictures of any size to unit vectors (N, D), float32.
        texts: N prompts to unit vectors of the same space; None where prompts cannot be judged.
        judges: False where only near duplicates are alike: no likeness can be read from it.
    """

    name: str
    pictures: Callable[[Images], np.ndarray]
    texts: Callable[[Sequence[str]], np.ndarray] | None = None
    judges: bool = True


def at_hand(base: str, *, judge: str | Path | None = None) -> Features:
    """Take the best features that are on this machine; nothing is downloaded for them.

    Args:
        base: the base model's path or id.
        judge: a folder, or "critters", that goes before any other.
    Returns:
        The judge, the critters' CLIP for critters, a CLIP in the Hub's cache, or thumbnails.
    Raises:
        SettingsError: the judge is no folder, or of a kind that is not known.
    """
    if judge is not None:
        return critters() if str(judge) == "critters" else open_judge(Path(judge))
    if is_critters(base):
        return critters()
    from huggingface_hub import try_to_load_from_cache

    weights = try_to_load_from_cache(CLIP, "model.safetensors")
    return open_judge(Path(weights).parent) if isinstance(weights, str) else thumbnails()


def remembering(features: Features) -> Features:
    """Look at each picture once, however often it is asked about.

    Args:
        features: any.
    Returns:
        The same, for as long as the pictures asked about are kept elsewhere.
    """
    seen: dict[int, np.ndarray] = {}

    def pictures(images: Images) -> np.ndarray:
        new = {id(image): image for image in images if id(image) not in seen}
        if new:
            seen.update(zip(new, features.pictures(list(new.values())), strict=True))
        return np.stack([seen[id(image)] for image in images])

    return replace(features, pictures=pictures)


def thumbnails() -> Features:
    """Small copies of pictures without their mean colour: near duplicates are nearly equal.

    Returns:
        Features that judge nothing but copies; their products are correlations.
    """
    return Features("thumbnails", _thumbnails, judges=False)


def critters() -> Features:
    """The CLIP that ships with the package and has seen nothing but critters.

    Returns:
        Features of pictures and prompts; a trigger is no word to it.
    """
    return Features("critters' CLIP", _critters_pictures, _critters_texts)


def open_judge(folder: Path) -> Features:
    """Load a judge from a folder in transformers' layout, weights as safetensors.

    Args:
        folder: with config.json.
    Returns:
        Its features, of prompts too unless it is a DINOv2.
    Raises:
        SettingsError: no such folder, or no kind of judge.
    """
    kind = _kind(folder)
    judge = functools.lru_cache(maxsize=1)(lambda: _Loaded(folder, kind))  # when first asked
    texts = (lambda some: judge().texts(some)) if kind in WITH_TEXT else None
    return Features(f"{folder.name} ({kind})", lambda some: judge().pictures(some), texts)


def _kind(folder: Path) -> str:
    path = folder / "config.json"
    if not path.is_file():
        raise SettingsError(
            f"judge must be a folder with a config.json, got {store.shown(folder)}; {SUPPLY}"
        )
    found = json.loads(store.read_text(path))
    kind = found.get("model_type") if isinstance(found, dict) else None
    if kind not in (*WITH_TEXT, *PICTURES_ONLY):
        raise SettingsError(
            f"judge must be one of {', '.join((*WITH_TEXT, *PICTURES_ONLY))}, and "
            f"{store.shown(folder)} says model_type = {kind!r}; {SUPPLY}"
        )
    return str(kind)


class _Loaded:
    """A judge in memory."""

    def __init__(self, folder: Path, kind: str) -> None:
        import torch
        from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

        options = {"local_files_only": True, "trust_remote_code": False}
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        model: Any = AutoModel.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, **options
        )
        self._model = model.eval().to(self._device)
        self._processor = AutoImageProcessor.from_pretrained(folder, **options)
        self._tokenizer: Any = None
        if kind in WITH_TEXT:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, **options)
            # SigLIP was trained on texts of one length, CLIP on any
            self._padding = True if kind == "clip" else "max_length"

    def pictures(self, images: Images) -> np.ndarray:
        """Unit vectors (N, D)."""
        ask = getattr(self._model, "get_image_features", self._model)
        return _unit(
            np.concatenate(
                [
                    self._asked(ask, self._processor(images=some, return_tensors="pt"))
                    for some in _chunks([image.convert("RGB") for image in images])
                ]
            )
        )

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors (N, D)."""
        most = self._model.config.text_config.max_position_embeddings
        rows = [
            self._asked(
                self._model.get_text_features,
                self._tokenizer(
                    some, padding=self._padding, truncation=True, max_length=most,
                    return_tensors="pt",
                ),
            )
            for some in _chunks(list(texts))
        ]  # fmt: skip
        return _unit(np.concatenate(rows))

    def _asked(self, ask: Callable[..., Any], inputs: Any) -> np.ndarray:
        import torch

        with torch.no_grad():
            found = ask(**{name: value.to(self._device) for name, value in inputs.items()})
        rows: torch.Tensor = found if isinstance(found, torch.Tensor) else found.pooler_output
        return rows.float().cpu().numpy()


def _chunks(items: list[Any]) -> Iterable[list[Any]]:
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))


def _thumbnails(images: Images) -> np.ndarray:
    side = (_THUMBNAIL_PX, _THUMBNAIL_PX)
    small = [p.convert("RGB").resize(side, Image.Resampling.BOX) for p in images]
    vectors = np.stack([np.asarray(one, dtype=np.float32).ravel() for one in small])
    return _unit(vectors - vectors.mean(axis=1, keepdims=True))


def _critters_pictures(images: Images) -> np.ndarray:
    import torch

    from workbench.critters import BASE
    from workbench.critters.architecture import load_clip
    from workbench.critters.contrastive import embed_pictures
    from workbench.critters.judge import to_pixels

    with torch.no_grad():
        return embed_pictures(load_clip(BASE), to_pixels(images).float() / 127.5 - 1).numpy()


def _critters_texts(texts: Sequence[str]) -> np.ndarray:
    import torch

    from workbench.critters import BASE
    from workbench.critters.architecture import load_clip
    from workbench.critters.contrastive import embed_captions, tokenize
    from workbench.critters.vocabulary import build_tokenizer

    with torch.no_grad():
        return embed_captions(load_clip(BASE), tokenize(build_tokenizer(), list(texts))).numpy()


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)

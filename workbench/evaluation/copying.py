"""Are the samples new pictures, or training pictures by heart? Each is compared with its nearest.

Features come from the critters' own CLIP for the critters base, from a CLIP that lies in the Hub's
cache where there is one, and otherwise from thumbnails, which recognise only near duplicates.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from workbench import store
from workbench.models.source import is_critters
from workbench.records.events import Event, Likeness, NearestPicture, Sampled

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset
    from workbench.recipe import Recipe

MAX_PICTURES = 64  # training pictures looked at, an even spread
CLIP = "openai/clip-vit-base-patch32"
_THUMBNAIL_PX = 24

# Pictures to unit vectors, one a row.
Features = Callable[[Sequence[Image.Image]], np.ndarray]


def likeness(folder: str | Path, events: Sequence[Event]) -> Likeness | None:
    """Compare a run's latest samples with its training pictures.

    Args:
        folder: the run folder, with its recipe; the pictures lie where the recipe says.
        events: the run's.
    Returns:
        The event, not recorded; None where there is nothing to compare.
    Raises:
        SettingsError, FileRefused: the training pictures are no longer there.
    """
    from workbench.data.dataset import index
    from workbench.recipe import Recipe

    drawn = [e for e in events if isinstance(e, Sampled) and not e.base]
    recipe = Recipe.load(Path(folder) / "recipe.toml")
    paths = [picture.path for picture in drawn[-1].pictures] if drawn else []
    files = [path for path in paths if (Path(folder) / path).is_file()]
    dataset = index(recipe.data) if files else None
    if dataset is None or dataset.is_drawn or len(dataset) < 2:
        return None
    name, features = features_for(recipe)
    names, training = training_pictures(dataset)
    samples = []
    for file in files:
        with store.open_image(Path(folder) / file) as image:
            samples.append(image.convert("RGB"))
    known, shown = features(training), features(samples)
    among = known @ known.T
    np.fill_diagonal(among, -1.0)
    near = shown @ known.T
    return Likeness(
        step=drawn[-1].step,
        features=name,
        pictures=tuple(
            NearestPicture(path=file, nearest=names[best], similarity=_short(row[best]))
            for file, row, best in zip(files, near, near.argmax(axis=1), strict=True)
        ),
        among_training=tuple(map(_short, among.max(axis=1))),
    )


def _short(value: Any) -> float:
    return round(float(value), 4)


def training_pictures(dataset: "Dataset") -> tuple[list[str], list[Image.Image]]:
    """Take pictures as they are trained on: cut to their buckets.

    Args:
        dataset: at most 64 of its pictures are taken, an even spread.
    Returns:
        Names and pictures.
    """
    count = len(dataset)
    chosen = [k * count // min(count, MAX_PICTURES) for k in range(min(count, MAX_PICTURES))]
    pictures = []
    for k in chosen:
        placement = dataset.placements[k]
        left, top, width, height = placement.crop
        whole = dataset.open(dataset.records[k]).resize(placement.resized)
        pictures.append(whole.crop((left, top, left + width, top + height)))
    return [dataset.records[k].name for k in chosen], pictures


def features_for(recipe: "Recipe") -> tuple[str, Features]:
    """The best features that are at hand; nothing is downloaded for them.

    Args:
        recipe: of any base.
    Returns:
        Their name, and what makes them.
    """
    if is_critters(recipe.base.path):
        return "critters' CLIP", _critters_features
    from huggingface_hub import try_to_load_from_cache

    weights = try_to_load_from_cache(CLIP, "model.safetensors")
    if isinstance(weights, str):
        return "CLIP ViT-B/32", lambda pictures: clip_features(Path(weights).parent, pictures)
    return "thumbnails", thumbnail_features


def thumbnail_features(pictures: Sequence[Image.Image]) -> np.ndarray:
    """Small copies of pictures without their mean colour: what is alike in them is nearly equal.

    Args:
        pictures: N pictures of any size.
    Returns:
        Unit vectors (N, D), float32; their products are correlations.
    """
    side = (_THUMBNAIL_PX, _THUMBNAIL_PX)
    small = [p.convert("RGB").resize(side, Image.Resampling.BOX) for p in pictures]
    vectors = np.stack([np.asarray(one, dtype=np.float32).ravel() for one in small])
    return _unit(vectors - vectors.mean(axis=1, keepdims=True))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def _critters_features(pictures: Sequence[Image.Image]) -> np.ndarray:
    import torch

    from workbench.critters import BASE
    from workbench.critters.architecture import load_clip
    from workbench.critters.contrastive import embed_pictures

    side = [p.convert("RGB").resize((128, 128), Image.Resampling.BICUBIC) for p in pictures]
    pixels = torch.from_numpy(np.stack([np.asarray(one) for one in side])).permute(0, 3, 1, 2)
    with torch.no_grad():
        return embed_pictures(load_clip(BASE), pixels.float() / 127.5 - 1).numpy()


def clip_features(folder: Path, pictures: Sequence[Image.Image]) -> np.ndarray:
    """Image features of a CLIP that lies on the disk.

    Args:
        folder: its weights, config and preprocessor.
        pictures: N pictures of any size.
    Returns:
        Unit vectors (N, D), float32.
    """
    import torch
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    model: Any = CLIPVisionModelWithProjection.from_pretrained(folder, dtype=torch.float32)
    processor = CLIPImageProcessor.from_pretrained(folder)
    pixels = processor(images=list(pictures), return_tensors="pt").pixel_values
    with torch.no_grad():
        embedded = torch.cat([model(chunk).image_embeds for chunk in pixels.split(16)])
    return _unit(embedded.numpy())

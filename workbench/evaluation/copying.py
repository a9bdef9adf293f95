"""Are the samples new pictures, or training pictures by heart? Each is compared with its nearest.

Features come from `features.at_hand`; thumbnails, where there is no judge, recognise only near
duplicates.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from workbench import store
from workbench.evaluation.features import at_hand
from workbench.records.events import Event, Likeness, NearestPicture, Sampled

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset

MAX_PICTURES = 64  # training pictures looked at, an even spread


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
    features = at_hand(recipe.base.path)
    names, training = training_pictures(dataset)
    samples = []
    for file in files:
        with store.open_image(Path(folder) / file) as image:
            samples.append(image.convert("RGB"))
    known, shown = features.pictures(training), features.pictures(samples)
    among = known @ known.T
    np.fill_diagonal(among, -1.0)
    near = shown @ known.T
    return Likeness(
        step=drawn[-1].step,
        features=features.name,
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

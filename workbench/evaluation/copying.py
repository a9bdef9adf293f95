"""Are the samples new pictures, or training pictures by heart? Each is compared with its nearest.

Features come from `features.at_hand`; thumbnails, where there is no judge, recognise only near
duplicates.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from workbench import store
from workbench.evaluation.features import Features, at_hand
from workbench.records.events import Event, Likeness, NearestPicture, Sampled

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset

COPY = 0.95  # similarity from which a sample may be a training picture
MAX_PICTURES = 64  # training pictures looked at, an even spread


@dataclass(frozen=True, slots=True)
class Near:
    """The training picture that a sample is most like.

    Attributes:
        name: of the training picture.
        similarity: cosine, in [-1, 1].
        image: the training picture, as it is trained on.
        is_copy: the sample is nearer to it than nine in ten training pictures are to another.
        features: what judged.
    """

    name: str
    similarity: float
    image: Image.Image
    is_copy: bool
    features: str


class Known:
    """Training pictures as a judge sees them, asked for the nearest one to a sample.

    Args:
        dataset: of the run; at most 64 of its pictures are looked at.
        features: what judges.
        records: which of its pictures; all when left out.
    """

    def __init__(
        self, dataset: "Dataset", features: Features, *, records: Sequence[int] | None = None
    ):
        self.features = features
        self.names, self.images = training_pictures(dataset, records)
        self._vectors = features.pictures(self.images)
        among = self._vectors @ self._vectors.T
        np.fill_diagonal(among, -1.0)
        nearest = among.max(axis=1).tolist()
        self._limit = copy_limit(nearest)

    def nearest(self, samples: Sequence[Image.Image]) -> list[Near]:
        """Find the nearest training picture of each sample.

        Args:
            samples: any pictures.
        Returns:
            One each, in order.
        """
        if not samples:
            return []
        likeness = self.features.pictures(list(samples)) @ self._vectors.T
        found = []
        for row in likeness:
            best = int(row.argmax())
            value = float(row[best])
            name, image = self.names[best], self.images[best]
            found.append(Near(name, value, image, value >= self._limit, self.features.name))
        return found


def known_pictures(
    dataset: "Dataset", base: str, *, judge: str | Path | None = None
) -> Known | None:
    """Look at a run's training pictures, those of the concept where some have a trigger.

    Args:
        dataset: of the run.
        base: its base model, which says which judge is at hand.
        judge: folder of another judge.
    Returns:
        The pictures; None where they are drawn without end, or there are none.
    """
    if dataset.is_drawn or not len(dataset):
        return None
    concept, _ = kinds(dataset)
    return Known(dataset, at_hand(base, judge=judge), records=concept or None)


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


def training_pictures(
    dataset: "Dataset", records: Sequence[int] | None = None
) -> tuple[list[str], list[Image.Image]]:
    """Take pictures as they are trained on: cut to their buckets.

    Args:
        dataset: at most 64 of its pictures are taken, an even spread.
        records: of which ones; all when left out.
    Returns:
        Names and pictures.
    """
    every = range(len(dataset)) if records is None else records
    count = len(every)
    chosen = [every[k * count // min(count, MAX_PICTURES)] for k in range(min(count, MAX_PICTURES))]
    pictures = []
    for k in chosen:
        placement = dataset.placements[k]
        left, top, width, height = placement.crop
        whole = dataset.open(dataset.records[k]).resize(placement.resized)
        pictures.append(whole.crop((left, top, left + width, top + height)))
    return [dataset.records[k].name for k in chosen], pictures


def kinds(dataset: "Dataset") -> tuple[list[int], list[int]]:
    """Tell the pictures of a concept from ordinary ones.

    Args:
        dataset: of a run.
    Returns:
        Records that are called by a trigger, and those that are not.
    """
    subsets, priors = dataset.settings.subsets, dataset.priors
    every = range(len(dataset.records))
    concept = [k for k in every if subsets[dataset.records[k].subset].trigger and k not in priors]
    called = set(concept)
    return concept, [k for k in every if k not in called]


def copies(shown: np.ndarray, known: np.ndarray) -> list[int]:
    """Find samples that are nearly training pictures.

    Args:
        shown: unit vectors of the samples, (N, D).
        known: of the training pictures, (M, D), at least one.
    Returns:
        Numbers of the samples that are nearer to one than nine in ten training pictures are to
        another, and nearer than `COPY`.
    """
    among = known @ known.T
    np.fill_diagonal(among, -1.0)
    limit = copy_limit(among.max(axis=1).tolist())
    return np.flatnonzero((shown @ known.T).max(axis=1) >= limit).tolist()


def copy_limit(among: Sequence[float]) -> float:
    """Say how near to a training picture a copy is.

    Args:
        among: similarity of each training picture to the nearest other one.
    Returns:
        Cosine, at least `COPY`; one picture alone does not say how alike such pictures are.
    """
    return COPY if len(among) < 2 else max(COPY, usual(among))


def usual(among: Sequence[float]) -> float:
    """Say how alike training pictures are to their nearest others, but for one in ten.

    Args:
        among: similarity of each training picture to the nearest other one, at least two.
    Returns:
        Cosine: the ninth decile, which of a few pictures is extrapolated, even beyond 1, and
        therefore the largest of them at most.
    """
    return min(max(among), statistics.quantiles(among, n=10)[-1])

"""Pictures of noise in a folder, and what is read from it."""

from pathlib import Path

import numpy as np
from PIL import Image

from workbench.data.dataset import Dataset, DataSettings, index

SIZE = (96, 64)
SMALL = {"resolution": 64, "step": 16}


def picture(
    path: Path, seed: int | None = None, *, size=SIZE, caption: str = "", **options
) -> Path:
    """A picture of noise that differs from every other one, unless a seed repeats."""
    key = list(path.as_posix().encode()) if seed is None else seed
    rng = np.random.default_rng(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    image.convert(options.pop("mode", "RGB")).save(path, **options)
    if caption:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return path


def read(path: Path, **subset) -> Dataset:
    buckets = {"resolution": 64, "step": 16, "max_lost": 1}
    subsets = [{"path": str(path), **subset}]
    return index(DataSettings.model_validate({"subsets": subsets, "buckets": buckets}))


def names(dataset: Dataset) -> list[str]:
    return [record.name for record in dataset.records]


def reasons(dataset: Dataset) -> dict[str, str]:
    return {item.name: item.reason for item in dataset.set_aside}

"""Pictures of base and LoRA, drawn in full batches, and never twice.

What a picture is follows from its base, the weights on it, how it is drawn, its prompt and its
seed. A hash over all of them names its file in the cache, so that a second study, or one that was
broken off, draws only what is missing.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image

from workbench import __version__, store
from workbench.adapters.attached import AttachedNetwork
from workbench.evaluation.loading import Trained
from workbench.records.filling import fingerprint
from workbench.records.pictures import encoded
from workbench.records.sampling import Picture, draw
from workbench.settings import as_dict
from workbench.store import FileRefused

# A picture is what a prompt and a seed become at a strength.
Job = tuple[str, int, float]
Told = Callable[[int, int], None]

MAX_BYTES = 2 << 30  # of all pictures kept; the longest unused ones go first
_NOT_THE_PICTURE = ("prompts", "seeds", "every_steps", "batch_size")


def draw_jobs(
    trained: Trained, jobs: Iterable[Job], told: Told | None = None
) -> dict[Job, Image.Image]:
    """Draw pictures, those of one strength together, so that batches are full.

    Args:
        trained: the model.
        jobs: which pictures.
        told: hears how many are there, and of how many, before the first and after each.
    Returns:
        Job to picture.
    """
    every = list(dict.fromkeys(jobs))
    kept = _Kept(trained)
    pictures = {job: image for job in every if (image := kept.get(job)) is not None}
    by_strength: dict[float, list[tuple[str, int]]] = {}
    for prompt, seed, strength in every:
        if (prompt, seed, strength) not in pictures:
            by_strength.setdefault(strength, []).append((prompt, seed))
    if told is not None:
        told(len(pictures), len(every))
    for strength, pairs in by_strength.items():
        for one in _drawn(trained, pairs, strength):
            job = one.prompt, one.seed, strength
            pictures[job] = one.image
            kept.keep(job, one)
            if told is not None:
                told(len(pictures), len(every))
    if by_strength:
        _prune(_folder(), MAX_BYTES)
    return pictures


def missing(trained: Trained, jobs: Iterable[Job]) -> int:
    """Say how many pictures are yet to be drawn.

    Args:
        trained: the model.
        jobs: which pictures.
    Returns:
        Those that are not in the cache.
    """
    kept = _Kept(trained)
    return sum(not kept.path(job).is_file() for job in dict.fromkeys(jobs))


def _drawn(
    trained: Trained, pairs: Sequence[tuple[str, int]], strength: float
) -> Iterator[Picture]:
    with trained.adapter.strength(strength):
        yield from draw(trained.family, trained.sampling, pairs)


class _Kept:
    """The cache of one model's pictures.

    Args:
        trained: the model.
    """

    def __init__(self, trained: Trained):
        how = as_dict(trained.sampling)
        if trained.sampling.fill is not None:
            how["fill"] = fingerprint(trained.sampling.fill)
        base = {
            "version": __version__,
            "base": trained.family.identity["hashes"],
            "settings": as_dict(trained.family.settings) | {"path": ""},
            "max tokens": trained.family.max_tokens,
            "drawn": {name: how[name] for name in how if name not in _NOT_THE_PICTURE},
            "device": trained.family.device.type,
        }
        self._base = json.dumps(base, sort_keys=True, default=str)
        self._trained = trained
        self._adapter: str | None = None

    def path(self, job: Job) -> Path:
        """Where a picture lies, or would."""
        strength = job[2]
        if strength and self._adapter is None:
            self._adapter = _fingerprint(self._trained)
        on = self._adapter if strength else ""
        name = hashlib.sha256(json.dumps([self._base, on, *job]).encode()).hexdigest()
        return _folder() / name[:2] / f"{name}.png"

    def get(self, job: Job) -> Image.Image | None:
        """The picture, if it is there and sound."""
        path = self.path(job)
        try:
            with store.open_image(path) as image:
                found = image.convert("RGB")
            path.touch()
        except (FileRefused, OSError):
            return None
        return found

    def keep(self, job: Job, picture: Picture) -> None:
        """Keep a picture; a full disk costs the cache, not the study."""
        try:
            store.write_bytes(self.path(job), encoded(picture))
        except OSError:
            return


def _fingerprint(trained: Trained) -> str:
    """What is on the base: its weights, and by what each is scaled."""
    adapter, digest = trained.adapter, hashlib.sha256()
    for name, tensor in sorted(adapter.state().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    if isinstance(adapter, AttachedNetwork):
        scales = {name: layer.scale for name, layer in adapter.layers().items()}
        digest.update(json.dumps(scales, sort_keys=True).encode())
    return digest.hexdigest()


def _folder() -> Path:
    return store.cache_home() / "pictures"


def _prune(folder: Path, most: int) -> None:
    """Remove the longest unused pictures beyond so many bytes."""
    files = [(path.stat(), path) for path in folder.glob("*/*.png")]
    total = sum(stat.st_size for stat, _ in files)
    for stat, path in sorted(files, key=lambda one: one[0].st_mtime):
        if total <= most:
            return
        path.unlink(missing_ok=True)
        total -= stat.st_size

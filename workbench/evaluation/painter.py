"""Pictures of any file, strength, guidance and steps on one loaded base, none drawn twice."""

import dataclasses
import functools
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from workbench import store
from workbench.adapters.peft_format import PACKED
from workbench.evaluation.drawing import draw_jobs
from workbench.evaluation.loading import Trained, open_trained, with_file
from workbench.records.sampling import SampleSettings
from workbench.settings import replace
from workbench.store import FileRefused


@dataclass(frozen=True, slots=True)
class Spot:
    """All that one picture is made of, on one base.

    Attributes:
        file: the LoRA file; at strength 0 it changes nothing.
        prompt: what is drawn.
        seed: of its noise.
        strength: of what was learned; 0 is the base.
        guidance: of the prompt; None takes the run's.
        steps: of sampling; None takes the run's.
    """

    file: Path
    prompt: str
    seed: int = 0
    strength: float = 1.0
    guidance: float | None = None
    steps: int | None = None


def sampled(how: SampleSettings, *, guidance: float | None, steps: int | None) -> SampleSettings:
    """Change how a run's pictures are drawn.

    Args:
        how: the run's settings.
        guidance: instead of its own; None keeps it.
        steps: instead of its own; None keeps them.
    Returns:
        Settings, checked.
    Raises:
        SettingsError: a value is out of its bounds.
    """
    changes = {"guidance": guidance, "steps": steps}
    return replace(how, **{key: value for key, value in changes.items() if value is not None})


class Painter:
    """Draws with one base; files take each other's place on it.

    Args:
        trained: the base with a file on it; it belongs to the painter from now on.
    """

    def __init__(self, trained: Trained):
        self._trained: Trained | None = trained
        self._drawn: dict[tuple[object, ...], Image.Image] = {}
        self._lock = threading.Lock()
        self.sampling, self.prompts = trained.sampling, trained.prompts

    @classmethod
    def open(
        cls, source: str | Path, *, base: str | None = None, prompts: Sequence[str] = ()
    ) -> "Painter":
        """Load a run or LoRA.

        Args:
            source: see `open_trained`.
            base: where the base lies, if not where the source says.
            prompts: what is to be drawn beside the run's own; long ones are read whole.
        Returns:
            The painter.
        """
        return cls(open_trained(source, base=base, prompts=prompts))

    def pictures(
        self, spots: Sequence[Spot], *, told: Callable[[int, int], None] | None = None
    ) -> dict[Spot, Image.Image]:
        """Draw all of some pictures.

        Args:
            spots: what they are made of.
            told: hears how many are there, and of how many.
        Returns:
            Spot to picture.
        """
        found: dict[Spot, Image.Image] = {}
        total = len(dict.fromkeys(spots))
        if told is not None:
            told(0, total)
        for spot, image in self.draw(spots):
            found[spot] = image
            if told is not None:
                told(len(found), total)
        return found

    def draw(self, spots: Sequence[Spot]) -> Iterator[tuple[Spot, Image.Image]]:
        """Draw pictures, those of one file and strength together.

        Args:
            spots: what they are made of.
        Yields:
            Each spot once, with its picture; those that are known come first.
        """
        missing: dict[tuple[object, ...], list[Spot]] = {}
        for spot in dict.fromkeys(spots):
            if (image := self._drawn.get(self._key(spot))) is not None:
                yield spot, image
            else:
                group = (spot.file if spot.strength else None, *self._how(spot), spot.strength)
                missing.setdefault(group, []).append(spot)
        for group in missing.values():
            size = self.sampling.batch_size
            for start in range(0, len(group), size):
                yield from self._batch(group[start : start + size])

    def _batch(self, batch: Sequence[Spot]) -> list[tuple[Spot, Image.Image]]:
        first = batch[0]
        with self._lock:  # a vote draws ahead in another thread
            fresh = [spot for spot in batch if self._key(spot) not in self._drawn]
            trained = self._with(first)
            how = sampled(self.sampling, guidance=first.guidance, steps=first.steps)
            jobs = {(spot.prompt, spot.seed, float(spot.strength)): spot for spot in fresh}
            for job, image in draw_jobs(dataclasses.replace(trained, sampling=how), jobs).items():
                self._drawn[self._key(jobs[job])] = image
            return [(spot, self._drawn[self._key(spot)]) for spot in batch]

    def _with(self, spot: Spot) -> Trained:
        trained, self._trained = self._trained, None
        if trained is None:
            raise FileRefused(f"{spot.file}: a file before it did not fit; open the run anew")
        if spot.strength and trained.path != spot.file:
            trained = with_file(trained, spot.file)
        self._trained = trained
        return trained

    def _how(self, spot: Spot) -> tuple[object, ...]:
        guidance = self.sampling.guidance if spot.guidance is None else spot.guidance
        return guidance, self.sampling.steps if spot.steps is None else spot.steps

    def _key(self, spot: Spot) -> tuple[object, ...]:
        """By content: the base's picture is the same whatever file lies beside it."""
        file = content(spot.file) if spot.strength else ""
        return file, spot.prompt, spot.seed, spot.strength, *self._how(spot)


def content(path: Path) -> str:
    """Name what a LoRA file holds: a copy, or one with other notes in it, draws the same.

    Args:
        path: a file; or the folder of a full fine-tune, which is named by its newest file.
    Returns:
        Equal for equal weights.
    """
    if path.is_dir():
        return f"{path}@{max(one.stat().st_mtime_ns for one in path.rglob('*'))}"
    if not path.exists():
        return str(path)
    here = path.stat()
    return _content(path, here.st_mtime_ns, here.st_size)


@functools.lru_cache(maxsize=256)
def _content(path: Path, changed_ns: int, size: int) -> str:
    try:
        notes, tensors = store.read_header(path)
    except FileRefused:  # whoever loads it says what is wrong
        return store.file_hash(path)
    digest = hashlib.sha256(repr((sorted(tensors.items()), notes.get(PACKED))).encode())
    with path.open("rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

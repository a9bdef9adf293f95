"""The strength x checkpoint grid: the file of every step that a run saved, at every strength."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from PIL import Image

from workbench.evaluation.loading import attach, open_run
from workbench.records.events import Saved
from workbench.records.log import read
from workbench.records.sampling import draw
from workbench.store import FileRefused

T = TypeVar("T")
STRENGTHS = (0.0, 0.5, 1.0, 1.5)
MAX_STEPS = 8


def saved_files(folder: str | Path) -> dict[int, Path]:
    """Find the LoRA files that a run wrote along its way.

    Args:
        folder: the run folder.
    Returns:
        Step to file, those that are still there.
    """
    found = {
        event.step: Path(folder) / event.path
        for event in read(folder)
        if isinstance(event, Saved) and event.what == "lora"
    }
    return {step: path for step, path in sorted(found.items()) if path.exists()}


def spread(items: Sequence[T], most: int) -> list[T]:
    """Pick of many in even distances.

    Args:
        items: in their order.
        most: how many to keep at most, >= 2.
    Returns:
        All of few; of more the first, the last, and those between.
    """
    if len(items) <= most:
        return list(items)
    return [items[k * (len(items) - 1) // (most - 1)] for k in range(most)]


def strength_grid(
    folder: str | Path,
    *,
    strengths: Sequence[float] = STRENGTHS,
    prompt: str | None = None,
    seed: int = 0,
    base: str | None = None,
) -> dict[int, dict[float, Image.Image]]:
    """Draw one picture with every saved file at every strength.

    Args:
        folder: the run folder.
        strengths: factors on what was learned; 0 is the base.
        prompt: what to draw; the run's first sample prompt if left out.
        seed: of the picture.
        base: where the base lies now, if not where it was.
    Returns:
        Step to strength to picture; of many files an even spread of eight, the last included.
    Raises:
        FileRefused: the run has saved no file.
    """
    files = saved_files(folder)
    if not files:
        raise FileRefused(
            f"{folder}: no LoRA file yet; they come with training.lora_every, and at the end"
        )
    steps = spread(list(files), MAX_STEPS)
    trained = open_run(folder, base=base)
    family = trained.family
    job = (trained.prompts[0] if prompt is None else prompt, seed)
    trained.adapter.detach()
    found: dict[int, dict[float, Image.Image]] = {}
    for step in steps:
        adapter = attach(family, files[step])
        found[step] = {}
        for strength in strengths:
            with adapter.strength(strength):
                found[step][strength] = next(draw(family, trained.sampling, [job])).image
        adapter.detach()
    return found

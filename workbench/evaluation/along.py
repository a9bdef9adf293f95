"""A run along its way: where it stood at a step, and when it had come as far as another run."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from workbench import store
from workbench.records.events import Event, Sampled, Validated
from workbench.records.log import read


def gaps(events: Sequence[Event], *, split: str = "train") -> dict[int, float]:
    """Read off how the stable loss fell.

    Args:
        events: of a run.
        split: "train" or "held_out".
    Returns:
        Step to relative change against the base; below 0 is better.
    """
    return {
        event.step: event.loss / event.base_loss - 1
        for event in events
        if isinstance(event, Validated) and event.split == split and event.base_loss
    }


def equal_steps(folders: Sequence[str | Path]) -> dict[str, int]:
    """Find the steps at which several runs had learned equally much.

    The measure is what the slowest of them came to: the training pictures' stable loss, which is
    of white noise for every run, so that runs with other noises, losses or rates can be compared.

    Args:
        folders: run folders, of runs that were validated and sampled at the same steps.
    Returns:
        Name of the run folder to the first step that is not behind the slowest run's end.
    """
    curves = {Path(folder).name: gaps(read(folder)) for folder in folders}
    reached = max(min(curve.values()) for curve in curves.values())
    return {
        name: min(step for step, gap in curve.items() if gap <= reached)
        for name, curve in curves.items()
    }


def pictures_at(folder: str | Path, step: int) -> dict[tuple[str, int], Image.Image]:
    """Load the samples of a step.

    Args:
        folder: the run folder.
        step: of which samples are wanted; the nearest sampled step is taken.
    Returns:
        Prompt and seed to picture; empty where the run drew none.
    """
    sampled = [event for event in read(folder) if isinstance(event, Sampled) and not event.base]
    if not sampled:
        return {}
    nearest = min(sampled, key=lambda event: abs(event.step - step))
    found = {}
    for one in nearest.pictures:
        path = Path(folder) / one.path
        if path.is_file():
            with store.open_image(path) as image:
                found[one.prompt, one.seed] = image.convert("RGB")
    return found

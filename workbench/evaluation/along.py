"""A run along its way: where it stood at a step, and when it had come as far as another run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from workbench import store
from workbench.evaluation.drift import AXES, measures
from workbench.records.events import Event, Sampled, Validated
from workbench.records.log import read

Shot = tuple[str, int]  # prompt and seed


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


def pictures_at(
    folder: str | Path, step: int | None = None, *, base: bool = False
) -> dict[Shot, Image.Image]:
    """Load the samples of a step.

    Args:
        folder: the run folder.
        step: of which samples are wanted; the nearest sampled step is taken, the last if None.
        base: the base's samples instead.
    Returns:
        Prompt and seed to picture; empty where the run drew none.
    """
    sampled = [event for event in read(folder) if isinstance(event, Sampled) and event.base == base]
    if not sampled:
        return {}
    wanted = sampled[-1].step if step is None else step
    found = {}
    for one in min(sampled, key=lambda event: abs(event.step - wanted)).pictures:
        path = Path(folder) / one.path
        if path.is_file():
            with store.open_image(path) as image:
                found[one.prompt, one.seed] = image.convert("RGB")
    return found


def look(
    pictures: Mapping[Shot, Image.Image],
    *,
    words: Sequence[str],
    base: Mapping[Shot, Image.Image] | None = None,
) -> dict[str, float]:
    """Say how light pictures are that were asked to be, and how colours moved in the others.

    Args:
        pictures: prompt and seed to picture.
        words: that a prompt asks with, such as "dark scene".
        base: the base's pictures, for the movement; without it nothing is said of that.
    Returns:
        "L* of dark scene" and so on: mean lightness, 0 to 100. "others' L*", "others' a*" and
        "others' b*": mean change against the base, over prompts without any of the words.
    """
    found = {}
    for word in words:
        own = [measures(p)[AXES[0]] for (prompt, _), p in pictures.items() if word in prompt]
        if own:
            found[f"L* of {word}"] = sum(own) / len(own)
    others = [shot for shot in pictures if not any(word in shot[0] for word in words)]
    pairs = [(pictures[shot], base[shot]) for shot in others if base and shot in base]
    for axis in AXES:
        moves = [measures(here)[axis] - measures(there)[axis] for here, there in pairs]
        if moves:
            found[f"others' {axis[:2]}"] = sum(moves) / len(moves)
    return found

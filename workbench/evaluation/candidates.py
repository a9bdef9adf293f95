"""What can be chosen among: files of runs, at strengths, with and without the moving average."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from workbench.evaluation.loading import (
    Trained,
    is_run,
    recorded_recipe,
    with_checkpoint,
    with_file,
)
from workbench.recipe import Recipe
from workbench.settings import SettingsError
from workbench.store import FileRefused

_STEP = re.compile(r"-step(\d+)$")  # as runs name what they save on the way


@dataclass(frozen=True, slots=True)
class Weights:
    """One set of weights that can be put on the base.

    Attributes:
        name: in words, such as "mochi step 83".
        path: the file; the run folder where `raw`.
        step: optimizer steps done; None where the name does not say.
        raw: the weights themselves, where the file holds their moving average.
        run: the folder of the run that made them; None for a file alone.
        trigger: the word that calls their concept, where it is known.
    """

    name: str
    path: Path
    step: int | None = None
    raw: bool = False
    run: Path | None = None
    trigger: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """Weights at a strength."""

    weights: Weights
    strength: float

    @property
    def name(self) -> str:
        """In words."""
        at = "" if self.strength == 1 else f" at {self.strength:g}"
        return f"{self.weights.name}{at}"


def candidates(
    sources: Sequence[Path], *, strengths: Sequence[float], checkpoints: int, raw: bool
) -> list[Candidate]:
    """List what there is to choose among.

    Args:
        sources: run folders and LoRA files.
        strengths: at which each is tried.
        checkpoints: files of each run at most, the last among them.
        raw: also the newest weights without their moving average, of runs that keep one.
    Returns:
        Candidates, those of one file together.
    Raises:
        SettingsError: two sources are of two bases.
        FileRefused: a run has saved no LoRA yet.
    """
    _require_one_base(sources)
    found: list[Weights] = []
    for source in sources:
        own = _of_run(source, checkpoints, raw) if is_run(source) else [_of_file(source)]
        several = len(sources) > 1 and is_run(source)
        found += [replace(one, name=f"{source.name} {one.name}") for one in own] if several else own
    return [Candidate(one, at) for one in found for at in strengths]


def _of_run(folder: Path, most: int, raw: bool) -> list[Weights]:
    recipe = Recipe.load(folder / "recipe.toml")
    saved = [path for path in (folder / "lora").glob(f"{recipe.name}*") if _is_weights(path)]
    end = _last_step(folder)
    last = [path for path in saved if path.stem == recipe.name]
    steps = {path: step for path in saved if (step := _step(path)) and not (last and step == end)}
    earlier = sorted(steps, key=steps.__getitem__)
    if not saved:
        raise FileRefused(f"{folder}: no LoRA is saved there yet; train or resume the run first")
    chosen = [*_spread(earlier, most - len(last)), *last]
    own = {"run": folder, "trigger": recipe.data.subsets[0].trigger}
    found = [Weights(_label(path), path, _step(path) or end, **own) for path in chosen]
    if raw and recipe.ema is not None:
        found.append(Weights("last, without its moving average", folder, end, raw=True, **own))
    return found


def _of_file(path: Path) -> Weights:
    recipe = recorded_recipe(path)
    trigger = recipe.data.subsets[0].trigger if recipe else None
    return Weights(path.stem if path.is_file() else path.name, path, _step(path), trigger=trigger)


def _is_weights(path: Path) -> bool:
    return path.suffix == ".safetensors" or path.is_dir()


def _label(path: Path) -> str:
    step = _step(path)
    return f"step {step}" if step else "last"


def _step(path: Path) -> int | None:
    found = _STEP.search(path.stem)
    return int(found[1]) if found else None


def _last_step(folder: Path) -> int | None:
    from workbench.records.events import Saved
    from workbench.records.log import read

    final = [event.step for event in read(folder) if isinstance(event, Saved) and event.final]
    return final[-1] if final else None


def _spread(paths: Sequence[Path], count: int) -> list[Path]:
    """An even spread over those saved on the way, later ones first."""
    most = min(max(count, 0), len(paths))
    return [paths[-1 - k * len(paths) // most] for k in reversed(range(most))]


def _require_one_base(sources: Sequence[Path]) -> None:
    bases = {}
    for source in sources:
        if is_run(source):
            bases[source] = Recipe.load(source / "recipe.toml").base.path
        elif (recipe := recorded_recipe(source)) is not None:
            bases[source] = recipe.base.path
    if len(set(bases.values())) > 1:
        said = ", ".join(f"{source} on {base}" for source, base in bases.items())
        raise SettingsError(f"all must be of one base to be compared; got {said}")


class OnBase:
    """One base in memory, with one set of weights after another on it.

    Args:
        trained: the model as it was opened.
    """

    def __init__(self, trained: Trained):
        self.trained = trained
        self._on: Weights | None = None

    def put(self, weights: Weights) -> Trained:
        """Put weights on the base.

        Args:
            weights: which.
        Returns:
            The model; what was returned before cannot be used any more.
        """
        if weights != self._on:
            changed = with_checkpoint if weights.raw else with_file
            self.trained, self._on = changed(self.trained, weights.path), weights
        return self.trained

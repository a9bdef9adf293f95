"""A trained model brought back: from a run in progress, a run folder, or a LoRA file alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from workbench import seeds, settings, store
from workbench.adapters import Full, formats
from workbench.adapters.folders import is_adapter_folder, weights_files
from workbench.adapters.full import LEARNED, attach_state, read_folder
from workbench.models import loading as models
from workbench.models.base import BaseSettings
from workbench.models.clip import WINDOW
from workbench.recipe import Recipe
from workbench.records import checkpoint
from workbench.records.fixed import FixedInputs
from workbench.records.sampling import SampleSettings, filled_prompts
from workbench.settings import SettingsError
from workbench.store import FileRefused

if TYPE_CHECKING:
    from workbench.adapters import AttachedAdapter
    from workbench.models.family import Family
    from workbench.training.run import Run

# What a LoRA file of ours says about the run that made it.
RECIPE = "workbench.recipe"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to draw with a model, known before it is loaded.

    Attributes:
        prompts: as they are sampled, the trigger in place.
        sampling: how pictures are drawn.
        trigger: the concept's word, if there is one.
        class_word: the kind of thing that the concept is.
    """

    prompts: tuple[str, ...] = ()
    sampling: SampleSettings = field(default_factory=SampleSettings)
    trigger: str | None = None
    class_word: str | None = None


@dataclass(frozen=True, slots=True)
class Trained:
    """A model with what it learned on it, and what is needed to draw with it.

    Attributes:
        family: the base.
        adapter: what was learned, attached to the base.
        path: the file that holds it.
        fixed: what its proof asks, and what its base was.
        prompts: as they are sampled, the trigger in place.
        sampling: how pictures are drawn.
        trigger: the concept's word, if there is one.
        class_word: the kind of thing that the concept is.
    """

    family: "Family"
    adapter: "AttachedAdapter"
    path: Path
    fixed: FixedInputs
    prompts: tuple[str, ...]
    sampling: SampleSettings
    trigger: str | None = None
    class_word: str | None = None


def from_run(run: "Run") -> Trained:
    """Look at a run that still has its model; nothing is loaded.

    Args:
        run: prepared; its moving average, if it has one, is shown by `run.trainer.showing()`.
    Returns:
        The model.
    """
    trainer = run.trainer
    parts = trainer.family, trainer.adapter, trainer.fixed
    return _trained(*parts, path=run.final_lora, recipe=run.recipe)


def open_run(
    folder: str | Path,
    *,
    base: str | None = None,
    weights: Literal["file", "checkpoint"] = "file",
    prompts: Sequence[str] = (),
) -> Trained:
    """Load the base of a finished run, and what it learned.

    Args:
        folder: the run folder.
        base: where the base lies now, if not where it was.
        weights: those of the final file, or those of the newest checkpoint.
        prompts: what is to be drawn beside the run's own; long ones are read whole.
    Returns:
        The model.
    Raises:
        FileRefused: no recipe, no base, or no file there.
        CheckpointRefused: no valid checkpoint.
    """
    folder = Path(folder)
    recipe = _at(Recipe.load(folder / "recipe.toml"), base)
    path = _final_file(folder, recipe)
    family = _load(recipe.base, prompts, at_least=recipe.data.captions.max_tokens)
    attach = _from_checkpoint if weights == "checkpoint" else _from_file
    fixed = _fixed(family, wanted(recipe))
    if isinstance(recipe.adapter, Full) and not recipe.adapter.keep_start:
        # What is attached cannot go back to its base, so the base answers first.
        fixed.base_outputs = fixed.ask(family, encode=recipe.adapter.text_encoder)
    adapter = attach(family, recipe, path)
    return _trained(family, adapter, fixed, path=path, recipe=recipe)


def open_trained(
    source: str | Path, *, base: str | None = None, prompts: Sequence[str] = ()
) -> Trained:
    """Load what a run or a LoRA holds, on its base.

    Args:
        source: a run folder, a LoRA file, or a folder of PEFT or diffusers that holds one.
        base: where the base lies, if not where the run or the file says.
        prompts: what is to be drawn beside the run's own; long ones are read whole.
    Returns:
        The model with its adapter on.
    Raises:
        FileRefused: nothing to load there.
        SettingsError: no base is known.
    """
    opening = open_run if is_run(source) else open_lora
    return opening(source, base=base, prompts=prompts)


def is_run(source: str | Path) -> bool:
    """Whether a path is a run folder.

    Args:
        source: a run folder, a LoRA file, or a folder that holds one.
    Returns:
        False for files and for what PEFT and diffusers save.
    """
    return Path(source).is_dir() and not is_adapter_folder(source)


def open_lora(path: str | Path, *, base: str | None = None, prompts: Sequence[str] = ()) -> Trained:
    """Load a LoRA file on its base.

    Args:
        path: a .safetensors file, or a folder of PEFT or diffusers that holds one.
        base: where the base lies; by default what the file says, if this package wrote it.
        prompts: what is to be drawn beside the run's own; long ones are read whole.
    Returns:
        The model.
    Raises:
        FileRefused: the file is unsound or does not fit the base.
        SettingsError: the file does not say which base it is for.
    """
    path = Path(path)
    recipe = recorded_recipe(path)
    if recipe is None and base is None:
        raise SettingsError(
            f"{path} does not say which base it is for; name it: base = 'folder or hub id' (--base)"
        )
    if recipe is not None:
        recipe = _at(recipe, base)
    chosen = recipe.base if recipe else BaseSettings(path=str(base))
    trained_with = recipe.data.captions.max_tokens if recipe else WINDOW
    family = _load(chosen, prompts, at_least=trained_with)
    fixed = _fixed(family, Wanted() if recipe is None else wanted(recipe))
    adapter = attach(family, path)
    if recipe is None:
        return Trained(family, adapter, path, fixed, (), SampleSettings())
    return _trained(family, adapter, fixed, path=path, recipe=recipe)


def recorded_recipe(path: str | Path) -> Recipe | None:
    """Read the recipe that a LoRA file of ours carries.

    Args:
        path: a .safetensors file, or a folder of PEFT or diffusers that holds one.
    Returns:
        The recipe; None where there is none, or one that this version does not understand.
    Raises:
        FileRefused: the file is unsound.
    """
    files = weights_files(Path(path)) if Path(path).is_dir() else [Path(path)]
    text = store.read_header(files[0])[0].get(RECIPE)
    if text is None:
        return None
    try:
        return settings.from_toml(Recipe, text, source=str(path))
    except SettingsError:
        return None


def wanted(recipe: Recipe) -> Wanted:
    """Read from a recipe what its model is to draw.

    Args:
        recipe: of the run.
    Returns:
        Prompts with the first subset's words in place, and how to draw them: whole pictures where
        those that a base for inpainting filled in are gone.
    """
    subset = recipe.data.subsets[0]
    prompts = filled_prompts(recipe.sampling, subset.trigger, subset.class_word)
    how = recipe.sampling
    if how.fill is not None and not Path(how.fill).is_dir():  # a LoRA file without its run
        how = settings.replace(how, fill=None)
    return Wanted(prompts, how, subset.trigger, subset.class_word)


def with_file(trained: Trained, path: Path) -> Trained:
    """Put another LoRA file on a base that is loaded, in place of the one that is on it.

    Args:
        trained: it cannot be used any more.
        path: the file.
    Returns:
        The model with what the file holds.
    Raises:
        FileRefused: the file is unsound or does not fit; the base is left without an adapter.
    """
    trained.adapter.detach()
    return replace(trained, adapter=attach(trained.family, path), path=path)


def with_checkpoint(trained: Trained, folder: Path) -> Trained:
    """Put a run's newest weights on a base that is loaded, without their moving average.

    Args:
        trained: it cannot be used any more.
        folder: the run folder.
    Returns:
        The model with the weights that the optimizer moved last.
    Raises:
        CheckpointRefused: no valid checkpoint; the base is left without an adapter.
    """
    trained.adapter.detach()
    recipe = Recipe.load(folder / "recipe.toml")
    path = folder / "lora" / recipe.name
    adapter = _from_checkpoint(trained.family, recipe, path, averaged=False)
    return replace(trained, adapter=adapter, path=folder)


def attach(family: "Family", path: Path) -> "AttachedAdapter":
    """Put what was learned on its base: a LoRA, or the weights of a full fine-tune.

    Args:
        family: the base, with nothing on it.
        path: a LoRA file, the folder of a full fine-tune, or its single file.
    Returns:
        What was put on.
    Raises:
        FileRefused: the file is unsound or does not fit; the base is as it was.
    """
    if whole := _whole_model(family, path):
        return attach_state(path, family.parts, whole)
    return formats.attach_file(path, family.parts, name_of=family.file_name)


def stored_tensors(family: "Family", path: Path) -> dict[str, Tensor]:
    """Read what a file or folder holds.

    Args:
        family: the base that it was made on.
        path: as for `attach`.
    Returns:
        Tensors of a LoRA file under its own names; of a full fine-tune those of the parts that
        learned, as "<part>.<name in the model>".
    Raises:
        FileRefused: unsound, or of another base.
    """
    if path.is_dir():
        return read_folder(path, family.parts)
    return _whole_model(family, path) or store.load_tensors(path)


def _whole_model(family: "Family", path: Path) -> dict[str, Tensor] | None:
    """The parts that learned, of a full fine-tune in one file; None for anything else."""
    learned = store.read_header(path)[0].get(LEARNED) if path.is_file() else None
    if learned is None or family.single_file is None:
        return None
    return family.single_file.read(path, tuple(learned.split()))


def _trained(
    family: "Family", adapter: "AttachedAdapter", fixed: FixedInputs, *, path: Path, recipe: Recipe
) -> Trained:
    found = wanted(recipe)
    words = found.trigger, found.class_word
    return Trained(family, adapter, path, fixed, found.prompts, found.sampling, *words)


def _fixed(family: "Family", asked: Wanted) -> FixedInputs:
    """What a proof will ask, fixed before an adapter is on the base."""
    return FixedInputs.freeze(family, asked.prompts, sampling=asked.sampling)


def _load(base: BaseSettings, prompts: Sequence[str], *, at_least: int) -> "Family":
    device = "cuda" if torch.cuda.is_available() else "cpu"
    max_tokens = models.tokens_for(base, prompts, at_least=at_least)
    return models.load(base, device=device, max_tokens=max_tokens)


def _at(recipe: Recipe, base: str | None) -> Recipe:
    if base is None:
        return recipe
    return settings.replace(recipe, base=settings.as_dict(recipe.base) | {"path": base})


def final_file(folder: str | Path) -> Path:
    """Find the LoRA that a run ended with.

    Args:
        folder: the run folder.
    Returns:
        The file, or the folder of a full fine-tune.
    Raises:
        FileRefused: there is none yet, or no recipe.
    """
    return _final_file(Path(folder), Recipe.load(Path(folder) / "recipe.toml"))


def _final_file(folder: Path, recipe: Recipe) -> Path:
    path = folder / "lora" / f"{recipe.name}.safetensors"
    found = path if path.exists() else path.with_suffix("")
    if not found.exists():
        raise FileRefused(f"{path}: no such file; the run has not saved its final LoRA yet")
    return found


def _from_file(family: "Family", recipe: Recipe, path: Path) -> "AttachedAdapter":
    return attach(family, path)


def _from_checkpoint(
    family: "Family", recipe: Recipe, path: Path, *, averaged: bool = True
) -> "AttachedAdapter":
    """Attach the newest checkpoint's weights; their average where the run saves that."""
    states = checkpoint.newest_valid(path.parent.parent, read_only=True).bundle.unpack()
    generator = seeds.generator(recipe.training.seed, "adapter")
    adapter = recipe.adapter.attach(
        family.parts, family.targets, generator=generator, name_of=family.file_name
    )
    shown = states["ema"] if recipe.ema else states.get("shown", {})
    means = {name: shown[name] for name in adapter.trainables if averaged and name in shown}
    adapter.load(states["adapter"] | means)
    return adapter

"""What a comparison draws with: which file on which base, and how; and what its pictures are."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import store
from workbench.app.words import text
from workbench.settings import as_dict
from workbench.workspace.loras import Source, checkpoints

if TYPE_CHECKING:
    from workbench.evaluation.loading import Wanted
    from workbench.records.sampling import SampleSettings

Job = tuple[str, int, float]  # prompt, seed, strength
_NOT_SEEN = {"prompts", "seeds", "every_steps", "batch_size"}  # settings that change no picture


@dataclass(frozen=True, slots=True)
class Brush:
    """What draws, but for prompt, seed and strength.

    Attributes:
        source: a run or a file.
        file: the LoRA file that acts.
        base: where the base lies, if not where the source says.
        how: sampling; None takes the source's own.
    """

    source: Source
    file: Path
    base: str | None = None
    how: "SampleSettings | None" = None

    @property
    def sampling(self) -> "SampleSettings":
        """How pictures are drawn."""
        return self.how or wanted_of(self.source).sampling

    @property
    def base_key(self) -> str:
        """Names the base: what stands on the same one can be swapped without loading it anew."""
        recipe = recipe_of(self.source)
        if recipe is None:
            return self.base or self.source.key
        settings = recipe.base.model_dump_json(exclude={"path"} if self.base else None)
        return f"{self.base or ''} {settings} {recipe.data.captions.max_tokens}"

    @property
    def _base_name(self) -> str:
        recipe = recipe_of(self.source)
        path = self.base or (recipe.base.path if recipe is not None else "")
        return Path(path).name or text("compare_base_picture")

    def key(self, job: Job) -> tuple[object, ...]:
        """Name a picture by its content: the base's is the same whatever file lies beside it.

        Args:
            job: prompt, seed and strength.
        Returns:
            Equal for pictures that are equal.
        """
        from workbench.evaluation.painter import content

        how = {k: v for k, v in as_dict(self.sampling).items() if k not in _NOT_SEEN}
        return self.base_key, content(self.file) if job[2] else "", repr(sorted(how.items())), *job

    def caption(self, job: Job) -> str:
        """Say what a picture is: source, step, strength, prompt, seed, and how it was drawn.

        Args:
            job: prompt, seed and strength.
        Returns:
            One line.
        """
        prompt, seed, strength = job
        how = self.sampling
        parts = [self.file.stem if strength else self._base_name]
        if strength and (step := step_of(self.file)):
            parts.append(text("compare_said_step", step=step))
        if strength:
            parts.append(text("compare_said_strength", strength=f"{strength:g}"))
        drawn = {"seed": seed, "guidance": f"{how.guidance:g}", "steps": how.steps}
        parts.append(text("compare_said_drawn", **drawn))
        return " · ".join([*parts, prompt])


def step_of(file: Path) -> str:
    """Read at which step a LoRA file was saved.

    Args:
        file: any LoRA file.
    Returns:
        Digits; "" where it does not say.
    """
    if not file.is_file():
        return ""
    try:
        return store.read_header(file)[0].get("ss_steps", "")
    except store.FileRefused:  # drawing with it says what is wrong
        return ""


def wanted_of(source: Source) -> "Wanted":
    """What a source is drawn with: its recipe's prompts and sampling.

    Args:
        source: a run or a file.
    Returns:
        What is known of it without loading a model.
    Raises:
        FileRefused: the file is unsound.
    """
    from workbench.evaluation.loading import Wanted, wanted

    recipe = recipe_of(source)
    return wanted(recipe) if recipe is not None and recipe.data.subsets else Wanted()


def recipe_of(source: Source) -> Any:
    """The recipe that made a source.

    Args:
        source: a run or a file.
    Returns:
        The run's recipe, for its files too; otherwise the file's own, None where it brings none.
    """
    folder = source.path if source.is_run else source.path.parent.parent
    of_run = source.run and (folder / "recipe.toml").is_file()
    path = folder / "recipe.toml" if source.is_run or of_run else source.path
    if not path.is_file():  # a folder of a full fine-tune, or what is gone
        return _recipe_of.__wrapped__(path, 0)
    return _recipe_of(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)  # each picture's key asks for it, and reading takes 20 ms
def _recipe_of(path: Path, stamp: int) -> Any:
    from workbench.evaluation.loading import recorded_recipe
    from workbench.recipe import Recipe

    return Recipe.load(path) if path.suffix == ".toml" else recorded_recipe(path)


def final_file(source: Source) -> Path:
    """The file that a source means by itself.

    Args:
        source: a run or a file.
    Returns:
        The run's last LoRA, which is that of its latest step where it was stopped; or the file.
    """
    if not source.is_run:
        return source.path
    final = source.path / "lora" / f"{recipe_of(source).name}.safetensors"
    if final.exists() or final.with_suffix("").exists():
        return final
    return next(reversed(checkpoints(source.path)), final)

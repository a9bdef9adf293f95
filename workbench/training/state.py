"""What a run is at this moment; the loop moves it on, and everything else reads it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from workbench import settings, store
from workbench.adapters import Full
from workbench.recipe import Recipe
from workbench.records import checkpoint, history
from workbench.records.control import Control
from workbench.records.filling import FOLDER
from workbench.records.sampling import filled_prompts
from workbench.training.movement import Movement
from workbench.training.trainer import Trainer

StopReason = Literal["stopped", "terminated"]
EndReason = Literal["complete", "stopped", "terminated"]


class RunState:
    """One run in its folder.

    Args:
        recipe: what to do.
        folder: the run folder.
        resuming: go on from the newest valid checkpoint.
        accept: go on although the data differ from those of the checkpoint.
        changes: settings that this resume changed, "key: old -> new".

    Attributes:
        step: optimizer steps done.
        seconds: training time so far, over all resumes.
        loaded: the checkpoint that the run goes on from.
        asked: why the run should end after this step; None while nobody asks.
        because: who asked, in a sentence for the events; "" where the reason says it all.
        was_complete: the run had come to its end before it was resumed.
        between_steps: no weight is being changed, so what is saved now is whole.
        saved_step: of the newest checkpoint that this process wrote or read; -1 without one.
        num_still: steps in a row that changed nothing.
        step_s: training time of the latest step.
        slow_to_leave: it was said that leaving takes longer than the machine gives.
        movement: how far the weights have come; None in all processes but the first.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        *,
        resuming: bool = False,
        accept: bool = False,
        changes: Sequence[str] = (),
    ):
        self.recipe, self.folder = recipe, folder
        self.resuming, self.accept, self.changes = resuming, accept, tuple(changes)
        self.control = Control(folder)
        self.step, self.seconds = 0, 0.0
        self.loaded: checkpoint.Loaded | None = None
        self.asked: StopReason | None = None
        self.because = ""
        self.was_complete = resuming and history.state(folder) == "finished"
        self.between_steps = True
        self.saved_step = -1
        self.num_still = 0
        self.step_s, self.slow_to_leave = 0.0, False
        self.movement: Movement | None = None
        self.rate = Rate()
        self.assembled: Trainer | None = None

    @property
    def trainer(self) -> Trainer:
        """The assembled model, data and optimizer; there once preparation is done."""
        assert self.assembled is not None, "the run is not prepared yet"
        return self.assembled

    @trainer.setter
    def trainer(self, trainer: Trainer) -> None:
        """Take the assembled trainer."""
        self.assembled = trainer

    @property
    def final_lora(self) -> Path:
        """Where the finished run's file lies; of a full fine-tune, the folder of its parts."""
        adapter = self.recipe.adapter
        in_parts = isinstance(adapter, Full) and adapter.layout == "diffusers"
        suffix = "" if in_parts else ".safetensors"
        return self.folder / "lora" / f"{self.recipe.name}{suffix}"

    def write_recipe(self) -> None:
        """Put the recipe into the folder; what lies in it is named so that the folder may move."""
        recipe, fill = self.recipe, self.recipe.sampling.fill
        if fill is not None and Path(fill) == self.folder.absolute() / FOLDER:
            recipe = settings.replace(
                recipe, sampling=settings.replace(recipe.sampling, fill=FOLDER)
            )
        store.write_text(self.folder / "recipe.toml", recipe.to_toml())

    def prompts(self) -> tuple[str, ...]:
        """The sample prompts with the first subset's words in place.

        Returns:
            Prompts as they are sampled.
        """
        subset = self.recipe.data.subsets[0]
        return filled_prompts(self.recipe.sampling, subset.trigger, subset.class_word)

    def inside(self, path: Path) -> str:
        """A path as events name it: relative to the run folder.

        Args:
            path: in the run folder.
        Returns:
            The path with forward slashes.
        """
        return path.relative_to(self.folder).as_posix()


class Rate:
    """Steps a second over the recent past."""

    def __init__(self) -> None:
        self._times: list[float] = []

    def after(self, seconds: float) -> float:
        """Count one step.

        Args:
            seconds: training time so far.
        Returns:
            Steps a second over the last fifty steps; 0 after the first.
        """
        self._times = [*self._times[-50:], seconds]
        span = self._times[-1] - self._times[0]
        return (len(self._times) - 1) / span if span > 0 else 0.0

"""A run: a recipe, its folder, and the generator of events that every face reads."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

from workbench import settings, store
from workbench.data.cache import LatentNotFinite
from workbench.quiet import hush
from workbench.recipe import Recipe
from workbench.records import checkpoint, history
from workbench.records.control import Control
from workbench.records.events import Event, Failed, Finished, Resumed, Saved, Started
from workbench.records.lock import RunLock
from workbench.records.log import EventLog
from workbench.records.sampling import fill_prompt
from workbench.settings import SettingsError
from workbench.training import loop, saving
from workbench.training.moments import Rate
from workbench.training.movement import Movement
from workbench.training.stages import stages
from workbench.training.trainer import Trainer, processes

Observer = Callable[["Run", Event], Iterable[Event]]
StopReason = Literal["stopped", "terminated"]
_NUM_PROMPTS = 3  # taken from the captions where the recipe names none


class Run:
    """One training run in its folder.

    Args:
        recipe: what to do.
        folder: the run folder.
        resuming: go on from the newest valid checkpoint.
        accept: go on although the data differ from those of the checkpoint.
        observers: called with the run and each event; the events that they return are recorded too.

    Attributes:
        step: optimizer steps done.
        seconds: training time so far, over all resumes.
        loaded: the checkpoint that the run goes on from.
        was_complete: the run had come to its end before it was resumed.
        between_steps: no weight is being changed, so what is saved now is whole.
        num_still: steps in a row that changed nothing.
        movement: how far the weights have come; None in all processes but the first.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        *,
        resuming: bool = False,
        accept: bool = False,
        observers: Iterable[Observer] = (),
    ):
        self.recipe, self.folder = recipe, folder
        self.resuming, self.accept = resuming, accept
        self.observers = list(observers)
        self.control = Control(folder)
        self.step, self.seconds = 0, 0.0
        self.loaded: checkpoint.Loaded | None = None
        self.asked: StopReason | None = None
        self.was_complete = resuming and history.state(folder) == "finished"
        self.between_steps = True
        self.num_still = 0
        self.movement: Movement | None = None
        self.rate = Rate()
        self._trainer: Trainer | None = None
        self._log: EventLog | None = None
        self._under_way = self._ended = False

    @property
    def trainer(self) -> Trainer:
        """The assembled model, data and optimizer; there once preparation is done.

        Returns:
            The trainer.
        """
        assert self._trainer is not None, "the run is not prepared yet"
        return self._trainer

    @trainer.setter
    def trainer(self, trainer: Trainer) -> None:
        """Take the assembled trainer."""
        self._trainer = trainer

    @property
    def final_lora(self) -> Path:
        """Where the finished run's LoRA file lies; of a full fine-tune, the folder of its parts."""
        suffix = "" if self.recipe.adapter.kind == "full" else ".safetensors"
        return self.folder / "lora" / f"{self.recipe.name}{suffix}"

    def stop(self, reason: StopReason = "stopped") -> None:
        """End after the current step with everything saved; safe to call from a signal handler.

        Args:
            reason: "stopped" by the user, who also gets a LoRA file, or "terminated" in a hurry.
        """
        self.asked = reason

    def prompts(self) -> tuple[str, ...]:
        """The sample prompts with the first subset's words in place.

        Returns:
            Prompts as they are sampled.
        """
        subset = self.recipe.data.subsets[0]
        return tuple(
            fill_prompt(prompt, trigger=subset.trigger, class_word=subset.class_word)
            for prompt in self.recipe.sampling.prompts or ()
        )

    def choose_prompts(self) -> None:
        """Fill in the sample prompts that the recipe leaves open, from the training captions."""
        if self.recipe.sampling.prompts is not None:
            return
        trainer = self.trainer
        spread = trainer.train_records[:: max(1, len(trainer.train_records) // _NUM_PROMPTS)]
        captions = dict.fromkeys(trainer.dataset.plain_caption(record) for record in spread)
        prompts = tuple(caption for caption in captions if caption)[:_NUM_PROMPTS]
        sampling = settings.replace(self.recipe.sampling, prompts=prompts)
        self.recipe = trainer.recipe = settings.replace(self.recipe, sampling=sampling)
        if trainer.rank == 0:
            store.write_text(self.folder / "recipe.toml", self.recipe.to_toml())

    def inside(self, path: Path) -> str:
        """A path as events name it: relative to the run folder.

        Args:
            path: in the run folder.
        Returns:
            The path with forward slashes.
        """
        return path.relative_to(self.folder).as_posix()

    # ------------------------------------------------------------------------------ the events

    def train(self) -> Iterator[Event]:
        """Do the run; the only way to spell it.

        Breaking out of the loop saves a checkpoint, so that `workbench.resume` goes on from there.

        Yields:
            Events, each already on disk. In a run of many processes the others yield none.
        Raises:
            RunLocked: another process trains in this folder.
            SettingsError: this run was begun already.
            Exception: whatever went wrong, after a `Failed` event that says so.
        """
        hush()
        if self._log is not None:
            raise SettingsError(
                f"this run was begun already; go on with workbench.resume({str(self.folder)!r}), "
                "or start another one"
            )
        with self._holding():
            try:
                for event in stages(self):
                    yield from self._tell(event)
            except (GeneratorExit, KeyboardInterrupt):
                self._leave()
                raise
            except Exception as error:
                yield from self._tell(self._failure(error))
                raise

    @contextmanager
    def _holding(self) -> Iterator[None]:
        """The lock and the event file, held by the first process alone."""
        first = processes().is_main_process
        lock = RunLock(self.folder) if first else None
        if lock is not None:
            lock.acquire()
            self.control.clear()
            if not self.resuming:
                store.write_text(self.folder / "recipe.toml", self.recipe.to_toml())
        try:
            if self.resuming:
                self.loaded = checkpoint.newest_valid(self.folder, read_only=not first)
            with EventLog(self.folder, rank=0 if first else 1) as self._log:
                yield
        finally:
            if lock is not None:
                lock.release()

    def _tell(self, event: Event) -> Iterator[Event]:
        """Record an event, hand it out, and let the observers answer."""
        assert self._log is not None
        if not processes().is_main_process:
            return
        self._under_way |= isinstance(event, Started | Resumed)
        self._ended |= isinstance(event, Finished)
        # Until a resume is under way it may still be refused, and then the run stays as it was.
        if self._under_way or not self.resuming:
            event = self._log.append(event)
        yield event
        for observer in self.observers:
            for answer in observer(self, event):
                yield from self._tell(answer)

    def _leave(self) -> None:
        """The caller broke out: keep what is whole. Nothing can be yielded any more."""
        assert self._log is not None
        refusable = self.resuming and not self._under_way
        if self._trainer is None or self._trainer.rank > 0 or refusable or self._ended:
            return
        if self.between_steps and self.step > 0:
            path = saving.save_checkpoint(
                self._trainer, self.folder, self.step, seconds=self.seconds
            )
            self._log.append(Saved(step=self.step, path=self.inside(path)))
        self._log.append(Finished(step=self.step, reason="left"))

    def _failure(self, error: Exception) -> Failed:
        """An error in words, with what to do about it."""
        fix, cause = "", ""
        if isinstance(error, torch.OutOfMemoryError):
            cause = "out-of-memory"
            peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0
            fix = (
                f"the device was full at {peak:.1f} GiB: lower training.batch_size (and raise "
                "training.accumulation), set base.gradient_checkpointing = true, lower "
                "data.buckets.resolution, or use training.precision = 'bfloat16'"
            )
        elif isinstance(error, LatentNotFinite):
            cause = "nan-latent"
            fix = (
                "delete that file and start again: the picture is encoded anew; if it happens "
                "again, set base.vae_dtype = 'float32'"
            )
        elif isinstance(error, loop.NotFinite):
            cause = "not-finite"
            fix = (
                "lower optimizer.learning_rate, look at the named images and their latents, and "
                "use bfloat16 or float32 instead of float16"
            )
        said = str(error) or type(error).__name__
        return Failed(error=said, fix=fix, cause=cause, step=self.step)

"""A run: a recipe, its folder, and the generator of events that every face reads."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from workbench import store
from workbench.data.cache import LatentNotFinite
from workbench.quiet import hush
from workbench.recipe import Recipe
from workbench.records import checkpoint
from workbench.records.control import Control
from workbench.records.events import Event, Failed, Finished, Resumed, Saved, Started
from workbench.records.lock import RunLock
from workbench.records.log import EventLog, read_milestones
from workbench.settings import SettingsError
from workbench.training import leaving, loop, saving
from workbench.training.devices import processes
from workbench.training.state import RunState, StopReason
from workbench.training.step import NotFinite
from workbench.training.trainer import Trainer

_LONGEST_NAME = 80  # samples/step-123456/12-forty letters of the prompt-1234567890.png
Observer = Callable[["Run", Event], Iterable[Event]]


class Run:
    """One training run in its folder: its state, its lock, and the events that it tells.

    Args:
        recipe: what to do.
        folder: the run folder.
        resuming: go on from the newest valid checkpoint.
        accept: go on although the data differ from those of the checkpoint.
        changes: settings that this resume changed, "key: old -> new".
        observers: called with the run and each event; the events that they return are recorded too.

    Attributes:
        state: where the run stands.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        *,
        resuming: bool = False,
        accept: bool = False,
        changes: Sequence[str] = (),
        observers: Iterable[Observer] = (),
    ):
        self.state = RunState(recipe, folder, resuming=resuming, accept=accept, changes=changes)
        self.observers = list(observers)
        self._log: EventLog | None = None
        self._under_way = self._ended = False

    @property
    def recipe(self) -> Recipe:
        """What to do, the prompts that it left open filled in once the run has begun."""
        return self.state.recipe

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.state.folder

    @property
    def control(self) -> Control:
        """Requests that lie in the folder."""
        return self.state.control

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self.state.step

    @property
    def asked(self) -> StopReason | None:
        """Why the run should end; None while nobody asks."""
        return self.state.asked

    @property
    def trainer(self) -> Trainer:
        """The assembled model, data and optimizer; there once preparation is done."""
        return self.state.trainer

    @property
    def final_lora(self) -> Path:
        """Where the finished run's LoRA file lies; of a full fine-tune, the folder of its parts."""
        return self.state.final_lora

    def stop(self, reason: StopReason = "stopped", *, because: str = "") -> None:
        """End after the current step with everything saved; safe to call from a signal handler.

        Args:
            reason: "stopped" by the user, who also gets a LoRA file, or "terminated" in a hurry.
            because: who asks, in a sentence that the events keep.
        """
        self.state.because = because or self.state.because
        self.state.asked = reason

    def prompts(self) -> tuple[str, ...]:
        """The sample prompts with the first subset's words in place.

        Returns:
            Prompts as they are sampled.
        """
        return self.state.prompts()

    def inside(self, path: Path) -> str:
        """A path as events name it: relative to the run folder.

        Args:
            path: in the run folder.
        Returns:
            The path with forward slashes.
        """
        return self.state.inside(path)

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
                for event in loop.events(self.state):
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
            with self._writable():
                lock.acquire()
        try:
            if lock is not None:
                self._make_ready()
            if self.state.resuming:
                self.state.loaded = self._newest_checkpoint(read_only=not first)
            with EventLog(self.folder, rank=0 if first else 1) as self._log:
                yield
        finally:
            if lock is not None:
                lock.release()

    def _make_ready(self) -> None:
        """Write what a run begins with, once it is known that there is room for its names."""
        with self._writable():
            store.try_longest_name(self.folder, max(_LONGEST_NAME, 30 + len(self.recipe.name)))
            self.control.clear()
            store.clear_leftovers(self.folder)
            if not self.state.resuming:
                store.write_text(self.folder / "recipe.toml", self.recipe.to_toml())

    @contextmanager
    def _writable(self) -> Iterator[None]:
        """Refuse a place where nothing can be written, before anything long begins."""
        try:
            yield
        except OSError as error:
            why = store.no_room(error, self.folder) or (error.strerror or str(error)).lower()
            why = store.too_long(error, self.folder) or why
            raise SettingsError(
                f"the run folder {self.folder} cannot be written to ({why}): choose another place "
                "with output.folder or --folder"
            ) from error

    def _newest_checkpoint(self, *, read_only: bool) -> checkpoint.Loaded | None:
        """What to go on from; None for a run that was killed before its first checkpoint."""
        try:
            return checkpoint.newest_valid(self.folder, read_only=read_only)
        except checkpoint.NoCheckpoint:
            saved = [e for e in read_milestones(self.folder) if isinstance(e, Saved)]
            steps = [e.step for e in saved if e.what == "checkpoint"]
            if steps:
                raise checkpoint.CheckpointRefused(
                    f"{self.folder / 'checkpoints'}: the checkpoint of step {steps[-1]} is gone; "
                    "restore it from a copy, or start a new run: this one does not begin again at "
                    "step 0"
                ) from None
            return None

    def _tell(self, event: Event) -> Iterator[Event]:
        """Record an event, hand it out, and let the observers answer."""
        assert self._log is not None
        if not processes().is_main_process:
            return
        self._under_way |= isinstance(event, Started | Resumed)
        self._ended |= isinstance(event, Finished)
        # Until a resume is under way it may still be refused, and then the run stays as it was.
        if self._under_way or not self.state.resuming:
            event = self._log.append(event)
        yield event
        for observer in self.observers:
            for answer in observer(self, event):
                yield from self._tell(answer)

    def _leave(self) -> None:
        """The caller broke out: keep what is whole. Nothing can be yielded any more."""
        assert self._log is not None
        now = self.state
        refusable = now.resuming and not self._under_way
        if now.assembled is None or now.assembled.rank > 0 or refusable or self._ended:
            return
        if now.between_steps and now.step > 0:
            path = saving.save_checkpoint(now.assembled, now.folder, now.step, seconds=now.seconds)
            self._log.append(Saved(step=self.step, path=self.inside(path)))
        for event in leaving.who_asked(now):
            self._log.append(event)
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
        elif isinstance(error, NotFinite):
            cause = "not-finite"
            fix = (
                "lower optimizer.learning_rate, look at the named images and their latents, and "
                "use bfloat16 or float32 instead of float16"
            )
        said = str(error) or type(error).__name__
        return Failed(error=said, fix=fix, cause=cause, step=self.step)

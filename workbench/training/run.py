"""A run: a recipe, its folder, and the generator of events that every face reads."""

import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import torch

from workbench import store
from workbench.quiet import hush
from workbench.recipe import Recipe
from workbench.records import checkpoint
from workbench.records.control import Control
from workbench.records.events import (
    Continued,
    Event,
    Failed,
    Finished,
    Paused,
    Preparing,
    Progress,
    Resumed,
    Sampled,
    SampledPicture,
    Saved,
    Started,
    Warned,
)
from workbench.records.lock import RunLock
from workbench.records.log import EventLog
from workbench.records.sampling import evaluating, fill_prompt, sample, save_pictures
from workbench.settings import SettingsError
from workbench.training import loop, saving
from workbench.training.trainer import Trainer, assemble

Observer = Callable[["Run", Event], Iterable[Event]]
StopReason = Literal["stopped", "terminated"]

_STILL_STEPS = 20  # so many steps without any gradient mean that nothing is being trained
_REQUESTS = ("stop", "pause", "save-now", "sample-now")


class Run:
    """One training run in its folder.

    Args:
        recipe: what to do.
        folder: the run folder.
        resuming: go on from the newest valid checkpoint.
        accept: go on although the data differ from those of the checkpoint.
        observers: called with the run and each event; the events that they return are recorded too.
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
        self.step = 0
        self._trainer: Trainer | None = None
        self._log: EventLog | None = None
        self._asked: StopReason | None = None
        self._between_steps = True
        self._still = 0
        self._seconds = 0.0  # of training, over all resumes
        self._rate = Rate()

    @property
    def trainer(self) -> Trainer:
        """The assembled model, data and optimizer; there once preparation is done."""
        assert self._trainer is not None, "the run is not prepared yet"
        return self._trainer

    @property
    def final_lora(self) -> Path:
        """Where the finished run's LoRA file lies."""
        return self.folder / "lora" / f"{self.recipe.name}.safetensors"

    def stop(self, reason: StopReason = "stopped") -> None:
        """End after the current step with everything saved; safe to call from a signal handler.

        Args:
            reason: "stopped" by the user, who also gets a LoRA file, or "terminated" in a hurry.
        """
        self._asked = reason

    # ------------------------------------------------------------------------------ the events

    def train(self) -> Iterator[Event]:
        """Do the run; the only way to spell it.

        Breaking out of the loop saves a checkpoint, so that `workbench.resume` goes on from there.

        Yields:
            Events, each already on disk. In a run of many processes the others yield none.
        Raises:
            RunLocked: another process trains in this folder.
            Exception: whatever went wrong, after a `Failed` event that says so.
        """
        hush()
        with self._holding():
            try:
                for event in self._stages():
                    yield from self._tell(event)
            except GeneratorExit:
                self._leave()
                raise
            except KeyboardInterrupt:
                self._leave()
                raise
            except Exception as error:
                yield from self._tell(self._failure(error))
                raise

    @contextmanager
    def _holding(self) -> Iterator[None]:
        """The lock and the event file, held by the first process alone."""
        from accelerate import PartialState

        first = PartialState().is_main_process
        lock = RunLock(self.folder) if first else None
        if lock is not None:
            lock.acquire()
            self.control.clear()
            if not self.resuming:
                store.write_text(self.folder / "recipe.toml", self.recipe.to_toml())
        self._log = EventLog(self.folder, rank=0 if first else 1)
        try:
            yield
        finally:
            self._log.close()
            if lock is not None:
                lock.release()

    def _tell(self, event: Event) -> Iterator[Event]:
        """Record an event, hand it out, and let the observers answer."""
        assert self._log is not None
        if self._trainer is not None and self._trainer.rank > 0:
            return
        event = self._log.append(event)
        yield event
        for observer in self.observers:
            for answer in observer(self, event):
                yield from self._tell(answer)

    def _leave(self) -> None:
        """The caller broke out: keep what is whole. Nothing can be yielded any more."""
        assert self._log is not None
        if self._trainer is None or self._trainer.rank > 0:
            return
        if self._between_steps and self.step > 0:
            path = saving.save_checkpoint(
                self._trainer, self.folder, self.step, seconds=self._seconds
            )
            self._log.append(Saved(step=self.step, path=self._inside(path)))
        self._log.append(Finished(step=self.step, reason="left"))

    def _failure(self, error: Exception) -> Failed:
        """An error in words, with what to do about it."""
        fix = ""
        if isinstance(error, torch.OutOfMemoryError):
            peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0
            fix = (
                f"the device was full at {peak:.1f} GiB: lower training.batch_size (and raise "
                "training.accumulation), set base.gradient_checkpointing = true, lower "
                "data.buckets.resolution, or use training.precision = 'bfloat16'"
            )
        elif isinstance(error, loop.NotFinite):
            fix = (
                "lower optimizer.learning_rate, look at the named images and their latents, and "
                "use bfloat16 or float32 instead of float16"
            )
        return Failed(error=str(error) or type(error).__name__, fix=fix, step=self.step)

    # ------------------------------------------------------------------------------ the stages

    def _stages(self) -> Iterator[Event]:
        """Prepare, start or resume, train, end."""
        loaded = checkpoint.newest_valid(self.folder) if self.resuming else None
        self._trainer = yield from assemble(self.recipe)
        self._trackers()
        if loaded is None:
            yield from self._begin()
        else:
            yield from self._go_on(loaded)
        reason = yield from self._steps()
        yield from self._end(reason)

    def _begin(self) -> Iterator[Event]:
        """Say what will happen, and keep the base's pictures and losses while there is a base."""
        trainer = self.trainer
        yield Started(
            run=self.recipe.name,
            recipe_hash=self.recipe.hash(),
            total_steps=trainer.total_steps or 0,
            steps_per_epoch=trainer.loader.steps_per_epoch,
            num_images=len(trainer.train_records),
            num_held_out=len(trainer.held_out),
            device=str(trainer.family.device),
            precision=self.recipe.training.precision,
            num_processes=trainer.accelerator.num_processes,
            versions=checkpoint.versions(),
        )
        yield from self._warnings()
        if trainer.rank == 0:
            yield Preparing(stage="measuring the base", done=0, total=1)
            with evaluating(trainer.family), trainer.adapter.strength(0):
                trainer.stable_loss.measure_base(trainer.stable_losses)
            yield from self._sampled(base=True)
        trainer.accelerator.wait_for_everyone()

    def _go_on(self, loaded: checkpoint.Loaded) -> Iterator[Event]:
        """Put the checkpoint back, and say what is not as it was."""
        trainer = self.trainer
        cursor = saving.restore(trainer, loaded)
        total = trainer.total_steps
        if total is not None and loaded.step >= total:
            raise SettingsError(
                f"{self.folder} is already complete at step {loaded.step}; "
                "extend it with length.steps=+500"
            )
        if cursor["dataset"] != trainer.dataset.fingerprint() and not self.accept:
            saving.refuse_changes(["the images or captions differ from those of the checkpoint"])
        self.step, self._seconds = loaded.step, cursor["seconds"]
        yield Resumed(
            step=self.step,
            total_steps=total or 0,
            checkpoint=self._inside(loaded.path),
            set_aside=tuple(loaded.warnings),
        )
        if (now := trainer.family.identity["hashes"]) != (before := cursor["base"]):
            yield Warned(
                id="other-base",
                message=f"the base is not the one the run began with: {before} then, {now} now",
                fix="give base.path the model that the run began with",
            )
        yield from self._warnings()

    def _warnings(self) -> Iterator[Event]:
        """What was set aside from the data."""
        dataset = self.trainer.dataset
        if dataset.set_aside:
            named = "; ".join(f"{ascii(x.name)}: {x.reason}" for x in dataset.set_aside[:5])
            more = f" and {len(dataset.set_aside) - 5} more" if len(dataset.set_aside) > 5 else ""
            yield Warned(
                id="set-aside",
                message=f"{len(dataset.set_aside)} files are not trained on: {named}{more}",
                fix="`workbench buckets FOLDER` lists them all",
            )
        for note in dataset.notes:
            yield Warned(id="data-note", message=note)

    def _steps(self) -> Iterator[Any]:
        """Step until an end comes; returns why it ended."""
        trainer = self.trainer
        for module in trainer.adapter.modules.values():
            module.train()
        before = time.monotonic()
        for step, result in self._guarded_steps():
            now = time.monotonic()
            self._seconds, before = self._seconds + now - before, now
            self.step += 1
            yield self._progress(step.epoch, result)
            yield from self._watch(result)
            requests = yield from self._requests()
            ending = self._ending(requests)
            yield from self._cadence(requests, last=ending is not None)
            if ending is not None:
                return ending
            before = time.monotonic()
        raise AssertionError("the loader has no end")

    def _guarded_steps(self) -> Iterator[Any]:
        """The loop's steps; says when weights are being changed, so that nothing half is saved."""
        steps = loop.steps(self.trainer, self.step)
        while True:
            self._between_steps = False
            done = next(steps)
            self._between_steps = True
            yield done

    def _ending(self, requests: frozenset[str]) -> str | None:
        """Why the run ends here, if it does."""
        trainer, minutes = self.trainer, self.recipe.length.minutes
        if trainer.total_steps is not None and self.step >= trainer.total_steps:
            return "complete"
        if minutes is not None and self._seconds >= 60 * minutes:
            return "complete"
        if "terminate" in requests:
            return "terminated"
        return "stopped" if "stop" in requests else None

    def _end(self, reason: Any) -> Iterator[Event]:
        """Save before sampling; a run in a hurry only keeps its checkpoint."""
        if reason != "terminated":
            yield from self._save_lora(final=reason == "complete")
        if reason == "complete":
            yield from self._sampled()
        self.trainer.accelerator.wait_for_everyone()
        self.trainer.accelerator.end_training()
        yield Finished(step=self.step, reason=reason)

    # ------------------------------------------------------------------------ beside the steps

    def _progress(self, epoch: int, result: loop.StepResult) -> Progress:
        trainer = self.trainer
        rate = self._rate.after(self._seconds)
        rates = {group["name"]: group["lr"] for group in trainer.optimizer.param_groups}
        traces = dict(self.recipe.optimizer.traces(trainer.optimizer.optimizer))
        if trainer.ema is not None:
            traces["ema_decay"] = trainer.ema.decay
        if trainer.num_overflows:
            traces["overflows"] = trainer.num_overflows
        event = Progress(
            step=self.step,
            epoch=epoch,
            loss=result.loss,
            learning_rates=rates,
            gradient_norm=result.gradient_norm,
            steps_per_s=rate,
            images_per_s=rate * result.num_samples * trainer.accelerator.num_processes,
            eta_s=self._eta_s(rate),
            traces=traces,
        )
        if self.recipe.trackers:
            values = {"loss": event.loss, "gradient_norm": result.gradient_norm} | traces
            trainer.accelerator.log(values | {f"lr/{k}": v for k, v in rates.items()}, self.step)
        return event

    def _eta_s(self, rate: float) -> float | None:
        ends = []
        if self.trainer.total_steps is not None and rate > 0:
            ends.append((self.trainer.total_steps - self.step) / rate)
        if self.recipe.length.minutes is not None:
            ends.append(60 * self.recipe.length.minutes - self._seconds)
        return max(0.0, min(ends)) if ends else None

    def _watch(self, result: loop.StepResult) -> Iterator[Event]:
        """Count overflows, and say once when nothing is being trained."""
        self.trainer.num_overflows += result.overflowed
        rates = [group["lr"] for group in self.trainer.optimizer.param_groups]
        moving = result.gradient_norm > 0 and any(rate > 0 for rate in rates)
        self._still = 0 if moving else self._still + 1
        if self._still == _STILL_STEPS:
            cause = "every gradient" if result.gradient_norm == 0 else "every learning rate"
            yield Warned(
                id="not-training",
                message=f"{cause} was zero for {_STILL_STEPS} steps: nothing is being trained",
                fix="look at adapter.groups, optimizer.learning_rate and the schedule's warm-up",
                step=self.step,
            )

    def _requests(self) -> Any:
        """What is asked of the run now, the same in every process; waits out a pause."""
        requests = self._agreed(self._pending())
        if "pause" in requests:
            yield from self._checkpoint()
            yield Paused(step=self.step)
            while "pause" in requests and not requests & {"stop", "terminate"}:
                time.sleep(0.2)
                requests = self._agreed(self._pending())
            yield Continued(step=self.step)
        return requests

    def _pending(self) -> frozenset[str]:
        asked = {"stopped": "stop", "terminated": "terminate"}.get(self._asked or "")
        lying = self.control.pending() if self.trainer.rank == 0 else frozenset()
        return frozenset(lying) | ({asked} if asked else set())

    def _agreed(self, requests: frozenset[str]) -> frozenset[str]:
        """What any process was asked is asked of all."""
        accelerator = self.trainer.accelerator
        if accelerator.num_processes == 1:
            return requests
        names = (*_REQUESTS, "terminate")
        flags = torch.tensor([float(name in requests) for name in names], device=accelerator.device)
        agreed = accelerator.reduce(flags, reduction="sum").tolist()
        return frozenset(name for name, flag in zip(names, agreed, strict=True) if flag > 0)

    def _cadence(self, requests: frozenset[str], *, last: bool) -> Iterator[Event]:
        """Save, validate and sample when it is time, or asked; save before anything can fail."""
        recipe, total = self.recipe, self.trainer.total_steps
        fifth = math.ceil(total / 5) if total else 500
        tenth = math.ceil(total / 10) if total else 250
        if last or "save-now" in requests or self._due(recipe.training.checkpoint_every or fifth):
            yield from self._checkpoint()
        if self._due(recipe.training.lora_every) or "save-now" in requests:
            yield from self._save_lora(final=False)
        if last or self._due(recipe.validation.every_steps or tenth):
            yield from self._validated()
        if not last and ("sample-now" in requests or self._due(recipe.sampling.every_steps)):
            yield from self._sampled()
        if self.trainer.rank == 0:
            self.control.clear("save-now", "sample-now", "stop")

    def _due(self, every: int | None) -> bool:
        return every is not None and self.step % every == 0

    def _checkpoint(self) -> Iterator[Event]:
        """Save; a full disk pauses the run instead of ending it."""
        trainer, before = self.trainer, time.monotonic()
        if trainer.rank == 0:
            while True:
                try:
                    path = saving.save_checkpoint(
                        trainer, self.folder, self.step, seconds=self._seconds
                    )
                    break
                except checkpoint.DiskFull as error:
                    yield from self._wait_for_space(error)
            yield Saved(
                step=self.step,
                path=self._inside(path),
                num_bytes=_size(path),
                seconds=time.monotonic() - before,
            )
        trainer.accelerator.wait_for_everyone()

    def _wait_for_space(self, error: checkpoint.DiskFull) -> Iterator[Event]:
        yield Warned(id="disk-full", message=str(error), fix="free the space; the run then goes on")
        yield Paused(step=self.step, reason="disk full")
        while store.free_bytes(self.folder) < error.needed_bytes:
            if self._pending() & {"stop", "terminate"}:
                raise error
            time.sleep(2)
        yield Continued(step=self.step)

    def _save_lora(self, *, final: bool) -> Iterator[Event]:
        if self.trainer.rank == 0:
            before = time.monotonic()
            name = self.final_lora.stem + ("" if final else f"-step{self.step:06d}")
            path = saving.save_lora(
                self.trainer, self.final_lora.with_name(f"{name}.safetensors"), self.step
            )
            yield Saved(
                step=self.step,
                path=self._inside(path),
                what="lora",
                final=final,
                num_bytes=_size(path),
                seconds=time.monotonic() - before,
            )
        self.trainer.accelerator.wait_for_everyone()

    def _validated(self) -> Iterator[Event]:
        trainer = self.trainer
        if trainer.rank == 0:
            with evaluating(trainer.family), trainer.showing():
                losses = trainer.stable_loss.measure(trainer.stable_losses)
            yield from trainer.stable_loss.events(self.step, losses)
        trainer.accelerator.wait_for_everyone()

    def _sampled(self, *, base: bool = False) -> Iterator[Event]:
        """Draw the fixed prompts; a device too full for it costs the pictures, not the run."""
        trainer, settings = self.trainer, self.recipe.sampling
        if trainer.rank == 0 and settings.prompts:
            before = time.monotonic()
            folder = self.folder / "samples" / ("base" if base else f"step-{self.step:06d}")
            try:
                with trainer.adapter.strength(0 if base else 1), trainer.showing():
                    pictures = sample(trainer.family, settings, prompts=self.prompts())
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                yield Warned(
                    id="sampling-memory",
                    message="the device has no room left for sampling; training goes on",
                    fix="lower sampling.batch_size or the size of the samples",
                    step=self.step,
                )
                return
            paths = save_pictures(pictures, folder)
            shown = tuple(
                SampledPicture(prompt=picture.prompt, seed=picture.seed, path=self._inside(path))
                for picture, path in zip(pictures, paths, strict=True)
            )
            seconds = time.monotonic() - before
            yield Sampled(step=self.step, pictures=shown, base=base, seconds=seconds)
        trainer.accelerator.wait_for_everyone()

    def prompts(self) -> tuple[str, ...]:
        """The sample prompts with the first subset's words in place.

        Returns:
            Prompts as they are sampled.
        """
        subset = self.recipe.data.subsets[0]
        return tuple(
            fill_prompt(prompt, trigger=subset.trigger, class_word=subset.class_word)
            for prompt in self.recipe.sampling.prompts
        )

    def _trackers(self) -> None:
        if self.recipe.trackers:
            self.trainer.accelerator.init_trackers(self.recipe.name)

    def _inside(self, path: Path) -> str:
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


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [x for x in path.rglob("*") if x.is_file()]
    return sum(file.stat().st_size for file in files)


def clear_folder(folder: Path) -> None:
    """Remove what an earlier run of the same name left, once the user agreed.

    Args:
        folder: the run folder.
    """
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)

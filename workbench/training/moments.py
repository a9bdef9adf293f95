"""What happens beside the steps: progress, requests, saving, validating, sampling.

Each is a generator of events that every process enters; the first process acts, the others wait.
"""

import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import torch

from workbench import store
from workbench.records.control import REQUESTS
from workbench.records.events import (
    Continued,
    Event,
    Paused,
    Progress,
    Sampled,
    SampledPicture,
    Saved,
    Warned,
)
from workbench.records.pictures import save_pictures
from workbench.records.sampling import Interrupted, evaluating, sample
from workbench.training import saving
from workbench.training.leaving import leaving
from workbench.training.requests import agreed, any_process, ending, giving_way, pending
from workbench.training.room import with_room
from workbench.training.state import RunState
from workbench.training.step import StepResult

_STILL_STEPS = 20  # so many steps without any gradient mean that nothing is being trained
_FOUND_STEPS = 50  # by then an optimizer that finds its rate has found one, usually after ten


def progress(run: RunState, epoch: int, result: StepResult) -> Progress:
    """What the last step came to, with rates and the time that is left.

    Args:
        run: under way.
        epoch: of the step.
        result: of the step.
    Returns:
        The event; trackers are told the same.
    """
    trainer = run.trainer
    rate = run.rate.after(run.seconds)
    traces = dict(run.recipe.optimizer.traces(trainer.optimizer.optimizer))
    traces |= trainer.adapter.traces()
    if trainer.ema is not None:
        traces["ema_decay"] = trainer.ema.decay
    if trainer.num_overflows:
        traces["overflows"] = trainer.num_overflows
    event = Progress(
        step=run.step,
        epoch=epoch,
        loss=result.loss,
        learning_rates=result.rates,
        gradient_norm=result.gradient_norm,
        steps_per_s=rate,
        images_per_s=rate * result.num_samples * trainer.accelerator.num_processes,
        eta_s=_eta_s(run, rate),
        traces=traces,
        timestep_losses=result.timestep_losses,
    )
    if run.recipe.trackers:
        values = {"loss": event.loss, "gradient_norm": result.gradient_norm} | traces
        trainer.accelerator.log(values | {f"lr/{k}": v for k, v in result.rates.items()}, run.step)
    return event


def _eta_s(run: RunState, rate: float) -> float | None:
    ends = []
    if run.trainer.total_steps is not None and rate > 0:
        ends.append((run.trainer.total_steps - run.step) / rate)
    if run.recipe.length.minutes is not None:
        ends.append(60 * run.recipe.length.minutes - run.seconds)
    return max(0.0, min(ends)) if ends else None


def watch(run: RunState, result: StepResult) -> Iterator[Event]:
    """Count overflows, and say once when nothing is being trained."""
    run.trainer.num_overflows += result.overflowed
    moving = result.gradient_norm > 0 and any(rate > 0 for rate in result.rates.values())
    run.num_still = 0 if moving else run.num_still + 1
    if run.num_still == _STILL_STEPS:
        cause = "every gradient" if result.gradient_norm == 0 else "every learning rate"
        yield Warned(
            id="not-training",
            message=f"{cause} was zero for {_STILL_STEPS} steps: nothing is being trained",
            fix="look at adapter.groups, optimizer.learning_rate and the schedule's warm-up",
            step=run.step,
        )
    warmup_steps = run.recipe.schedule.warmup_steps(run.trainer.total_steps or 1_000_000)
    if run.step == warmup_steps + _FOUND_STEPS:
        stuck = run.recipe.optimizer.stuck(run.trainer.optimizer.optimizer)
        if stuck is not None:
            yield Warned(id="rate-not-found", message=stuck[0], fix=stuck[1], step=run.step)


def requests(run: RunState) -> Generator[Event, None, frozenset[str]]:
    """What is asked of the run now, the same in every process; waits out a pause."""
    requests = agreed(run, pending(run))
    if "pause" in requests:
        yield from save_checkpoint(run)
        yield Paused(step=run.step)
        while "pause" in requests and not requests & {"stop", "terminate"}:
            time.sleep(0.2)
            requests = agreed(run, pending(run))
        yield Continued(step=run.step)
    return requests


def leave(run: RunState) -> Generator[Event, None, frozenset[str]]:
    """Do what is to be done before the end, if the run was told to end since its last step.

    Args:
        run: between two steps.
    Yields:
        What is saved and measured.
    Returns:
        What was asked; nothing where the run goes on.
    """
    asked = agreed(run, ending(run))
    if asked:
        yield from save_checkpoint(run)
        if "terminate" not in asked:
            yield from validate(run)
        _clear(run, asked)
    return asked


def cadence(run: RunState, requests: frozenset[str], *, last: bool) -> Generator[Event, None, bool]:
    """Save, validate and sample when it is time, or asked; save before anything can fail.

    Args:
        run: between two steps.
        requests: what is asked now.
        last: no further step follows.
    Yields:
        What was done.
    Returns:
        Whether it measured or sampled, which takes long.
    """
    recipe, total = run.recipe, run.trainer.total_steps
    fifth = math.ceil(total / 5) if total else 500
    if last or "save-now" in requests or _due(run, recipe.training.checkpoint_every or fifth):
        yield from save_checkpoint(run)
    hurry = "terminate" in requests
    if not hurry and (_lora_due(run) or "save-now" in requests):
        yield from save_lora(run, final=False)
    measures = not hurry and (last or _due(run, _measured_every(run)))
    if measures:
        yield from validate(run)
    draws = not last and ("sample-now" in requests or recipe.sampling.due(run.step, total))
    if draws and run.recipe.sampling.prompts:
        yield from save_checkpoint(run)
        yield from draw_samples(run)
    _clear(run, requests)
    return measures or draws


def _clear(run: RunState, requests: frozenset[str]) -> None:
    """Clear the requests handled above; one that arrived since is handled after the next step."""
    if run.trainer.rank == 0:
        for name in REQUESTS:
            if name in requests and name != "pause":
                run.control.clear(name)


def _lora_due(run: RunState) -> bool:
    epochs = run.recipe.training.lora_every_epochs
    steps = None if epochs is None else epochs * run.trainer.loader.steps_per_epoch
    return _due(run, run.recipe.training.lora_every) or _due(run, steps)


def _due(run: RunState, every: int | None) -> bool:
    return every is not None and run.step % every == 0


def save_checkpoint(run: RunState) -> Iterator[Event]:
    """Save, unless this step is saved already; a full disk pauses the run instead of ending it."""
    if run.saved_step == run.step:
        return
    trainer, seconds = run.trainer, 0.0

    def write() -> Path:
        nonlocal seconds
        before = time.monotonic()
        path = saving.save_checkpoint(trainer, run.folder, run.step, seconds=run.seconds)
        seconds = time.monotonic() - before
        return path

    if trainer.rank == 0:
        path = yield from with_room(run, write, ending=lambda: bool(ending(run)))
        if path is not None:
            size, place = _size(path), run.inside(path)
            yield Saved(step=run.step, path=place, num_bytes=size, seconds=seconds)
            yield from leaving(run, seconds)
    run.saved_step = run.step
    trainer.accelerator.wait_for_everyone()


def save_lora(run: RunState, *, final: bool) -> Generator[Event, None, bool]:
    """Write the LoRA file.

    Args:
        run: under way.
        final: the run's result, under its own name, for which a full disk is waited out; otherwise
            one along the way, which a full disk costs.
    Yields:
        `Saved`.
    Returns:
        Whether the file is there, the same in all processes.
    """
    kept = True
    if run.trainer.rank == 0:
        kept = yield from _write_lora(run, final=final)
    return not any_process(run, not kept)


def _write_lora(run: RunState, *, final: bool) -> Generator[Event, None, bool]:
    """Write the file and say so; the first process alone."""
    before, step = time.monotonic(), run.step
    name = run.recipe.name + ("" if final else f"-step{step:06d}")
    target = run.final_lora.with_name(f"{name}.safetensors")

    def write() -> Path:
        return saving.save_lora(run.trainer, target, step)

    if final:
        path = yield from with_room(run, write, ending=lambda: bool(ending(run)))
        if path is None:
            return False
    else:
        try:
            path = write()
        except OSError as error:
            if (why := store.no_room(error, target)) is None:
                raise
            message = f"{run.inside(target)} was not written: {why}; training goes on"
            yield Warned(id="lora-not-saved", message=message, fix="free some space", step=step)
            return False
    yield Saved(
        step=step,
        path=run.inside(path),
        what="lora",
        final=final,
        num_bytes=_size(path),
        seconds=time.monotonic() - before,
    )
    if not final:
        saving.prune_loras(path, name=run.recipe.name, keep=run.recipe.training.keep_loras)
    return True


def measures_next(run: RunState) -> bool:
    """Whether the next step will be followed by a measurement, as far as that is known.

    Args:
        run: under way.
    Returns:
        True where it is due, or the step is the planned last one.
    """
    total, step = run.trainer.total_steps, run.step + 1
    return step == total or step % _measured_every(run) == 0


def _measured_every(run: RunState) -> int:
    total = run.trainer.total_steps
    return run.recipe.validation.every_steps or (math.ceil(total / 10) if total else 250)


def validate(run: RunState) -> Iterator[Event]:
    """Measure the stable loss, and how far the weights have come.

    Args:
        run: under way.
    Yields:
        One `Validated` a split, and `Measured`.
    """
    trainer = run.trainer
    if trainer.rank == 0:
        events: Sequence[Event] = ()
        with (
            suppress(Interrupted),
            giving_way(run),
            evaluating(trainer.family),
            trainer.showing(),
        ):
            losses = trainer.stable_loss.measure(trainer.stable_losses)
            events = trainer.stable_loss.events(run.step, losses)
        yield from events
        if run.movement is not None:
            yield run.movement.measure(run.step)
    trainer.accelerator.wait_for_everyone()


def draw_samples(run: RunState, *, base: bool = False) -> Iterator[Event]:
    """Draw the fixed prompts; a device too full for it costs the pictures, not the run."""
    if run.trainer.rank == 0 and run.recipe.sampling.prompts:
        event: Event | None = None  # and none where the run is told to end while it draws
        try:
            with suppress(Interrupted), giving_way(run):
                event = _sampled(run, base=base)
        except OSError as error:
            if (why := store.no_room(error, run.folder)) is None:
                raise
            event = Warned(
                id="samples-not-kept",
                message=f"the samples were not kept: {why}; training goes on",
                fix="free some space",
                step=run.step,
            )
        except torch.OutOfMemoryError:
            event = Warned(
                id="sampling-memory",
                message="the device has no room left for sampling; training goes on",
                fix="lower sampling.batch_size or the size of the samples",
                step=run.step,
            )
        if isinstance(event, Warned):  # not before: the error held what filled the device
            torch.cuda.empty_cache()
        if event is not None:
            yield event
    run.trainer.accelerator.wait_for_everyone()


def _sampled(run: RunState, *, base: bool) -> Sampled:
    trainer, before = run.trainer, time.monotonic()
    with trainer.untrained() if base else trainer.showing():
        pictures = sample(trainer.family, run.recipe.sampling, prompts=run.prompts())
    folder = run.folder / "samples" / ("base" if base else f"step-{run.step:06d}")
    paths = save_pictures(pictures, folder)
    shown = tuple(
        SampledPicture(prompt=picture.prompt, seed=picture.seed, path=run.inside(path))
        for picture, path in zip(pictures, paths, strict=True)
    )
    seconds = time.monotonic() - before
    return Sampled(step=run.step, pictures=shown, base=base, seconds=seconds)


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [x for x in path.rglob("*") if x.is_file()]
    return sum(file.stat().st_size for file in files)

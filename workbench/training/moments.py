"""What happens beside the steps: progress, requests, saving, validating, sampling.

Each is a generator of events that every process enters; the first process acts, the others wait.
"""

import math
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import torch

from workbench import store
from workbench.records import checkpoint
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
from workbench.records.sampling import evaluating, sample, save_pictures
from workbench.training import saving
from workbench.training.state import RunState
from workbench.training.step import StepResult

_STILL_STEPS = 20  # so many steps without any gradient mean that nothing is being trained
_FOUND_STEPS = 50  # by then an optimizer that finds its rate has found one, usually after ten
_SPACE_EVERY_S = 2  # how often a run that waits for space on a full disk looks again
_REQUESTS = ("stop", "pause", "save-now", "sample-now", "terminate", "time-up")


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
    rates = {group["name"]: group["lr"] for group in trainer.optimizer.param_groups}
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
        learning_rates=rates,
        gradient_norm=result.gradient_norm,
        steps_per_s=rate,
        images_per_s=rate * result.num_samples * trainer.accelerator.num_processes,
        eta_s=_eta_s(run, rate),
        traces=traces,
        timestep_losses=result.timestep_losses,
    )
    if run.recipe.trackers:
        values = {"loss": event.loss, "gradient_norm": result.gradient_norm} | traces
        trainer.accelerator.log(values | {f"lr/{k}": v for k, v in rates.items()}, run.step)
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
    rates = [group["lr"] for group in run.trainer.optimizer.param_groups]
    moving = result.gradient_norm > 0 and any(rate > 0 for rate in rates)
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
    requests = _agreed(run, _pending(run))
    if "pause" in requests:
        yield from save_checkpoint(run)
        yield Paused(step=run.step)
        while "pause" in requests and not requests & {"stop", "terminate"}:
            time.sleep(0.2)
            requests = _agreed(run, _pending(run))
        yield Continued(step=run.step)
    return requests


def must_leave(run: RunState) -> bool:
    """Whether any process was told to end in a hurry; every process must ask.

    Args:
        run: under way.
    Returns:
        The same in all processes.
    """
    return "terminate" in _agreed(run, _pending(run))


def _pending(run: RunState) -> frozenset[str]:
    asked = {"stopped": "stop", "terminated": "terminate"}.get(run.asked or "")
    lying = run.control.pending() if run.trainer.rank == 0 else frozenset()
    minutes = run.recipe.length.minutes
    late = minutes is not None and run.seconds >= 60 * minutes
    return frozenset(lying) | ({asked} if asked else set()) | ({"time-up"} if late else set())


def _agreed(run: RunState, requests: frozenset[str]) -> frozenset[str]:
    """What any process was asked is asked of all."""
    accelerator = run.trainer.accelerator
    if accelerator.num_processes == 1:
        return requests
    names = _REQUESTS
    flags = torch.tensor([float(name in requests) for name in names], device=accelerator.device)
    agreed = accelerator.reduce(flags, reduction="sum")
    assert isinstance(agreed, torch.Tensor)
    return frozenset(name for name, flag in zip(names, agreed.tolist(), strict=True) if flag > 0)


def cadence(run: RunState, requests: frozenset[str], *, last: bool) -> Iterator[Event]:
    """Save, validate and sample when it is time, or asked; save before anything can fail."""
    recipe, total = run.recipe, run.trainer.total_steps
    fifth = math.ceil(total / 5) if total else 500
    if last or "save-now" in requests or _due(run, recipe.training.checkpoint_every or fifth):
        yield from save_checkpoint(run)
    if _due(run, recipe.training.lora_every) or "save-now" in requests:
        yield from save_lora(run, final=False)
    leaving = last and "terminate" not in requests
    if leaving or _due(run, _measured_every(run)):
        yield from validate(run)
    if not last and ("sample-now" in requests or _due(run, recipe.sampling.every_steps)):
        yield from draw_samples(run)
    if run.trainer.rank == 0:
        # Clear only the requests handled above; one that arrived since is handled after the next.
        for name in REQUESTS:
            if name in requests and name != "pause":
                run.control.clear(name)


def _due(run: RunState, every: int | None) -> bool:
    return every is not None and run.step % every == 0


def save_checkpoint(run: RunState) -> Iterator[Event]:
    """Save; a full disk pauses the run instead of ending it."""
    trainer, before = run.trainer, time.monotonic()
    if trainer.rank == 0:
        while True:
            try:
                path = saving.save_checkpoint(trainer, run.folder, run.step, seconds=run.seconds)
                break
            except checkpoint.DiskFull as error:
                yield from _wait_for_space(run, error)
        yield Saved(
            step=run.step,
            path=run.inside(path),
            num_bytes=_size(path),
            seconds=time.monotonic() - before,
        )
    trainer.accelerator.wait_for_everyone()


def _wait_for_space(run: RunState, error: checkpoint.DiskFull) -> Iterator[Event]:
    yield Warned(id="disk-full", message=str(error), fix="free the space; the run then goes on")
    yield Paused(step=run.step, reason="disk full")
    waiting = True
    while waiting:
        if _pending(run) & {"stop", "terminate"}:
            raise error
        time.sleep(_SPACE_EVERY_S)  # first of all: a used-up quota leaves free bytes in sight
        waiting = store.free_bytes(run.folder) < error.needed_bytes
    yield Continued(step=run.step)


def save_lora(run: RunState, *, final: bool) -> Iterator[Event]:
    """Write the LoRA file.

    Args:
        run: under way.
        final: the run's result, under its own name; otherwise one along the way.
    Yields:
        `Saved`.
    """
    if run.trainer.rank == 0:
        before = time.monotonic()
        name = run.recipe.name + ("" if final else f"-step{run.step:06d}")
        path = saving.save_lora(
            run.trainer, run.final_lora.with_name(f"{name}.safetensors"), run.step
        )
        yield Saved(
            step=run.step,
            path=run.inside(path),
            what="lora",
            final=final,
            num_bytes=_size(path),
            seconds=time.monotonic() - before,
        )
    run.trainer.accelerator.wait_for_everyone()


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
        with evaluating(trainer.family), trainer.showing():
            losses = trainer.stable_loss.measure(trainer.stable_losses)
        yield from trainer.stable_loss.events(run.step, losses)
        if run.movement is not None:
            yield run.movement.measure(run.step)
    trainer.accelerator.wait_for_everyone()


def draw_samples(run: RunState, *, base: bool = False) -> Iterator[Event]:
    """Draw the fixed prompts; a device too full for it costs the pictures, not the run."""
    if run.trainer.rank == 0 and run.recipe.sampling.prompts:
        try:
            event: Event = _sampled(run, base=base)
        except torch.OutOfMemoryError:
            event = Warned(
                id="sampling-memory",
                message="the device has no room left for sampling; training goes on",
                fix="lower sampling.batch_size or the size of the samples",
                step=run.step,
            )
        if isinstance(event, Warned):  # not before: the error held what filled the device
            torch.cuda.empty_cache()
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

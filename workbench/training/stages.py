"""The stages of a run: begin or go on, step until an end comes, end."""

import time
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Literal

from workbench import store
from workbench.data.loader import Step
from workbench.records import checkpoint
from workbench.records.events import Event, Finished, Preparing, Resumed, Started, Warned
from workbench.records.sampling import evaluating
from workbench.settings import SettingsError
from workbench.training import loop, moments, saving
from workbench.training.movement import Movement
from workbench.training.trainer import assemble

if TYPE_CHECKING:
    from workbench.training.run import Run

Reason = Literal["complete", "stopped", "terminated"]


def stages(run: "Run") -> Iterator[Event]:
    """Prepare, begin or go on, train, end.

    Args:
        run: its trainer is assembled here.
    Yields:
        Events, not yet recorded.
    """
    run.trainer = yield from assemble(run.recipe, folder=run.folder)
    run.choose_prompts()
    if run.trainer.rank == 0:
        run.movement = Movement(run.trainer)
    if run.recipe.trackers:
        run.trainer.accelerator.init_trackers(run.recipe.name)
    yield from begin(run) if run.loaded is None else go_on(run, run.loaded)
    reason = yield from steps(run)
    yield from end(run, reason)


def begin(run: "Run") -> Iterator[Event]:
    """Say what will happen, and keep the base's pictures and losses while there is a base."""
    trainer = run.trainer
    yield Started(
        run=run.recipe.name,
        recipe_hash=run.recipe.hash(),
        total_steps=trainer.total_steps or 0,
        steps_per_epoch=trainer.loader.steps_per_epoch,
        num_images=len(trainer.train_records),
        num_held_out=len(trainer.held_out),
        device=str(trainer.family.device),
        precision=run.recipe.training.precision,
        num_processes=trainer.accelerator.num_processes,
        captions=trainer.batches.said,
        versions=checkpoint.versions(),
    )
    yield from data_warnings(run)
    yield from weighting_note(run)
    if trainer.rank == 0:
        yield Preparing(stage="measuring the base", done=0, total=1)
        with evaluating(trainer.family), trainer.untrained():
            trainer.stable_loss.measure_base(trainer.stable_losses)
    yield from moments.draw_samples(run, base=True)


def go_on(run: "Run", loaded: checkpoint.Loaded) -> Iterator[Event]:
    """Put the checkpoint back, and say what is not as it was."""
    trainer = run.trainer
    cursor = saving.restore(trainer, loaded)
    total, minutes = trainer.total_steps, run.recipe.length.minutes
    late = minutes is not None and cursor["seconds"] >= 60 * minutes
    if run.was_complete and (late or (total is not None and loaded.step >= total)):
        raise SettingsError(
            f"{run.folder} is already complete at step {loaded.step}; "
            f"extend it with length.{'minutes=+10' if late else 'steps=+500'}"
        )
    if not run.accept:
        saving.refuse_changes(saving.world_changes(trainer, cursor))
    run.step, run.seconds = loaded.step, cursor["seconds"]
    if trainer.rank == 0:  # what was changed holds for the next resume too
        store.write_text(run.folder / "recipe.toml", run.recipe.to_toml())
    yield Resumed(
        step=run.step,
        total_steps=total or 0,
        checkpoint=run.inside(loaded.path),
        set_aside=tuple(loaded.warnings),
    )
    now, before = trainer.family.identity["hashes"], cursor["base"]
    if now != before:
        yield Warned(
            id="other-base",
            message=f"the base is not the one the run began with: {before} then, {now} now",
            fix="give base.path the model that the run began with",
        )
    if cursor["total_steps"] != total and run.recipe.schedule.kind != "constant":
        yield Warned(
            id="schedule-stretched",
            message=f"the {run.recipe.schedule.kind} schedule now ends at step {total} in place "
            f"of {cursor['total_steps']}, so the learning rate jumps to its place on the new curve",
            fix="a constant schedule has no such jump",
            step=run.step,
        )
    yield from data_warnings(run)


def data_warnings(run: "Run") -> Iterator[Event]:
    """What was set aside from the data.

    Args:
        run: assembled.
    Yields:
        Warnings.
    """
    dataset = run.trainer.dataset
    if dataset.set_aside:
        named = "; ".join(f"{x.name!a}: {x.reason}" for x in dataset.set_aside[:5])
        more = f" and {len(dataset.set_aside) - 5} more" if len(dataset.set_aside) > 5 else ""
        yield Warned(
            id="set-aside",
            message=f"not trained on ({len(dataset.set_aside)}): {named}{more}",
            fix="`workbench buckets FOLDER` lists them all",
        )
    for note in dataset.notes:
        yield Warned(id="data-note", message=note, severity="note")


def weighting_note(run: "Run") -> Iterator[Event]:
    """Say what factor the weights of the timesteps put on the loss, and so on the learning rate.

    Args:
        run: assembled.
    Yields:
        A note; none where all timesteps count the same.
    """
    weighting, factor = run.recipe.weighting, run.trainer.objective.factor
    if weighting.kind == "constant":
        return
    mean = f"weighting {weighting.kind} has a mean of {factor:.2f} over the timesteps drawn"
    if weighting.normalise:
        message = f"{mean}, which is divided out: loss and learning rate keep their meaning"
        yield Warned(id="weighting-factor", message=message, severity="note")
        return
    yield Warned(
        id="weighting-factor",
        message=f"{mean}: the loss reads {factor:.2f} times as high, and gradients are as at "
        f"{factor:.2f} times the learning rate. AdamW and others that divide by the gradients' "
        "size even that out, training.gradient_clip does not",
        fix="weighting.normalise=true divides it out",
    )


def steps(run: "Run") -> Generator[Event, None, Reason]:
    """Step until an end comes; returns why it ended."""
    trainer = run.trainer
    if trainer.total_steps is not None and run.step >= trainer.total_steps:
        return "complete"  # killed after its last step: only the end is left to do
    for module in trainer.adapter.modules.values():
        module.train()
    before = time.monotonic()
    for step, result in _guarded(run):
        now = time.monotonic()
        run.seconds, before = run.seconds + now - before, now
        yield moments.progress(run, step.epoch, result)
        yield from moments.watch(run, result)
        requests = yield from moments.requests(run)
        ending = _ending(run, requests)
        yield from moments.cadence(run, requests, last=ending is not None)
        if ending is not None:
            return ending
        before = time.monotonic()
    raise AssertionError("the loader has no end")


def _guarded(run: "Run") -> Iterator[tuple[Step, loop.StepResult]]:
    """The loop's steps, counted; says when weights are being changed: nothing half is saved."""
    steps = loop.steps(run.trainer, run.step)
    while True:
        run.between_steps = False
        if run.movement is not None and moments.measures_next(run):
            run.movement.watch()
        done = next(steps)
        run.step += 1
        run.between_steps = True
        yield done


def _ending(run: "Run", requests: frozenset[str]) -> Reason | None:
    """Why the run ends here, if it does."""
    total = run.trainer.total_steps
    if "time-up" in requests or (total is not None and run.step >= total):
        return "complete"
    if "terminate" in requests:
        return "terminated"
    return "stopped" if "stop" in requests else None


def end(run: "Run", reason: Reason) -> Iterator[Event]:
    """Save before sampling; a run in a hurry only keeps its checkpoint."""
    if reason != "terminated":
        yield from moments.save_lora(run, final=reason == "complete")
    if reason == "complete":
        yield from moments.draw_samples(run)
    run.trainer.accelerator.wait_for_everyone()
    run.trainer.accelerator.end_training()
    yield Finished(step=run.step, reason=reason)

"""What a run says before its first step: what it will do, or where it goes on."""

from collections.abc import Iterator

from workbench.records import checkpoint
from workbench.records.events import Event, Preparing, Resumed, Started, Warned
from workbench.records.log import read_milestones
from workbench.records.sampling import Interrupted, evaluating
from workbench.settings import SettingsError
from workbench.training import moments, saving
from workbench.training.requests import giving_way, must_leave
from workbench.training.state import RunState


def begin(run: RunState) -> Iterator[Event]:
    """Say what will happen, and keep the base's pictures and losses while there is a base.

    Args:
        run: its trainer is assembled.
    Yields:
        Events.
    Raises:
        Interrupted: the run was asked to end before its first step.
    """
    trainer, early = run.trainer, must_leave(run)
    if run.resuming:  # killed before its first checkpoint
        if trainer.rank == 0:
            run.write_recipe()
        yield Resumed(step=0, total_steps=trainer.total_steps or 0, changes=run.changes)
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
        with giving_way(run), evaluating(trainer.family), trainer.untrained():
            trainer.stable_loss.measure_base(trainer.stable_losses)
    yield from moments.draw_samples(run, base=True)
    if must_leave(run) and not early:  # asked while it measured or sampled
        raise Interrupted


def go_on(run: RunState, loaded: checkpoint.Loaded) -> Iterator[Event]:
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
    run.step = run.saved_step = loaded.step
    run.seconds = cursor["seconds"]
    if trainer.rank == 0:  # what was changed holds for the next resume too
        run.write_recipe()
    trainer.changes = [
        f"step {event.step}: {change}"
        for event in (*read_milestones(run.folder), Resumed(step=run.step, changes=run.changes))
        if isinstance(event, Resumed)
        for change in event.changes
    ]
    yield Resumed(
        step=run.step,
        total_steps=total or 0,
        checkpoint=run.inside(loaded.path),
        set_aside=tuple(loaded.warnings),
        changes=run.changes,
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


def data_warnings(run: RunState) -> Iterator[Event]:
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


def weighting_note(run: RunState) -> Iterator[Event]:
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

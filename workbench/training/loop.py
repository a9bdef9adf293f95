"""The loop of a run: prepare, begin or go on, step until an end comes, end."""

from collections.abc import Iterator

from workbench.data.loader import Step
from workbench.records.events import Event, Finished, Preparing
from workbench.records.sampling import Interrupted
from workbench.training import leaving, moments
from workbench.training.awake import awake_s
from workbench.training.beginning import begin, go_on
from workbench.training.movement import Movement
from workbench.training.requests import in_a_hurry
from workbench.training.state import EndReason, RunState
from workbench.training.step import StepResult, train_step
from workbench.training.trainer import assemble


def events(run: RunState) -> Iterator[Event]:
    """Do a run.

    Args:
        run: its trainer is assembled here.
    Yields:
        Events, not yet recorded.
    """
    yield from prepare(run)
    trainer = run.trainer
    try:
        yield from begin(run) if run.loaded is None else go_on(run, run.loaded)
    except Interrupted:
        yield from leaving.who_asked(run)
        yield Finished(step=0, reason=run.asked or "stopped")
        return
    run.loaded = None  # what it held is in the model now
    for module in trainer.adapter.modules.values():
        module.train()
    total, steps = trainer.total_steps, trainer.loader.steps(run.step)
    # A run that was killed after its last step only has its end left to do.
    reason: EndReason | None = "complete" if total is not None and run.step >= total else None
    while reason is None:
        step, result = _take(run, steps)
        yield moments.progress(run, step.epoch, result)
        yield from moments.watch(run, result)
        requests = yield from moments.requests(run)
        reason = _ending(run, requests)
        worked = yield from moments.cadence(run, requests, last=reason is not None)
        if worked and reason is None:  # asked while it sampled or measured: no further step
            requests = yield from moments.leave(run)
            reason = _ending(run, requests)
    yield from end(run, reason)


def _take(run: RunState, steps: Iterator[Step]) -> tuple[Step, StepResult]:
    """Take one step; while weights change nothing may be saved."""
    before, run.between_steps = awake_s(), False
    if run.movement is not None and moments.measures_next(run):
        run.movement.watch()
    step = next(steps)
    result = train_step(run.trainer, step)
    run.step += 1
    run.between_steps = True
    run.step_s = awake_s() - before
    run.seconds += run.step_s
    return step, result


def _ending(run: RunState, requests: frozenset[str]) -> EndReason | None:
    """Why the run ends here, if it does."""
    total = run.trainer.total_steps
    if "time-up" in requests or (total is not None and run.step >= total):
        return "complete"
    if "terminate" in requests:
        return "terminated"
    return "stopped" if "stop" in requests else None


def prepare(run: RunState) -> Iterator[Event]:
    """Assemble the trainer, and note what the base is before anything changes it.

    Args:
        run: gets its trainer, and the prompts that its recipe left open.
    Yields:
        How far it is.
    """
    run.trainer = yield from assemble(run.recipe, folder=run.folder)
    trainer = run.trainer
    chosen = trainer.recipe != run.recipe
    run.recipe = trainer.recipe
    if trainer.rank == 0:
        if chosen:
            run.write_recipe()
        yield Preparing(stage="hashing the base", done=0, total=1)
        trainer.fixed.remember(trainer.family, trainer.adapter)
        run.movement = Movement(trainer)
    if run.recipe.trackers:
        trainer.accelerator.init_trackers(run.recipe.name)


def end(run: RunState, reason: EndReason) -> Iterator[Event]:
    """Save before sampling; a run in a hurry only keeps what is saved.

    Args:
        run: through its last step.
        reason: why it was the last.
    Yields:
        What is saved and drawn, and the end.
    """
    if reason != "terminated":
        kept = yield from moments.save_lora(run, final=reason == "complete")
        if reason == "complete" and not kept:  # told to end while the disk was full
            reason = run.asked or "stopped"
    if reason == "complete" and in_a_hurry(run):  # asked while the file was being proved
        reason = "terminated"
    if reason == "complete":
        yield from moments.draw_samples(run)
    run.trainer.accelerator.wait_for_everyone()
    run.trainer.accelerator.end_training()
    yield from leaving.who_asked(run)
    yield Finished(step=run.step, reason=reason)

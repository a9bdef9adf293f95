"""How long a run takes to leave, and who asked it to."""

from collections.abc import Iterator

from workbench.records.events import Event, Warned
from workbench.training.state import RunState

__all__ = ["leaving", "who_asked"]


def leaving(run: RunState, save_s: float) -> Iterator[Event]:
    """Say once that a step and a save take longer than the machine gives before it kills.

    Args:
        run: under way; its checkpoint is saved.
        save_s: how long that took.
    Yields:
        A warning.
    """
    grace_s = run.recipe.output.grace_s
    if grace_s is None or run.slow_to_leave or run.step_s + save_s <= grace_s:
        return
    run.slow_to_leave = True
    yield Warned(
        id="save-over-grace",
        message=f"a step took {run.step_s:.1f} s and the save after it {save_s:.1f} s, and "
        f"output.grace_s says that the machine kills {grace_s:g} s after it asks: a run that is "
        "told to end may lose what came after its latest checkpoint",
        fix="lower training.checkpoint_every, so that little is lost; a faster disk, fewer weights "
        "that learn or an 8-bit optimizer make the save shorter",
        step=run.step,
    )


def who_asked(run: RunState) -> Iterator[Event]:
    """Say who asked the run to end, where that is known.

    Args:
        run: about to end.
    Yields:
        A note.
    """
    if run.asked is not None and run.because:
        yield Warned(
            id="told-to-leave",
            message=f"the run was told to end: {run.because}",
            fix=f"`workbench resume {run.folder}` goes on from here",
            step=run.step,
            severity="note",
        )

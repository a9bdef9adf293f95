"""`check --measure`: what a run will need on this machine."""

from typing import TYPE_CHECKING

import typer

from workbench.commands.progress import StageBar
from workbench.commands.terminal import byte_size, duration, say

if TYPE_CHECKING:
    from workbench.recipe import Recipe
    from workbench.training.preflight import Preflight

ROOM = 0.93  # of the device's memory: above it, another bucket or program may be too much


def show_preflight(recipe: "Recipe", price_per_hour: float | None = None) -> None:
    """Measure a recipe and print what it will need; nothing of it stays.

    Args:
        recipe: what is to run.
        price_per_hour: of the machine; prints the cost.
    Raises:
        Exit: with code 2 where it does not fit.
        SettingsError, FileRefused: the recipe, the base or the data cannot be used.
    """
    from workbench.training.preflight import preflight

    stages = preflight(recipe)
    with StageBar() as bar:
        while True:
            try:
                event = next(stages)
            except StopIteration as end:
                found: Preflight = end.value
                break
            bar.update(event.stage, event.done, event.total)
    if not found.fits:
        _say_what_fits(found)
        raise typer.Exit(2)
    _say(found, price_per_hour)


def _say(found: "Preflight", price_per_hour: float | None) -> None:
    trial, (width, height) = found.trial, found.load.bucket
    size = found.recipe.training.batch_size
    say(f"Measured on {found.device}: batches of {size} at {width} x {height}, the heaviest")
    phases = ", ".join(f"{name} {byte_size(peak)}" for name, peak in trial.peaks.items())
    say(f"  peak memory    {byte_size(trial.peak)} of {byte_size(found.total_bytes)} ({phases})")
    if trial.peak > ROOM * found.total_bytes:
        say("  that is close to all there is: another program may tip it over", style="yellow")
    say(f"  time per step  {duration(trial.step_s) if trial.step_s >= 1 else _ms(trial.step_s)}")
    times = {name: spent for name, spent in found.times_s.items() if spent >= 0.5}
    parts = ", ".join(f"{name} {duration(spent)}" for name, spent in times.items())
    steps = f"{found.load.total_steps:,} steps, " if found.load.total_steps else ""
    say(f"  whole run      {steps}at most {duration(sum(found.times_s.values()))} ({parts})")
    disk = found.disk_bytes
    parts = ", ".join(f"{name} {byte_size(size)}" for name, size in disk.items() if size)
    needed = sum(disk.values())
    short = needed > found.free_bytes
    say(
        f"  disk           {byte_size(needed)}, {byte_size(found.free_bytes)} free ({parts})",
        style="bold red" if short else None,
    )
    if price_per_hour is not None:
        cost = found.cost(price_per_hour)
        say(f"  cost           at most {cost:.2f} at {price_per_hour:g} an hour")


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"


def _say_what_fits(found: "Preflight") -> None:
    trial = found.trial
    say(
        f"It does not fit: memory ran out in {trial.failed} at {byte_size(trial.peak)} of "
        f"{byte_size(found.total_bytes)} on {found.device}.",
        style="bold red",
    )
    if found.remedied is None:
        say("Nothing tried was enough: lower data.buckets.resolution, or take a larger GPU.")
        return
    better = found.remedied
    say(f"It fits with: {' '.join(found.remedy or ())}", style="bold green")
    say(f"  peak memory {byte_size(better.peak)}, time per step {duration(better.step_s)}")

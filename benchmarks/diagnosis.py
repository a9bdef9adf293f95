"""What the measurements for the diagnosis add to a run.

    python benchmarks/diagnosis.py [key=value ...]

Claim: remembering a sample of the weights before a measured step and comparing them after it costs
at most 2 % of a step, spread over the steps between two measurements (ten a run, beside the stable
loss). On a GPU the processor waits for the device once a measurement: its waits are counted.
Overrides go to the recipe, for example `adapter.kind=full training.precision=bfloat16`.
"""

import math
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from workbench.recipe import Recipe
from workbench.training.movement import Movement
from workbench.training.step import train_step
from workbench.training.trainer import Trainer, assemble

ROUNDS = 12
MAX_SHARE = 0.02
QUIET = ("sampling.prompts=[]", "ema.decay=0.99")


def assembled(recipe: Recipe, folder: Path) -> Trainer:
    """A trainer, without the events on the way."""
    stages = assemble(recipe, folder=folder)
    while True:
        try:
            next(stages)
        except StopIteration as end:
            return end.value


def timed(work: Callable[[], object]) -> float:
    """Seconds that some work takes, the device's included."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    before = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - before


def waits(movement: Movement) -> int:
    """How often the processor waits for the device in one measurement; 0 on a CPU."""
    if not torch.cuda.is_available():
        return 0
    movement.watch()
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        movement.measure(1)
    torch.cuda.set_sync_debug_mode("default")
    return len(caught)


def main() -> None:
    """Measure and say whether the claim holds."""
    recipe = Recipe.preset("critters").override([*QUIET, *sys.argv[1:]])
    with tempfile.TemporaryDirectory() as name:
        trainer = assembled(recipe, Path(name))
        movement = Movement(trainer)
        taken = (train_step(trainer, step) for step in trainer.loader.steps(0))
        for module in trainer.adapter.modules.values():
            module.train()
        next(taken)
        movement.watch()
        movement.measure(0)  # the base's norms are computed once a run
        steps, measured = [], []
        for _ in range(ROUNDS):
            steps.append(timed(lambda: next(taken)))
            measured.append(timed(lambda: (movement.watch(), movement.measure(1))))
        num_waits = waits(movement)
    step_s, measure_s = statistics.median(steps), statistics.median(measured)
    every = math.ceil((trainer.total_steps or 1000) / 10)
    share = measure_s / (every * step_s)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"on {device}, {torch.get_num_threads()} threads, {len(trainer.trainables)} tensors")
    print(f"step: {1000 * step_s:.1f} ms, measurement: {1000 * measure_s:.1f} ms")
    print(f"waits for the device in a measurement: {num_waits}; at most 1")
    held = share <= MAX_SHARE and num_waits <= 1
    print(
        f"one measurement in {every} steps: {share:.2%} of a step "
        f"({measure_s / step_s:.1%} of the one that it follows); at most {MAX_SHARE:.0%}: "
        f"{'holds' if held else 'FAILS'}"
    )
    sys.exit(not held)


if __name__ == "__main__":
    main()

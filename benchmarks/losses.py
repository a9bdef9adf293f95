"""What losses by timestep, weights and masks cost a step: `python benchmarks/losses.py [repeats]`.

Claim: all that is added to one forward and backward pass of a critters LoRA at batch size 4 costs
less than 1 % of it. On a GPU it queues a handful of small kernels and waits for none: the numbers
are read with the loss.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from workbench.diffusion.losses import mask_weights
from workbench.diffusion.objective import Objective
from workbench.diffusion.timesteps import sum_by_bin
from workbench.recipe import Recipe
from workbench.training.step import batch_losses
from workbench.training.trainer import Trainer, assemble

MAX_SHARE = 0.01


def assembled(folder: Path) -> Trainer:
    """The demo's trainer."""
    recipe = Recipe.preset("critters").override([f"output.folder={str(folder)!r}"])
    generator = assemble(recipe, folder=folder)
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Median time of one call, its work on the device done."""
    times = []
    for _ in range(repeats + 1):
        before = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - before)
    return statistics.median(times[1:])


def main() -> int:
    """Measure a micro-batch with and without, and compare with the claim."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    with tempfile.TemporaryDirectory() as temporary:
        trainer = assembled(Path(temporary))
        batch = trainer.batches.make(trainer.loader.step(0).micro_batches[0], step=0)
        objective: Objective = trainer.objective
        shape, device = batch.latents.shape, batch.latents.device
        predicted, target = torch.randn(2, *shape, device=device)
        timesteps = torch.randint(0, 1000, (len(batch.records),), device=device)
        shares = torch.rand(shape[0], 1, *shape[2:], device=device)

        def plain() -> None:
            (predicted - target).square().mean(dim=(1, 2, 3))

        def whole() -> None:
            mask = mask_weights(shares, unmasked_weight=0.1, normalise=True)
            found = objective(predicted, target, timesteps, mask=mask)
            sum_by_bin(found.plain, found.places)

        def step() -> None:
            batch_losses(trainer, batch).weighted.sum().backward()

        step_s = seconds(step, repeats)
        added_s = seconds(whole, 10 * repeats) - seconds(plain, 10 * repeats)
    share = added_s / step_s
    print(f"forward and backward {1e3 * step_s:.1f} ms, added {1e6 * added_s:.0f} us: {share:.2%}")
    kept = share < MAX_SHARE
    print(f"less than {MAX_SHARE:.0%}: {'kept' if kept else 'NOT KEPT'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())

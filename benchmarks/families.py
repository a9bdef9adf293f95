"""What the trainer adds to a step of each family, on its smallest base.

    python benchmarks/families.py [key=value ...]

Claims, as ratios of times taken in turn in one run: a step of the nine-channel critters costs at
most 1.10 of a bare loop over the same model, adapter, optimizer and tensors; reading what is laid
beside the latents (mask and masked picture, drawn and encoded ahead) takes at most 2 % of a step.
"""

import statistics
import sys
import tempfile
from pathlib import Path

import torch
from step import QUIET, ROUNDS, assembled, step_ratio, timed

from workbench.base_change import with_base
from workbench.data.loader import Loader
from workbench.recipe import Recipe
from workbench.training.trainer import Trainer

MAX_STEP, MAX_MASKS = 1.10, 0.02


def beside_s(trainer: Trainer) -> float:
    """Seconds that a step spends on masks and masked pictures, the median over rounds."""
    loader: Loader = trainer.loader
    micros = [m for k in range(loader.steps_per_epoch) for m in loader.step(k).micro_batches]
    shown = [
        ([(item, trainer.batches.look(item, micro.epoch)) for item in micro.items], micro.epoch)
        for micro in micros
    ]

    def every() -> None:
        for some, epoch in shown:
            trainer.batches.beside(some, epoch)

    every()
    return statistics.median(timed(every) for _ in range(ROUNDS)) / len(micros)


def main() -> None:
    """Measure, and say whether the claims hold."""
    recipe, _ = with_base(Recipe.preset("critters"), "critters-inpainting")
    recipe = recipe.override([*QUIET, *sys.argv[1:]])
    with tempfile.TemporaryDirectory() as name:
        ratio, ours_s, bare_s = step_ratio(recipe, Path(name) / "run")
        masks = beside_s(assembled(recipe, Path(name) / "other")) / ours_s
    print(f"{torch.get_num_threads()} threads; {1000 * ours_s:.1f} ms, {1000 * bare_s:.1f} ms bare")
    results = (
        ("nine channels: step / bare loop", ratio, MAX_STEP),
        ("nine channels: masks / step", masks, MAX_MASKS),
    )
    for title, value, limit in results:
        print(f"{title}: {value:.3f}; at most {limit}: {'holds' if value <= limit else 'FAILS'}")
    sys.exit(any(value > limit for _, value, limit in results))


if __name__ == "__main__":
    main()

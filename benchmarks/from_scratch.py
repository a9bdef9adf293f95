"""How a U-Net begins from nothing: first loss and curve, by initial weights and optimizer.

    python benchmarks/from_scratch.py [--steps 200] [--page curves.html] [key=value ...]
    python benchmarks/from_scratch.py --smoke 1 [--steps 100]

Claims: with a zero output layer the first loss is that of predicting zero, 1 within 0.1; small
normal weights and Lion are learning after 200 steps (below 0.7). The runs are the preset
`critters-base` with pictures drawn on the fly; the same seed, batches and noise in all of them.

`--smoke N` trains the critters as `sdxl-unet-from-scratch` trains SDXL (small normal weights, 8-bit
Lion, weights and computation in bfloat16, activations recomputed) and compares its curve with that
of Lion in float32, N seeds each. Claim: at every mark the means of 25 steps differ by at most twice
the standard error of such a mean.
"""

import argparse
import math
import statistics
import sys
import tempfile
from pathlib import Path

from workbench.plots import curves
from workbench.recipe import Recipe
from workbench.records.events import Progress
from workbench.training.run import Run

QUIET = (
    "validation.every_steps=none",
    "sampling.prompts=[]",
    "ema=none",
    "weighting.kind=constant",
    "schedule.kind=constant",
    "schedule.warmup=20",
    "training.batch_size=8",
)
LION = ("optimizer.kind=lion", "optimizer.learning_rate=1e-4", "optimizer.weight_decay=0")
BEGINNINGS = {
    "default weights, AdamW": (),
    "default weights, Lion": LION,
    "small normal .02, Lion": ("base.from_scratch.weights=small_normal", *LION),
    "small normal .02, Lion, output not zero": (
        "base.from_scratch.weights=small_normal",
        "base.from_scratch.zero_output=false",
        *LION,
    ),
    "default weights, Lion, output not zero": ("base.from_scratch.zero_output=false", *LION),
}
SMOKE = "small normal .02, Lion"  # what the next is compared with
AS_SDXL = (
    *("base.from_scratch.weights=small_normal", "base.dtype=bfloat16"),
    *("base.gradient_checkpointing=true", "adapter.keep_start=false"),
    *("training.precision=bfloat16", "training.trainable_dtype=bfloat16"),
    *("optimizer.kind=lion8bit", "optimizer.learning_rate=1e-4", "optimizer.weight_decay=0"),
)


def losses(overrides: tuple[str, ...], *, steps: int) -> list[float]:
    """Train from nothing and keep the loss of each step."""
    recipe = Recipe.preset("critters-base").override(
        [*QUIET, f"length.steps={steps}", f"training.checkpoint_every={steps}", *overrides]
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Run(recipe, Path(folder) / "run")
        return [event.loss for event in run.train() if isinstance(event, Progress)]


def noise(losses: list[float]) -> float:
    """Standard error of a mean of steps, from their scatter about a straight line."""
    slope, start = statistics.linear_regression(range(len(losses)), losses)
    squares = [(loss - start - slope * step) ** 2 for step, loss in enumerate(losses)]
    return math.sqrt(sum(squares) / (len(losses) - 2) / len(losses))


def smoke(num_seeds: int, marks: list[int], overrides: list[str]) -> int:
    """Compare SDXL's way with Lion in float32, seed by seed; 1 if they differ."""
    fails = 0
    for seed in range(num_seeds):
        seeded = (f"training.seed={seed}", f"base.from_scratch.seed={seed}", *overrides)
        one, other = (
            losses((*chosen, *seeded), steps=marks[-1]) for chosen in (BEGINNINGS[SMOKE], AS_SDXL)
        )
        print(f"seed {seed}: first {one[0]:.4f} and {other[0]:.4f}", flush=True)
        for step in marks:
            means = [statistics.mean(curve[step - 25 : step]) for curve in (one, other)]
            error = noise(one[step - 25 : step])
            holds = abs(means[1] - means[0]) <= 2 * error
            fails += not holds
            said = f"{means[0]:.4f} and {means[1]:.4f}, noise {error:.4f}"
            print(f"  to {step}: {said}: {'holds' if holds else 'FAILS'}", flush=True)
    return int(fails > 0)


def main() -> int:
    """Print a line for each beginning; 1 if a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--smoke", type=int, metavar="N", help="compare SDXL's way, N seeds")
    parser.add_argument("--page", type=Path, help="HTML file for the curves")
    parser.add_argument("overrides", nargs="*")
    chosen = parser.parse_args()
    marks = [step for step in (50, 100, 200, 400, 800) if step <= chosen.steps]
    if chosen.smoke:
        return smoke(chosen.smoke, marks, chosen.overrides)
    print(f"{'beginning':42} first " + "".join(f"{f'to {step}':>8}" for step in marks))
    seen: dict[str, list[float]] = {}
    for name, overrides in BEGINNINGS.items():
        seen[name] = losses((*overrides, *chosen.overrides), steps=chosen.steps)
        means = [statistics.mean(seen[name][step - 25 : step]) for step in marks]
        shown = "".join(f"{mean:8.3f}" for mean in means)
        print(f"{name:42} {seen[name][0]:5.3f} {shown}", flush=True)
    if chosen.page:
        smooth = {
            name: [statistics.mean(values[max(0, i - 9) : i + 1]) for i in range(len(values))]
            for name, values in seen.items()
        }
        steps = list(range(1, chosen.steps + 1))
        figure = curves.lines(steps, smooth, title="From nothing", y="loss, mean of 10 steps")
        figure.write_html(chosen.page)
    zeroed = [values[0] for name, values in seen.items() if "not zero" not in name]
    learning = statistics.mean(seen["small normal .02, Lion"][-25:])
    return 0 if all(abs(first - 1) < 0.1 for first in zeroed) and learning < 0.7 else 1


if __name__ == "__main__":
    sys.exit(main())

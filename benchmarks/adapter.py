"""What peft's layers add to a LoRA step: `python benchmarks/adapter.py [key=value ...]`.

Claim, as a ratio of times taken in turn in one run: forward and backward through a LoRA put in by
peft cost at most 1.10 of the same LoRA written out, y = W x + scale B (A x), in the same U-Net.
Overrides go to the recipe, for example `base.path=... adapter.rank=32` on a GPU. `--all` also
measures DoRA, LoHa and LoKr against that bare LoRA, for information.
"""

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench import seeds
from workbench.adapters import LoHa, LoKr, LoRA
from workbench.models import loading as models
from workbench.models.family import Condition, Family, SizeInfo
from workbench.recipe import Recipe
from workbench.training.devices import processes

ROUNDS, STEPS, BATCH_SIZE = 12, 8, 4
MAX_RATIO = 1.10
Step = Callable[[], None]


def bare_forward(layer: nn.Linear | nn.Conv2d, rank: int) -> tuple[Any, list[nn.Parameter]]:
    """A layer's forward pass with a LoRA of scale 1 written out, and the LoRA's two matrices."""
    weight = layer.weight
    ones = (1,) * (weight.dim() - 2)
    down = nn.Parameter(torch.randn(rank, *weight.shape[1:], device=weight.device) / 100)
    up = nn.Parameter(torch.zeros(len(weight), rank, *ones, device=weight.device))

    def linear(x: Tensor) -> Tensor:
        change = functional.linear(functional.linear(x, down), up)
        return functional.linear(x, weight, layer.bias) + change

    def conv(x: Tensor) -> Tensor:
        options = {"stride": layer.stride, "padding": layer.padding}
        change = functional.conv2d(functional.conv2d(x, down, **options), up)
        return functional.conv2d(x, weight, layer.bias, **options) + change

    return (conv if isinstance(layer, nn.Conv2d) else linear), [down, up]


def attach_bare(family: Family, settings: LoRA) -> list[nn.Parameter]:
    """The LoRA of some settings, written out, on the layers that peft would wrap."""
    params: list[nn.Parameter] = []
    for part, chosen in settings.chosen(family.parts, family.targets):
        family.parts[part].requires_grad_(False)
        for layer in chosen.values():
            layer.forward, own = bare_forward(layer, settings.rank)  # type: ignore[assignment]
            params += own
    return params


def attach(family: Family, settings: LoRA | LoHa | LoKr) -> list[nn.Parameter]:
    """The same through peft."""
    adapter = settings.attach(family.parts, family.targets, generator=seeds.generator(0, "adapter"))
    return list(adapter.trainables.values())


def step_of(family: Family, params: list[nn.Parameter], dtype: torch.dtype) -> Step:
    """Forward, backward and AdamW on fixed latents."""
    optimizer = torch.optim.AdamW(params, lr=1e-4, fused=True)
    side: Any = family.unet.config.sample_size
    rows, columns = (side, side) if isinstance(side, int) else side
    pixels = (columns * family.codec.side_multiple_px, rows * family.codec.side_multiple_px)
    sizes = (SizeInfo(original=pixels, crop=(0, 0), target=pixels),) * BATCH_SIZE
    latents = torch.randn(BATCH_SIZE, family.codec.channels, rows, columns, device=family.device)
    timesteps = torch.randint(0, 1000, (BATCH_SIZE,), device=family.device)
    with torch.no_grad():
        text = family.collate(family.encode_text(["a critter"] * BATCH_SIZE))
    condition = Condition(text, sizes)
    family.unet.train()

    def step() -> None:
        with torch.autocast(latents.device.type, dtype, enabled=dtype != torch.float32):
            predicted = family.denoise(latents, timesteps, condition)
        predicted.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def timed(step: Step) -> float:
    """Seconds of some steps, the device's included."""
    synchronise = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    synchronise()
    before = time.perf_counter()
    for _ in range(STEPS):
        step()
    synchronise()
    return time.perf_counter() - before


def ratio(one: Step, other: Step) -> tuple[float, float, float]:
    """Median over rounds of one against the other, taken in turn, and the seconds of each."""
    timed(one), timed(other)
    pairs = [(timed(one), timed(other)) for _ in range(ROUNDS)]
    seconds = (statistics.median(side) / STEPS for side in zip(*pairs, strict=True))
    return statistics.median(a / b for a, b in pairs), *seconds


def main() -> int:
    """Measure, and say whether the claim holds."""
    arguments = [x for x in sys.argv[1:] if x != "--all"]
    recipe = Recipe.preset("critters").override(["adapter.text_encoder=false", *arguments])
    dtype, device = getattr(torch, recipe.training.precision), processes().device
    settings = recipe.adapter
    assert isinstance(settings, LoRA), "the claim is about a LoRA"
    bare = models.load(recipe.base, device=device)
    bare_step = step_of(bare, attach_bare(bare, settings), dtype)
    shared = {"groups": settings.groups}
    members = {"LoRA": settings}
    if "--all" in sys.argv:
        members |= {
            "DoRA": LoRA(rank=settings.rank, dora=True, **shared),
            "LoHa": LoHa(**shared),
            "LoKr": LoKr(**shared),
        }
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"on {name}, {torch.get_num_threads()} threads, {recipe.training.precision}")
    results = {}
    for title, member in members.items():
        family = models.load(recipe.base, device=device)
        step = step_of(family, attach(family, member), dtype)
        results[title], ours_s, bare_s = ratio(step, bare_step)
        print(
            f"{title}: {1000 * ours_s:.1f} ms a step, bare LoRA {1000 * bare_s:.1f} ms, "
            f"ratio {results[title]:.3f}"
        )
    kept = results["LoRA"] <= MAX_RATIO
    print(f"LoRA through peft at most {MAX_RATIO}: {'holds' if kept else 'FAILS'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())

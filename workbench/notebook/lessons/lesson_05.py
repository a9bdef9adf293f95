"""Lesson 05: adapters; what a layer with a LoRA computes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from workbench.adapters.lowrank import LowRank
from workbench.notebook.checking import Exercise, Property
from workbench.notebook.lessons import Lesson

OUTPUTS, INPUTS, RANK, SAMPLES = 7, 5, 3, 4


def _given(alpha: float = 3.0) -> dict[str, Any]:
    """A layer, a LoRA and some inputs; all sides differ, so that a wrong transpose is seen."""
    own = torch.Generator().manual_seed(5)
    return {
        "x": torch.randn(SAMPLES, INPUTS, generator=own),
        "weight": torch.randn(OUTPUTS, INPUTS, generator=own),
        "down": torch.randn(RANK, INPUTS, generator=own),
        "up": torch.randn(OUTPUTS, RANK, generator=own),
        "alpha": alpha,
    }


def _plain(given: Mapping[str, Any]) -> Tensor:
    return given["x"] @ given["weight"].T


def _off(found: Tensor, wanted: Tensor) -> str | None:
    worst = float((found - wanted).abs().max())
    return None if worst < 1e-4 else f"off by up to {worst:.2g}"


def _shape(answer: Any, facts: Mapping[str, Any]) -> str | None:
    found = answer(**_given())
    if not isinstance(found, Tensor):
        return f"{type(found).__name__}"
    return None if found.shape == (SAMPLES, OUTPUTS) else f"{tuple(found.shape)}"


def _zero_is_base(answer: Any, facts: Mapping[str, Any]) -> str | None:
    given = _given()
    given["up"] = torch.zeros_like(given["up"])
    return _off(answer(**given), _plain(given))


def _alpha_scales(answer: Any, facts: Mapping[str, Any]) -> str | None:
    one, two = _given(3.0), _given(6.0)
    change, twice = answer(**one) - _plain(one), answer(**two) - _plain(two)
    return _off(twice, 2 * change)


def _is_merged(answer: Any, facts: Mapping[str, Any]) -> str | None:
    given = _given(1.5)
    change = LowRank(given["down"], given["up"], given["alpha"]).delta()
    return _off(answer(**given), given["x"] @ (given["weight"] + change).T)


class _Made(TorchDispatchMode):
    """Notes every tensor of as many numbers as the weight that is computed; views are not.

    Args:
        given: tensors that were there before.
    """

    def __init__(self, given: Mapping[str, Any]):
        super().__init__()
        self.there = {x.untyped_storage().data_ptr() for x in given.values() if _is_tensor(x)}
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in filter(_is_tensor, tree_leaves(out)):
            new = one.untyped_storage().data_ptr() not in self.there
            if new and one.numel() >= OUTPUTS * INPUTS:
                self.shapes.append(tuple(one.shape))
        return out


def _is_tensor(one: Any) -> bool:
    return isinstance(one, Tensor)


def _builds_no_change(answer: Any, facts: Mapping[str, Any]) -> str | None:
    given = _given()
    with _Made(given) as made:
        answer(**given)
    return f"a table of {made.shapes[0]} numbers is computed" if made.shapes else None


LESSON = Lesson(
    number="05",
    title="What is a LoRA?",
    file="05_adapters.ipynb",
    cells={
        "run": "# Train",
        "spectra": "# How many directions does it need",
        "found": "# The layers",
        "wb": "# Train",
        "recipe": "# Train",
        "runs": "# Train the family",
        "likeness": "# The family compared",
        "measure": "# The family compared",
        "pair": "# The refusal",
        "forward": "# Your forward",
        "critters": "# The text encoder's rate",
        "texts": "# The text encoder's rate",
        "follows": "# What the rate does to words",
    },
    exercises=(
        Exercise(
            name="05.forward",
            question="What does a layer with a LoRA compute?",
            properties=(
                Property(
                    "it returns one row of outputs for each input",
                    _shape,
                    "a layer computes x @ weight.T: (N, in) times (in, out)",
                ),
                Property(
                    "with B at zero it is the base's layer",
                    _zero_is_base,
                    "the base's own output is there in any case; the LoRA is added to it",
                ),
                Property(
                    "twice the alpha, twice the change",
                    _alpha_scales,
                    "alpha multiplies what the LoRA adds, and not what the base gives",
                ),
                Property(
                    "it is what the merged layer x (W + dW) gives",
                    _is_merged,
                    "first through A, then through B, then times alpha / rank; the rank is how "
                    "many rows A has",
                ),
                Property(
                    "nothing as large as W is computed on the way",
                    _builds_no_change,
                    "A and B are not multiplied with each other: x @ down.T has only `rank` "
                    "columns, and goes through B from there",
                ),
            ),
        ),
    ),
)

"""Saved weights put into parameters, and parameters held at another precision for a while."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def rounded_weights(params: Mapping[str, nn.Parameter], dtype: torch.dtype) -> Iterator[None]:
    """Hold parameters at another precision for a while.

    Args:
        params: name to parameter; their own type stays.
        dtype: whose precision they have meanwhile.
    """
    kept = {name: p.data for name, p in params.items()}
    try:
        for p in params.values():
            p.data = p.data.to(dtype).to(p.dtype)
        yield
    finally:
        for name, p in params.items():
            p.data = kept[name]


def take(params: Mapping[str, nn.Parameter], state: Mapping[str, Tensor]) -> None:
    """Copy saved weights into parameters: all fit, or none is taken.

    Args:
        params: name to parameter.
        state: name to saved weight.
    Raises:
        ValueError: names or shapes differ.
    """
    check_fit(params, state)
    with torch.no_grad():
        for name, p in params.items():
            p.copy_(state[name])


def check_fit(params: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Compare names and shapes.

    Args:
        params: name to parameter.
        state: name to saved weight.
    Raises:
        ValueError: they differ; the places are listed.
    """
    wanted = {name: tuple(p.shape) for name, p in params.items()}
    saved = {name: tuple(t.shape) for name, t in state.items()}
    if wanted != saved:
        wrong = sorted(set(wanted.items()) ^ set(saved.items()))
        raise ValueError(
            f"the saved weights do not fit this adapter in {len(wrong)} places: "
            + ", ".join(f"{name} {list(shape)}" for name, shape in wrong[:8])
        )

"""Other names of a denoiser's modules: those of the code that its model was first written in."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from workbench.layouts.unet import original_path

# Z-Image and Lumina: diffusers' path, and that of the model's own code.
_RENAMED = (
    (re.compile(r"\.attention\.to_out\.0$"), ".attention.out"),
    (re.compile(r"^all_x_embedder\.2-1$"), "x_embedder"),
    (re.compile(r"^all_final_layer\.2-1\."), "final_layer."),
)
_JOINED = re.compile(r"^(.+\.attention)\.to_([qkv])$")


class Share(NamedTuple):
    """A module that the original code has joined with others, row below row.

    Attributes:
        path: of the joined module.
        index: which part of it, from the top.
        count: how many are joined.
    """

    path: str
    index: int
    count: int


def other_paths(path: str, config: Mapping[str, Any]) -> Iterator[str]:
    """The names that a module has elsewhere.

    Args:
        path: in diffusers.
        config: of the model.
    Yields:
        Paths in the original code.
    """
    if "up_block_types" in config:
        try:
            yield original_path(path, config)
        except ValueError:
            return  # a module that such U-Nets do not have
    for pattern, other in _RENAMED:
        if pattern.search(path):
            yield pattern.sub(other, path)


def share_of(path: str) -> Share | None:
    """Whether the original code has a module joined with others.

    Args:
        path: in diffusers.
    Returns:
        Which part of which; None where it stands alone.
    """
    match = _JOINED.match(path)
    return Share(f"{match[1]}.qkv", "qkv".index(match[2]), 3) if match else None

"""Noises as the tab looks at them: measured once, on fewer draws than the command's page."""

import contextlib
import functools
import io
import threading
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PIL import Image

from workbench.app.desk import loading

if TYPE_CHECKING:
    from workbench.evaluation.noise import Scene, Study

SAMPLES = 32  # fields drawn of each noise; the page of `workbench noise` draws 128
PICTURE_PX = 96  # of the picture under noise: decoding four of 128 px takes 340 ms on one core
_measuring = threading.Lock()


def studied(noise: Any, number: int) -> "Study":
    """Measure a noise, unless that was done.

    Args:
        noise: what to draw.
        number: of its column, from 0; it tells two columns with one noise apart.
    Returns:
        The study, named by column and noise.
    """
    with _measuring, one_thread():  # several handlers ask at once; one of them shall draw
        return _studied(noise, number)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute what is small on one core: beside a training, threads wait for each other longest."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@functools.lru_cache(maxsize=32)
def _studied(noise: Any, number: int) -> "Study":
    one = replace(_drawn(noise), name=f"{number + 1}: {named(noise)}")
    for measured in (one.summary, one.radial, one.phase, one.correlation):
        assert measured is not None  # kept by the study: asked for here, on one thread
    return one


@functools.lru_cache(maxsize=16)
def _drawn(noise: Any) -> "Study":
    from workbench.evaluation.noise import study

    return study(named(noise), noise, num_samples=SAMPLES)


@functools.cache
def known() -> dict[str, Any]:
    """Noises that were published, by name.

    Returns:
        Name to noise.
    """
    from workbench.diffusion.noise.reference import REFERENCES

    return {reference.name: reference.noise for reference in REFERENCES}


def named(noise: Any) -> str:
    """What a noise is called in a legend.

    Args:
        noise: any.
    Returns:
        The name that it was published under, else its kind.
    """
    return next((name for name, one in known().items() if one == noise), noise.kind)


def scene(base: Any) -> "Scene":
    """A picture and the autoencoder that shows it under noise; the latest one is kept.

    Args:
        base: the base model, as `base` or `base.path` in a recipe.
    Returns:
        The scene.
    Raises:
        SettingsError, FileRefused: there is no such base.
    """
    with loading():
        return _scene(base)


@functools.lru_cache(maxsize=1)
def _scene(base: Any) -> "Scene":
    from workbench.evaluation.noise import open_scene

    return open_scene(base, side_px=PICTURE_PX)


def uri(image: Image.Image) -> str:
    """A small picture as text, every pixel kept.

    Args:
        image: RGB.
    Returns:
        A `data:` URI.
    """
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + b64encode(buffer.getvalue()).decode()

"""Samples as files: PNG, named by prompt and seed, with both inside."""

import io
import re
from collections.abc import Sequence
from pathlib import Path

from PIL import PngImagePlugin

from workbench import store
from workbench.records.sampling import Picture


def picture_path(folder: Path, *, number: int, prompt: str, seed: int) -> Path:
    """Name a picture so that it sorts by prompt and never collides with another.

    Args:
        folder: where it lies.
        number: the prompt's number in the recipe, from 1.
        prompt: shortened to its first letters and digits.
        seed: its seed.
    Returns:
        For example `folder/01-critter-blue-body-0.png`.
    """
    words = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:40].strip("-")
    return folder / ("-".join(filter(None, [f"{number:02d}", words, str(seed)])) + ".png")


def save_pictures(pictures: Sequence[Picture], folder: Path) -> list[Path]:
    """Write pictures whole or not at all, each with its prompt and seed inside.

    Args:
        pictures: as `sample` returns them.
        folder: for example `samples/step-000200`; made if absent.
    Returns:
        The files, in the order of the pictures.
    """
    numbers = {prompt: i for i, prompt in enumerate(dict.fromkeys(p.prompt for p in pictures), 1)}
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for one in pictures:
        number = numbers[one.prompt]
        path = picture_path(folder, number=number, prompt=one.prompt, seed=one.seed)
        store.write_bytes(path, encoded(one))
        paths.append(path)
    return paths


def encoded(picture: Picture) -> bytes:
    """Encode a picture as PNG.

    Args:
        picture: with what it was made from.
    Returns:
        The file's bytes, prompt and seed as text in it.
    """
    notes = PngImagePlugin.PngInfo()
    notes.add_itxt("prompt", picture.prompt)
    notes.add_text("seed", str(picture.seed))
    buffer = io.BytesIO()
    picture.image.save(buffer, "PNG", pnginfo=notes, compress_level=3)
    return buffer.getvalue()

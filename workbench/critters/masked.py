"""Ordinary critters under masks, to be made anew where they stand by a base that fills in."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw

from workbench import store
from workbench.critters.attributes import tags
from workbench.critters.concepts import SCENE_TAGS
from workbench.critters.draw import draw, plan

__all__ = ["MASKED", "masked_pictures", "without_surroundings", "write_masked"]

MASKED, NUM_MASKED = "masked", 8
_MASKED_WORLD = 2000
_MARGIN_PX = 12  # around a creature: another one may have longer ears


def masked_pictures(
    count: int = NUM_MASKED, *, seed: int = 0, sizes: Sequence[tuple[int, int]] = ((128, 128),)
) -> list[tuple[Image.Image, Image.Image, str]]:
    """Draw critters to be made anew where they stand, for a base that fills in.

    Args:
        count: how many.
        seed: which set of them.
        sizes: (width, height) pairs to choose from, multiples of 16.
    Returns:
        Pictures, masks that are white around the creature, and captions.
    """
    found = []
    for index in range(count):
        attributes, width, height = plan(_MASKED_WORLD + seed, index, sizes)
        image = draw(attributes, width, height)
        empty = draw(attributes, width, height, parts=())
        left, top, right, bottom = ImageChops.difference(image, empty).getbbox() or (0, 0, 1, 1)
        box = (left - _MARGIN_PX, top - _MARGIN_PX, right + _MARGIN_PX, bottom + _MARGIN_PX)
        mask = Image.new("L", image.size, 0)
        ImageDraw.Draw(mask).rounded_rectangle(box, radius=2 * _MARGIN_PX, fill=255)
        found.append((image, mask, ", ".join(tags(attributes))))
    return found


def write_masked(folder: str | Path) -> list[Path]:
    """Write `masked_pictures` as a folder: NAME.png, NAME-mask.png and NAME.txt.

    Args:
        folder: made if it is not there; files of the same names are replaced.
    Returns:
        Paths of pictures and masks.
    """
    paths = []
    for index, (image, mask, text) in enumerate(masked_pictures()):
        path = Path(folder) / f"{MASKED}-{index:02d}.png"
        cover = path.with_name(f"{path.stem}-mask.png")
        store.write_bytes(path, store.png(image))
        store.write_bytes(cover, store.png(mask))
        store.write_text(path.with_suffix(".txt"), text + "\n")
        paths += [path, cover]
    return paths


def without_surroundings(prompt: str) -> str:
    """Take out of a prompt what a base for inpainting sees around the mask.

    Args:
        prompt: of tags.
    Returns:
        The others: what is to be drawn.
    """
    kept = [x for x in prompt.split(", ") if x not in SCENE_TAGS and not x.endswith("background")]
    return ", ".join(kept)

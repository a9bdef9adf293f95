"""The first batches of a run on one page: what the model will be shown, before it is."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from workbench import store
from workbench.data.augment import Look
from workbench.evaluation.page import asset, data_uri, template
from workbench.process import THOUSAND
from workbench.training.preview import Preview, pictures, previews

if TYPE_CHECKING:
    from torch import Tensor

    from workbench.recipe import Recipe
    from workbench.training.trainer import Trainer

__all__ = ["Card", "Sheet", "first_batches", "gather", "render", "write"]

MAX_SIDE_PX = 384


@dataclass(frozen=True, slots=True)
class Card:
    """One sample of a batch.

    Attributes:
        name: of the picture.
        picture: as the autoencoder gives it back.
        caption: what the text encoder reads.
        crop: in words: its size, and where it was cut from.
        corner: left and top of the crop in px of the resized picture.
        scale: resized over original size.
        marks: what else was done to it, such as "flipped".
        timestep: of the noise in thousandths of the way to it, 0 to 999.
        noise: share of noise in the noised latents' standard deviation, 0 to 1.
        weight: how much its loss counts.
        windows: the caption in the parts that are encoded by themselves; see `CaptionTokens`.
        tokens: of the caption.
        max_tokens: beyond so many nothing is read; None without a limit.
        masked: share of the picture that is learnt; None where all of it is.
        filled: share of it that a base for inpainting makes anew, hatched in `picture`.
    """

    name: str
    picture: Image.Image
    caption: str
    crop: str
    corner: tuple[int, int]
    scale: float
    marks: tuple[str, ...]
    timestep: int
    noise: float
    weight: float
    windows: tuple[str, ...]
    tokens: int
    max_tokens: int | None = None
    masked: float | None = None
    filled: float | None = None

    @property
    def cut(self) -> bool:
        """Whether the text encoder does not read the end of the caption."""
        return self.max_tokens is not None and self.tokens > self.max_tokens


@dataclass(frozen=True, slots=True)
class Sheet:
    """One micro-batch.

    Attributes:
        step: optimizer step, counted from 1 as progress is.
        index: micro-batch of the run, counted from 1.
        epoch: counted from 1.
        bucket: width and height in px.
        cards: its samples.
    """

    step: int
    index: int
    epoch: int
    bucket: tuple[int, int]
    cards: tuple[Card, ...]


def gather(trainer: "Trainer", count: int) -> Iterator[Sheet]:
    """Make the first micro-batches of a run and look at them.

    Args:
        trainer: assembled, at step 0; nothing of it changes.
        count: micro-batches, >= 1.
    Yields:
        One sheet each.
    """
    for preview in previews(trainer, count):
        micro_batch = preview.micro_batch
        yield Sheet(
            step=preview.step + 1,
            index=micro_batch.index + 1,
            epoch=micro_batch.epoch + 1,
            bucket=micro_batch.bucket,
            cards=tuple(_cards(trainer, preview)),
        )


def first_batches(recipe: "Recipe", count: int) -> list[Sheet]:
    """Make the first micro-batches of a run that is not begun, and keep nothing of it.

    Args:
        recipe: what would be trained.
        count: micro-batches, >= 1.
    Returns:
        One sheet each.
    Raises:
        SettingsError, FileRefused: the recipe, the base or the data cannot be used.
    """
    from workbench.training.trainer import assemble

    with tempfile.TemporaryDirectory() as folder:
        stages = assemble(recipe, folder=Path(folder))
        while True:
            try:
                next(stages)
            except StopIteration as end:
                return list(gather(end.value, count))


def _cards(trainer: "Trainer", preview: Preview) -> Iterator[Card]:
    batch, epoch = preview.batch, preview.micro_batch.epoch
    process, level = trainer.family.process, preview.asked.level
    masks = [None] * len(batch.records) if batch.mask is None else _coverages(trainer, preview)
    covers: Sequence[Tensor | None] = [None] * len(batch.records)
    if batch.beside is not None:
        covers = list(batch.beside[:, :1].cpu())
    for item, pixels, caption, place, snr, weight, masked, cover in zip(
        preview.micro_batch.items,
        pictures(trainer, preview),
        batch.captions,
        process.place(level).tolist(),
        process.snr(level).tolist(),
        preview.weights.tolist(),
        masks,
        covers,
        strict=True,
    ):
        look = trainer.batches.look(item, epoch)
        yield Card(
            name=trainer.dataset.record(item.record, epoch=epoch).name,
            picture=_image(pixels if cover is None else _hatched(pixels, cover)),
            caption=caption,
            crop=_crop(look),
            corner=look.placement.crop[:2],
            scale=look.placement.scale,
            marks=(*(["flipped"] if item.flipped else []), *_colours(look)),
            timestep=int(place * THOUSAND),
            noise=(1 / (1 + snr)) ** 0.5,
            weight=weight,
            windows=tuple(trainer.family.windows(caption)),
            tokens=trainer.family.count_tokens(caption),
            max_tokens=trainer.family.max_tokens,
            masked=masked,
            filled=None if cover is None else float(cover.mean()),
        )


def _coverages(trainer: "Trainer", preview: Preview) -> list[float | None]:
    """Share of each picture that is learnt."""
    found = []
    for item in preview.micro_batch.items:
        placement = trainer.batches.look(item, preview.micro_batch.epoch).placement
        mask = trainer.dataset.mask(item.record, flipped=item.flipped, placement=placement)
        found.append(None if mask is None else float(mask.mean()))
    return found


def _hatched(pixels: "Tensor", cover: "Tensor") -> "Tensor":
    """Show what a base for inpainting does not see of a picture: under stripes.

    Args:
        pixels: (3, H, W) in [0, 1].
        cover: (1, h, w): 1 where the picture is made anew.
    Returns:
        (3, H, W).
    """
    from torch import arange
    from torch.nn.functional import interpolate

    height, width = pixels.shape[-2:]
    hidden = interpolate(cover[None], size=(height, width))[0] >= 0.5
    slanted = arange(height)[:, None] + arange(width)[None, :]
    stripes = (slanted // max(2, min(height, width) // 32) % 2 == 0).float() * 0.5 + 0.25
    return pixels.where(~hidden, 0.35 * pixels + 0.65 * stripes)


def _image(pixels: "Tensor") -> Image.Image:
    array = (pixels * 255).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(array)


def _crop(look: Look) -> str:
    placement = look.placement
    left, top, width, height = placement.crop
    across, down = placement.resized
    where = f" at {left}, {top} of {across} x {down}" if (width, height) != (across, down) else ""
    return f"{width} x {height}{where}, scaled {placement.scale:.2f} times"


def _colours(look: Look) -> Sequence[str]:
    if not look.recoloured:
        return ()
    return (f"hue {look.hue:+.0f}°", f"saturation {look.saturation:.2f}", f"gamma {look.gamma:.2f}")


def write(sheets: Sequence[Sheet], path: str | Path, *, name: str, said: str = "") -> Path:
    """Write the page, whole or not at all.

    Args:
        sheets: from `gather`.
        path: for example `mochi-batches.html`.
        name: of the run.
        said: how captions become embeddings.
    Returns:
        The path.
    """
    return store.write_text(path, render(sheets, name=name, said=said))


def render(sheets: Sequence[Sheet], *, name: str, said: str = "") -> str:
    """Make the page.

    Args:
        sheets: from `gather`; every text in them is escaped.
        name: of the run.
        said: how captions become embeddings.
    Returns:
        HTML that needs nothing beside itself.
    """
    from markupsafe import Markup

    return template("batches.html.j2").render(
        sheets=sheets,
        name=name,
        said=said,
        css=Markup(asset("batches.css")),
        uri=lambda image: data_uri(image, MAX_SIDE_PX),
    )

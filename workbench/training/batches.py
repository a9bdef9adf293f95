"""From the loader's plan to tensors: latents, text and sizes of one micro-batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from workbench import seeds
from workbench.data.augment import Look
from workbench.data.buckets import Placement
from workbench.data.cache import LatentCache, TextCache
from workbench.data.dataset import Dataset
from workbench.data.fills import FillCache, Fills
from workbench.data.loader import Item, MicroBatch
from workbench.diffusion.losses import mask_weights
from workbench.models.codec import Moments
from workbench.models.family import Condition, Family, SizeInfo
from workbench.recipe import Recipe
from workbench.training.preserving import drawn_rows, uncalled


@dataclass(frozen=True, slots=True)
class Batch:
    """One micro-batch, ready for the model.

    Attributes:
        index: micro-batch index, counted over the whole run.
        records: index of each sample's image in the dataset, (B,).
        latents: clean latents (B, C, h, w), float32.
        captions: what each sample's text encoder reads, (B,).
        text: the collated embeddings; None while the model encodes the captions itself.
        sizes: original size, crop and target of each sample, (B,).
        beside: mask and masked picture of a base that fills in, (B, C', h, w); None otherwise.
        mask: how much each place counts (B, 1, h, w); None where all count alike.
        weights: how much each sample counts (B,), lambda for a prior; None where all count alike.
        preserved: rows without their trigger, where the base's answer is the target.
    """

    index: int
    records: tuple[int, ...]
    latents: Tensor
    captions: tuple[str, ...]
    text: Mapping[str, Tensor] | None
    sizes: tuple[SizeInfo, ...]
    beside: Tensor | None = None
    mask: Tensor | None = None
    weights: Tensor | None = None
    preserved: tuple[int, ...] = ()


class Batches:
    """Makes batches from what is cached, and live from what is not.

    Args:
        recipe: the run's settings.
        dataset: images and captions.
        family: the loaded base.
        latents: cached latents; None encodes the pixels at every step.
        texts: cached text; None, or a caption that it lacks, encodes them at every step.
        trains_text: the text encoder learns, so the model itself must encode.
        rank: process index.

    Attributes:
        said: how captions become embeddings in this run, in a sentence.
        masked: cached masked pictures of a base that fills in; None encodes them at every step.
    """

    said = ""
    masked: FillCache | None = None

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        family: Family,
        *,
        latents: LatentCache | None,
        texts: TextCache | None,
        trains_text: bool,
        rank: int = 0,
    ):
        self.recipe, self.dataset, self.family = recipe, dataset, family
        self.latents, self.texts, self.trains_text = latents, texts, trains_text
        self.rank, self.seed = rank, recipe.training.seed
        self.fills = Fills(dataset, seed=self.seed)

    def make(self, micro_batch: MicroBatch, *, step: int) -> Batch:
        """Gather one micro-batch.

        Args:
            micro_batch: which images, in which bucket, flipped or not.
            step: optimizer steps done so far, for the caption's warm-up.
        Returns:
            The batch on the model's device.
        """
        items, epoch = micro_batch.items, micro_batch.epoch
        captions = [
            self.dataset.caption(
                item.record, seed=self.seed, epoch=epoch, repeat=item.repeat, step=step
            )
            for item in items
        ]
        preserved = drawn_rows(self.recipe, self.dataset, items, epoch=epoch)
        for row in preserved:
            captions[row] = uncalled(self.dataset, items[row].record, captions[row])
        looks = tuple(self.look(item, epoch) for item in items)
        records = tuple(item.record for item in items)
        latents = self._latents(micro_batch, looks)
        shown = list(zip(items, looks, strict=True))
        weights = self.dataset.loss_weights(records)
        return Batch(
            index=micro_batch.index,
            records=records,
            latents=latents,
            captions=tuple(captions),
            text=None if self.trains_text else self.encode(captions),
            sizes=tuple(
                self.size(item.record, item.flipped, placement=look.placement)
                for item, look in zip(items, looks, strict=True)
            ),
            beside=self.beside(shown, epoch),
            mask=self._mask(items, looks, latents),
            weights=None if weights is None else _moved(torch.tensor(weights), latents),
            preserved=preserved,
        )

    def look(self, item: Item, epoch: int) -> Look:
        """Crop and colours of one showing; a cached latent has those of its picture alone.

        Args:
            item: which picture, shown for which time in this epoch.
            epoch: counted from 0.
        Returns:
            The look.
        """
        if self.latents is not None:
            return Look(self.dataset.placements[item.record])
        return self.dataset.look(item.record, seed=self.seed, epoch=epoch, repeat=item.repeat)

    def plain_caption(self, record: int) -> str:
        """The caption of one image with nothing dropped or shuffled: what validation reads.

        Args:
            record: image.
        Returns:
            Trigger and caption.
        """
        return self.dataset.plain_caption(record)

    def size(
        self, record: int, flipped: bool = False, *, placement: Placement | None = None
    ) -> SizeInfo:
        """The real size, crop and target of one image: SDXL is conditioned on them.

        Args:
            record: image.
            flipped: mirrors the crop.
            placement: crop of this showing; the image's own when left out.
        Returns:
            Sizes in px.
        """
        image, placement = (
            self.dataset.records[record],
            placement or self.dataset.placements[record],
        )
        return SizeInfo(
            original=(image.width, image.height),
            crop=placement.crop_corner(flipped=flipped),
            target=placement.bucket,
        )

    @torch.no_grad()
    def encode(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """Text embeddings of some captions, from the cache where all of them are.

        Those of a caption warm-up are not: they are encoded here, as all are without a cache.

        Args:
            captions: (B,).
        Returns:
            What `Family.collate` makes of them, on the model's device.
        """
        if self.texts is None or not all(caption in self.texts for caption in captions):
            return self.family.collate(self.family.encode_text(list(captions)))
        return self.family.collate([self.texts.read(caption) for caption in captions])

    def clean_latents(self, record: int) -> Tensor:
        """The mean latents of one unflipped image: what validation looks at.

        Args:
            record: image.
        Returns:
            (1, C, h, w), float32.
        """
        return self._moments([(Item(record), Look(self.dataset.placements[record]))])[0]

    def condition(self, record: int) -> Condition:
        """What validation tells the model of one unflipped image: plain caption, first mask.

        Args:
            record: image.
        Returns:
            A condition of one sample.
        """
        look = Look(self.dataset.placements[record])
        return Condition(
            self.encode([self.plain_caption(record)]),
            (self.size(record),),
            self.beside([(Item(record), look)], None),
        )

    @torch.no_grad()
    def beside(self, shown: Sequence[tuple[Item, Look]], epoch: int | None) -> Tensor | None:
        """Mask and masked picture of each sample, for a base that fills in.

        Args:
            shown: pictures with their crops.
            epoch: counted from 0; None takes each picture's first mask, which validation looks at.
        Returns:
            (B, C', h, w); None for any other base.
        """
        if not self.family.inpaints:
            return None
        numbers = [self._fill_number(item, epoch) for item, _ in shown]
        if self.masked is not None:
            rows = [
                self.masked.read(item.record, number, flipped=item.flipped)
                for (item, _), number in zip(shown, numbers, strict=True)
            ]
            return torch.stack(rows).to(self.family.device)
        pixels, masks = [], []
        for (item, look), number in zip(shown, numbers, strict=True):
            record, flipped = item.record, item.flipped
            pixels.append(self.dataset.pixels(record, flipped=flipped, epoch=epoch or 0, look=look))
            placement = look.placement
            masks.append(self.fills.mask(record, number, flipped=flipped, placement=placement))
        return self.family.beside(torch.stack(pixels), torch.stack(masks))

    def _fill_number(self, item: Item, epoch: int | None) -> int:
        """Which of its masks a picture has in a showing."""
        if epoch is None:
            return 0
        showing = epoch * self.dataset.repeats[item.record] + item.repeat
        return showing % self.fills.count(item.record)

    def _mask(self, items: Sequence[Item], looks: Sequence[Look], latents: Tensor) -> Tensor | None:
        """Weights of the places of a batch, each cut and mirrored as its picture is."""
        found = [
            self.dataset.mask(item.record, flipped=item.flipped, placement=look.placement)
            for item, look in zip(items, looks, strict=True)
        ]
        if all(mask is None for mask in found):
            return None
        height, width = latents.shape[-2:]
        whole = torch.ones(1, height, width)
        shares = [  # the masks have the latents' size already, but where 8 px are no latent
            whole if mask is None else functional.adaptive_avg_pool2d(mask[None], (height, width))
            for mask in found
        ]
        masks = self.recipe.data.masks
        return mask_weights(
            _moved(torch.stack(shares), latents),
            unmasked_weight=masks.unmasked_weight,
            normalise=masks.normalise,
        )

    def _latents(self, micro_batch: MicroBatch, looks: Sequence[Look]) -> Tensor:
        shown = list(zip(micro_batch.items, looks, strict=True))
        mean, deviation = self._moments(shown, micro_batch.epoch)
        if deviation is None or self.recipe.training.posterior == "mean":
            return mean
        generator = seeds.generator(self.seed, "posterior", micro_batch.index, self.rank)
        draw = torch.randn(mean.shape, generator=generator)
        return mean + deviation * draw.to(mean.device)

    @torch.no_grad()
    def _moments(self, shown: Sequence[tuple[Item, Look]], epoch: int = 0) -> Moments:
        """Mean and deviation of the encoder's answer, both (B, C, h, w)."""
        device = self.family.device
        if self.latents is None:
            pixels = [
                self.dataset.pixels(item.record, flipped=item.flipped, epoch=epoch, look=look)
                for item, look in shown
            ]
            return self.family.codec.encode(torch.stack(pixels).to(device))
        moments = [self.latents.read(item.record, flipped=item.flipped) for item, _ in shown]
        mean = torch.stack([mean for mean, _ in moments]).to(device)
        deviations = [deviation for _, deviation in moments if deviation is not None]
        return Moments(mean, torch.stack(deviations).to(device) if deviations else None)


def _moved(values: Tensor, like: Tensor) -> Tensor:
    """Values on another tensor's device, without waiting for what it still has to do."""
    return values.to(like.device, non_blocking=True)

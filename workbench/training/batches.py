"""From the loader's plan to tensors: latents, text and sizes of one micro-batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench import seeds
from workbench.data.cache import LatentCache, TextCache
from workbench.data.dataset import Dataset
from workbench.data.loader import MicroBatch
from workbench.models.family import Family, SizeInfo
from workbench.recipe import Recipe

Text = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Batch:
    """One micro-batch, ready for the model.

    Attributes:
        index: micro-batch index, counted over the whole run.
        records: index of each sample's image in the dataset, (B,).
        latents: clean latents (B, C, h, w), float32.
        captions: what each sample's text encoder reads, (B,).
        text: the text encoder's output; None while the model encodes the captions itself.
        sizes: original size, crop and target of each sample, (B,).
    """

    index: int
    records: tuple[int, ...]
    latents: Tensor
    captions: tuple[str, ...]
    text: Text | None
    sizes: tuple[SizeInfo, ...]


class Batches:
    """Makes batches from what is cached, and live from what is not.

    Args:
        recipe: the run's settings.
        dataset: images and captions.
        family: the loaded base.
        latents: cached latents; None encodes the pixels at every step.
        texts: cached text; None encodes the captions at every step.
        trains_text: the text encoder learns, so the model itself must encode.
        rank: process index.
    """

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

    def make(self, micro_batch: MicroBatch, *, step: int) -> Batch:
        """Gather one micro-batch.

        Args:
            micro_batch: which images, in which bucket, flipped or not.
            step: optimizer steps done so far, for the caption's warm-up.
        Returns:
            The batch on the model's device.
        """
        items = micro_batch.items
        records = tuple(item.record for item in items)
        flips = tuple(item.flipped for item in items)
        captions = tuple(
            self.dataset.caption(
                item.record,
                seed=self.seed,
                epoch=micro_batch.epoch,
                repeat=item.repeat,
                step=step,
            )
            for item in items
        )
        return Batch(
            index=micro_batch.index,
            records=records,
            latents=self._latents(records, flips, micro_batch),
            captions=captions,
            text=None if self.trains_text else self.encode(captions),
            sizes=tuple(
                self.size(record, flipped) for record, flipped in zip(records, flips, strict=True)
            ),
        )

    def plain_caption(self, record: int) -> str:
        """The caption of one image with nothing dropped or shuffled: what validation reads.

        Args:
            record: image.
        Returns:
            Trigger and caption.
        """
        return self.dataset.plain_caption(record)

    def size(self, record: int, flipped: bool = False) -> SizeInfo:
        """The real size, crop and target of one image: SDXL is conditioned on them.

        Args:
            record: image.
            flipped: mirrors the crop.
        Returns:
            Sizes in px.
        """
        image, placement = self.dataset.records[record], self.dataset.placements[record]
        return SizeInfo(
            original=(image.width, image.height),
            crop=placement.crop_corner(flipped=flipped),
            target=placement.bucket,
        )

    @torch.no_grad()
    def encode(self, captions: Sequence[str]) -> Text:
        """Text embeddings of some captions, from the cache where they are.

        Args:
            captions: (B,).
        Returns:
            Name to tensor (B, ...), on the model's device.
        """
        if self.texts is None:
            return self.family.encode_captions(list(captions))
        rows = [self.texts.read(caption) for caption in captions]
        return {
            name: torch.stack([row[name] for row in rows]).to(self.family.device)
            for name in rows[0]
        }

    def clean_latents(self, record: int) -> Tensor:
        """The mean latents of one unflipped image: what validation looks at.

        Args:
            record: image.
        Returns:
            (1, C, h, w), float32.
        """
        return self._moments((record,), (False,))[0]

    def _latents(
        self, records: tuple[int, ...], flips: tuple[bool, ...], micro_batch: MicroBatch
    ) -> Tensor:
        mean, deviation = self._moments(records, flips, micro_batch.epoch)
        if self.recipe.training.posterior == "mean":
            return mean
        generator = seeds.generator(self.seed, "posterior", micro_batch.index, self.rank)
        draw = torch.randn(mean.shape, generator=generator)
        return mean + deviation * draw.to(mean.device)

    @torch.no_grad()
    def _moments(
        self, records: tuple[int, ...], flips: tuple[bool, ...], epoch: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the VAE's answer, both (B, C, h, w)."""
        pairs = list(zip(records, flips, strict=True))
        if self.latents is None:
            pixels = [self.dataset.pixels(r, flipped=f, epoch=epoch) for r, f in pairs]
            return self.family.encode_pixels(torch.stack(pixels).to(self.family.device))
        moments = [self.latents.read(r, flipped=f) for r, f in pairs]
        means, deviations = zip(*moments, strict=True)
        device = self.family.device
        return torch.stack(means).to(device), torch.stack(deviations).to(device)

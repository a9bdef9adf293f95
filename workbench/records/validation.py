"""The stable loss: does the model predict better than its base, on draws that never change?

The training loss mostly shows which timesteps were drawn. Here images, noise and timesteps are
fixed once, and the base is measured on the very same draws, so what is left is learning.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from workbench import seeds
from workbench.process import THOUSAND, Process
from workbench.records.events import Validated
from workbench.settings import Settings, setting

__all__ = ["Losses", "StableLoss", "ValidationSettings"]

Split = str
LossOf = Callable[[int, Tensor, torch.Generator], Tensor]


class ValidationSettings(Settings):
    """How the stable loss is measured."""

    every_steps: int | None = setting(
        None, help="how often to measure; left out: ten times a run", ge=1
    )
    num_images: int = setting(
        8, help="images measured of the training set, and as many held out", ge=1
    )
    num_bins: int = setting(5, help="timestep ranges that are told apart", ge=1, le=50)
    draws: int = setting(2, help="timesteps measured in each range of each image", ge=1)
    watch: bool = setting(
        True,
        help="measure likeness, leak and colours of the samples drawn along the way, and warn "
        "where they leave what chance explains",
    )
    stop_on: tuple[Literal["likeness", "leak", "colours"], ...] = setting(
        (),
        help="end the run where one of these is warned of: likeness falls behind an earlier step, "
        "the concept leaks, colours move; the run's last file is then that of this step",
    )


@dataclass(frozen=True, slots=True)
class Losses:
    """Losses of one split, per image and timestep bin.

    Attributes:
        edges: borders of the bins in thousandths, one more than bins.
        values: (images, bins), float64.
    """

    edges: tuple[int, ...]
    values: np.ndarray

    @property
    def mean(self) -> float:
        """Mean over images and bins."""
        return float(self.values.mean())

    @property
    def images(self) -> tuple[float, ...]:
        """Mean over bins, of each image: the independent units of an interval."""
        return tuple(float(x) for x in self.values.mean(axis=1))

    @property
    def bins(self) -> tuple[float, ...]:
        """Mean over images, in each bin."""
        return tuple(float(x) for x in self.values.mean(axis=0))


class StableLoss:
    """Fixed images, noise and timesteps, measured again and again.

    Args:
        settings: how much to measure.
        train: record indices trained on; an even spread of them is taken.
        held_out: record indices never trained on; may be empty.
        process: what levels are measured at.
        seed: the run's.
    """

    def __init__(
        self,
        settings: ValidationSettings,
        *,
        train: Sequence[int],
        held_out: Sequence[int] = (),
        process: Process,
        seed: int = 0,
    ):
        bins = settings.num_bins
        self.settings, self.process = settings, process
        self.seed = seed
        self.edges = tuple(round(THOUSAND * k / bins) for k in range(bins + 1))
        chosen = {"train": train, "held_out": held_out}
        self.records = {k: _spread(v, settings.num_images) for k, v in chosen.items() if len(v)}
        self.base: dict[Split, Losses] = {}

    def measure(self, loss_of: LossOf) -> dict[Split, Losses]:
        """Measure the weights as they are now; call it with the model in evaluation mode.

        Args:
            loss_of: `(record, levels (N,), generator) -> losses (N,)`. It draws the noise of
                record's latents, (N, C, h, w), from the CPU generator, mixes them to the levels,
                predicts, and reduces each sample's error to its mean. Plain squared
                error and white noise let runs of different recipes be compared.
        Returns:
            Losses of "train", and of "held_out" where there are any.
        Raises:
            FloatingPointError: a loss is not finite.
        """
        return {
            split: Losses(self.edges, np.stack([self._image(loss_of, r) for r in records]))
            for split, records in self.records.items()
        }

    def measure_base(self, loss_of: LossOf) -> dict[Split, Losses]:
        """Measure the base once, before the first step, and keep what it gives.

        Args:
            loss_of: as in `measure`.
        Returns:
            The base's losses.
        """
        self.base = self.measure(loss_of)
        return self.base

    def events(self, step: int, losses: dict[Split, Losses]) -> list[Validated]:
        """Put a measurement into events.

        Args:
            step: optimizer steps done.
            losses: as `measure` returns them.
        Returns:
            One event a split, with the base's losses beside it if they were measured.
        """
        return [self._event(step, split, found) for split, found in losses.items()]

    def _event(self, step: int, split: Split, found: Losses) -> Validated:
        base = self.base.get(split)
        return Validated(
            step=step,
            split="train" if split == "train" else "held_out",
            loss=found.mean,
            base_loss=base.mean if base else None,
            timestep_edges=self.edges,
            bin_losses=found.bins,
            base_bin_losses=base.bins if base else (),
            image_losses=found.images,
            base_image_losses=base.images if base else (),
        )

    @torch.no_grad()
    def _image(self, loss_of: LossOf, record: int) -> np.ndarray:
        """All levels of one image at once: they share its size, whatever its bucket."""
        draws, bins = self.settings.draws, len(self.edges) - 1
        generator = seeds.generator(self.seed, "validation", record)
        place = torch.rand(bins, draws, generator=generator)
        low = torch.tensor(self.edges[:-1])[:, None]
        width = torch.tensor(self.edges).diff()[:, None]
        # The sum may round up to the next bin's first.
        thousandths = (low + place * width).minimum(low + width - 1e-3)  # (bins, draws)
        losses = loss_of(record, self.process.at(thousandths.flatten()), generator).double().cpu()
        assert losses.shape == (bins * draws,), f"loss_of gave {tuple(losses.shape)}"
        if not losses.isfinite().all():
            raise FloatingPointError(f"the validation loss of image {record} is not finite")
        return losses.view(bins, draws).mean(dim=1).numpy()


def _spread(records: Sequence[int], count: int) -> tuple[int, ...]:
    """At most `count` of the records, evenly spread."""
    if len(records) <= count:
        return tuple(records)
    return tuple(records[int(k * len(records) / count)] for k in range(count))

"""How far the weights have come: by block, against their first values, their precision, their EMA.

What is compared weight by weight is a sample, at most `SAMPLE` evenly spread ones of each tensor,
which are gathered into one vector: a measurement costs a few kernels and one wait for the device,
and the memory stays small however large the model is. benchmarks/diagnosis.py measures it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench.adapters import Full
from workbench.adapters.attached import AttachedNetwork
from workbench.adapters.layers import squared_norm
from workbench.adapters.naming import is_encoder
from workbench.records.events import Averaged, Measured

if TYPE_CHECKING:
    from workbench.training.trainer import Trainer

SAMPLE = 1024  # weights of each tensor that are looked at


class Movement:
    """Follows the trained weights of a run from their first values on.

    Args:
        trainer: assembled and not yet restored, so that its weights are the first ones.
    """

    @torch.no_grad()
    def __init__(self, trainer: "Trainer"):
        self._trainer = trainer
        params = trainer.trainables
        self._strides = {name: max(1, p.numel() // SAMPLE) for name, p in params.items()}
        self._lengths = [-(-p.numel() // self._strides[name]) for name, p in params.items()]
        self._start = self._gather(params)
        eps = torch.tensor([torch.finfo(p.dtype).eps for p in params.values()])
        self._eps = eps.repeat_interleave(torch.tensor(self._lengths)).to(self._start.device)
        self._before: Tensor | None = None
        self._base_norms: dict[str, float] = {}
        self._full = isinstance(trainer.adapter.settings, Full)

    @torch.no_grad()
    def watch(self) -> None:
        """Remember the weights before a step, so that `measure` can say what the step did."""
        self._before = self._gather(self._trainer.trainables)

    @torch.no_grad()
    def measure(self, step: int) -> Measured:
        """Compare the weights with what they were.

        Args:
            step: optimizer steps done.
        Returns:
            The event.
        """
        now, before = self._gather(self._trainer.trainables), self._before
        self._before = None
        moved, spacing = now - self._start, self._spacing(now)
        found = {
            "moved": (moved != 0).float().mean(),
            "distance": moved.norm(),
            "spacing": spacing.nanmedian(),
        }
        if before is not None:
            update = now - before
            found |= {
                "updated": (update != 0).float().mean(),
                "update": update.square().mean().sqrt(),
            }
        if (ema := self._trainer.ema) is not None:
            found["lag"] = (self._gather(ema.average) - now).norm()
        squares = self._squares(now)
        values = torch.stack([*found.values(), *squares.values()]).tolist()  # the one wait
        numbers = dict(zip((*found, *squares), values, strict=True))
        return self._event(step, numbers)

    def _event(self, step: int, numbers: Mapping[str, float]) -> Measured:
        changes = {n[3:]: v for n, v in numbers.items() if n.startswith("dW ")}
        self._base_norms |= {n[2:]: v for n, v in numbers.items() if n.startswith("W ")}
        blocks: dict[str, list[float]] = {}
        for name, square in changes.items():
            sums = blocks.setdefault(block_of(name), [0.0, 0.0])
            sums[0] += square
            sums[1] += self._base_norms[name]
        ema, dtypes = self._trainer.ema, {p.dtype for p in self._trainer.trainables.values()}
        return Measured(
            step=step,
            change={
                block: (change / base) ** 0.5 if base else 0.0
                for block, (change, base) in blocks.items()
            },
            num_layers=len(changes),
            num_unchanged=sum(square == 0 for square in changes.values()),
            dtype=", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes)),
            moved=numbers["moved"],
            updated=numbers.get("updated"),
            update=numbers.get("update"),
            spacing=numbers["spacing"],
            average=Averaged(
                lag=numbers["lag"],
                distance=numbers["distance"],
                decay=ema.decay,
                full_decay=ema.settings.decay,
                full_after=ema.settings.full_after(),
            )
            if ema is not None
            else None,
        )

    def _gather(self, weights: Mapping[str, Tensor]) -> Tensor:
        """The sampled weights as one vector, fp32 on the device."""
        pieces = [
            weights[name].detach().reshape(-1)[::stride].float()
            for name, stride in self._strides.items()
        ]
        return torch.cat(pieces)

    def _spacing(self, values: Tensor) -> Tensor:
        """Distance from each weight to the next one that its dtype holds (one ulp); NaN at zero."""
        _, exponent = torch.frexp(values)
        spacing = torch.ldexp(self._eps, exponent - 1)
        return spacing.where(values != 0, torch.nan)

    def _squares(self, now: Tensor) -> dict[str, Tensor]:
        """Sums of squares of each layer's change, and once of its base weight."""
        if self._full:
            return self._squares_of_samples(now)
        adapter = self._trainer.adapter
        assert isinstance(adapter, AttachedNetwork)
        weights = adapter.weights()
        found = {f"dW {n}": squared_norm(one, weights[n]) for n, one in adapter.layers().items()}
        if not self._base_norms:
            found |= {f"W {n}": w.detach().float().norm().square() for n, w in weights.items()}
        return found

    def _squares_of_samples(self, now: Tensor) -> dict[str, Tensor]:
        """The same of a full fine-tune, from its sampled weights."""
        found: dict[str, Tensor] = {}
        for (name, p), change, first in zip(
            self._trainer.trainables.items(),
            (now - self._start).split(self._lengths),
            self._start.split(self._lengths),
            strict=True,
        ):
            found[f"dW {name}"] = change.square().mean() * p.numel()
            found[f"W {name}"] = first.square().mean() * p.numel()
        return found


def block_of(name: str) -> str:
    """The block that a layer belongs to, as people speak of it.

    Args:
        name: "<part>.<path>".
    Returns:
        For example "unet.down_blocks.1"; of a text encoder its name alone.
    """
    part, *path = name.split(".")
    if is_encoder(part) or not path:
        return part
    numbered = len(path) > 1 and path[1].isdecimal()
    return ".".join([part, *path[: 2 if numbered else 1]])

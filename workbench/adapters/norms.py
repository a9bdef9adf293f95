"""A limit on how far each layer may move from the base, kept after every step."""

from collections.abc import Mapping

import torch
from torch import Tensor

from workbench.adapters.layers import Layer, factors


class Norms:
    """Scales layers back whose |dW| is over a limit.

    Attributes:
        limit: the largest |dW|; None for no limit.

    Source: kohya sd-scripts, `scale_weight_norms`.
    """

    def __init__(self, limit: float | None) -> None:
        """Count nothing so far.

        Args:
            limit: the largest |dW|; None for no limit.
        """
        self.limit = limit
        self._lengths: Tensor | None = None

    @torch.no_grad()
    def apply(self, layers: Mapping[str, Layer]) -> None:
        """Scale layers back, in place.

        The product is linear in each factor, so each takes the same root of the ratio. Nothing is
        read back from the device: layers within the limit are multiplied by 1.

        Args:
            layers: name to layer, made of the weights that train.
        """
        assert self.limit is not None
        found = []
        for layer in layers.values():
            length = torch.linalg.vector_norm(layer.product())
            ratio = (self.limit / length.clamp(min=1e-30)).clamp(max=1.0)
            parts = factors(layer).values()
            for tensor in parts:
                tensor.mul_(ratio ** (1 / len(parts)))
            found.append(length)
        self._lengths = torch.stack([length.to(found[0].device) for length in found])

    def traces(self) -> dict[str, float]:
        """What the last step came to.

        Returns:
            "scaled layers", and "longest dW" before scaling; empty before the first step.
        """
        if self._lengths is None:
            return {}
        lengths = self._lengths.tolist()
        scaled = sum(length > self.limit for length in lengths)  # type: ignore[operator]
        return {"scaled layers": scaled, "longest dW": max(lengths)}

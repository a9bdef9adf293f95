"""Muon: every direction of a matrix moves by the same distance."""

from typing import Any, ClassVar, Literal

import torch

from workbench.optim.base import Groups, OptimizerSettings, library
from workbench.settings import setting


class Muon(OptimizerSettings):
    """Every direction of a matrix moves equally far; what is no matrix is left to AdamW.

    The step is scaled so that rates are those of AdamW. pytorch-optimizer's Muon is taken since
    torch's own refuses convolutions and vectors.

    Source: Jordan 2024, kellerjordan.github.io/posts/muon; the scale: Liu et al. 2025,
    arXiv 2502.16982.
    """

    found: ClassVar = frozenset({"step"})
    package: ClassVar = "pytorch_optimizer"

    kind: Literal["muon"] = "muon"
    momentum: float = setting(0.95, ge=0, lt=1, help="memory of the gradient")
    weight_decay: float = setting(0.01, ge=0, le=1, help="pull to zero, multiplied by the rate")

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        """Make the optimizer.

        Args:
            groups: what `groups` returned.
        Returns:
            pytorch-optimizer's Muon; each group's vectors and scalars become a second group.
        Raises:
            SettingsError: pytorch-optimizer is not installed.
        """
        return library("pytorch_optimizer", self.kind).Muon(
            [part for group in groups for part in self._parted(group)],
            lr=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            use_adjusted_lr=True,
            adamw_lr=self.learning_rate,
            adamw_wd=self.weight_decay,
        )

    def _parted(self, group: dict[str, Any]) -> list[dict[str, Any]]:
        """Matrices and convolutions in one group, the rest in another."""
        matrices = [p for p in group["params"] if p.ndim > 1]
        rest = [p for p in group["params"] if p.ndim <= 1]
        named = f"{group['name']} (AdamW)"
        parts = [
            group | {"params": matrices, "use_muon": True},
            group | {"params": rest, "use_muon": False, "name": named},
        ]
        return [part for part in parts if part["params"]]

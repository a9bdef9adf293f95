"""Adafactor and CAME: the squared gradient kept as one row and one column a matrix."""

from typing import ClassVar, Literal

import torch

from workbench.optim.base import Groups, OptimizerSettings, library
from workbench.settings import setting


class Adafactor(OptimizerSettings):
    """Adam with the squared gradient kept as one row and one column a matrix: little memory.

    Differs from the library's defaults: no relative step and no scaling by the weights' size. With
    those, a LoRA's B, which starts at zero, trains at a thousandth of the rate, and the rates of
    U-Net and text encoder are dropped in silence.

    Source: Shazeer and Stern 2018, arXiv 1804.04235.
    """

    apart: ClassVar = True

    kind: Literal["adafactor"] = "adafactor"
    clip_threshold: float = setting(1.0, gt=0, help="largest root mean square of an update")
    decay_rate: float = setting(
        -0.8, gt=-1, lt=0, help="exponent by which the memory of squared gradients grows"
    )
    weight_decay: float = setting(0.0, ge=0, le=1, help="pull to zero, multiplied by the rate")

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        """Make the optimizer.

        Args:
            groups: what `groups` returned.
        Returns:
            transformers' Adafactor with a rate of our own.
        """
        return library("transformers.optimization", self.kind).Adafactor(
            list(groups),
            lr=self.learning_rate,
            clip_threshold=self.clip_threshold,
            decay_rate=self.decay_rate,
            weight_decay=self.weight_decay,
            scale_parameter=False,
            relative_step=False,
            warmup_init=False,
        )


class CAME(OptimizerSettings):
    """Adafactor that moves less where its updates disagree; with a momentum, so twice its memory.

    Source: Luo et al. 2023, arXiv 2307.02047, algorithm 2.
    """

    found: ClassVar = frozenset({"step"})
    package: ClassVar = "pytorch_optimizer"

    kind: Literal["came"] = "came"
    beta1: float = setting(0.9, ge=0, lt=1, help="memory of the mean update")
    beta2: float = setting(0.999, ge=0, lt=1, help="memory of the squared gradient")
    beta3: float = setting(0.9999, ge=0, lt=1, help="memory of how far updates disagree")
    clip_threshold: float = setting(1.0, gt=0, help="largest root mean square of an update")
    weight_decay: float = setting(0.01, ge=0, le=1, help="pull to zero, multiplied by the rate")

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        """Make the optimizer.

        Args:
            groups: what `groups` returned.
        Returns:
            pytorch-optimizer's CAME.
        Raises:
            SettingsError: pytorch-optimizer is not installed.
        """
        return library("pytorch_optimizer", self.kind).CAME(
            list(groups),
            lr=self.learning_rate,
            betas=(self.beta1, self.beta2, self.beta3),
            clip_threshold=self.clip_threshold,
            weight_decay=self.weight_decay,
        )

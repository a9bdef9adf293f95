"""Optimizers that find their own rate: Prodigy and D-Adaptation.

Both multiply the rate that they are given by an estimate d of the distance to the goal. It starts
at d0 and only ever rises: a d that is still d0 means that nothing was learned.
"""

import contextlib
import io
import math
from typing import Any, ClassVar, Literal

import torch

from workbench.optim.base import Groups, OptimizerSettings, library
from workbench.optim.rounding import is_stand_in
from workbench.settings import setting

_A_RATE = 1e-5  # a first guess of this size trains, found or not


class FindingSettings(OptimizerSettings):
    """What the optimizers that find their rate share: leave the rate at 1."""

    one_rate: ClassVar = True

    learning_rate: float = setting(
        1.0, gt=0, le=10, basic=True, help="factor on the rate that is found; leave it at 1"
    )
    beta1: float = setting(0.9, ge=0, lt=1, help="memory of the mean gradient")
    weight_decay: float = setting(0.01, ge=0, le=1, help="pull to zero, multiplied by the rate")
    d0: float = setting(1e-6, gt=0, le=1e-2, help="first guess of the rate; it only ever rises")

    def traces(self, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """The rate found so far.

        Args:
            optimizer: what `build` returned.
        Returns:
            "d", and "d*lr", the rate in use.
        """
        group = optimizer.param_groups[0]
        return {"d": float(group["d"]), "d*lr": float(group["d"] * group["lr"])}

    def stuck(self, optimizer: torch.optim.Optimizer) -> tuple[str, str] | None:
        """Say that d has not left d0: the rate is a millionth still.

        Args:
            optimizer: what `build` returned.
        Returns:
            See `OptimizerSettings.stuck`.
        """
        found = self.traces(optimizer)
        small = self.d0 * self.learning_rate < _A_RATE
        if found["d"] > self.d0 or not (small or found.get("|p-p0|") == 0):
            return None
        return (
            f"the rate d is still d0 = {self.d0:g}, so the weights have hardly moved",
            "keep optimizer.learning_rate = 1 and training.trainable_dtype = 'float32'; for less "
            "than that, raise optimizer.d0",
        )


class Prodigy(FindingSettings):
    """AdamW that finds its own rate: leave the rate at 1 and tune `d_coefficient`.

    Source: Mishchenko and Defazio 2023, arXiv 2306.06101; settings for diffusion from the
    authors' README.
    """

    found: ClassVar = frozenset({"d", "d_max", "d_hat", "d_numerator", "d_denom", "k"})
    package: ClassVar = "prodigyopt"

    kind: Literal["prodigy"] = "prodigy"
    beta2: float = setting(0.99, ge=0, lt=1, help="memory of the squared gradient")
    d_coefficient: float = setting(1.0, gt=0, le=10, help="factor on the estimate of the rate")
    safeguard_warmup: bool = setting(True, help="keep the warm-up out of the estimate of the rate")
    bias_correction: bool = setting(True, help="correct Adam's averages for their start at zero")
    slice_p: int = setting(11, ge=1, help="estimate from every n-th weight, which saves memory")

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        """Make the optimizer.

        Args:
            groups: what `groups` returned; one rate for all.
        Returns:
            prodigyopt's Prodigy.
        Raises:
            SettingsError: two rates, which Prodigy cannot have, or prodigyopt is not installed.
        """
        self.require_one_rate(groups)
        prodigyopt = library("prodigyopt", self.kind)
        # It prints "Using decoupled weight decay" whenever there is some.
        with contextlib.redirect_stdout(io.StringIO()):
            return prodigyopt.Prodigy(
                list(groups),
                lr=self.learning_rate,
                betas=(self.beta1, self.beta2),
                weight_decay=self.weight_decay,
                d0=self.d0,
                d_coef=self.d_coefficient,
                safeguard_warmup=self.safeguard_warmup,
                use_bias_correction=self.bias_correction,
                slice_p=self.slice_p,
            )

    def traces(self, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """The rate found so far, and how far the weights have come with it.

        Args:
            optimizer: what `build` returned.
        Returns:
            "d"; "d*lr", the rate in use; "|p-p0|", the distance from the first weights, estimated
            from every n-th; left out for rounded bf16 weights, which are elsewhere.
        """
        found = super().traces(optimizer)
        if any(map(is_stand_in, optimizer.state)):
            return found
        moved = [
            torch.linalg.vector_norm(p.detach().flatten()[:: self.slice_p] - state["p0"])
            for p, state in optimizer.state.items()
            if "p0" in state
        ]
        norm = float(torch.linalg.vector_norm(torch.stack(moved).float())) if moved else 0.0
        return found | {"|p-p0|": math.sqrt(self.slice_p) * norm}


class DAdaptation(FindingSettings):
    """AdamW that finds its own rate, more slowly than Prodigy, its successor.

    Source: Defazio and Mishchenko 2023, arXiv 2301.07733; decoupled decay as the authors' README
    advises in place of AdamW.
    """

    found: ClassVar = frozenset({"d", "step", "numerator_weighted"})
    package: ClassVar = "pytorch_optimizer"

    kind: Literal["dadaptation"] = "dadaptation"
    beta2: float = setting(0.999, ge=0, lt=1, help="memory of the squared gradient")
    growth_rate: float | None = setting(
        None, gt=1, help="d rises at most by this factor a step, such as 1.02; absent: freely"
    )

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        """Make the optimizer.

        Args:
            groups: what `groups` returned; one rate for all, since it reads the first group's.
        Returns:
            pytorch-optimizer's DAdaptAdam.
        Raises:
            SettingsError: two rates, or pytorch-optimizer is not installed.
        """
        self.require_one_rate(groups)
        options: dict[str, Any] = {"growth_rate": self.growth_rate} if self.growth_rate else {}
        return library("pytorch_optimizer", self.kind).DAdaptAdam(
            list(groups),
            lr=self.learning_rate,
            betas=(self.beta1, self.beta2),
            weight_decay=self.weight_decay,
            weight_decouple=True,
            d0=self.d0,
            **options,
        )

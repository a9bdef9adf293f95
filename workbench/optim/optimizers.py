"""Optimizers, each with the defaults that the field found to work for LoRA.

Every member of the union builds a `torch.optim.Optimizer` from groups of parameters. Its state is
made of tensors and plain numbers, so that a checkpoint holds it without a pickle and a resumed run
continues bit for bit.
"""

import contextlib
import importlib
import io
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field

from workbench.optim.lion import LionOptimizer
from workbench.settings import Settings, SettingsError, setting


class OptimizerSettings(Settings):
    """What all optimizers share: one rate for each half of the model.

    Attributes:
        found: keys of a parameter group that hold what the optimizer found, and not a setting.
    """

    found: ClassVar[frozenset[str]] = frozenset()

    learning_rate: float = setting(
        1e-4, gt=0, le=10, basic=True, help="learning rate of the U-Net's weights"
    )
    text_encoder_learning_rate: float | None = setting(
        None, gt=0, le=10, help="learning rate of the text encoders' weights; absent: the same"
    )

    def rate(self, part: str) -> float:
        """The learning rate of one part of the model.

        Args:
            part: "unet", "text_encoder", "text_encoder_2".
        Returns:
            Its rate.
        """
        if part.startswith("text_encoder") and self.text_encoder_learning_rate is not None:
            return self.text_encoder_learning_rate
        return self.learning_rate

    def groups(
        self,
        parameters: Mapping[str, Sequence[torch.Tensor]],
        factors: Mapping[str, float] | None = None,
    ) -> list[dict[str, Any]]:
        """Give the parameters of each group their rate.

        Args:
            parameters: group to parameters, as an adapter's `groups()` returns them; a group's
                name begins with its part of the model.
            factors: group to factor on its part's rate, where that is not 1.
        Returns:
            Groups {"params", "lr", "name"} for `build`; those without parameters are left out.
        """
        factors = factors or {}
        return [
            {"params": list(params), "lr": self.rate(name) * factors.get(name, 1.0), "name": name}
            for name, params in parameters.items()
            if params
        ]

    def traces(self, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """Numbers of the optimizer's own that are worth a curve.

        Args:
            optimizer: what `build` returned.
        Returns:
            Name to value; empty for most optimizers.
        """
        return {}


class AdamW(OptimizerSettings):
    """Adam with decoupled weight decay: the one to compare others with."""

    kind: Literal["adamw"] = "adamw"
    beta1: float = setting(0.9, ge=0, lt=1, help="memory of the mean gradient")
    beta2: float = setting(0.999, ge=0, lt=1, help="memory of the squared gradient")
    eps: float = setting(1e-8, gt=0, le=1e-2, help="added to the root of the squared gradient")
    weight_decay: float = setting(0.01, ge=0, le=1, help="pull to zero, multiplied by the rate")

    def build(self, groups: Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
        """Make the optimizer, in its fused form.

        Measured on a LoRA of 192 matrices, one core: loop 4.4 ms, foreach 2.4 ms, fused 0.7 ms.

        Args:
            groups: what `groups` returned.
        Returns:
            `torch.optim.AdamW`.
        """
        return torch.optim.AdamW(
            list(groups),
            lr=self.learning_rate,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=True,
        )


class AdamW8bit(OptimizerSettings):
    """AdamW whose two averages take one byte a weight each, in place of four."""

    kind: Literal["adamw8bit"] = "adamw8bit"
    beta1: float = setting(0.9, ge=0, lt=1, help="memory of the mean gradient")
    beta2: float = setting(0.999, ge=0, lt=1, help="memory of the squared gradient")
    eps: float = setting(1e-8, gt=0, le=1e-2, help="added to the root of the squared gradient")
    weight_decay: float = setting(0.01, ge=0, le=1, help="pull to zero, multiplied by the rate")
    min_8bit_size: int = setting(
        4096, ge=1, unit="weights", help="smaller tensors keep 32-bit averages, as most LoRAs do"
    )

    def build(self, groups: Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
        """Make the optimizer; it runs on the CPU too.

        Args:
            groups: what `groups` returned.
        Returns:
            bitsandbytes' AdamW8bit.
        Raises:
            SettingsError: bitsandbytes is not installed.
        """
        return _library("bitsandbytes", self.kind).optim.AdamW8bit(
            list(groups),
            lr=self.learning_rate,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
            min_8bit_size=self.min_8bit_size,
        )


class Prodigy(OptimizerSettings):
    """AdamW that finds its own rate: leave the rate at 1 and tune `d_coefficient`.

    Source: Mishchenko and Defazio 2023, arXiv 2306.06101; settings for diffusion from the
    authors' README.
    """

    found: ClassVar = frozenset({"d", "d_max", "d_hat", "d_numerator", "d_denom", "k"})

    kind: Literal["prodigy"] = "prodigy"
    learning_rate: float = setting(
        1.0, gt=0, le=10, basic=True, help="factor on the rate that Prodigy finds; leave it at 1"
    )
    beta1: float = setting(0.9, ge=0, lt=1, help="memory of the mean gradient")
    beta2: float = setting(0.99, ge=0, lt=1, help="memory of the squared gradient")
    weight_decay: float = setting(0.01, ge=0, le=1, help="pull to zero, multiplied by the rate")
    d0: float = setting(1e-6, gt=0, le=1e-2, help="first guess of the rate; it only ever rises")
    d_coefficient: float = setting(1.0, gt=0, le=10, help="factor on the estimate of the rate")
    safeguard_warmup: bool = setting(True, help="keep the warm-up out of the estimate of the rate")
    bias_correction: bool = setting(True, help="correct Adam's averages for their start at zero")
    slice_p: int = setting(11, ge=1, help="estimate from every n-th weight, which saves memory")

    def build(self, groups: Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
        """Make the optimizer.

        Args:
            groups: what `groups` returned; one rate for all.
        Returns:
            prodigyopt's Prodigy.
        Raises:
            SettingsError: two rates, which Prodigy cannot have, or prodigyopt is not installed.
        """
        rates = {group.get("lr", self.learning_rate) for group in groups}
        if len(rates) > 1:
            raise SettingsError(
                "optimizer.text_encoder_learning_rate must equal learning_rate for prodigy, which "
                f"finds one rate for all, got {sorted(rates)}; leave it out"
            )
        library = _library("prodigyopt", self.kind)
        # It prints "Using decoupled weight decay" whenever there is some.
        with contextlib.redirect_stdout(io.StringIO()):
            return library.Prodigy(
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
        """The rate found so far.

        Args:
            optimizer: what `build` returned.
        Returns:
            "d", and "d*lr", the rate in use.
        """
        group = optimizer.param_groups[0]
        return {"d": float(group["d"]), "d*lr": float(group["d"] * group["lr"])}


class Adafactor(OptimizerSettings):
    """Adam with the squared gradient kept as one row and one column a matrix: little memory.

    Differs from the library's defaults: no relative step and no scaling by the weights' size. With
    those, a LoRA's B, which starts at zero, trains at a thousandth of the rate, and the rates of
    U-Net and text encoder are dropped in silence.

    Source: Shazeer and Stern 2018, arXiv 1804.04235.
    """

    kind: Literal["adafactor"] = "adafactor"
    clip_threshold: float = setting(1.0, gt=0, help="largest root mean square of an update")
    decay_rate: float = setting(
        -0.8, gt=-1, lt=0, help="exponent by which the memory of squared gradients grows"
    )
    weight_decay: float = setting(0.0, ge=0, le=1, help="pull to zero, multiplied by the rate")

    def build(self, groups: Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
        """Make the optimizer.

        Args:
            groups: what `groups` returned.
        Returns:
            transformers' Adafactor with a rate of our own.
        """
        return _library("transformers.optimization", self.kind).Adafactor(
            list(groups),
            lr=self.learning_rate,
            clip_threshold=self.clip_threshold,
            decay_rate=self.decay_rate,
            weight_decay=self.weight_decay,
            scale_parameter=False,
            relative_step=False,
            warmup_init=False,
        )


class Lion(OptimizerSettings):
    """Only the sign of the momentum counts: one average, and a third to a tenth of AdamW's rate.

    Source: Chen et al. 2023, arXiv 2302.06675.
    """

    kind: Literal["lion"] = "lion"
    learning_rate: float = setting(
        3e-5, gt=0, le=1, basic=True, help="distance each weight of the U-Net moves in a step"
    )
    beta1: float = setting(0.9, ge=0, lt=1, help="share of the old momentum in the update")
    beta2: float = setting(0.99, ge=0, lt=1, help="share of the old momentum in the new one")
    weight_decay: float = setting(0.01, ge=0, le=1, help="pull to zero, multiplied by the rate")

    def build(self, groups: Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
        """Make the optimizer.

        Args:
            groups: what `groups` returned.
        Returns:
            Lion.
        """
        return LionOptimizer(
            list(groups),
            lr=self.learning_rate,
            betas=(self.beta1, self.beta2),
            weight_decay=self.weight_decay,
        )


Optimizer = Annotated[
    AdamW | AdamW8bit | Prodigy | Adafactor | Lion,
    Field(discriminator="kind"),
]


def _library(name: str, kind: str) -> Any:
    """Import what an optimizer needs, or say what to do."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise SettingsError(
            f"optimizer.kind {kind!r} needs {package}, which cannot be imported ({error}); "
            f"`pip install {package}`, or choose adamw"
        ) from error

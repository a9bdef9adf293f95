"""Schedule-free AdamW, and the two sets of weights of an optimizer that averages."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar, Literal

import torch

from workbench.optim.base import Groups, OptimizerSettings, library
from workbench.optim.rounding import StandIns
from workbench.settings import setting


class ScheduleFree(OptimizerSettings):
    """AdamW that averages its weights in place of lowering its rate: no end need be known.

    Gradients are taken at y, between the average x and the fast weights z; x is what is shown and
    saved. The warm-up is that of `schedule`, which must be constant. The authors advise one to ten
    times AdamW's rate, and a warm-up.

    Source: Defazio et al. 2024, arXiv 2405.15682.
    """

    found: ClassVar = frozenset({"k", "weight_sum", "lr_max", "scheduled_lr", "train_mode"})
    package: ClassVar = "schedulefree"
    own_schedule: ClassVar = True

    kind: Literal["schedule_free"] = "schedule_free"
    learning_rate: float = setting(
        3e-4, gt=0, le=10, basic=True, help="learning rate of the denoiser's weights"
    )
    beta1: float = setting(
        0.9, gt=0, lt=1, help="where between fast weights and average gradients are taken"
    )
    beta2: float = setting(0.999, ge=0, lt=1, help="memory of the squared gradient")
    eps: float = setting(1e-8, gt=0, le=1e-2, help="added to the root of the squared gradient")
    weight_decay: float = setting(0.01, ge=0, le=1, help="pull to zero, multiplied by the rate")

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        """Make the optimizer, set to train.

        Args:
            groups: what `groups` returned.
        Returns:
            schedulefree's AdamWScheduleFree.
        Raises:
            SettingsError: schedulefree is not installed.
        """
        optimizer = library("schedulefree", self.kind).AdamWScheduleFree(
            list(groups),
            lr=self.learning_rate,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
        )
        optimizer.train()
        return optimizer

    def traces(self, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """How much the average holds.

        Args:
            optimizer: what `build` returned.
        Returns:
            "averaged_steps": over how many steps of the full rate the weights are averaged.
        """
        group = optimizer.param_groups[0]
        newest = max(group["lr_max"], 0.0) ** 2  # the weight of a step, as the package's default
        return {"averaged_steps": float(group["weight_sum"] / newest) if newest else 0.0}


class Averaging:
    """Shows the weights that an averaging optimizer answers for, and puts those it trains back.

    The packages switch by `eval()` and `train()`, whose rounding moves the weights a little each
    time: then a run that samples often would end elsewhere than one that samples once. Here the
    trained weights are kept and put back bit for bit.
    """

    def __init__(self, optimizer: Any, stand_ins: StandIns | None = None) -> None:
        """Look at an optimizer.

        Args:
            optimizer: any; most have no second set of weights.
            stand_ins: what it moves in place of bf16 weights.
        """
        both = callable(getattr(optimizer, "eval", None)) and hasattr(optimizer, "train")
        self._optimizer = optimizer if both else None
        self._stand_ins = stand_ins
        self._shown = False

    @property
    def active(self) -> bool:
        """Whether the optimizer has a second set of weights."""
        return self._optimizer is not None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Hold the average in the weights' place; the same inside another changes nothing."""
        if self._optimizer is None or self._shown:
            yield
            return
        kept = [(p, p.detach().clone()) for p in self._weights()]
        self._shown = True
        self._switch("eval")
        try:
            yield
        finally:
            self._switch("train")
            with torch.no_grad():
                for p, before in kept:
                    p.copy_(before)
            self._shown = False

    def _weights(self) -> list[torch.Tensor]:
        if self._stand_ins is not None:
            return self._stand_ins.weights()
        assert self._optimizer is not None
        return [p for group in self._optimizer.param_groups for p in group["params"]]

    def _switch(self, mode: str) -> None:
        with self._stand_ins.held() if self._stand_ins is not None else nullcontext():
            getattr(self._optimizer, mode)()
            if self._stand_ins is not None:
                self._stand_ins.write()

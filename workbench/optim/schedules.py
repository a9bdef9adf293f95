"""How the learning rate changes over a run: the libraries' schedules, with one way to warm up.

A warm-up of n steps rises from 0, so that the very first step moves nothing; that is the field's
custom and the libraries' code.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from workbench.settings import Settings, setting


class ScheduleSettings(Settings):
    """What all schedules share: the warm-up."""

    warmup: float = setting(
        0.0, ge=0, help="rise from 0: below 1 a share of the run, from 1 on a number of steps"
    )

    @model_validator(mode="after")
    def _whole_steps(self) -> "ScheduleSettings":
        if self.warmup >= 1 and self.warmup != int(self.warmup):
            raise ValueError(
                f"warmup must be below 1 (a share of the run) or whole steps, got {self.warmup}"
            )
        return self

    def warmup_steps(self, num_steps: int) -> int:
        """Length of the warm-up.

        Args:
            num_steps: length of the run in optimizer steps.
        Returns:
            Optimizer steps, less than the run.
        Raises:
            ValueError: the warm-up is no shorter than the run.
        """
        steps = round(self.warmup * num_steps) if self.warmup < 1 else int(self.warmup)
        if steps and steps >= num_steps:
            raise ValueError(
                f"schedule.warmup must be shorter than the run of {num_steps} steps, got {steps}"
            )
        return steps

    def _diffusers(
        self, name: str, optimizer: Optimizer, *, num_steps: int, **options: Any
    ) -> LambdaLR:
        from diffusers.optimization import get_scheduler

        return get_scheduler(
            name,
            optimizer,
            num_warmup_steps=self.warmup_steps(num_steps),
            num_training_steps=num_steps,
            **options,
        )


class Constant(ScheduleSettings):
    """The same rate throughout, the choice for Prodigy and for short runs."""

    kind: Literal["constant"] = "constant"

    def build(self, optimizer: Optimizer, num_steps: int) -> LambdaLR:
        """Make the schedule; see `ScheduleSettings`.

        Args:
            optimizer: its groups' present rates are the highest that the schedule reaches.
            num_steps: length of the run in optimizer steps, > 0.
        Returns:
            A scheduler whose `step()` follows each optimizer step.
        """
        return self._diffusers("constant_with_warmup", optimizer, num_steps=num_steps)


class Linear(ScheduleSettings):
    """A straight line down to zero at the end of the run."""

    kind: Literal["linear"] = "linear"

    def build(self, optimizer: Optimizer, num_steps: int) -> LambdaLR:
        """Make the schedule; see `Constant.build` for arguments and result."""
        return self._diffusers("linear", optimizer, num_steps=num_steps)


class Cosine(ScheduleSettings):
    """Half a cosine wave down to zero at the end of the run."""

    kind: Literal["cosine"] = "cosine"

    def build(self, optimizer: Optimizer, num_steps: int) -> LambdaLR:
        """Make the schedule; see `Constant.build` for arguments and result."""
        return self._diffusers("cosine", optimizer, num_steps=num_steps)


class CosineRestarts(ScheduleSettings):
    """Half a cosine wave to zero, several times over."""

    kind: Literal["cosine_restarts"] = "cosine_restarts"
    cycles: int = setting(3, ge=1, help="how many times the rate falls from full to zero")

    def build(self, optimizer: Optimizer, num_steps: int) -> LambdaLR:
        """Make the schedule; see `Constant.build` for arguments and result."""
        return self._diffusers(
            "cosine_with_restarts", optimizer, num_steps=num_steps, num_cycles=self.cycles
        )


class Polynomial(ScheduleSettings):
    """A power of the remaining share of the run, down to a share of the full rate."""

    kind: Literal["polynomial"] = "polynomial"
    power: float = setting(2.0, gt=0, le=10, help="1 is a line; larger falls sooner")
    end: float = setting(0.1, ge=0, lt=1, help="share of the rate that is left at the end")

    def build(self, optimizer: Optimizer, num_steps: int) -> LambdaLR:
        """Make the schedule; see `Constant.build` for arguments and result.

        Differs: `get_scheduler` would end every run at 1e-7, whatever the rate.
        """
        from diffusers.optimization import get_polynomial_decay_schedule_with_warmup

        return get_polynomial_decay_schedule_with_warmup(
            optimizer,
            num_warmup_steps=self.warmup_steps(num_steps),
            num_training_steps=num_steps,
            lr_end=self.end * optimizer.defaults["lr"],
            power=self.power,
        )


class WarmupStableDecay(ScheduleSettings):
    """The full rate until near the end, then down to zero: the run can be prolonged until it falls.

    Source: Hu et al. 2024, arXiv 2404.06395, section 4; the fall by 1 - sqrt: Hagele et al. 2024,
    arXiv 2405.18392.
    """

    kind: Literal["warmup_stable_decay"] = "warmup_stable_decay"
    decay: float = setting(
        0.2, gt=0, help="the fall at the end: below 1 a share of the run, from 1 on steps"
    )
    shape: Literal["linear", "cosine", "1-sqrt"] = setting(
        "1-sqrt", help="how the rate falls; 1-sqrt falls fastest at first"
    )

    @model_validator(mode="after")
    def _whole_decay(self) -> "WarmupStableDecay":
        if self.decay >= 1 and self.decay != int(self.decay):
            raise ValueError(
                f"decay must be below 1 (a share of the run) or whole steps, got {self.decay}"
            )
        return self

    def decay_steps(self, num_steps: int) -> int:
        """Length of the fall.

        Args:
            num_steps: length of the run in optimizer steps.
        Returns:
            Optimizer steps, at least 1, that fit behind the warm-up.
        Raises:
            ValueError: warm-up and fall together are longer than the run.
        """
        steps = max(1, round(self.decay * num_steps)) if self.decay < 1 else int(self.decay)
        if steps + self.warmup_steps(num_steps) > num_steps:
            raise ValueError(
                f"schedule.warmup and schedule.decay must fit into the run of {num_steps} steps, "
                f"got {self.warmup_steps(num_steps)} + {steps}"
            )
        return steps

    def build(self, optimizer: Optimizer, num_steps: int) -> LambdaLR:
        """Make the schedule; see `Constant.build` for arguments and result.

        Differs: it is transformers', for diffusers has none.
        """
        from transformers.optimization import get_wsd_schedule

        return get_wsd_schedule(
            optimizer,
            num_warmup_steps=self.warmup_steps(num_steps),
            num_decay_steps=self.decay_steps(num_steps),
            num_training_steps=num_steps,
            decay_type=self.shape,
        )


Schedule = Annotated[
    Constant | Linear | Cosine | CosineRestarts | Polynomial | WarmupStableDecay,
    Field(discriminator="kind"),
]

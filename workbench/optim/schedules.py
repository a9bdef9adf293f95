"""How the learning rate changes over a run: diffusers' schedules, with one way to warm up.

A warm-up of n steps rises from 0, so that the very first step moves nothing; that is the field's
custom and diffusers' code.
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


Schedule = Annotated[
    Constant | Linear | Cosine | CosineRestarts | Polynomial, Field(discriminator="kind")
]

"""What follows from a base: settings that suit it on this machine, each with its reason.

Followed when a base is chosen, never while a recipe is read: a resumed run stays what it was.
"""

from dataclasses import dataclass

from workbench.settings.advice import Advice

__all__ = ["Machine", "Suits", "advice"]


@dataclass(frozen=True, slots=True)
class Machine:
    """What the settings of a base depend on.

    Attributes:
        cuda: there is a CUDA device.
        native_bfloat16: it, or the CPU, computes in bfloat16 without emulation.
    """

    cuda: bool
    native_bfloat16: bool

    @classmethod
    def here(cls) -> "Machine":
        """Look at this machine.

        Returns:
            What it can do.
        """
        import torch

        cuda = torch.cuda.is_available()
        return cls(cuda, not cuda or torch.cuda.is_bf16_supported(including_emulation=False))


@dataclass(frozen=True, slots=True)
class Suits:
    """What suits a family, beside its resolution.

    Attributes:
        rate: learning rate of a LoRA under AdamW.
        guidance: of samples, 1 is none.
        sample_steps: of one sample.
        large: it fills a GPU, so that batches are gathered and activations recomputed.
    """

    rate: float
    guidance: float
    sample_steps: int
    large: bool


def advice(title: str, native_px: int, suits: Suits, *, machine: Machine) -> tuple[Advice, ...]:
    """Put what suits a family into settings.

    Args:
        title: of the base, for people.
        native_px: side of the pictures that it was made for.
        suits: the family's own figures.
        machine: decides the precision.
    Returns:
        Settings with their reasons.
    """
    batch, gathered = (1, 4) if suits.large else (4, 1)
    step = "one picture a pass, four passes a step" if suits.large else "four pictures a step"
    return (
        Advice("data.buckets.resolution", native_px, f"{title} is made for {native_px} px"),
        Advice("data.buckets.step", 64, "sides are multiples of 64 px, as it was trained"),
        *_precision(machine),
        Advice("training.batch_size", batch, f"{step}, which fits the memory of usual GPUs"),
        Advice("training.accumulation", gathered, f"{step}: what a step learns from is four"),
        Advice(
            "base.gradient_checkpointing",
            suits.large,
            "activations are recomputed: about 25 % slower, a fraction of the memory"
            if suits.large
            else "it fits without recomputing activations, which is slower",
        ),
        Advice("optimizer.learning_rate", suits.rate, f"usual for a LoRA of {title}"),
        Advice("sampling.guidance", suits.guidance, f"what samples of {title} look best with"),
        Advice("sampling.steps", suits.sample_steps, "steps that a sample of it needs"),
    )


def _precision(machine: Machine) -> tuple[Advice, ...]:
    if machine.native_bfloat16:
        chosen, why = "bfloat16", "half the memory of float32, with its range"
    else:
        chosen, why = "float16", "this GPU computes bfloat16 only by emulation; its loss is scaled"
    return (
        Advice("base.dtype", chosen, why),
        Advice("training.precision", chosen, why),
        Advice("base.vae_dtype", "float32", "an autoencoder may overflow in less"),
    )

"""What follows from a base: settings that suit it on this machine, each with its reason.

Followed when a base is chosen, never while a recipe is read: a resumed run stays what it was.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from workbench.settings.advice import Advice

__all__ = ["CRITTERS", "USUAL", "Machine", "Suits", "advice", "completed"]


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


# Of a base of which nothing more is known.
USUAL = Suits(rate=1e-4, guidance=7.0, sample_steps=25, large=False)

# Of the small base that ships with the package; its preset has the same values.
_WAY_UP = "where nothing learns before the way up, nothing there is computed backwards"
CRITTERS: tuple[Advice, ...] = (
    Advice("data.buckets.resolution", 128, "critters are drawn at 128 px"),
    Advice("data.buckets.step", 16, "finer steps than usual, since the pictures are small"),
    Advice("base.dtype", "float32", "the base is small, and a CPU computes float32 fastest"),
    Advice("training.precision", "float32", "the base is small, and so is its memory"),
    Advice("base.vae_dtype", "float32", "the base is small, and so is its memory"),
    Advice("base.gradient_checkpointing", False, "the base is small: nothing is to be saved"),
    Advice("training.batch_size", 4, "four pictures a step, a third of a second on two cores"),
    Advice("training.accumulation", 1, "four pictures go through in one pass"),
    Advice("optimizer.learning_rate", 6e-3, "so small a base needs a high rate for a short run"),
    Advice("adapter.groups", ["attention", "feedforward"], "so small a base needs both to learn"),
    Advice(
        "adapter.blocks",
        [
            {"match": "unet.down_blocks.*", "rank": 0, "rate_factor": 1.0},
            {"match": "unet.mid_block.*", "rank": 0, "rate_factor": 1.0},
        ],
        f"{_WAY_UP}: a quarter of the time",
    ),
    Advice("weighting.kind", "min_snr", "a short run learns more from timesteps of middling noise"),
    Advice("timesteps.stratified", True, "a batch spread over all timesteps gives a calmer loss"),
    Advice("length.steps", 166, "a minute on two cores, which suffices for one concept"),
    Advice("training.checkpoint_every", 83, "half of the run"),
    Advice("validation.every_steps", 83, "half of the run: measuring costs as much as steps"),
    Advice("validation.num_images", 4, "measuring costs as much as steps"),
    Advice("validation.draws", 1, "measuring costs as much as steps"),
    Advice("sampling.every_steps", 0, "only at the end: drawing costs as much as steps"),
    Advice("sampling.guidance", 3.0, "what samples of critters look best with"),
    Advice("sampling.steps", 20, "steps that a sample of critters needs"),
    Advice("sampling.batch_size", 8, "eight small pictures fit any memory"),
    Advice("data.captions.variants", None, "its text encoder stays, so captions may vary"),
)
CRITTERS_MASKS = (
    Advice("sampling.fill", "critters:masked", "critters in their places, to be made anew there"),
)
_SCALED = Advice(
    "training.trainable_dtype",
    "float32",
    "gradients of float16 are scaled up, and weights in bfloat16 cannot take them",
    accepted=("float32",),
)


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
    return (
        Advice("data.buckets.resolution", native_px, f"{title} is made for {native_px} px"),
        Advice("optimizer.learning_rate", suits.rate, f"usual for a LoRA of {title}"),
        Advice("data.buckets.step", 64, "sides are multiples of 64 px, as it was trained"),
        *_precision(machine),
        *_batches(suits),
        Advice("adapter.groups", ["attention"], "attention is what a LoRA usually adapts"),
        Advice("adapter.blocks", [], "every block learns at the same rank"),
        Advice("weighting.kind", "constant", f"every timestep counts alike, as in {title} itself"),
        Advice("timesteps.stratified", False, "timesteps are drawn as they come"),
        *_length(),
        Advice("sampling.guidance", suits.guidance, f"what samples of {title} look best with"),
        Advice("sampling.steps", suits.sample_steps, "steps that a sample of it needs"),
        Advice("data.captions.variants", None, "its text encoder stays, so captions may vary"),
    )


def _precision(machine: Machine) -> tuple[Advice, ...]:
    chosen, why = "bfloat16", "half the memory of float32, with its range"
    if not machine.native_bfloat16:
        chosen, why = "float16", "this GPU computes bfloat16 only by emulation; its loss is scaled"
    return (
        Advice("base.dtype", chosen, why),
        Advice("training.precision", chosen, why),
        Advice("base.vae_dtype", "float32", "an autoencoder may overflow in less"),
    )


def _batches(suits: Suits) -> tuple[Advice, ...]:
    batch, gathered = (1, 4) if suits.large else (4, 1)
    step = "one picture a pass, four passes a step" if suits.large else "four pictures a step"
    recomputed = (
        "activations are recomputed: about 25 % slower, a fraction of the memory"
        if suits.large
        else "it fits without recomputing activations, which is slower"
    )
    return (
        Advice("training.batch_size", batch, f"{step}, which fits the memory of usual GPUs"),
        Advice("training.accumulation", gathered, f"{step}: what a step learns from is four"),
        Advice("base.gradient_checkpointing", suits.large, recomputed),
        Advice(
            "sampling.batch_size",
            1 if suits.large else 8,
            "pictures are drawn one by one, as they are trained"
            if suits.large
            else "eight pictures of it are drawn at once",
        ),
    )


def _length() -> tuple[Advice, ...]:
    return (
        Advice("length.steps", 1500, "some thirty pictures are then shown two hundred times each"),
        Advice("training.checkpoint_every", None, "five checkpoints a run"),
        Advice("validation.every_steps", None, "the stable loss is measured ten times a run"),
        Advice("validation.num_images", 8, "enough pictures for a steady stable loss"),
        Advice("validation.draws", 2, "enough draws for a steady stable loss"),
        Advice("sampling.every_steps", None, "samples at each quarter show when it has learned"),
    )


def completed(*sources: Iterable[Advice]) -> tuple[Advice, ...]:
    """Leave one piece of advice a setting.

    Args:
        sources: what is said later counts.
    Returns:
        Advice in the order in which its settings were first named; with float16, what that asks
        for beside itself.
    """
    found = {one.setting: one for source in sources for one in source}
    half = found.get("training.precision")
    if half is not None and half.value == "float16":
        found[_SCALED.setting] = _SCALED
    return tuple(found.values())

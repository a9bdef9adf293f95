"""A recipe that a rule applies to, and the change that mends it."""

from dataclasses import dataclass, field

from checks_pictures import Pictures


@dataclass(frozen=True)
class Case:
    """Overrides with which a rule applies, and those that make it go away again."""

    bad: tuple[str, ...]
    good: tuple[str, ...] = ()
    preset: str = "critters"
    cuda: bool = False
    native_bfloat16: bool = True
    pictures: Pictures = field(default_factory=Pictures)
    better: Pictures | None = None  # where the pictures are at fault


def case(*bad: str, good: str | tuple[str, ...] = (), **rest) -> Case:
    return Case(bad, (good,) if isinstance(good, str) else good, **rest)


SDXL = "base.path=some/sdxl-base"
SD = "base.path=some/stable-diffusion-v1-5"
LONG = "a very long caption " * 20
PROSE = "a small creature stands on a hill, and behind it the sun goes down slowly"
ZERO_SNR = ("base.zero_terminal_snr=true", "base.prediction=v_prediction")
BF16 = ("training.trainable_dtype=bfloat16", "training.stochastic_rounding=false")

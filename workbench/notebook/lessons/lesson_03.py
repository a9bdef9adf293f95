"""Lesson 03: noise; how it is added, a pyramid of it, and how strong an offset must be."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from workbench.diffusion.spectra import summarise
from workbench.notebook.checking import Exercise, Property
from workbench.notebook.lessons import Lesson

Facts = Mapping[str, Any]
SHAPE = (64, 4, 32, 32)
SIDES = (16, 64, 128)  # of the fields of critters at 128 px, SD1.5 at 512 and SDXL at 1024
WANTED_SNR = 0.1  # of the mean, at the last timestep
PRECISION = 0.02  # relative; leaving out 1 / N is 5 % off on 16 x 16


def _normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _noised(answer: Any, *alpha_bar: float) -> Tensor:
    """The answer's sum for as many samples as there are values."""
    count = len(alpha_bar)
    latents, noise = _normal(0, count, 4, 16, 16), _normal(1, count, 4, 16, 16)
    return answer(latents, noise, torch.tensor(alpha_bar))


def _unfinished(made: Any, shape: tuple[int, ...]) -> str | None:
    if not isinstance(made, Tensor):
        return f"it returns {type(made).__name__}"
    return None if tuple(made.shape) == shape else f"{tuple(made.shape)}"


def _keeps_the_shape(answer: Any, facts: Facts) -> str | None:
    return _unfinished(_noised(answer, 0.5, 0.5), (2, 4, 16, 16))


def _ends_are_pure(answer: Any, facts: Facts) -> str | None:
    clean, gone = _noised(answer, 1.0)[0], _noised(answer, 0.0)[0]
    if not torch.allclose(clean, _normal(0, 1, 4, 16, 16)[0], atol=1e-5):
        return "something else at alpha_bar = 1"
    right = torch.allclose(gone, _normal(1, 1, 4, 16, 16)[0], atol=1e-5)
    return None if right else "something else at alpha_bar = 0"


def _keeps_the_variance(answer: Any, facts: Facts) -> str | None:
    for share in (0.2, 0.5, 0.8):
        variance = float(_noised(answer, *[share] * 32).var())
        if abs(variance - 1) > 0.05:
            return f"a variance of {variance:.2f} at alpha_bar = {share}"
    return None


def _every_sample_its_own(answer: Any, facts: Facts) -> str | None:
    shares = (0.9, 0.4, 0.1, 0.6)
    made = _noised(answer, *shares)
    latents, noise = _normal(0, 4, 4, 16, 16), _normal(1, 4, 4, 16, 16)
    for k, share in enumerate(shares):
        if not torch.allclose(
            made[k], share**0.5 * latents[k] + (1 - share) ** 0.5 * noise[k], atol=1e-4
        ):
            return f"sample {k} is off"
    return None


def _drawn(answer: Any, *, discount: float = 0.6, levels: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return answer(torch.zeros(SHAPE), discount, levels, generator)


def _has_the_shape(answer: Any, facts: Facts) -> str | None:
    return _unfinished(_drawn(answer), SHAPE)


def _is_repeatable(answer: Any, facts: Facts) -> str | None:
    same = torch.equal(_drawn(answer), _drawn(answer))
    return None if same else "two draws of one seed differ"


def _one_level_is_white(answer: Any, facts: Facts) -> str | None:
    found = summarise(_drawn(answer, levels=1))
    return None if abs(found.lag1) < 0.02 else f"neighbours correlate by {found.lag1:.2f}"


def _long_waves_gain(answer: Any, facts: Facts) -> str | None:
    little, much = (summarise(_drawn(answer, discount=discount)) for discount in (0.3, 0.8))
    if little.k1 <= 1.2 * little.k16:
        return f"at discount 0.3 a power of {little.k1:.2f} at one wave, {little.k16:.2f} at 16"
    return (
        None
        if much.k1 > 2 * little.k1
        else f"{much.k1:.1f} at discount 0.8, {little.k1:.1f} at 0.3"
    )


def _short_waves_stay(answer: Any, facts: Facts) -> str | None:
    found = summarise(_drawn(answer, discount=0.3))
    return None if found.k16 > 0.6 else f"a power of {found.k16:.2f} at 16 waves, white has 1"


def _own_deviation(answer: Any, facts: Facts) -> str | None:
    spread = _drawn(answer, discount=0.8).std(dim=(1, 2, 3))
    low, high = float(spread.min()), float(spread.max())
    return None if low > 0.999 and high < 1.001 else f"deviations from {low:.3f} to {high:.3f}"


def offset_strength(side: int) -> float:
    """Return the offset that leaves `WANTED_SNR` of the mean of a field.

    Args:
        side: of the field, in latents.
    Returns:
        Its strength with the schedule of SD1.5 and SDXL, `ratio / (s^2 + 1 / N)` solved for s.
    """
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    last = float((1 - betas).prod())  # alpha_bar
    return (last / (1 - last) / WANTED_SNR - 1 / side**2) ** 0.5


def _three_numbers(answer: Any, facts: Facts) -> str | None:
    if not isinstance(answer, Mapping) or set(answer) != set(SIDES):
        return f"{answer!r}"
    strange = [one for one in answer.values() if not isinstance(one, int | float) or one <= 0]
    return f"{strange[0]!r} is no strength" if strange else None


def _leaves_the_ratio(side: int, answer: Mapping[int, float]) -> str | None:
    found = float(answer[side])
    return None if abs(found / offset_strength(side) - 1) <= PRECISION else f"{found:.3g}"


def _small_field(answer: Mapping[int, float], facts: Facts) -> str | None:
    return _leaves_the_ratio(16, answer)


def _large_fields(answer: Mapping[int, float], facts: Facts) -> str | None:
    found = {side: _leaves_the_ratio(side, answer) for side in (64, 128)}
    return ", ".join(f"{said} for {side}" for side, said in found.items() if said) or None


ADD_NOISE = Exercise(
    name="03.add_noise",
    question="How is noise added to latents?",
    properties=(
        Property("it returns latents of the same shape", _keeps_the_shape, "return the sum"),
        Property(
            "alpha_bar = 1 leaves the picture alone, 0 leaves noise alone",
            _ends_are_pure,
            "alpha_bar is the picture's share, 1 - alpha_bar the noise's",
        ),
        Property(
            "unit variance in, unit variance out",
            _keeps_the_variance,
            "variances add up, not deviations: the squares of the two factors must sum to 1",
        ),
        Property(
            "every sample has its own alpha_bar",
            _every_sample_its_own,
            "give alpha_bar three more dimensions, (B, 1, 1, 1), before you multiply",
        ),
    ),
)
PYRAMID = Exercise(
    name="03.pyramid",
    question="How is pyramid noise drawn?",
    properties=(
        Property("it returns noise of the shape of `like`", _has_the_shape, "return the sum"),
        Property(
            "the same seed gives the same noise",
            _is_repeatable,
            "hand the generator to every torch.randn",
        ),
        Property(
            "one level is white noise",
            _one_level_is_white,
            "the first level has the full size and a weight of 1",
        ),
        Property(
            "long waves gain, the more so the higher the discount",
            _long_waves_gain,
            "level k has side / 2**k pixels, is enlarged to the full side, and weighs discount**k",
        ),
        Property(
            "short waves stay",
            _short_waves_stay,
            "add the coarse levels to the fine one, do not put them in its place",
        ),
        Property(
            "every sample has a deviation of 1 by itself",
            _own_deviation,
            "divide by the standard deviation over dimensions 1, 2 and 3 (keepdim=True)",
        ),
    ),
)

OFFSET = Exercise(
    name="03.offset",
    question="Which offset leaves a signal-to-noise ratio of 0.1 of the mean?",
    properties=(
        Property(
            "there is a strength for each of the three sides",
            _three_numbers,
            "a dict: {16: ..., 64: ..., 128: ...}, numbers above 0",
        ),
        Property(
            "on 16 x 16 it leaves 0.1, 2 % more or less",
            _small_field,
            "s^2 + 1 / N = ratio / 0.1, and N is 16 x 16: take 1 / N away before the root",
        ),
        Property(
            "on 64 x 64 and 128 x 128 it leaves 0.1, 2 % more or less",
            _large_fields,
            "the same formula with another N: 1 / N is so small now that the answer hardly moves",
        ),
    ),
)

LESSON = Lesson(
    number="03",
    title="What is noise?",
    file="03_noise.ipynb",
    cells={
        "Gaussian": "# Under white noise",
        "Image": "# Under white noise",
        "Offset": "# Under white noise",
        "Perlin": "# Under white noise",
        "PowerLaw": "# Under white noise",
        "Pyramid": "# Under white noise",
        "scene": "# Under white noise",
        "under": "# Five noises",
        "lab": "# Under white noise",
        "noises": "# Five noises",
        "radial_power": "# Spectra",
        "studies": "# Spectra",
        "ratio": "# What is left at the last timestep",
        "sides": "# What is left at the last timestep",
        "json": "# The variants",
        "plain": "# The variants",
        "recipe": "# The variants",
        "added": "# With an offset on top",
        "again": "# The variants",
        "experiment": "# The variants",
        "others": "# Few pictures, and bright ones",
        "runs": "# Train them",
        "base": "# Numbers at equal steps",
        "equal_steps": "# Numbers at equal steps",
        "known": "# Numbers at equal steps",
        "look": "# Numbers at equal steps",
        "pictures_at": "# Numbers at equal steps",
        "words": "# Numbers at equal steps",
        "folders": "# Numbers at equal stable loss",
        "gaps": "# Numbers at equal steps",
        "lines": "# How they got there",
        "moments": "# How they got there",
        "add_noise": "# Your add_noise",
        "pyramid": "# Your pyramid",
        "strengths": "# Your strengths",
    },
    exercises=(ADD_NOISE, PYRAMID, OFFSET),
)

"""Colour drift: did training shift brightness, tint or contrast against the base?

Each pair has the same prompt and seed, so that differences between prompts cancel out.
What is asked is one question, whether L*a*b* moved; each property alone is an exploratory look.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from workbench.evaluation.results import DriftRow, Pair
from workbench.evaluation.rows import change_row

# sRGB to XYZ and the D65 white point, IEC 61966-2-1.
_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])
AXES = ("L* (lightness)", "a* (green to red)", "b* (blue to yellow)")


def to_lab(image: Image.Image) -> np.ndarray:
    """Bring a picture to CIE L*a*b*, where equal distances look equally large.

    Args:
        image: RGB, sRGB.
    Returns:
        (H, W, 3): L* in [0, 100], a* green to red, b* blue to yellow.
    Source: CIE 1976, D65 white.
    """
    srgb = np.asarray(image.convert("RGB"), dtype=np.float64) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    scaled = linear @ _TO_XYZ.T / _WHITE
    root = np.where(scaled > (6 / 29) ** 3, np.cbrt(scaled), scaled * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def measures(image: Image.Image) -> dict[str, float]:
    """Measure what colour drift would change.

    Args:
        image: RGB.
    Returns:
        Mean and spread of L*, a*, b*, mean chroma, and contrast (L* between percentile 1 and 99).
    """
    lab = to_lab(image).reshape(-1, 3)
    low, high = np.percentile(lab[:, 0], [1, 99])
    found = {}
    for k, name in enumerate(AXES):
        found[name] = float(lab[:, k].mean())
        found[f"spread of {name[:2]}"] = float(lab[:, k].std())
    found["chroma (how colourful)"] = float(np.hypot(lab[:, 1], lab[:, 2]).mean())
    found["contrast (L*, p1 to p99)"] = float(high - low)
    return found


def drift(pairs: Sequence[Pair]) -> tuple[DriftRow, ...]:
    """Compare the colours of pairs of pictures.

    Args:
        pairs: same prompt and seed, base and trained; best without the concept in the prompt,
            whose own colours would count as drift.
    Returns:
        One row a measure, with Student's interval over prompts; empty for fewer than two pairs.
    """
    if len(pairs) < 2:
        return ()
    base = [measures(pair.base) for pair in pairs]
    trained = [measures(pair.trained) for pair in pairs]
    prompts = [pair.prompt for pair in pairs]
    return tuple(
        change_row(
            name,
            prompts,
            base=[one[name] for one in base],
            trained=[one[name] for one in trained],
        )
        for name in base[0]
    )


def moves(pairs: Sequence[Pair]) -> np.ndarray:
    """The change of the mean colour of each pair, for one test over all three axes.

    Args:
        pairs: same prompt and seed, base and trained.
    Returns:
        Changes of the mean L*, a* and b*, (N, 3).
    """

    def colour(image: Image.Image) -> np.ndarray:
        return to_lab(image).reshape(-1, 3).mean(axis=0)

    return np.stack([colour(pair.trained) - colour(pair.base) for pair in pairs])

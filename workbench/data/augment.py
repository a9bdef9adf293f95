"""What happens to pixels between the file and the autoencoder."""

import numpy as np
import torch
from PIL import Image

from workbench.data.buckets import Placement
from workbench.settings import Settings, setting

__all__ = ["AugmentSettings", "fit"]


class AugmentSettings(Settings):
    """How pictures vary from epoch to epoch.

    Flip is compatible with cached latents: pictures are flipped before they are encoded and both
    versions are cached, since a flipped latent is not the latent of a flipped picture.
    """

    flip: float = setting(
        0.0,
        ge=0,
        le=1,
        basic=True,
        help="probability of mirroring left and right; 0 for characters with a left and a right",
    )


def fit(image: Image.Image, placement: Placement, *, flipped: bool = False) -> torch.Tensor:
    """Resize and crop a picture to its bucket.

    Args:
        image: upright RGB picture.
        placement: where it goes.
        flipped: mirror left and right.
    Returns:
        Pixels in [-1, 1], float32, (3, H, W) of the bucket.
    """
    left, top, width, height = placement.crop
    across = image.width / placement.resized[0]
    down = image.height / placement.resized[1]
    # Resizing the cropped part alone gives the same pixels and skips what would be cut off.
    box = (left * across, top * down, (left + width) * across, (top + height) * down)
    shrinks = placement.scale <= 1
    filter_ = Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC
    if image.size != placement.bucket:
        image = image.resize(placement.bucket, filter_, box=box)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)  # (3, H, W)
    if flipped:
        pixels = pixels.flip(-1)
    return pixels.float().div_(127.5).sub_(1).contiguous()

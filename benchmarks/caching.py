"""What caching latents costs above encoding alone: `python benchmarks/caching.py [pictures] [px]`.

Claim: at most 1.10 times a bare loop that opens each picture, cuts it to its bucket, encodes
batches of the same size and writes the latents to one safetensors file. The cache does more in that
time: it hashes each file, converts colours, refuses what is not finite, can be cut off anywhere.
Both are measured in turns, so that a slow moment meets both, in seconds of this process's cores,
which others that work on the machine hardly change; the median ratio counts. The critters'
autoencoder is the hard case: every larger one leaves a smaller share to the rest.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from workbench.data.cache import LatentCache
from workbench.data.dataset import Dataset, DataSettings, Subset, index
from workbench.models import loading
from workbench.models.base import BaseSettings
from workbench.models.codec import Codec

MOST, ROUNDS, BATCH = 1.10, 7, 4


def make_pictures(folder: Path, count: int, side_px: int) -> None:
    """Photographs' stand-ins: noise with the spectrum of natural pictures, as JPEG and PNG."""
    rng = np.random.default_rng(0)
    side = np.hypot(*np.meshgrid(np.fft.fftfreq(side_px), np.fft.rfftfreq(side_px), indexing="ij"))
    for number in range(count):
        spectrum = np.fft.rfft2(rng.standard_normal((3, side_px, side_px)))
        field = np.fft.irfft2(spectrum / np.maximum(side, 1 / side_px))
        levels = np.clip(127 + 50 * field / field.std(), 0, 255).astype(np.uint8)
        suffix = (".jpg", ".png")[number % 2]
        Image.fromarray(np.moveaxis(levels, 0, -1)).save(folder / f"{number:04d}{suffix}")


def bare(dataset: Dataset, codec: Codec, out: Path) -> float:
    """Seconds of the loop that anybody would write."""
    start = time.process_time()
    found = {}
    with torch.no_grad():
        for first in range(0, len(dataset), BATCH):
            batch = range(first, min(first + BATCH, len(dataset)))
            pixels = []
            for number in batch:
                placement = dataset.placements[number]
                with Image.open(dataset.records[number].path) as image:
                    picture = image.convert("RGB")
                left, top = placement.crop[:2]
                width, height = placement.bucket
                resized = picture.resize(placement.resized, Image.Resampling.LANCZOS)
                cut = np.asarray(resized.crop((left, top, left + width, top + height)))
                pixels.append(torch.from_numpy(cut.copy()).permute(2, 0, 1).float() / 127.5 - 1)
            mean, std = codec.encode(torch.stack(pixels))
            found |= {f"{n}.mean": x.contiguous().clone() for n, x in zip(batch, mean, strict=True)}
            found |= {f"{n}.std": x.contiguous().clone() for n, x in zip(batch, std, strict=True)}
    save_file(found, out)
    return time.process_time() - start


def cached(dataset: Dataset, codec: Codec, folder: Path) -> float:
    """Seconds of the cache."""
    start = time.process_time()
    with torch.no_grad():
        for _ in LatentCache(dataset, folder=folder, key=codec.key).build(codec.encode):
            pass
    return time.process_time() - start


def main(count: int, side_px: int) -> float:
    """Measure both in turns; returns the median ratio."""
    codec = loading.load(BaseSettings()).codec
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "pictures").mkdir()
        make_pictures(folder / "pictures", count, side_px)
        settings = DataSettings.model_validate(
            {
                "subsets": [Subset(path=str(folder / "pictures"))],
                "buckets": {"resolution": side_px // 2, "step": 16},
                "cache": {"vae_batch_size": BATCH},
                "holdout": 0.0,
            }
        )
        dataset = index(settings)
        bare(dataset, codec, folder / "warm.safetensors")
        ratios = []
        for turn in range(ROUNDS):
            once = bare(index(settings), codec, folder / f"{turn}.safetensors")
            os.environ["WORKBENCH_HOME"] = str(folder / f"home-{turn}")  # no hash is known yet
            ours = cached(index(settings), codec, folder / f"cache-{turn}")
            ratios.append(ours / once)
            print(f"bare {once:6.2f} s   cache {ours:6.2f} s   {ratios[-1]:.2f}")
    return statistics.median(ratios)


if __name__ == "__main__":
    given = [int(x) for x in sys.argv[1:]]
    ratio = main(*(given + [96, 256][len(given) :]))
    print(f"{ratio:.3f} of a bare encode loop, at most {MOST}")
    sys.exit(ratio > MOST)

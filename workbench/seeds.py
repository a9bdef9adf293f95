"""Randomness as a function: (seed, purpose, index, rank) names a generator, so a resume needs none.

Generators live on the CPU and what they draw is moved, so that every device sees the same numbers.
"""

import hashlib
import random

import torch


def derive(seed: int, purpose: str, *indices: int) -> int:
    """A 63-bit seed for one purpose and place.

    Args:
        seed: the run's seed.
        purpose: what the numbers are for, for example "noise".
        indices: where they are used, for example micro-batch and rank.
    Returns:
        Seed in [0, 2**63), by SHA-256, so that neighbouring places share nothing.
    """
    text = "/".join([str(seed), purpose, *map(str, indices)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, purpose: str, index: int = 0, rank: int = 0) -> torch.Generator:
    """The torch generator of one purpose in one micro-batch of one process.

    Args:
        seed: the run's seed.
        purpose: what the numbers are for.
        index: micro-batch index, counted over the whole run.
        rank: process index.
    Returns:
        A seeded CPU generator.
    """
    return torch.Generator().manual_seed(derive(seed, purpose, index, rank))


def python_random(seed: int, purpose: str, *indices: int) -> random.Random:
    """The plain-Python generator of one purpose and place: captions, shuffles, splits.

    Args:
        seed: the run's seed.
        purpose: what the numbers are for.
        indices: where they are used, for example epoch and image.
    Returns:
        A seeded `random.Random`.
    """
    return random.Random(derive(seed, purpose, *indices))


def reseed_global(seed: int, index: int, rank: int = 0) -> None:
    """Seed torch's global generators, which dropout draws from, for one micro-batch.

    Args:
        seed: the run's seed.
        index: micro-batch index, counted over the whole run.
        rank: process index.
    """
    torch.manual_seed(derive(seed, "global", index, rank))

"""Ask a family, whichever it is."""

from pathlib import Path
from typing import Any

import torch

from workbench.models import loading
from workbench.models.base import BaseSettings
from workbench.models.family import Condition, Family, SizeInfo


def opened(base: Path, **options: Any) -> Family:
    return loading.load(BaseSettings(path=str(base), **options))


def condition_of(family: Family, prompts: list[str], width: int, height: int) -> Condition:
    beside = None
    if family.inpaints:
        pixels = torch.rand(len(prompts), 3, height, width, generator=generator()) * 2 - 1
        masks = torch.zeros(len(prompts), 1, height, width)
        masks[:, :, height // 4 : height // 2] = 1
        beside = family.beside(pixels, masks)
    sizes = tuple(SizeInfo.whole(width, height) for _ in prompts)
    return Condition(family.collate(family.encode_text(prompts)), sizes, beside)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def draws(family: Family, count: int, width: int, height: int) -> torch.Tensor:
    shape = (count, family.codec.channels, *family.codec.shape(width, height))
    return torch.randn(shape, generator=generator())

"""A tiny base with a LoRA that changes something, and the file made from it."""

from pathlib import Path

import torch

from workbench import seeds
from workbench.adapters import LoRA
from workbench.adapters.networks import NetworkSettings
from workbench.evaluation.loading import Trained
from workbench.models import loading as models
from workbench.models.base import BaseSettings
from workbench.records.fixed import FixedInputs
from workbench.records.sampling import SampleSettings

SAMPLING = SampleSettings(prompts=("mochi, red", "blue"), seeds=(0, 1), steps=2, guidance=2.0)


LORA = LoRA(rank=4, alpha=2.0, dropout=0.5, groups=("attention", "conv"), text_encoder=True)
START_AT_ZERO = ("lora_B", "hada_w2_b", "lokr_w2_b", "lokr_w2", "magnitude")


def train(
    base: Path,
    folder: Path,
    *,
    dtype: torch.dtype = torch.float16,
    settings: NetworkSettings = LORA,
    base_dtype: str = "float32",
    scale: float = 1.0,
) -> Trained:
    """An adapter with alpha unlike rank, dropout, convolutions and text encoder, as if trained."""
    family = models.load(BaseSettings(path=str(base), dtype=base_dtype))
    fixed = FixedInputs.freeze(family, SAMPLING.prompts or (), sampling=SAMPLING)
    adapter = settings.attach(family.parts, family.targets, generator=seeds.generator(0, "adapter"))
    fixed.remember(family, adapter)
    for k, (name, weight) in enumerate(adapter.trainables.items()):
        if name.endswith(START_AT_ZERO):
            draws = torch.randn(weight.shape, generator=seeds.generator(1, "test", k))
            weight.data.add_(scale * draws / 10)
    for part in family.parts.values():
        part.train()
    path = adapter.save(
        folder / "mochi.safetensors", name_of=family.file_name, dtype=dtype, metadata={}
    )
    return Trained(family, adapter, path, fixed, SAMPLING.prompts, SAMPLING, "mochi", "critter")

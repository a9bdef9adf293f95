"""The directions of a LoRA: numpy's singular values, and pictures of numpy's truncated changes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from tiny_trained import train

from workbench.adapters import LoRA
from workbench.evaluation.directions import at_ranks, spectra
from workbench.evaluation.loading import Trained
from workbench.models import loading as models
from workbench.models.base import BaseSettings
from workbench.models.family import Family
from workbench.records.sampling import SampleSettings, sample
from workbench.settings import SettingsError

PROMPT, RANK = "mochi, red", 4


@pytest.fixture(scope="module")
def trained(tiny_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    settings = LoRA(rank=RANK, alpha=12.0, groups=("attention",))
    folder = tmp_path_factory.mktemp("trained")
    yield train(tiny_sd, folder, dtype=torch.float32, settings=settings)


def _changes(path: Path) -> dict[str, np.ndarray]:
    """dW of every layer by kohya's name, from the bytes of the file alone."""
    tensors = load_file(path)
    names = {key.partition(".")[0] for key in tensors}
    return {
        name: float(tensors[f"{name}.alpha"])
        / RANK
        * tensors[f"{name}.lora_up.weight"].astype(np.float64)
        @ tensors[f"{name}.lora_down.weight"].astype(np.float64)
        for name in sorted(names)
    }


def _drawn(family: Family) -> np.ndarray:
    [one] = sample(family, SampleSettings(), prompts=[PROMPT], seeds=[0])
    return np.asarray(one.image, np.int16)


def _distance(one: Image.Image, other: np.ndarray) -> int:
    return int(np.abs(np.asarray(one, np.int16) - other).max())


def test_spectra_are_numpys(trained: Trained, tiny_sd: Path):
    found = spectra(trained.path, base=str(tiny_sd))
    family, changes = models.load(BaseSettings(path=str(tiny_sd))), _changes(trained.path)
    assert {family.file_name(*name.split(".", 1)) for name in found} == set(changes)
    for name, (of_change, of_weight) in found.items():
        part, path = name.split(".", 1)
        weight = family.parts[part].get_submodule(path).weight.detach().double().numpy()
        expected = np.linalg.svd(changes[family.file_name(part, path)], compute_uv=False)
        assert of_change.numpy() == pytest.approx(expected, rel=1e-4, abs=1e-5)
        assert of_change[RANK:].abs().max() < 1e-5 * of_change[0], "no more than the rank"
        assert of_weight.numpy() == pytest.approx(
            np.linalg.svd(weight, compute_uv=False), rel=1e-4, abs=1e-5
        )


def test_few_directions_draw_what_numpys_truncated_changes_draw(trained: Trained, tiny_sd: Path):
    found = at_ranks(trained.path, [0, 1, RANK], prompt=PROMPT, base=str(tiny_sd))
    expected = {}
    for rank in (0, 1, RANK):
        family = models.load(BaseSettings(path=str(tiny_sd)))
        layers = {
            family.file_name(part, path): module
            for part, model in family.parts.items()
            for path, module in model.named_modules()
        }
        for name, change in _changes(trained.path).items():
            u, s, v = np.linalg.svd(change, full_matrices=False)
            kept = (u[:, :rank] * s[:rank]) @ v[:rank]
            layers[name].weight.data += torch.from_numpy(kept).float()
        expected[rank] = _drawn(family)
    for rank, picture in found.items():
        assert _distance(picture, expected[rank]) <= 1, rank
    assert _distance(found[1], expected[0]) > 3 and _distance(found[1], expected[RANK]) > 3


def test_the_base_must_be_known(trained: Trained):
    with pytest.raises(SettingsError, match="does not say which base"):
        spectra(trained.path)

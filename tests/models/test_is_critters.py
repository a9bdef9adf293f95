"""The critters are known by what they are, wherever they lie: in checks, judges, advice and app."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from workbench import base_change, intents
from workbench.app import data_models
from workbench.app.noise_picture import CRITTERS as SHOWN
from workbench.app.noise_picture import _weigh
from workbench.checks.base import look
from workbench.evaluation.features import at_hand
from workbench.evaluation.likeness import likeness_of
from workbench.models import loading
from workbench.models.base import BaseSettings
from workbench.models.defaults import CRITTERS as ADVICE
from workbench.models.defaults import Machine
from workbench.models.source import CRITTERS, is_critters
from workbench.recipe import Recipe

VAE = "vae/diffusion_pytorch_model.safetensors"
HERE = Machine(cuda=False, native_bfloat16=True)


def write(folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
    """A copy with another autoencoder; its U-Net is not looked at, and left out."""
    shutil.copytree(CRITTERS, folder, ignore=shutil.ignore_patterns("unet", "clip"))
    save_file(tensors, folder / VAE)
    return folder


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(CRITTERS, tmp_path_factory.mktemp("elsewhere") / "my-base")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_copy_is_one_in_any_precision(dtype: torch.dtype, tmp_path: Path) -> None:
    tensors = load_file(CRITTERS / VAE)
    again = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    assert is_critters(str(write(tmp_path / "copy", again)))


def test_other_bases_are_not(tiny_sd: Path, tiny_sdxl_file: Path, tmp_path: Path) -> None:
    tensors = load_file(CRITTERS / VAE)
    name, first = next(iter(tensors.items()))
    moved = write(tmp_path / "moved", tensors | {name: first + 0.01})
    damaged = write(tmp_path / "damaged", tensors)
    (damaged / VAE).write_bytes((CRITTERS / VAE).read_bytes()[:1000])
    (tmp_path / "empty" / "vae").mkdir(parents=True)
    others = (moved, damaged, tmp_path / "empty", tmp_path / "none", tiny_sd, tiny_sdxl_file)
    assert not any(is_critters(str(path)) for path in others)
    assert not is_critters("some/critters")


def test_the_name_the_path_and_a_copy_are_the_same_to_everybody(copy: Path) -> None:
    preset = Recipe.preset("critters")
    for path in ("critters", str(CRITTERS), str(copy)):
        recipe = preset.override([f"base.path={path}", "length.steps=170"])
        assert look(recipe.base).is_critters
        advised = loading.defaults(recipe.base, HERE)
        assert advised[: len(ADVICE)] == ADVICE
        assert {one.setting: one.value for one in advised[len(ADVICE) :]} == {
            "data.inpainting": None,
            "sampling.fill": None,
        }
        assert at_hand(recipe.base.path).name == "critters' CLIP"
        assert likeness_of(recipe) is not None
        assert {one.setting: one.value for one in intents.advise("style", recipe)}[
            "length.steps"
        ] == 200
        assert "ships with the workbench" in data_models._about(recipe.base, 0)
        _, row, said, _ = _weigh(recipe, SHOWN, None)
        assert not row.visible and said == "", "its noise pictures need no other base"


def test_from_one_copy_to_another_nothing_changes(copy: Path) -> None:
    own = Recipe.preset("critters").override(
        ["optimizer.learning_rate=1e-3", "base.prediction=epsilon", "data.buckets.max_side=192"]
    )
    changed, followed = base_change.with_base(own, str(copy))
    assert followed == () and changed == own.override([f"base.path={copy}"])
    there = base_change.with_base(own, "some/sdxl-base")[0]
    back, _ = base_change.with_base(there, str(copy))
    assert (back.data.buckets.resolution, back.optimizer.learning_rate) == (128, 6e-3)
    assert len(back.data.subsets) == 2
    assert BaseSettings(path=str(copy)) == back.base

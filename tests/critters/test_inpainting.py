"""The base that fills in ships as a difference; what is made of it is an ordinary folder."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from workbench import base_change, store
from workbench.critters import BASE, inpainting
from workbench.models import loading
from workbench.models.base import BaseSettings
from workbench.models.source import is_critters, is_remote
from workbench.pretrain import filled, filling
from workbench.recipe import Recipe

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def base() -> Path:
    return inpainting.folder()


def test_it_adds_at_most_three_megabytes():
    assert inpainting.DIFFERENCE.stat().st_size <= 3_000_000


def test_only_the_first_convolution_has_another_shape(base):
    before, after = store.load_tensors(BASE / UNET), store.load_tensors(base / UNET)
    assert before.keys() == after.keys()
    assert after[inpainting.FIRST].shape == (64, 9, 3, 3)
    others = [name for name in before if name != inpainting.FIRST]
    assert all(before[name].shape == after[name].shape for name in others)
    assert all(torch.equal(before[n], after[n]) for n in others if not n.endswith(".weight"))
    vae = "vae/diffusion_pytorch_model.safetensors"
    assert (base / vae).read_bytes() == (BASE / vae).read_bytes()


def test_it_is_made_once_and_the_same_wherever_it_is_made(base, tmp_path):
    inpainting.write(tmp_path / "again", store.load_tensors(inpainting.DIFFERENCE))
    files = sorted(p.relative_to(base) for p in base.rglob("*") if p.is_file())
    assert files == sorted(
        p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file()
    )
    assert all((base / f).read_bytes() == (tmp_path / "again" / f).read_bytes() for f in files)


def test_a_disk_that_takes_nothing_leaves_nothing(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "save_tensors", full)
    with pytest.raises(OSError, match="No space"):
        inpainting.write(tmp_path / "bases" / "one", inpainting.widened())
    assert not list((tmp_path / "bases").iterdir())


def test_its_name_is_a_base_of_critters():
    assert is_critters(inpainting.NAME) and not is_remote(inpainting.NAME)
    source = loading.locate(BaseSettings(path=inpainting.NAME))
    assert source.inpaints and source.family == "sd"


def test_choosing_it_brings_masks_and_pictures_and_leaving_takes_them_along():
    preset = Recipe.preset("critters")
    chosen, said = base_change.with_base(preset, inpainting.NAME)
    assert chosen.data.inpainting is not None and chosen.sampling.fill == "critters:masked"
    assert {one.setting for one in said} == {"data.inpainting", "sampling.fill"}
    assert base_change.with_base(chosen, "critters")[0] == preset


def test_what_training_begins_as_is_the_base_itself(tmp_path):
    """Channels that are laid beside change nothing yet."""
    filling.begin(tmp_path / "widened")
    wide = loading.load(BaseSettings(path=str(tmp_path / "widened"), dtype="float32"))
    plain = loading.load(BaseSettings(path="critters", dtype="float32"))
    noisy, time = torch.randn(2, 4, 16, 16), torch.tensor([10, 900])
    text = plain.encode_text(["critter", ""])
    from workbench.models.family import Condition, SizeInfo

    sizes = (SizeInfo.whole(128, 128),) * 2
    condition = Condition(plain.collate(text), sizes)
    beside = Condition(wide.collate(text), sizes, torch.randn(2, 5, 16, 16))
    with torch.no_grad():
        one, other = (f.denoise(noisy, time, c) for f, c in ((plain, condition), (wide, beside)))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_difference_of_all_ranks_is_the_whole_training(tmp_path):
    trained = tmp_path / "trained"
    inpainting.write(trained, inpainting.widened())
    weights = store.load_tensors(trained / UNET)
    name = "mid_block.attentions.0.proj_in.weight"
    weights[name] = weights[name] + 0.01 * torch.randn_like(weights[name].float()).half()
    store.save_tensors(trained / UNET, weights)
    found = filling.difference(trained, num_bytes=10**9)
    inpainting.write(tmp_path / "again", found)
    again = store.load_tensors(tmp_path / "again" / UNET)
    apart = (again[name].float() - weights[name].float()).abs().max()
    assert apart < 2e-4 and torch.equal(again[inpainting.FIRST], weights[inpainting.FIRST])
    small = filling.difference(trained, num_bytes=20_000)
    assert sum(t.nbytes for n, t in small.items() if n != inpainting.FIRST) <= 20_000


class TestTasks:
    def test_the_mask_hides_what_is_asked_anew(self):
        some = filled.tasks(24)
        assert len({task.attribute for task in some}) >= 4
        for task in some:
            now, then = getattr(task.before, task.attribute), getattr(task.wanted, task.attribute)
            assert now != then
            outside = np.asarray(task.mask) == 0
            from workbench.critters.draw import draw

            asked = np.asarray(draw(task.wanted, 128, 128), dtype=int)
            apart = np.abs(asked - np.asarray(task.picture, dtype=int)).max(-1) > 24
            assert (apart & outside).sum() <= 0.05 * apart.sum(), "it cannot be read off outside"

    def test_errors_outside_are_counted_outside_alone(self):
        task = filled.tasks(1)[0]
        grey = Image.new("RGB", task.picture.size, (0, 0, 0))
        inside = Image.composite(grey, task.picture, task.mask)
        assert filled._outside(inside, task) == 0
        lighter = task.picture.point(lambda level: min(255, level + 1))
        kept = np.asarray(task.mask) == 0
        below = np.asarray(task.picture)[kept] < 255
        assert filled._outside(lighter, task) == pytest.approx(below.mean())


@pytest.mark.slow
def test_it_fills_in_what_is_asked_and_leaves_the_rest(base):
    """CLIP, and not the judge, which is trained for minutes: 24 of the 96 pictures of the bars."""
    some = filled.tasks(24)
    drawn = list(filled.fill(filled.load_filling(base), some))
    pasted = [Image.composite(i, t.picture, t.mask) for i, t in zip(drawn, some, strict=True)]
    assert filled._likelier(pasted, some) >= 0.8
    given = [task.picture for task in some]
    assert filled._likelier(given, some) == 0, "the given pictures are no answer"
    assert os.path.isdir(base)

"""Nine channels in training and sampling: what the denoiser is told, and by which pipeline."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from asking import opened
from diffusers import DDIMScheduler
from PIL import Image
from tiny_recipes import assembled, tiny_recipe

import workbench as wb
from workbench import checks
from workbench.data.loader import Item
from workbench.evaluation import beside, private, report
from workbench.evaluation.compare import CompareSettings
from workbench.evaluation.loading import open_run
from workbench.models.family import Condition, SampleOptions, SizeInfo
from workbench.records import filling
from workbench.records.sampling import SampleSettings, draw
from workbench.settings import SettingsError

pytestmark = pytest.mark.families
FILLS = ("sd1-inpainting", "sdxl-inpainting")


@pytest.fixture
def masked(photos: Path, tmp_path: Path) -> Path:
    """Five photographs, the first of them with a mask of its left half."""
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    with Image.open(folder / "00.png") as image:
        mask = Image.new("L", image.size, 0)
        mask.paste(255, (0, 0, image.width // 2, image.height))
        mask.save(folder / "00-mask.png")
    return folder


@pytest.mark.parametrize("name", FILLS)
def test_what_is_cached_is_what_would_be_encoded(
    name: str, bases: Callable[[str], Path], masked: Path, tmp_path: Path
) -> None:
    settings = ("data.inpainting.masks=2", "data.augment.flip=0.5")
    cached = assembled(tiny_recipe(bases(name), masked, tmp_path, *settings))
    live = assembled(
        tiny_recipe(bases(name), masked, tmp_path, *settings, "data.cache.latents=false")
    )
    assert cached.batches.masked is not None and live.batches.masked is None
    for item, epoch in ((Item(0), 0), (Item(0, flipped=True), 1), (Item(2), 3), (Item(2), 4)):
        shown = [(item, cached.batches.look(item, epoch))]
        one, other = (t.batches.beside(shown, epoch) for t in (cached, live))
        assert one is not None and other is not None
        assert torch.equal(one[:, :1], other[:, :1]), "the mask"
        torch.testing.assert_close(one, other, rtol=2e-3, atol=2e-3)
    first, second = (cached.batches.beside(shown, epoch) for epoch in (3, 4))
    assert first is not None and second is not None
    assert not torch.equal(first, second), "a picture's showings take its masks in turn"


def test_the_mask_of_a_file_is_what_the_denoiser_is_told(
    bases: Callable[[str], Path], masked: Path, tmp_path: Path
) -> None:
    trainer = assembled(tiny_recipe(bases("sd1-inpainting"), masked, tmp_path))
    shown = [(Item(0), trainer.batches.look(Item(0), 0))]
    told = trainer.batches.beside(shown, 0)
    assert told is not None
    width = told.shape[-1]
    assert told[0, 0, :, : width // 2].all() and not told[0, 0, :, (width + 1) // 2 :].any()
    assert trainer.dataset.mask(0) is None, "and nothing weighs the loss"


@pytest.mark.parametrize("name", FILLS)
@torch.no_grad()
def test_samples_are_the_solvers_own_steps(name: str, bases: Callable[[str], Path]) -> None:
    """diffusers' inpainting pipeline against the steps written out: guidance, mask and picture."""
    family = opened(bases(name))
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(2, 4, 8, 12, generator=generator)
    pixels = torch.rand(2, 3, 64, 96, generator=generator) * 2 - 1
    masks = torch.zeros(2, 1, 64, 96)
    masks[0, :, 8:40, 8:64] = 1
    masks[1, :, :, 48:] = 1
    told = family.beside(pixels, masks)
    sizes = (SizeInfo.whole(96, 64),) * 2
    wanted = Condition(family.collate(family.encode_text(["a red cat", "dog"])), sizes, told)
    negative = Condition(family.collate(family.encode_text(["", ""])), sizes, told)
    options = SampleOptions(
        width_px=96, height_px=64, steps=4, guidance=3.0, guidance_rescale=0.0,
        scheduler="ddim", spacing="trailing",
        generators=tuple(torch.Generator().manual_seed(k) for k in range(2)),
    )  # fmt: skip
    found = family.sample_latents(noise, wanted, negative=negative, options=options)
    scheduler = DDIMScheduler.from_config(
        {**family.pipeline().scheduler.config, "timestep_spacing": "trailing", "clip_sample": False}
    )
    scheduler.set_timesteps(4)
    latents = noise
    for step in scheduler.timesteps:
        level = step.expand(2)
        one, other = (family.denoise(latents, level, c) for c in (wanted, negative))
        latents = scheduler.step(other + 3.0 * (one - other), step, latents).prev_sample
    torch.testing.assert_close(found, latents, rtol=1e-3, atol=1e-3)
    elsewhere, plain = Condition(wanted.text, sizes, told.flip(0)), replace(options, guidance=1.0)
    moved = family.sample_latents(noise, elsewhere, negative=None, options=plain)
    alone = family.sample_latents(noise, wanted, negative=None, options=plain)
    assert (moved - alone).abs().max() > 1e-3, "mask and picture must matter"


@pytest.mark.parametrize("name", FILLS)
def test_what_is_saved_names_the_inpainting_pipeline(
    name: str, bases: Callable[[str], Path], tmp_path: Path
) -> None:
    opened(bases(name)).save(tmp_path / "saved")
    said = json.loads((tmp_path / "saved" / "model_index.json").read_text())["_class_name"]
    kind = "StableDiffusionXL" if "xl" in name else "StableDiffusion"
    assert said == f"{kind}InpaintPipeline"


def test_a_rescale_that_the_pipeline_lacks_is_refused(
    bases: Callable[[str], Path], photos: Path, tmp_path: Path
) -> None:
    recipe = tiny_recipe(bases("sd1-inpainting"), photos, tmp_path, "sampling.guidance_rescale=0.5")
    with pytest.raises(SettingsError, match=r"sampling\.guidance_rescale must be 0 for an inpaint"):
        assembled(recipe)


def test_pictures_to_fill_are_for_a_base_that_fills(
    bases: Callable[[str], Path], photos: Path, tmp_path: Path
) -> None:
    recipe = tiny_recipe(bases("sd1"), photos, tmp_path, f"sampling.fill={photos}")
    with pytest.raises(SettingsError, match=r"sampling\.fill is for a base for inpainting"):
        assembled(recipe)


@pytest.mark.parametrize(
    ("name", "settings", "rule"),
    [
        ("sd1-inpainting", (), "inpainting_unsaid"),
        ("sd1-inpainting", (), "inpainting_coverage"),
        ("sd1", ("data.inpainting={}",), "inpainting_without_its_base"),
    ],
)
def test_check_says_what_masks_are_taken_for(
    name: str,
    settings: tuple[str, ...],
    rule: str,
    bases: Callable[[str], Path],
    masked: Path,
    tmp_path: Path,
) -> None:
    from workbench.data.dataset import index

    recipe = tiny_recipe(bases(name), masked, tmp_path, *settings)
    found = {one.rule.id: one for one in checks.check(recipe, dataset=index(recipe.data))}
    assert rule in found
    assert ("mask_few" in found) == (name == "sd1"), "there the same file weighs the loss"
    if rule == "inpainting_coverage":
        assert found[rule].reason.startswith("1 of 5 pictures have a mask file, of which 50%")


def test_a_run_keeps_what_it_filled_in_and_its_report_shows_it(
    bases: Callable[[str], Path], masked: Path, tmp_path: Path
) -> None:
    quiet = ("length.steps=1", "sampling.steps=2", "sampling.prompts=[zib]", "sampling.seeds=[0]")
    run = wb.start(tiny_recipe(bases("sd1-inpainting"), masked, tmp_path / "out", *quiet))
    list(run.train())
    kept = filling.pairs(str(run.folder / filling.FOLDER))
    assert len(kept) == 5 and 'fill = "fill"' in (run.folder / "recipe.toml").read_text()
    size = Image.open(next((run.folder / "samples").rglob("*.png"))).size
    given = filling.given(str(run.folder / filling.FOLDER), [0], size)
    outside = np.asarray(given.covers[0]) == 0
    for path in (run.folder / "samples").rglob("*.png"):
        drawn = np.asarray(Image.open(path).convert("RGB"))
        assert (drawn[outside] == np.asarray(given.pictures[0])[outside]).all(), path
        assert (drawn[~outside] != np.asarray(given.pictures[0])[~outside]).any(), path
    moved = run.folder.rename(tmp_path / "moved")  # as one that was downloaded
    trained = open_run(moved)
    assert trained.sampling.fill == str(moved / filling.FOLDER)
    again = next(draw(trained.family, trained.sampling, [("zib", 0)])).image
    last = sorted((moved / "samples").glob("step-*"))[-1]
    assert (np.asarray(again) == np.asarray(Image.open(next(last.iterdir())))).all()
    found = wb.compare(moved, settings=CompareSettings(strengths=(), num_strips=0))
    assert beside.given(moved, found).keys() == {0}
    shown = report.gather(moved, comparison=found)
    assert shown.shows_training and shown.comparison is not None
    assert private.public(shown, private.Private()).comparison is None


def test_a_file_without_its_run_makes_whole_pictures(
    bases: Callable[[str], Path], tmp_path: Path
) -> None:
    family = opened(bases("sd1-inpainting"))
    how = SampleSettings(steps=2, width=64, height=64)
    [one] = draw(family, how, [("a red cat", 0)])
    assert one.image.size == (64, 64) and np.asarray(one.image).std() > 0

"""The contract of every family: what it is, its latents, its text, its model, its names."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asking import condition_of, draws, generator, opened
from PIL import Image
from tiny_families import CASES, Case

from workbench.adapters import LoRA
from workbench.models import loading
from workbench.models.base import BaseSettings
from workbench.models.family import Condition, SizeInfo
from workbench.process import grid

pytestmark = [pytest.mark.families, pytest.mark.usefixtures("toy")]
DIFFUSERS = [name for name in CASES if name != "toy"]
PROMPTS = ["a red cat", "", "dog"]


# ------------------------------------------------------------------------------ what it is


def test_it_is_recognised_described_and_loaded_frozen(case: Case, base: Path) -> None:
    settings = BaseSettings(path=str(base))
    source = loading.locate(settings)
    assert source.family == case.family and source.title and source.evidence
    said = loading.module(case.family).describe(source, settings)
    family = opened(base)
    assert said.prediction == family.process.prediction
    assert next(iter(family.parts)) == case.denoiser
    assert family.identity["family"] == family.name == case.family
    assert all(len(value) == 64 for value in family.identity["hashes"].values())
    for part in family.parts.values():
        assert not any(p.requires_grad for p in part.parameters()) and not part.training
    tokens = loading.module(case.family).tokens(source, 75)
    assert tokens is not None and tokens.max_tokens == family.max_tokens
    counts = [tokens.count_tokens(prompt) for prompt in PROMPTS]
    assert counts == [family.count_tokens(p) for p in PROMPTS]
    assert counts[0] > counts[1] == 0
    long = "a red cat, " * 99
    assert "".join(tokens.windows(long)) == long and tokens.windows(long) == family.windows(long)


def test_another_family_is_refused_by_name(case: Case, base: Path) -> None:
    other = "sdxl" if case.family != "sdxl" else "sd"
    with pytest.raises(ValueError, match=rf'base.family is "{other}" \(.*set base.family to'):
        opened(base, family=other)


@torch.no_grad()
def test_latents_have_the_shape_that_is_promised(case: Case, base: Path) -> None:
    family = opened(base)
    multiple = family.codec.side_multiple_px
    width, height = 4 * multiple, 2 * multiple
    pixels = torch.rand(2, 3, height, width, generator=generator()) * 2 - 1
    with family.using("codec"):
        moments = family.codec.encode(pixels)
        decoded = family.codec.decode(moments.mean)
    assert moments.mean.shape == (2, family.codec.channels, *family.codec.shape(width, height))
    assert moments.mean.dtype == torch.float32
    assert moments.std is None or moments.std.shape == moments.mean.shape
    assert decoded.shape == (2, 3, height, width)
    assert float(decoded.min()) >= 0 and float(decoded.max()) <= 1
    assert family.codec.key == opened(base).codec.key


@torch.no_grad()
def test_one_caption_says_the_same_alone_and_among_others(case: Case, base: Path) -> None:
    family = opened(base)
    width = height = 8 * family.codec.side_multiple_px
    noisy = draws(family, 1, width, height).expand(3, -1, -1, -1)
    level = family.process.at(torch.tensor([300, 300, 300]))
    together = family.denoise(noisy, level, condition_of(family, PROMPTS, width, height))
    for k, prompt in enumerate(PROMPTS):
        one = condition_of(family, [prompt], width, height)
        if family.inpaints:
            whole = condition_of(family, PROMPTS, width, height).beside
            assert whole is not None
            one = Condition(one.text, one.sizes, whole[k : k + 1])
        alone = family.denoise(noisy[:1], level[:1], one)
        torch.testing.assert_close(alone[0], together[k], rtol=1e-4, atol=1e-5)
    assert together.dtype == torch.float32 and together.shape == noisy.shape
    assert (together[0] - together[2]).abs().max() > 1e-6, "the caption must matter"


# --------------------------------------------------------------- against diffusers' pipelines


def pipeline_of(name: str, base: Path) -> Any:
    """The pipeline that diffusers itself makes of the base."""
    import diffusers

    if name in ("sd1-inpainting", "sd2-inpainting"):
        kind = diffusers.StableDiffusionInpaintPipeline
        pipeline = kind.from_pretrained(base, safety_checker=None, requires_safety_checker=False)
    elif name == "sdxl-inpainting":
        pipeline = diffusers.StableDiffusionXLInpaintPipeline.from_pretrained(base)
    else:
        pipeline = diffusers.DiffusionPipeline.from_pretrained(base)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("name", DIFFUSERS)
@torch.no_grad()
def test_text_is_what_the_pipeline_encodes(name: str, bases: Callable[[str], Path]) -> None:
    family, pipeline = opened(bases(name)), pipeline_of(name, bases(name))
    rows = family.encode_text(PROMPTS)
    options: dict[str, Any] = {"device": "cpu", "do_classifier_free_guidance": False}
    if name != "zimage":
        options["num_images_per_prompt"] = 1
    found = pipeline.encode_prompt(list(PROMPTS), **options)
    for k, row in enumerate(rows):
        assert torch.equal(row["hidden"], found[0][k])
        if "pooled" in row:
            assert torch.equal(row["pooled"], found[2][k])


@pytest.mark.parametrize("name", DIFFUSERS)
def test_mixing_is_the_schedulers(name: str, bases: Callable[[str], Path]) -> None:
    process = opened(bases(name)).process
    scheduler = pipeline_of(name, bases(name)).scheduler
    clean, noise = (torch.randn(3, 4, 2, 2, generator=generator()) for _ in range(2))
    noise = noise.flip(0)
    level = process.at(torch.tensor([1, 400, 990]))
    noisy, target = process.mix(clean, noise, level)
    if process.prediction == "flow":
        # The scheduler's own sigmas are shifted; its formula takes any.
        scheduler.sigmas, scheduler.timesteps = level, level * 1000
        expected = scheduler.scale_noise(clean, level * 1000, noise)
        torch.testing.assert_close(target, noise - clean)
    else:
        expected = scheduler.add_noise(clean, noise, level)
        velocity = process.prediction == "v_prediction"
        wanted = scheduler.get_velocity(clean, noise, level) if velocity else noise
        torch.testing.assert_close(target, wanted)
    torch.testing.assert_close(noisy, expected)
    torch.testing.assert_close(process.clean(noisy, target, level), clean, rtol=1e-3, atol=1e-3)
    assert process.snr(grid(process)).diff().max() < 0


@pytest.mark.parametrize("name", DIFFUSERS)
@torch.no_grad()
def test_denoise_is_the_call_in_the_pipelines_own_step(
    name: str, bases: Callable[[str], Path]
) -> None:
    family, pipeline = opened(bases(name)), pipeline_of(name, bases(name))
    denoiser = getattr(pipeline, CASES[name].denoiser)
    calls: list[tuple[tuple, dict, Any]] = []
    denoiser.register_forward_hook(
        lambda _, args, kwargs, out: calls.append((args, kwargs, out)), with_kwargs=True
    )
    options: dict[str, Any] = {"guidance_scale": 0.0 if name == "zimage" else 1.0}
    size = {"height": 64, "width": 96}
    masks = torch.zeros(1, 1, 64, 96)
    masks[..., 16:48, 32:64] = 1
    if name.endswith("inpainting"):
        picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
        options |= {"image": Image.fromarray(picture), "mask_image": masks, "strength": 1.0}
    pipeline(
        "a red cat", num_inference_steps=2, output_type="latent", **size, **options,
        generator=generator(),
    )  # fmt: skip
    text = family.collate(family.encode_text(["a red cat"]))
    for args, _, out in calls:
        taken, time = args[0], args[1]
        beside = None
        if name == "zimage":
            noisy, level = torch.stack(taken).squeeze(2), 1 - time
            answer = -torch.stack(out[0]).squeeze(2)
        else:
            noisy, level, answer = taken[:, :4], time.expand(1), out[0]
            beside = taken[:, 4:] if name.endswith("inpainting") else None
        condition = Condition(text, (SizeInfo.whole(96, 64),), beside)
        torch.testing.assert_close(
            family.denoise(noisy, level, condition), answer, rtol=1e-5, atol=1e-6
        )
    assert len(calls) == 2
    if name.endswith("inpainting"):
        pixels = torch.from_numpy(picture).permute(2, 0, 1)[None] / 127.5 - 1
        ours, theirs = family.beside(pixels, masks), calls[0][0][0][:, 4:]
        assert torch.equal(ours[:, :1], theirs[:, :1])
        std = family.codec.encode(pixels * (masks < 0.5)).std
        assert std is not None  # the pipeline samples what we take the mean of
        assert ((ours - theirs)[:, 1:].abs() <= 6 * std).all()


LITERAL = json.loads(Path(__file__).with_name("file_names.json").read_text())


@pytest.mark.parametrize("name", DIFFUSERS)
def test_layers_are_named_in_files_by_a_literal_list(
    name: str, bases: Callable[[str], Path]
) -> None:
    family = opened(bases(name))
    groups = ("attention", "feedforward")
    adapter = LoRA(rank=2, groups=groups, text_encoder=CASES[name].encoder).attach(
        family.parts, family.targets, generator=generator()
    )
    names = [family.file_name(*layer.split(".", 1)) for layer in adapter.layers()]
    assert names == LITERAL[name]

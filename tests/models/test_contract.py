"""The contract that every family keeps, on tiny bases of the true classes and on a toy."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_family
from PIL import Image
from tiny_families import CASES, Case
from tiny_recipes import assembled, tiny_recipe, write_photos

import workbench as wb
from workbench import checks, store
from workbench.adapters import LoRA
from workbench.evaluation import parity
from workbench.evaluation.batches import gather, render
from workbench.evaluation.guesses import guesses
from workbench.evaluation.loading import Trained, open_run
from workbench.evaluation.noise import open_scene
from workbench.models import loading, registry
from workbench.models.base import BaseSettings
from workbench.models.family import Condition, Family, SampleOptions, SizeInfo
from workbench.process import grid
from workbench.recipe import Recipe
from workbench.records import log
from workbench.records.events import Proved, Warned
from workbench.records.fixed import weights_hash
from workbench.settings import walk
from workbench.training.run import Run

pytestmark = pytest.mark.families
DIFFUSERS = [name for name in CASES if name != "toy"]
PROMPTS = ["a red cat", "", "dog"]


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.FAMILIES, "toy", toy_family.Module)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny base, built when it is first asked for."""
    folder = tmp_path_factory.mktemp("families")
    return lambda name: (
        folder / name if (folder / name).exists() else CASES[name].build(folder / name)
    )


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"), 5)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def base(request: pytest.FixtureRequest, bases: Callable[[str], Path]) -> Path:
    return bases(request.getfixturevalue("request").node.callspec.params["case"])


@pytest.fixture
def recipe(case: Case, base: Path, photos: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """A function from overrides to a tiny recipe for the family."""
    quiet = ("sampling.steps=2", "output.report=false", "sampling.prompts=[zib, red]")
    return lambda *overrides: tiny_recipe(
        base, photos, tmp_path / "runs", *case.settings, *quiet, *overrides
    )


def opened(base: Path, **options: Any) -> Family:
    return loading.load(BaseSettings(path=str(base), **options))


def condition_of(family: Family, prompts: list[str], width: int, height: int) -> Condition:
    beside = None
    if family.inpaints:
        pixels = torch.rand(len(prompts), 3, height, width, generator=_generator()) * 2 - 1
        masks = torch.zeros(len(prompts), 1, height, width)
        masks[:, :, height // 4 : height // 2] = 1
        beside = family.beside(pixels, masks)
    sizes = tuple(SizeInfo.whole(width, height) for _ in prompts)
    return Condition(family.collate(family.encode_text(prompts)), sizes, beside)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def draws(family: Family, count: int, width: int, height: int) -> torch.Tensor:
    shape = (count, family.codec.channels, *family.codec.shape(width, height))
    return torch.randn(shape, generator=_generator())


# ------------------------------------------------------------------------------ what it is


def test_it_is_recognised_described_and_loaded_frozen(case: Case, base: Path) -> None:
    settings = BaseSettings(path=str(base))
    source = loading.locate(settings)
    assert source.family == case.family and source.title and source.evidence
    said = loading.module(case.family).describe(source, settings)
    family = opened(base)
    assert said.prediction == family.process.prediction
    assert said.max_tokens == family.max_tokens
    assert next(iter(family.parts)) == case.denoiser
    assert family.identity["family"] == family.name == case.family
    assert all(len(value) == 64 for value in family.identity["hashes"].values())
    for part in family.parts.values():
        assert not any(p.requires_grad for p in part.parameters()) and not part.training
    count = loading.module(case.family).tokens(source)
    assert [count(prompt) for prompt in PROMPTS] == [family.count_tokens(p) for p in PROMPTS]
    assert count("a red cat") > count("") == 0


def test_another_family_is_refused_by_name(case: Case, base: Path) -> None:
    other = "sdxl" if case.family != "sdxl" else "sd"
    with pytest.raises(ValueError, match=rf'base.family is "{other}" \(.*set base.family to'):
        opened(base, family=other)


@torch.no_grad()
def test_latents_have_the_shape_that_is_promised(case: Case, base: Path) -> None:
    family = opened(base)
    multiple = family.codec.side_multiple_px
    width, height = 4 * multiple, 2 * multiple
    pixels = torch.rand(2, 3, height, width, generator=_generator()) * 2 - 1
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

    if name == "sd1-inpainting":
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
    clean, noise = (torch.randn(3, 4, 2, 2, generator=_generator()) for _ in range(2))
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
        generator=_generator(),
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


# ---------------------------------------------------------------------- training, file, proof


def final_tensors(run: Run) -> dict[str, torch.Tensor]:
    return store.load_tensors(run.final_lora)


def test_a_lora_trains_resumes_bitwise_is_saved_proved_and_sampled(
    case: Case, recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    chosen = recipe("data.captions.caption_dropout=0.3", "length.steps=5")
    run = wb.start(chosen, folder=tmp_path / "whole")
    told = []
    for event in run.train():
        told.append(event)
        if event.event == "progress" and event.step == 3:
            shutil.copytree(run.folder, tmp_path / "killed")
            (tmp_path / "killed" / "lock.json").unlink()
    (proved,) = [event for event in told if isinstance(event, Proved)]
    assert proved.passed, proved.findings
    assert not [e for e in told if isinstance(e, Warned) and e.id == "not-training"]
    pictures = [*(run.folder / "samples").rglob("*.png")]
    assert len(pictures) == 4, "two prompts, of the base and at the end"
    files = final_tensors(run)
    assert any(t.abs().max() > 0 for n, t in files.items() if n.endswith("lora_up.weight"))
    again = wb.resume(tmp_path / "killed")
    again.observers = []
    list(again.train())
    for name, tensor in files.items():
        assert torch.equal(tensor, final_tensors(again)[name]), name
    losses = [e.loss for e in told if e.event == "progress"]
    assert [e.loss for e in log.read(tmp_path / "killed") if e.event == "progress"] == losses


def test_everything_learns_and_the_base_comes_back(
    case: Case, recipe: Callable[..., Recipe]
) -> None:
    """A full fine-tune, the text encoder with it where one can learn."""
    encoder = str(case.encoder).lower()
    chosen = recipe("adapter.kind=full", f"adapter.text_encoder={encoder}", "length.steps=2")
    trainer = assembled(chosen)
    before = weights_hash(trainer.family.parts)
    from workbench.training.step import train_step

    for step in (trainer.loader.step(0), trainer.loader.step(1)):
        assert train_step(trainer, step).gradient_norm > 0
    assert weights_hash(trainer.family.parts) != before
    with trainer.adapter.strength(0):
        assert weights_hash(trainer.family.parts) == before


def test_a_full_fine_tune_is_proved(case: Case, recipe: Callable[..., Recipe]) -> None:
    for keep in ("true", "false"):
        chosen = recipe(
            "adapter.kind=full", f"adapter.keep_start={keep}", "length.steps=2", f"name=keep-{keep}"
        )
        told = list(wb.start(chosen).train())
        (proved,) = [event for event in told if isinstance(event, Proved)]
        assert proved.passed, proved.findings
        assert ("strength 0" in proved.numbers) == (keep == "true")


LITERAL = json.loads(Path(__file__).with_name("file_names.json").read_text())


@pytest.mark.parametrize("name", DIFFUSERS)
def test_layers_are_named_in_files_by_a_literal_list(
    name: str, bases: Callable[[str], Path]
) -> None:
    family = opened(bases(name))
    groups = ("attention", "feedforward")
    adapter = LoRA(rank=2, groups=groups, text_encoder=CASES[name].encoder).attach(
        family.parts, family.targets, generator=_generator()
    )
    names = [family.file_name(*layer.split(".", 1)) for layer in adapter.layers()]
    assert names == LITERAL[name]


@pytest.fixture(scope="module")
def runs(
    bases: Callable[[str], Path], photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Path]]:
    """The folder of a finished run of each case."""
    folder = tmp_path_factory.mktemp("runs")

    def run_of(name: str) -> Path:
        if not (folder / name).exists():
            case = CASES[name]
            quiet = ("sampling.steps=2", "output.report=false", "sampling.prompts=[zib]")
            encoder = f"adapter.text_encoder={str(case.encoder).lower()}"
            chosen = tiny_recipe(bases(name), photos, folder, *case.settings, *quiet, encoder)
            list(wb.start(chosen, folder=folder / name).train())
        return folder / name

    yield run_of


def _alpha(tensors: dict[str, torch.Tensor]) -> None:
    for name in [name for name in tensors if name.endswith(".alpha")]:
        tensors[name] = tensors[name] * 1.5


def _sign(tensors: dict[str, torch.Tensor]) -> None:
    for name in [name for name in tensors if name.endswith("lora_up.weight")]:
        tensors[name] = -tensors[name]


def _layer(tensors: dict[str, torch.Tensor]) -> None:
    """Two layers of one shape changed places."""
    ups = [name for name in tensors if name.endswith("lora_up.weight")]
    one, other = next(
        (a, b)
        for k, a in enumerate(ups)
        for b in ups[k + 1 :]
        if tensors[a].shape == tensors[b].shape and not tensors[a].equal(tensors[b])
    )
    tensors[one], tensors[other] = tensors[other], tensors[one]


@pytest.mark.parametrize("damage", [_alpha, _sign, _layer])
@pytest.mark.parametrize("name", CASES)
def test_a_corrupted_file_fails_the_proof(
    name: str, damage: Callable[[dict], None], runs: Callable[[str], Path], tmp_path: Path
) -> None:
    trained = open_run(runs(name), weights="checkpoint")
    assert parity.prove_file(trained).passed
    tensors = store.load_tensors(trained.path)
    damage(tensors)
    path = store.save_tensors(tmp_path / "damaged.safetensors", tensors)
    found = {row.name: row.passed for row in parity.prove_file(_with(trained, path)).rows}
    assert not found["tensors"] and not found["model output"]
    assert found["strength 0"] and found["base untouched"]


def _with(trained: Trained, path: Path) -> Trained:
    from dataclasses import replace

    return replace(trained, path=path)


@pytest.mark.parametrize("name", CASES)
def test_a_corrupted_condition_fails_the_proof(
    name: str, runs: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model that reads the file is told something else than the one that trained."""
    trained = open_run(runs(name), weights="checkpoint")
    collate, reloaded = trained.family.collate, []
    attach = parity.formats.attach_file

    def noticed(*args: Any, **kwargs: Any) -> Any:
        reloaded.append(True)
        return attach(*args, **kwargs)

    def wrong(rows: Any) -> Any:
        text = collate(rows)
        return {k: t * 1.2 if t.is_floating_point() and reloaded else t for k, t in text.items()}

    monkeypatch.setattr(parity.formats, "attach_file", noticed)
    monkeypatch.setattr(trained.family, "collate", wrong)
    found = {row.name: row.passed for row in parity.prove_file(trained).rows}
    assert found["tensors"] and not found["model output"]


# ------------------------------------------------------------------------- the rest of the house


@torch.no_grad()
def test_guesses_and_noise_pictures(case: Case, base: Path) -> None:
    scene = open_scene(BaseSettings(path=str(base)), side_px=192)
    shown = scene.under(Recipe.preset("critters").noise, timesteps=[100, 900])
    assert {picture.shape for picture in shown.values()} == {(192, 192, 3)}
    assert len(scene.snr) == 1000
    found = guesses(scene, "a red cat", timesteps=[100, 900])
    assert {image.size for pair in found.values() for image in pair} == {(192, 192)}


def test_the_first_batches_are_shown(case: Case, recipe: Callable[..., Recipe]) -> None:
    trainer = assembled(recipe("data.augment.flip=0.5"))
    (sheet,) = gather(trainer, 1)
    for card in sheet.cards:
        assert card.picture.size == sheet.bucket
        assert 0 <= card.timestep < 1000 and 0 <= card.noise <= 1
        assert card.tokens == trainer.family.count_tokens(card.caption)
    assert sheet.cards[0].caption in render([sheet], name="tiny")


def test_checks_and_forms_know_it(case: Case, recipe: Callable[..., Recipe]) -> None:
    chosen = recipe()
    facts = checks.base.look(chosen.base)
    assert facts.family == case.family and facts.prediction is not None
    checks.check(chosen)
    entry = next(entry for entry in walk(chosen) if entry.path == "base.family")
    assert entry.control == "choice" and case.family in entry.choices
    assert chosen.override([f"base.family={case.family}"]).base.family == case.family


def test_the_app_describes_it(case: Case, recipe: Callable[..., Recipe]) -> None:
    from workbench.app.captions_seen import token_counter
    from workbench.app.data_models import _about
    from workbench.app.noise_picture import _weigh

    chosen = recipe()
    source = loading.locate(chosen.base)
    assert source.title in _about(chosen.base, 0)
    count, limit, how = token_counter(chosen.base)
    assert how == "" and count("a red cat") > 0
    assert limit == loading.load(chosen.base).max_tokens
    figure, *_ = _weigh(chosen, chosen.base, None)
    assert len(figure.data) >= 1


def test_no_file_of_the_package_knows_the_toy() -> None:
    package = Path(wb.__file__).parent
    knowing = [p for p in package.rglob("*.py") if "mixer" in p.read_text() or "toy" in p.stem]
    assert knowing == []
    assert set(registry.names()) == {"sd", "sdxl", "zimage", "toy"}


def test_sides_that_fit_no_latent_are_refused(
    bases: Callable[[str], Path], photos: Path, tmp_path: Path
) -> None:
    base = bases("toy")
    with pytest.raises(
        ValueError, match=r"data\.buckets\.step must be a multiple of 12 px.*got 64"
    ):
        assembled(tiny_recipe(base, photos, tmp_path, "data.buckets.step=64"))
    wide = ("data.buckets.resolution=96", "data.buckets.step=24", "sampling.width=100")
    with pytest.raises(
        ValueError, match=r"sampling\.width must be a multiple of 12.*nearest is 96"
    ):
        assembled(tiny_recipe(base, photos, tmp_path, *wide))


@pytest.mark.parametrize(
    ("name", "override", "said"),
    [
        ("zimage", "weighting.kind=min_snr", "weighting.kind must be 'constant'"),
        ("zimage", "sampling.scheduler=dpmpp_2m", 'sampling.scheduler must be "euler"'),
        ("zimage", "base.clip_skip=1", "base.clip_skip must be left out for Z-Image"),
        ("zimage", "base.prediction=epsilon", "base.prediction must be left out for Z-Image"),
        ("zimage", "data.captions.shuffle=true", "data.captions.variants=8"),
        ("zimage", "data.cache.latents=false", "data.cache.latents must be true"),
        ("zimage", "adapter.text_encoder=true", "adapter.text_encoder must be false"),
        ("zimage", "base.dtype=float16", "base.dtype must be"),
        ("zimage", "training.precision=float16", "training.precision must be"),
        (
            "zimage",
            "sampling.guidance_rescale=0.7",
            "sampling.guidance_rescale = 0.7 must be left out",
        ),
        ("zimage", "sampling.spacing=leading", "sampling.spacing = 'leading' must be left out"),
        ("sd1", "data.inpainting.masks=2", "data.inpainting needs a base for inpainting"),
    ],
)
def test_what_has_no_meaning_for_a_family_is_refused_with_the_reason(
    name: str, override: str, said: str, bases: Callable[[str], Path], photos: Path, tmp_path: Path
) -> None:
    settings = (*CASES[name].settings, override)
    with pytest.raises(ValueError, match=said.replace(".", r"\.")):
        assembled(tiny_recipe(bases(name), photos, tmp_path, *settings))


def test_euler_on_a_straight_line_is_exact(bases: Callable[[str], Path]) -> None:
    """Where the model knows the picture, any number of steps leads to it."""
    family = opened(bases("toy"))
    picture = draws(family, 1, 96, 96)
    noise = draws(family, 1, 96, 96).flip(1)
    family.denoise = lambda noisy, level, condition: noise - picture  # type: ignore[method-assign]
    condition = condition_of(family, ["a"], 96, 96)
    options = SampleOptions(96, 96, 3, 1.0, None, "euler", "trailing", (_generator(),))
    found = family.sample_latents(noise, condition, negative=None, options=options)
    torch.testing.assert_close(found, picture, rtol=1e-4, atol=1e-5)

"""The contract of every family: trained, resumed, saved, proved, shown, refused."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from asking import condition_of, draws, generator, opened
from tiny_families import CASES, Case
from tiny_recipes import assembled, tiny_recipe

import workbench as wb
from workbench import checks, store
from workbench.evaluation import parity
from workbench.evaluation.batches import gather, render
from workbench.evaluation.guesses import guesses
from workbench.evaluation.loading import attach, open_run
from workbench.evaluation.noise import open_scene
from workbench.models import loading, registry
from workbench.models.base import BaseSettings
from workbench.models.defaults import CRITTERS, Machine
from workbench.models.family import SampleOptions
from workbench.recipe import Recipe
from workbench.records import log
from workbench.records.events import Proved, Warned
from workbench.records.fixed import weights_hash
from workbench.settings import SettingsError, walk
from workbench.settings.advice import follow, kept
from workbench.training.run import Run
from workbench.training.saving import save_lora
from workbench.training.step import train_step

pytestmark = [pytest.mark.families, pytest.mark.usefixtures("toy")]


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


def test_a_full_fine_tune_in_one_file_comes_back_or_is_refused(
    case: Case, recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    encoder = f"adapter.text_encoder={str(case.encoder).lower()}"
    chosen = recipe("adapter.kind=full", encoder, "adapter.layout=single_file", "length.steps=1")
    if case.family in ("zimage", "toy"):
        with pytest.raises(
            SettingsError, match=r"adapter\.layout must be .diffusers. for this base"
        ):
            assembled(chosen)
        return
    trainer = assembled(chosen)
    train_step(trainer, trainer.loader.step(0))
    path = save_lora(trainer, tmp_path / "whole.safetensors", 1)
    family = loading.load(chosen.base)
    untouched = weights_hash(family.parts)
    adapter = attach(family, path)
    learned = trainer.adapter.state()
    assert adapter.state().keys() == learned.keys()
    assert all(torch.equal(tensor, learned[name]) for name, tensor in adapter.state().items())
    with adapter.strength(0):
        assert weights_hash(family.parts) == untouched
    config = Path(chosen.base.path)
    again = chosen.base.model_copy(update={"path": str(path), "config": str(config)})
    whole = loading.load(again)  # as any other base
    trained = {part: module.state_dict() for part, module in trainer.family.parts.items()}
    for part, module in whole.parts.items():
        assert all(torch.equal(t, trained[part][n]) for n, t in module.state_dict().items()), part


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
    found = {row.name: row.passed for row in parity.prove_file(replace(trained, path=path)).rows}
    assert not found["tensors"] and not found["model output"]
    assert found["strength 0"] and found["base untouched"]


@pytest.mark.parametrize("name", CASES)
def test_a_corrupted_condition_fails_the_proof(
    name: str, runs: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model that reads the file is told something else than the one that trained."""
    trained = open_run(runs(name), weights="checkpoint")
    collate, reloaded = trained.family.collate, []
    attach = parity.attach

    def noticed(*args: Any, **kwargs: Any) -> Any:
        reloaded.append(True)
        return attach(*args, **kwargs)

    def wrong(rows: Any) -> Any:
        text = collate(rows)
        return {k: t * 1.2 if t.is_floating_point() and reloaded else t for k, t in text.items()}

    monkeypatch.setattr(parity, "attach", noticed)
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


@pytest.mark.parametrize("native_bfloat16", [True, False])
def test_what_follows_from_it_can_be_followed(
    case: Case, base: Path, native_bfloat16: bool
) -> None:
    settings = BaseSettings(path=str(base))
    advised = loading.defaults(settings, Machine(cuda=True, native_bfloat16=native_bfloat16))
    recipe = follow(advised, Recipe.preset("sd15-lora").override([f"base.path={base.as_posix()}"]))
    critters = {one.setting for one in CRITTERS}
    assert {one.setting for one in advised} >= critters, "what the critters set is set back"
    assert len({one.setting for one in advised}) == len(advised)
    assert kept(advised, recipe), "something follows from every base"
    assert all(one.reason and not one.reason.endswith(".") for one in advised)
    said = loading.module(case.family).describe(loading.locate(settings), settings)
    assert recipe.data.buckets.step % said.side_multiple_px == 0
    if case.family == "zimage":
        assert recipe.training.precision == ("bfloat16" if native_bfloat16 else "float32")
    elif case.family != "toy":
        assert recipe.training.precision == ("bfloat16" if native_bfloat16 else "float16")
        assert recipe.data.buckets.resolution == said.native_px


def test_the_app_describes_it(case: Case, recipe: Callable[..., Recipe]) -> None:
    from workbench.app.captions_seen import caption_reader
    from workbench.app.data_models import _about
    from workbench.app.noise_picture import _weigh

    chosen = recipe()
    source = loading.locate(chosen.base)
    assert source.title in _about(chosen.base, 0)
    assert f"pictures of {loading.load(chosen.base).native_px} px" in _about(chosen.base, 0)
    tokens, how = caption_reader(chosen.base, 75)
    assert how == "" and tokens.count_tokens("a red cat") > 0
    assert tokens.max_tokens == loading.load(chosen.base).max_tokens
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
        (
            "zimage",
            "data.captions.variants=4 data.captions.warmup_steps=5",
            "a warm-up are new at every step",
        ),
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
    settings = (*CASES[name].settings, *override.split())
    with pytest.raises(ValueError, match=said.replace(".", r"\.")):
        assembled(tiny_recipe(bases(name), photos, tmp_path, *settings))


def test_euler_on_a_straight_line_is_exact(bases: Callable[[str], Path]) -> None:
    """Where the model knows the picture, any number of steps leads to it."""
    family = opened(bases("toy"))
    picture = draws(family, 1, 96, 96)
    noise = draws(family, 1, 96, 96).flip(1)
    family.denoise = lambda noisy, level, condition: noise - picture  # type: ignore[method-assign]
    condition = condition_of(family, ["a"], 96, 96)
    options = SampleOptions(96, 96, 3, 1.0, None, "euler", "trailing", (generator(),))
    found = family.sample_latents(noise, condition, negative=None, options=options)
    torch.testing.assert_close(found, picture, rtol=1e-4, atol=1e-5)

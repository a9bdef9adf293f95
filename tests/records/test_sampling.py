"""Pictures depend on weights, prompt and seed, and drawing them changes nothing else."""

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from workbench.models import solver, unets
from workbench.models.family import Condition, Rows, SampleOptions, stacked
from workbench.process import DiscreteVP
from workbench.records import sampling
from workbench.records.pictures import save_pictures
from workbench.records.sampling import SampleSettings, fill_prompt, without_trigger
from workbench.settings import SettingsError


class TinyCodec:
    """The family's autoencoder, and a decoder that is none; see `Codec`."""

    channels, side_multiple_px = 4, 8

    def __init__(self, family: "TinyFamily") -> None:
        self.family, self.module = family, family.vae

    def shape(self, width_px: int, height_px: int) -> tuple[int, int]:
        return height_px // 8, width_px // 8

    def decode(self, latents: Tensor) -> Tensor:
        assert not self.family.unet.training and not torch.is_grad_enabled()
        assert not torch.is_autocast_enabled("cpu")
        return latents[:, :3].sigmoid().repeat_interleave(8, 2).repeat_interleave(8, 3)


class TinyFamily:
    """Stable Diffusion's U-Net and autoencoder, 8 channels wide; captions hash to embeddings."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.unet = diffusers.UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            cross_attention_dim=8,
            attention_head_dim=2,
            norm_num_groups=4,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        )
        self.vae = diffusers.AutoencoderKL(block_out_channels=(8, 8), norm_num_groups=4)
        self.vae.register_module("dropout", nn.Dropout(0.5))
        self.parts: dict[str, nn.Module] = {"unet": self.unet}
        self.device, self.native_px, self.inpaints = torch.device("cpu"), 64, False
        self.codec = TinyCodec(self)
        self.process = DiscreteVP(torch.linspace(0.9991, 0.0047, 1000), "epsilon")
        self.captions: list[str] = []

    def encode_text(self, prompts: Sequence[str]) -> list[Rows]:
        self.captions += prompts
        seeds = [int(hashlib.md5(c.encode()).hexdigest()[:8], 16) for c in prompts]
        draws = [torch.randn(77, 8, generator=torch.Generator().manual_seed(s)) for s in seeds]
        return [{"hidden": one} for one in draws]

    def collate(self, rows: Sequence[Rows]) -> dict[str, Tensor]:
        return stacked(rows, self.device)

    def using(self, *parts: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def sample_latents(
        self,
        noise: Tensor,
        condition: Condition,
        *,
        negative: Condition | None,
        options: SampleOptions,
    ) -> Tensor:
        conditions = condition, negative
        return unets.sample_by_pipeline(
            self.pipeline(), self, noise, conditions=conditions, options=options
        )  # type: ignore[arg-type]

    def pipeline(self) -> diffusers.StableDiffusionPipeline:
        return diffusers.StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=None,  # type: ignore[arg-type]
            tokenizer=None,  # type: ignore[arg-type]
            unet=self.unet,
            scheduler=diffusers.DDIMScheduler(),
            safety_checker=None,  # type: ignore[arg-type]
            feature_extractor=None,  # type: ignore[arg-type]
            requires_safety_checker=False,
        )


@pytest.fixture
def family() -> TinyFamily:
    return TinyFamily()


SETTINGS = SampleSettings(prompts=("a cat", "a dog"), seeds=(3, 4), steps=3, batch_size=4)


def options_of(settings: SampleSettings) -> SampleOptions:
    return SampleOptions(
        width_px=64,
        height_px=64,
        steps=settings.steps,
        guidance=settings.guidance,
        guidance_rescale=settings.guidance_rescale,
        scheduler=settings.scheduler,
        spacing=settings.spacing,
        generators=(),
    )


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.int16)


@pytest.mark.parametrize("scheduler", sorted(solver.SCHEDULERS))
@pytest.mark.parametrize("spacing", ["trailing", "leading"])
def test_a_picture_does_not_depend_on_its_batch(
    family: TinyFamily, scheduler: str, spacing: str
) -> None:
    settings = SETTINGS.model_copy(update={"scheduler": scheduler, "spacing": spacing})
    together = sampling.sample(family, settings)
    alone = sampling.sample(family, settings, prompts=["a dog"], seeds=[4])
    assert [(p.prompt, p.seed) for p in together] == [
        ("a cat", 3), ("a cat", 4), ("a dog", 3), ("a dog", 4)
    ]  # fmt: skip
    assert together[0].image.size == (64, 64)
    assert np.abs(pixels(together[3].image) - pixels(alone[0].image)).max() <= 1
    assert np.abs(pixels(together[2].image) - pixels(alone[0].image)).max() > 20


def test_modes_and_autocast_are_as_before_even_after_an_error(family: TinyFamily) -> None:
    family.unet.train()
    family.unet.mid_block.eval()
    before = {name: m.training for name, m in family.unet.named_modules()}
    with torch.autocast("cpu", torch.bfloat16):
        pictures = sampling.stream(family, SETTINGS)
        next(pictures)
        assert torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")
    assert {name: m.training for name, m in family.unet.named_modules()} == before
    family.codec.decode = None  # type: ignore[assignment]
    with pytest.raises(TypeError):
        sampling.sample(family, SETTINGS)
    assert {name: m.training for name, m in family.unet.named_modules()} == before


def test_sampling_prints_nothing_and_leaves_global_randomness(
    family: TinyFamily, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    sampling.sample(family, SETTINGS)
    assert torch.rand(1).equal(expected)
    out, err = capfd.readouterr()
    assert out == "" and err == ""


def test_guidance_of_one_needs_no_negative_prompt(family: TinyFamily) -> None:
    settings = SETTINGS.model_copy(update={"guidance": 1.0, "negative": "blurry"})
    sampling.sample(family, settings)
    assert "blurry" not in family.captions
    sampling.sample(family, SETTINGS.model_copy(update={"negative": "blurry"}))
    assert "blurry" in family.captions


def test_size_is_taken_from_the_settings(family: TinyFamily) -> None:
    settings = SETTINGS.model_copy(update={"width": 96, "height": 48})
    assert sampling.sample(family, settings)[0].image.size == (96, 48)


def test_zero_terminal_snr_stays_finite(family: TinyFamily) -> None:
    family.process = DiscreteVP(torch.linspace(0.9991, 0.0, 1000), "v_prediction")
    for name in solver.SCHEDULERS:
        settings = SETTINGS.model_copy(update={"scheduler": name})
        values = pixels(sampling.sample(family, settings)[0].image)
        assert values.std() > 1, name


def test_zero_terminal_snr_asks_for_trailing_timesteps_and_rescaled_guidance(
    family: TinyFamily,
) -> None:
    family.process = DiscreteVP(torch.linspace(0.9991, 0.0047, 1000), "v_prediction")
    assert solver.guidance_rescale(family.process, options_of(SETTINGS)) == 0
    family.process = DiscreteVP(torch.linspace(0.9991, 0.0, 1000), "v_prediction")
    assert solver.guidance_rescale(family.process, options_of(SETTINGS)) == 0.7
    chosen = SETTINGS.model_copy(update={"guidance_rescale": 0.0})
    assert solver.guidance_rescale(family.process, options_of(chosen)) == 0
    automatic = sampling.sample(family, SETTINGS)[0].image
    assert np.abs(pixels(automatic) - pixels(sampling.sample(family, chosen)[0].image)).max() > 0
    solver.require_solver(family.process, scheduler="ddim", spacing=SETTINGS.spacing)
    for spacing in ("leading", "linspace"):
        settings = SETTINGS.model_copy(update={"spacing": spacing})
        with pytest.raises(SettingsError, match=f"must be \"trailing\", got '{spacing}'"):
            solver.require_solver(family.process, scheduler="ddim", spacing=spacing)
        with pytest.raises(SettingsError, match="trailing"):
            sampling.sample(family, settings)


def test_scheduler_has_the_noise_schedule_of_the_model() -> None:
    reference = diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
    )
    process = DiscreteVP(reference.alphas_cumprod, "v_prediction")
    made = solver.make_scheduler(process, options_of(SampleSettings()))
    assert torch.allclose(made.alphas_cumprod, reference.alphas_cumprod, rtol=1e-4)
    made.set_timesteps(25)
    assert made.timesteps[0] == 999 and made.config.prediction_type == "v_prediction"


def test_names_sort_and_never_collide(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 4), "teal")
    prompts = ["A cat!", "a cat?", "ねこ", "x" * 300, "../../etc/passwd"]
    pictures = [sampling.Picture(p, s, image) for p in prompts for s in (0, 7)]
    paths = save_pictures(pictures, tmp_path / "samples/step-000200")
    assert len({p.name.lower() for p in paths}) == 10
    assert paths[0].name == "01-a-cat-0.png" and paths[4].name == "03-0.png"
    assert all(p.parent == tmp_path / "samples/step-000200" and p.is_file() for p in paths)
    with Image.open(paths[5]) as read:
        assert read.text == {"prompt": "ねこ", "seed": "7"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("prompt", "filled", "without"),
    [
        ("{trigger} {class}, red", "mochi critter, red", "critter, red"),
        ("{trigger}, red", "mochi, red", "critter, red"),
        ("a photo of {trigger}", "a photo of mochi", "a photo of critter"),
        ("critter, mochi, red", "critter, mochi, red", "critter, red"),
        ("mochila, red", "mochila, red", "mochila, red"),
        ("{trigger} portrait", "mochi portrait", "critter portrait"),
    ],
)
def test_trigger_in_prompts(prompt: str, filled: str, without: str) -> None:
    assert fill_prompt(prompt, trigger="mochi", class_word="critter") == filled
    assert without_trigger(prompt, trigger="mochi", class_word="critter") == without


def test_an_empty_place_takes_its_separator_with_it() -> None:
    assert fill_prompt("{trigger}, red hat") == "red hat"
    assert fill_prompt("a {class}, red") == "a, red"
    assert without_trigger("critter, mochi, red", trigger="mochi") == "critter, red"
    assert without_trigger("critter, mochi", trigger="mochi") == "critter"
    assert without_trigger("a photo of mochi in rain", trigger="mochi") == "a photo of in rain"
    assert without_trigger("a.b*c, red", trigger="a.b*c") == "red"

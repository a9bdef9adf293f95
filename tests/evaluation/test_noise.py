"""The command measures noises as asked, writes a page that holds all, and pictures to look at."""

import contextlib
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from workbench import cli
from workbench.diffusion.noise import Gaussian, Mixture, Offset, Perlin, PowerLaw
from workbench.evaluation import noise, noise_page
from workbench.models.codec import Moments
from workbench.process import DiscreteVP


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main(["noise", *arguments])
    return ended.value.code


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(noise, "NUM_SAMPLES", 8)


def test_page_and_sheets_of_chosen_noises(tmp_path, capsys):
    code = run("--only", "white", "--only", "perlin", "--no-pictures", "--out", str(tmp_path))
    assert code == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["noise.html", "overview.png", "perlin.png", "white.png"]
    said = capsys.readouterr().out
    assert said.split()[-1] == str(tmp_path / "noise.html")
    assert re.search(r"perlin +\S+ +\S+", said)
    assert re.search(r"publish\S* +37 +76 +20", said)
    page = (tmp_path / "noise.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=\"(https?:)?//", page)
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', page, re.S)[1])
    assert {"all-radial", "0-field", "1-phase"} <= figures.keys()
    assert page.count('class="sheet"') == 2
    pixels = np.asarray(Image.open(tmp_path / "perlin.png"))
    assert pixels.std() > 30


def test_settings_are_those_of_a_recipe(tmp_path, capsys):
    assert run("kind=offset", "strength=0.2", "--no-pictures", "--out", str(tmp_path)) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noise.html", "offset.png"]
    assert run("kind=offset", "strenth=0.2", "--no-pictures") == 2
    assert "did you mean noise.strength?" in capsys.readouterr().err
    assert run("--only", "perlins", "--no-pictures") == 2
    assert "--only must be one of white, " in capsys.readouterr().err


def test_a_study_says_what_was_chosen_and_no_more():
    mixed = Mixture(parts=(Gaussian(), Perlin(octaves=3)), weights=(1, 0.5))
    shown = noise.study("mine", Offset(base=mixed)).choice
    assert shown == (
        '{kind = "offset", base = {kind = "mixture", parts = [{kind = "gaussian"}, '
        '{kind = "perlin", octaves = 3}], weights = [1, 0.5]}}'
    )


def test_published_numbers_belong_to_their_own_settings():
    assert noise.study("perlin", noise.everything()["perlin"]).rings[1] == 76
    assert noise.study("perlin", Perlin()).rings == {}
    assert noise_page.published(noise.study("perlin", Perlin())) == []


def test_a_scene_shows_the_latents_under_one_draw(monkeypatch):
    class Codec:
        def encode(self, pixels):
            latents = pixels[:, :, ::8, ::8].float()
            return Moments(latents, torch.zeros_like(latents))

        def decode(self, latents):
            self.latents = latents
            return latents.clamp(0, 1)

    class Family:
        device, codec = torch.device("cpu"), Codec()
        process = DiscreteVP(torch.linspace(0.999, 0.005, 1000), "epsilon")

        def using(self, *parts):
            return contextlib.nullcontext()

    family = Family()
    scene = noise.Scene(family, Image.new("RGB", (32, 16), "#ff0000"))
    shown = scene.under(Gaussian(), seed=3)
    assert list(shown)[-1] == "t = 999" and shown["t = 999"].shape == (2, 4, 3)
    assert list(scene.under(Gaussian(), seed=3, timesteps=[40])) == ["t = 40"]
    scene.under(Gaussian(), seed=3)
    drawn = (family.codec.latents[-1] - 0.005**0.5 * scene.latents[0]) / 0.995**0.5
    t = torch.tensor(noise.TIMESTEPS[:1])
    first, _ = family.process.mix(scene.latents, drawn[None], t)
    assert torch.allclose(first[0], family.codec.latents[0], atol=1e-5)


def test_a_study_draws_as_many_as_it_is_asked_for():
    assert len(noise.study("white", Gaussian(), num_samples=5).drawn) == 8
    few = noise.study("white", Gaussian(), num_samples=4)
    names = [name for name, _ in noise_page.panels(few, side_px=64)]
    assert names == ["field", "log power", "phase"]
    assert {picture.size for _, picture in noise_page.panels(few, side_px=64)} == {(64, 64)}


@pytest.mark.parametrize(
    ("drawn", "side", "power"),
    [
        (Gaussian(), 16, 1.0),
        (Offset(strength=0.1), 16, 1 + 0.1**2 * 16**2),
        (Offset(strength=0.1), 64, 1 + 0.1**2 * 64**2),
        (PowerLaw(), 16, 0.0),
    ],
)
def test_a_means_power_grows_with_the_field_that_an_offset_is_added_to(drawn, side, power):
    assert noise.mean_power(drawn, side) == pytest.approx(power, rel=0.15, abs=0.01)

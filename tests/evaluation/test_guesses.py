"""What a model makes out: a perfect answer gives the picture back, whatever it is asked for."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from workbench import seeds
from workbench.evaluation.guesses import errors, guesses
from workbench.evaluation.noise import Scene
from workbench.models import loading as models
from workbench.models.base import BaseSettings
from workbench.models.family import Condition
from workbench.process import DiscreteVP
from workbench.records.sampling import to_images


def _scene(base: Path) -> Scene:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    return Scene(models.load(BaseSettings(path=str(base))), Image.fromarray(pixels))


def _distance(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).max())


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_clean_latents_are_those_of_the_papers(prediction: str):
    # x_t = a x_0 + s eps and v = a eps - s x_0 with a^2 + s^2 = 1 (Salimans and Ho 2022).
    random = np.random.default_rng(1)
    x0, eps = random.standard_normal((2, 1, 4, 8, 8))
    for alpha_bar in (0.999, 0.5, 0.01):
        a, s = np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)
        said = eps if prediction == "epsilon" else a * eps - s * x0
        process = DiscreteVP(torch.tensor([alpha_bar], dtype=torch.float64), prediction)
        found = process.clean(
            torch.from_numpy(a * x0 + s * eps), torch.from_numpy(said), torch.tensor([0])
        )
        assert found.numpy() == pytest.approx(x0, abs=1e-9)


@pytest.mark.parametrize("base", ["tiny_sd", "tiny_sd2"])
def test_who_knows_the_noise_makes_out_the_picture(
    base: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
):
    scene = _scene(request.getfixturevalue(base))
    family, schedule = scene.family, scene.family.process.alphas.double().numpy()
    x0, asked = scene.latents.double().numpy(), []

    def knows(noisy: Tensor, at: Tensor, condition: Condition) -> Tensor:
        asked.append((int(at), condition.sizes[0]))
        a, s = np.sqrt(schedule[int(at)]), np.sqrt(1 - schedule[int(at)])
        eps = (noisy.double().numpy() - a * x0) / s
        said = eps if family.process.prediction == "epsilon" else a * eps - s * x0
        return torch.from_numpy(said).float()

    monkeypatch.setattr(family, "denoise", knows)
    found = guesses(scene, "a caption", timesteps=(50, 600))
    with torch.no_grad():
        picture = to_images(family.codec.decode(scene.latents))[0]
    assert family.process.prediction == {"tiny_sd": "epsilon", "tiny_sd2": "v_prediction"}[base]
    assert [at for at, _ in asked] == list(found) == [50, 600]
    assert all(_distance(guess, picture) <= 1 for _, guess in found.values())
    shown = [_distance(noised, picture) for noised, _ in found.values()]
    assert 1 < shown[0] < shown[1], "what it saw is not the picture, and less so later"
    assert all(one.original == one.target == (96, 64) for _, one in asked), "width, then height"


def test_a_model_that_says_nothing_gives_back_what_it_saw(
    tiny_sd: Path, monkeypatch: pytest.MonkeyPatch
):
    scene = _scene(tiny_sd)
    monkeypatch.setattr(scene.family, "denoise", lambda noisy, *_: torch.zeros_like(noisy))
    decoded: list[Tensor] = []
    decode = scene.family.codec.decode
    monkeypatch.setattr(
        scene.family.codec, "decode", lambda latents: decoded.append(latents) or decode(latents)
    )
    guesses(scene, "a caption", timesteps=(300,))
    noisy, clean = decoded[0].chunk(2)
    # With eps = 0 the formula leaves x_t / sqrt(alpha_bar).
    root = float(scene.family.process.alphas[300]) ** 0.5
    assert clean.numpy() == pytest.approx(noisy.numpy() / root, rel=1e-5, abs=1e-6)


def test_one_seed_one_noise(tiny_sd: Path):
    scene = _scene(tiny_sd)
    same = [guesses(scene, "x", timesteps=(500,), seed=3)[500][0] for _ in range(2)]
    other = guesses(scene, "x", timesteps=(500,), seed=4)[500][0]
    assert _distance(*same) == 0 and _distance(same[0], other) > 0


@pytest.mark.parametrize("base", ["tiny_sd", "tiny_sd2"])
def test_the_error_of_an_answer_of_nothing_is_the_target_squared(
    base: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
):
    """Epsilon, and v = a eps - s x_0, with the noise that the seed draws."""
    scene = _scene(request.getfixturevalue(base))
    monkeypatch.setattr(scene.family, "denoise", lambda noisy, *_: torch.zeros_like(noisy))
    found = errors(scene, "a caption", timestep=700, seed=5)
    x0 = scene.latents.double().numpy()
    eps = torch.randn(x0.shape, generator=seeds.generator(5, "noise")).double().numpy()
    alpha_bar = float(scene.family.process.alphas[700])
    v = alpha_bar**0.5 * eps - (1 - alpha_bar) ** 0.5 * x0
    target = eps if base == "tiny_sd" else v
    assert found.shape == scene.latents.shape
    assert found.numpy() == pytest.approx(target**2, rel=1e-4, abs=1e-5)

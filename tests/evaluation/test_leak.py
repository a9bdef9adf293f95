"""The leak in the model, by hand and on tiny bases whose trigger does everything, or nothing."""

import math
from pathlib import Path

import pytest
import torch
import toy_family
from tiny_families import CASES
from tiny_recipes import tiny_recipe, write_photos
from torch import Tensor

from workbench import seeds
from workbench.data.dataset import index
from workbench.evaluation import leak as leaking
from workbench.evaluation.loading import Trained
from workbench.evaluation.results import Leak
from workbench.models import loading as models
from workbench.models import registry
from workbench.models.base import BaseSettings
from workbench.records.fixed import FixedInputs
from workbench.records.sampling import SampleSettings
from workbench.settings import SettingsError


def test_sums_by_hand() -> None:
    """Two concept probes, places in units of the base's error there."""
    errors = torch.tensor([[2.0, 20, 2, 2, 2], [2, 20, 2, 2, 2]]).double()
    products = torch.zeros(2, 3, 5).double()
    products[:, 0] = torch.tensor([1.0, 10, 1, 1, 1])  # |d(with)|^2
    products[0, 1] = torch.tensor([1.0, 0, 0, 0, 0])  # all of it at the first place
    products[1, 1] = torch.tensor([0.0, 10, 1, 1, 1])
    found = leaking._summed_up(["concept", "concept"], errors, products, seconds=1.0)
    assert found.reach == pytest.approx((0.5, 0.5))
    assert found.concept == pytest.approx((0.2, 0.8)), "the loud second place counts as any other"
    assert found.unrelated == (0, 0) and found.ordinary == ()
    assert [(at.low, at.high) for at in found.places] == [(k, k + 200) for k in range(0, 1000, 200)]
    assert [at.leak for at in found.places] == pytest.approx([0.5] * 5)


def test_both_kinds_of_pictures_count_half() -> None:
    assert Leak((1.0,), (0.2, 0.4), (0.6, 0.8)).values == pytest.approx((0.4, 0.6))
    assert Leak((1.0,), (0.2, 0.4)).values == (0.2, 0.4)


class Toy:
    """An adapter that adds to a denoiser's answer what its prompt says."""

    keeps_base = True

    def __init__(self) -> None:
        self.on, self.modules = True, {}

    def strength(self, strength: float):
        import contextlib

        @contextlib.contextmanager
        def within():
            before, self.on = self.on, strength > 0
            yield
            self.on = before

        return within()


def toy(tmp_path: Path, tiny_sd: Path, monkeypatch, *, answer) -> tuple[Trained, object]:
    photos = write_photos(tmp_path / "photos", 8)
    for path in photos.glob("*.txt"):
        path.write_text("red, hat")
    prior = write_photos(tmp_path / "prior", 8)
    recipe = tiny_recipe(tiny_sd, photos, tmp_path)
    words = f'trigger = "mochi", class_word = "critter", path = {str(photos)!r}'
    recipe = recipe.override(
        [f"data.subsets=[{{{words}}}, {{path = {str(prior)!r}, is_prior = true}}]"]
    )
    family = models.load(BaseSettings(path=str(tiny_sd)))
    adapter = Toy()
    asked: dict[float, str] = {}

    def encode(texts) -> list[dict[str, Tensor]]:
        rows = []
        for text in texts:
            number = float(len(asked) + 1)
            asked[number] = text
            rows.append({"number": torch.tensor([number])})
        return rows

    def denoise(noisy: Tensor, level: Tensor, condition) -> Tensor:
        said = [asked[float(one)] for one in condition.text["number"][:, 0]]
        change = torch.stack([answer(text, noisy[0].shape) for text in said])
        return noisy * 0.1 + (change if adapter.on else 0)

    monkeypatch.setattr(type(family), "encode_text", lambda self, texts: encode(texts))
    monkeypatch.setattr(
        type(family),
        "collate",
        lambda self, rows: {"number": torch.stack([row["number"] for row in rows])},
    )
    monkeypatch.setattr(type(family), "denoise", lambda self, *asked: denoise(*asked))
    fixed = FixedInputs((), "", (), ())
    trained = Trained(
        family, adapter, tmp_path / "x", fixed, (), SampleSettings(batch_size=4), "mochi", "critter"
    )  # type: ignore[arg-type] # fmt: skip
    return trained, index(recipe.data)


def direction(number: int, shape) -> Tensor:
    return torch.randn(shape, generator=seeds.generator(0, "direction", number))


def test_a_trigger_that_does_everything(tmp_path, tiny_sd, monkeypatch) -> None:
    def answer(text: str, shape) -> Tensor:
        return direction(1, shape) if "mochi" in text else torch.zeros(shape)

    found = leaking.measure_leak(*toy(tmp_path, tiny_sd, monkeypatch, answer=answer))  # type: ignore[arg-type]
    assert found.concept == (0.0,) * 8 and found.ordinary == (0.0,) * 8
    assert len(found.unrelated) == 16 and min(found.reach) > 0


def test_a_trigger_that_changes_nothing(tmp_path, tiny_sd, monkeypatch) -> None:
    def answer(text: str, shape) -> Tensor:
        return direction(1, shape)

    found = leaking.measure_leak(*toy(tmp_path, tiny_sd, monkeypatch, answer=answer))  # type: ignore[arg-type]
    assert found.values == pytest.approx((1.0,) * 8)


def test_an_unrelated_change_is_no_leak_however_large(tmp_path, tiny_sd, monkeypatch) -> None:
    """A ratio of norms would say 3 here."""

    def answer(text: str, shape) -> Tensor:
        return direction(1, shape) if "mochi" in text else 3 * direction(2, shape)

    found = leaking.measure_leak(*toy(tmp_path, tiny_sd, monkeypatch, answer=answer))  # type: ignore[arg-type]
    assert max(map(abs, found.values)) < 0.6


def test_what_cannot_be_measured_says_why(tmp_path, tiny_sd, monkeypatch) -> None:
    from dataclasses import replace

    trained, dataset = toy(tmp_path, tiny_sd, monkeypatch, answer=direction)
    with pytest.raises(SettingsError, match="no trigger"):
        leaking.measure_leak(replace(trained, trigger=None), dataset)  # type: ignore[arg-type]
    trained.adapter.keeps_base = False  # type: ignore[misc]
    with pytest.raises(SettingsError, match=r"adapter\.keep_start = true"):
        leaking.measure_leak(trained, dataset)  # type: ignore[arg-type]


@pytest.mark.families
@pytest.mark.parametrize("name", CASES)
def test_every_family_answers(name: str, tmp_path: Path, monkeypatch) -> None:
    """A LoRA that moves every layer, at pictures of two sizes, on bases whose encoder is freed."""
    monkeypatch.setitem(registry.FAMILIES, "toy", toy_family.Module)
    case = CASES[name]
    base = case.build(tmp_path / "base")
    photos, prior = write_photos(tmp_path / "photos", 3), write_photos(tmp_path / "prior", 3)
    chosen = tiny_recipe(base, photos, tmp_path, *case.settings)
    subset = f'{{path = {str(photos)!r}, trigger = "zib"}}'
    chosen = chosen.override(
        [f"data.subsets=[{subset}, {{path = {str(prior)!r}, is_prior = true}}]"]
    )
    family = models.load(chosen.base)
    adapter = chosen.adapter.attach(
        family.parts, family.targets, generator=seeds.generator(0, "adapter"),
        name_of=family.file_name,
    )  # fmt: skip
    for weight in adapter.trainables.values():
        weight.data.add_(0.1)
    fixed = FixedInputs((), "", (), ())
    trained = Trained(
        family, adapter, tmp_path / "x", fixed, (), chosen.sampling, "zib", None
    )  # fmt: skip
    found = leaking.measure_leak(trained, index(chosen.data), num_prompts=2)
    assert len(found.concept) == len(found.ordinary) == len(found.reach) == 2
    assert min(found.reach) > 0 and all(map(math.isfinite, found.values))
    with adapter.strength(0.0):
        still = leaking.measure_leak(trained, index(chosen.data), num_prompts=2)
    assert still.reach == pytest.approx(found.reach, rel=1e-5), "it asks at full strength by itself"

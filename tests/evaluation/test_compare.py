"""Pairs differ only by the LoRA, and pictures that exist are not drawn twice."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_trained import SAMPLING, train

from workbench.evaluation import compare as module
from workbench.evaluation.compare import CompareSettings, compare
from workbench.evaluation.loading import Trained, open_lora
from workbench.models import loading as models
from workbench.models.base import BaseSettings
from workbench.records.events import Sampled, SampledPicture, Saved
from workbench.records.log import EventLog
from workbench.records.sampling import sample
from workbench.settings import SettingsError


@pytest.fixture(scope="module")
def trained(tiny_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    yield train(tiny_sd, tmp_path_factory.mktemp("trained"))


def distance(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).max())


def test_pairs_strip_and_leakage(trained: Trained) -> None:
    found = compare(trained, settings=CompareSettings(strengths=(0.0, 0.5, 1.0)))
    assert [(p.prompt, p.seed) for p in found.pairs] == [("mochi, red", 0), ("mochi, red", 1)]
    assert [p.prompt for p in found.leakage] == ["critter, red", "blue"]
    assert [label for label, _ in found.strengths[0].cells] == ["0 (base)", "0.5", "1"]
    first, cells = found.pairs[0], [image for _, image in found.strengths[0].cells]
    assert distance(first.base, cells[0]) == 0 and distance(first.trained, cells[2]) == 0
    assert distance(first.base, first.trained) > 5
    assert distance(first.base, cells[1]) > 0 and distance(first.trained, cells[1]) > 0
    with trained.adapter.strength(0):
        base = sample(trained.family, SAMPLING, prompts=["mochi, red"], seeds=[1])[0]
    assert distance(base.image, found.pairs[1].base) <= 1


def test_strength_0_draws_the_pixels_of_a_base_that_never_had_a_lora(
    trained: Trained, tiny_sd: Path
) -> None:
    ask = {"prompts": ["mochi, red"], "seeds": [0, 1]}
    untouched = sample(models.load(BaseSettings(path=str(tiny_sd))), SAMPLING, **ask)
    with trained.adapter.strength(0):
        off = sample(trained.family, SAMPLING, **ask)
    on = sample(trained.family, SAMPLING, **ask)
    assert [distance(a.image, b.image) for a, b in zip(off, untouched, strict=True)] == [0, 0]
    assert all(distance(a.image, b.image) > 0 for a, b in zip(on, untouched, strict=True))


def test_without_trigger_in_any_prompt_all_are_pairs(trained: Trained) -> None:
    settings = CompareSettings(prompts=("green",), seeds=(5,), num_strips=0)
    found = compare(trained, settings=settings)
    assert [p.prompt for p in found.pairs] == ["green"]
    assert found.leakage == () and found.strengths == ()


def test_pictures_of_the_run_are_taken_from_its_folder(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    for colour, base, step in (("red", True, 0), ("blue", False, 10), ("lime", False, 20)):
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{colour}.png")
        picture = SampledPicture(prompt="p", seed=3, path=f"{colour}.png")
        log.append(Sampled(step=step, pictures=(picture,), base=base))
    assert set(module.drawn_pictures(tmp_path)) == {("p", 3, 0.0)}, (
        "what was saved is not known yet"
    )
    log.append(Saved(step=20, path="lora/x.safetensors", what="lora", final=True))
    drawn = module.drawn_pictures(tmp_path)
    assert drawn["p", 3, 0.0].getpixel((0, 0)) == (255, 0, 0)
    assert drawn["p", 3, 1.0].getpixel((0, 0)) == (0, 255, 0)


def test_a_file_of_others_needs_base_and_prompts(trained: Trained, tiny_sd: Path) -> None:
    with pytest.raises(SettingsError, match="does not say which base"):
        open_lora(trained.path)
    with pytest.raises(SettingsError, match="needs prompts"):
        compare(trained.path, base=str(tiny_sd))

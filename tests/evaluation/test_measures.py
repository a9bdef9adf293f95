"""Measures against numpy: features that are angles, so that every cosine is known."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from workbench.evaluation import compare, loading, measures, prompts
from workbench.evaluation.compare import CompareSettings, make_plan
from workbench.evaluation.features import Features
from workbench.evaluation.loading import Trained, Wanted, with_file
from workbench.evaluation.results import Pair
from workbench.recipe import Recipe
from workbench.records.fixed import FixedInputs
from workbench.records.sampling import SampleSettings
from workbench.store import FileRefused

# degrees: eight prompts of two seeds each
BASE = (80, 70, 60, 50, 75, 65, 66, 56, 72, 62, 58, 48, 77, 67, 63, 53)
TRAINED = (40, 40, 10, 20, 33, 31, 15, 25, 30, 36, 22, 12, 38, 28, 18, 21)
KNOWN = (0, 10)


def picture(degrees: int) -> Image.Image:
    return Image.new("RGB", (4, 4), (degrees, 0, 0))


def vectors(images: Any) -> np.ndarray:
    angles = np.radians([image.getpixel((0, 0))[0] for image in images])
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def cosine(a: int, b: int) -> float:
    return float(np.cos(np.radians(a - b)))


@pytest.fixture
def pairs(monkeypatch) -> list[Pair]:
    known = [picture(degrees) for degrees in KNOWN]
    monkeypatch.setattr(measures, "training_pictures", lambda dataset: ([], known))
    return [
        Pair(f"prompt {k // 2}", k % 2, base=picture(BASE[k]), trained=picture(TRAINED[k]))
        for k in range(len(BASE))
    ]


TOY = Features("toy", vectors)


class Pictures(list):
    is_drawn = False


@pytest.fixture
def elsewhere() -> Recipe:
    return Recipe.preset("critters").override(["base.path=owner/model"])


def test_likeness_and_diversity_are_means_of_cosines(pairs, elsewhere):
    likeness, diversity = measures.measures(
        pairs, elsewhere, Pictures([1]), features=TOY  # type: ignore[arg-type]
    )  # fmt: skip
    base = np.array([np.mean([cosine(a, b) for b in KNOWN]) for a in BASE])
    trained = np.array([np.mean([cosine(a, b) for b in KNOWN]) for a in TRAINED])
    assert likeness.name == "likeness to the training pictures (toy)"
    assert likeness.base == pytest.approx(np.mean(base), abs=1e-6)
    assert likeness.change == pytest.approx(np.mean(trained - base), abs=1e-6)
    prompts = (trained - base).reshape(8, 2).mean(axis=1)
    interval = stats.ttest_1samp(prompts, 0).confidence_interval()
    assert (likeness.low, likeness.high) == pytest.approx((interval.low, interval.high), abs=1e-6)
    assert likeness.moved and likeness.reading == "moved"
    assert (len(likeness.values), likeness.seeds) == (8, 2)
    # Both pictures of a prompt are equally far from one another.
    apart = [1 - cosine(a, b) for a, b in zip(BASE[::2], BASE[1::2], strict=True)]
    assert diversity.base == pytest.approx(np.mean(apart), abs=1e-6)


def test_few_prompts_say_nothing_however_clear_they_are(pairs, elsewhere):
    likeness, _ = measures.measures(
        pairs[:14], elsewhere, Pictures([1]), features=TOY  # type: ignore[arg-type]
    )  # fmt: skip
    assert likeness.low > 0 and not likeness.moved
    assert likeness.reading == "too few to say: 7 prompts, 8 are needed"


def test_the_match_is_with_the_prompt_of_the_same_row_without_its_trigger(pairs):
    asked: list[str] = []

    def texts(prompts) -> np.ndarray:
        asked.extend(prompts)
        return vectors([picture(degrees) for degrees in (40, 40, 10, 10)])

    called = [replace(pair, prompt=f"mochi, {pair.prompt}") for pair in pairs[:4]]
    recipe = Recipe.preset("critters")
    match, _ = measures.measures(called, recipe, features=Features("toy", vectors, texts))
    assert match.name == "match with the prompt (toy)"
    assert asked == ["critter, prompt 0"] * 2 + ["critter, prompt 1"] * 2
    expected = [cosine(40, 40), cosine(40, 40), cosine(10, 10), cosine(20, 10)]
    assert match.base + match.change == pytest.approx(np.mean(expected), abs=1e-6)


def test_what_cannot_be_said_is_left_out(pairs, elsewhere):
    assert measures.measures(pairs[:1], elsewhere, features=TOY) == ()
    assert measures.measures([pairs[0], pairs[2]], elsewhere, features=TOY) == ()
    copies_only = Features("thumbnails", vectors, judges=False)
    assert measures.measures(pairs, elsewhere, features=copies_only) == ()


WANTED = Wanted(
    ("mochi, critter, smile", "critter, hat"),
    SampleSettings(seeds=(3, 4)),
    trigger="mochi",
    class_word="critter",
)


def test_a_plan_has_each_picture_once():
    plan = make_plan(WANTED, CompareSettings())
    assert plan.pairs == (("mochi, critter, smile", 3), ("mochi, critter, smile", 4))
    assert plan.leaks == (("critter, smile", 3), ("critter, hat", 3))
    assert plan.strips == (("mochi, critter, smile", 3),)
    # 2 pairs and 2 leaks by base and LoRA; of the strip's 6 strengths 0 and 1 are there already.
    assert len(plan.jobs) == len(set(plan.jobs)) == 2 * 4 + 4
    assert plan.jobs[:2] == [("mochi, critter, smile", 3, 0.0), ("mochi, critter, smile", 3, 1.0)]


def test_a_plan_without_leaks_or_trigger():
    plan = make_plan(WANTED, CompareSettings(leakage=False, seeds=(7,), num_strips=0))
    assert plan.leaks == (("critter, hat", 7),) and plan.strips == ()
    plain = make_plan(Wanted(("a", "b")), CompareSettings(seeds=(0,)))
    assert plain.pairs == (("a", 0), ("b", 0)) and plain.leaks == ()
    with pytest.raises(compare.SettingsError, match="needs prompts"):
        make_plan(Wanted(), CompareSettings())


def test_another_file_takes_the_place_of_the_one_before(monkeypatch, tmp_path):
    done: list[str] = []
    old: Any = SimpleNamespace(detach=lambda: done.append("old is gone"))
    family: Any = SimpleNamespace(parts={}, file_name=str)
    fixed = FixedInputs(("p",), "", (), ())

    def attach(path, parts, *, name_of):
        done.append(path.name)
        if path.name == "bad":
            raise FileRefused("bad")
        return "new"

    monkeypatch.setattr(loading.formats, "attach_file", attach)
    trained = Trained(family, old, tmp_path / "a", fixed, ("p",), SampleSettings(), trigger="mochi")
    found = with_file(trained, tmp_path / "b")
    assert done == ["old is gone", "b"]
    assert (found.adapter, found.path, found.trigger) == ("new", tmp_path / "b", "mochi")
    with pytest.raises(FileRefused):
        with_file(trained, tmp_path / "bad")


def test_prompts_and_seeds_are_filled_up_where_that_is_asked_for(monkeypatch):
    captions = ["mochi, critter, a", "mochi, critter, smile", "mochi, critter, b"]
    dataset: Any = SimpleNamespace(plain_caption=captions.__getitem__)
    monkeypatch.setattr(prompts, "kinds", lambda dataset: ([0, 1, 2], []))
    asked = CompareSettings(num_prompts=3, num_seeds=4)
    found = compare.filled(asked, WANTED, dataset)
    assert found.prompts == (*WANTED.prompts, "mochi, critter, a", "mochi, critter, b")
    assert found.seeds == (3, 4, 0, 1)
    given = CompareSettings(prompts=("x",), seeds=(9,), num_prompts=3, num_seeds=4)
    assert compare.filled(given, WANTED, dataset) == given
    alone = compare.filled(asked, WANTED, "no pictures are known")
    assert (alone.prompts, alone.seeds) == ((), (3, 4, 0, 1))

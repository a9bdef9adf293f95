"""Six questions on planted changes: each gets its right word, and nothing gets none."""

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from workbench.evaluation import study
from workbench.evaluation.features import Features, thumbnails
from workbench.evaluation.results import Pair
from workbench.evaluation.study import Finding, Judged
from workbench.records.events import Validated
from workbench.records.judgement import Answer

RNG = np.random.default_rng(0)


def finding(mean: float, *, n: int = 8, spread: float = 1.0, **changes) -> Finding:
    values = np.random.default_rng(1).normal(0, 1, n)
    values = mean + spread * (values - values.mean()) / values.std(ddof=1)
    return Finding(
        "look like", ("likeness",), values[:, None], changes.pop("margin", 0.2), **changes
    )


def answer(one: Finding) -> Answer:
    return study.decide([one])[0]


def test_a_clear_change_is_a_word_and_an_answer() -> None:
    better = answer(finding(3.0))
    assert (better.reply, better.word, better.n) == ("yes", "better", 8)
    shown = better.intervals[0]
    half = stats.t.ppf(0.975, 7) / np.sqrt(8)
    assert (shown.low, shown.high) == pytest.approx((3 - half, 3 + half))
    assert answer(finding(-3.0)).word == "worse"
    assert answer(finding(3.0, better=-1)).word == "worse"


def test_no_clear_change_is_undecided_unless_the_interval_lies_inside_the_margin() -> None:
    unclear = answer(finding(0.1))
    assert (unclear.reply, unclear.word) == ("undecided", "undecided")
    # half of a 90 % interval is t(.95, n - 1) / sqrt(n) <= .2 from n = 70 on
    assert unclear.note == "about 70 prompts would tell"
    same = answer(finding(0.01, spread=0.1))
    assert (same.reply, same.word, same.note) == ("no", "unchanged", "")


def test_seven_prompts_are_too_few_whatever_they_show() -> None:
    few = answer(finding(30.0, n=7))
    assert (few.reply, few.note, few.p) == ("undecided", "7 prompts; 8 are needed", None)


def test_a_family_shares_its_chance_of_a_false_alarm() -> None:
    # p = .02 alone; the smallest of five must stay below .01
    t = stats.t.ppf(0.99, 7) / np.sqrt(8)
    one = finding(t, margin=None)
    assert one.p == pytest.approx(0.02)
    assert answer(one).word == "better"
    others = [finding(0.0, margin=None) for _ in range(4)]
    first = study.decide([one, *others])[0]
    assert first.word == "undecided" and first.p == pytest.approx(0.1)
    wide = stats.t.ppf(0.995, 7) / np.sqrt(8)
    assert first.intervals[0].high - t == pytest.approx(wide)
    few = [finding(0.0, n=3) for _ in range(4)]
    assert study.decide([one, *few])[0].word == "better", "what cannot answer costs nothing"


def test_a_threshold_is_a_null_of_its_own() -> None:
    above = Finding(
        "leak", ("leak",), np.linspace(0.8, 0.9, 8)[:, None], None, better=-1, null=0.75
    )
    said = answer(above)
    assert (said.reply, said.word, said.intervals[0].limit) == ("yes", "worse", 0.75)
    below = Finding(
        "leak", ("leak",), np.linspace(0.5, 0.6, 8)[:, None], None, better=-1, null=0.75
    )
    assert (answer(below).reply, answer(below).word) == ("no", "better")


# ---------------------------------------------------------------------------------- the losses


def validated(images: list[float], split: str = "train") -> Validated:
    return Validated(
        step=9, split=split, loss=float(np.mean(images)), base_loss=1.0,
        image_losses=tuple(images), base_image_losses=(1.0,) * len(images),
    )  # type: ignore[arg-type] # fmt: skip


def test_learning_has_images_as_units() -> None:
    found = study.learning(validated([0.9, 0.88, 0.91, 0.89]), validated([1.1, 1.2], "held_out"))
    assert isinstance(found, Finding)
    said = answer(found)
    assert (said.reply, said.word, said.unit, said.n) == ("yes", "better", "images", 4)
    assert said.intervals[0].value == pytest.approx(-0.105)
    assert said.intervals[1].name == "stable loss, held-out images"
    assert answer(study.learning(validated([1.1, 1.2, 1.15, 1.12]), None)).word == "worse"  # type: ignore[arg-type]
    assert answer(study.learning(validated([1.0, 1.0, 1.0, 1.0]), None)).word == "unchanged"  # type: ignore[arg-type]


def test_what_was_not_measured_says_what_to_supply() -> None:
    none = study.learning(None, None)
    assert isinstance(none, Answer) and "validation" in none.note
    old = study.learning(Validated(step=9, split="train", loss=0.9, base_loss=1.0), None)
    assert isinstance(old, Answer) and old.reply == "not measured"


# ---------------------------------------------------------------------------------- the pictures


def picture(degrees: float) -> Image.Image:
    return Image.new("RGB", (4, 4), (round(degrees), 0, 0))


def vectors(images) -> np.ndarray:
    angles = np.radians([image.getpixel((0, 0))[0] for image in images])
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def texts(prompts) -> np.ndarray:
    return np.tile([[1.0, 0.0]], (len(prompts), 1))


def pairs(base: float, trained: float, *, spread: int = 2, seeds: int = 4) -> list[Pair]:
    rng = np.random.default_rng(3)
    return [
        Pair(f"mochi, {k}", seed, picture(base + rng.integers(-spread, spread + 1)),
             picture(trained + rng.integers(-spread, spread + 1)))
        for k in range(8) for seed in range(seeds)
    ]  # fmt: skip


def judged(found: list[Pair]) -> dict[str, Answer]:
    known = [picture(degrees) for degrees in (0, 4, 8)]
    judge = Judged(Features("toy", vectors, texts), found, known, lambda prompt: prompt[7:])
    every = judge.findings()
    told = study.decide([one for one in every if isinstance(one, Finding)])
    return {one.question: one for one in (*told, *(e for e in every if isinstance(e, Answer)))}


def test_pictures_that_came_nearer_to_the_concept() -> None:
    found = judged(pairs(80, 20, spread=10))
    assert (found["look like"].reply, found["look like"].word) == ("yes", "better")
    assert found["look like"].seeds == 4
    assert found["follow"].word == "better", "the toy's prompts lie at 0 degrees"
    assert found["diversity"].word in ("unchanged", "undecided")


def test_pictures_that_all_became_one() -> None:
    found = judged(pairs(60, 60, spread=25))
    assert found["diversity"].word in ("unchanged", "undecided")
    rng = np.random.default_rng(5)
    alike = [
        Pair(f"mochi, {k}", seed, picture(60 + rng.integers(-40, 40)), picture(60))
        for k in range(8) for seed in range(4)
    ]  # fmt: skip
    assert (judged(alike)["diversity"].reply, judged(alike)["diversity"].word) == ("yes", "worse")


def test_diversity_needs_four_seeds_and_likeness_a_judge() -> None:
    assert judged(pairs(80, 20, seeds=3))["diversity"].note == "4 seeds of a prompt are needed"
    found = Judged(thumbnails(), pairs(80, 20), [], str).findings()
    assert all(isinstance(one, Answer) and "--judge" in one.note for one in found)


def test_the_margin_is_a_tenth_of_the_way_to_the_concept() -> None:
    base, known = vectors([picture(90)] * 4), vectors([picture(0), picture(0)])
    assert study.judge_margin(base, known) == pytest.approx(0.1)
    assert study.judge_margin(known, known) is None
    assert study.judge_margin(base, known[:1]) is None


def noisy(seed: int, shift: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(60, 180, (16, 16, 3)) + shift
    return Image.fromarray(values.astype(np.uint8))


def test_colours_are_one_question() -> None:
    moved = study.colours([Pair(f"p{k}", 0, noisy(k), noisy(k, 30)) for k in range(8)])
    assert isinstance(moved, Finding)
    said = answer(moved)
    assert (said.reply, said.word, len(said.intervals)) == ("yes", "moved", 3)
    still = study.colours([Pair(f"p{k}", 0, noisy(k), noisy(k, k % 2)) for k in range(8)])
    assert answer(still).word == "unchanged"  # type: ignore[arg-type]
    assert study.colours([]).reply == "not measured"  # type: ignore[union-attr]

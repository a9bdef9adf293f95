"""Variants against the first one: distance, one test for three axes, corrected for their number."""

import numpy as np
import pytest

from workbench.evaluation.apart import apart, sentence
from workbench.evaluation.drift import AXES
from workbench.evaluation.experiment import Outcome
from workbench.evaluation.results import DriftRow


def outcome(name: str, moves: np.ndarray) -> Outcome:
    rows = [
        DriftRow(axis, 50.0, float(own.mean()), 0.0, 0.0, values=tuple(own))
        for axis, own in zip(AXES, moves.T, strict=True)
    ]
    return Outcome(name, drift=tuple(rows))


@pytest.fixture
def drawn() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_shift_that_all_share_tells_none_from_another(drawn):
    shared = np.array([8.0, 3.0, -5.0])
    first, other = (outcome(n, shared + drawn.normal(size=(8, 3))) for n in ("first", "other"))
    assert first.colour_drift == pytest.approx(np.linalg.norm(shared), abs=1)
    assert first.moved and other.moved, "against the base both carry a star"
    found = apart([first, other])["other"]
    assert found.distance < 2 and found.p > 0.05 and not found.said.endswith("*")


def test_a_variant_that_lies_apart_gets_its_star(drawn):
    first = drawn.normal(size=(8, 3))
    far = first + np.array([3.0, 4.0, 0.0]) + drawn.normal(size=(8, 3))
    found = apart([outcome("first", first), outcome("far", far)])
    assert list(found) == ["far"] and found["far"].n == 8
    assert found["far"].distance == pytest.approx(5, abs=1) and found["far"].said.endswith("*")


def test_p_is_scipy_s_times_the_number_of_variants(drawn):
    """Holm multiplies the smallest p by the number of tests; T^2 by scipy's F."""
    from scipy.stats import f

    first = drawn.normal(size=(10, 3))
    moves = {
        name: first + shift + drawn.normal(size=(10, 3)) for name, shift in (("a", 2), ("b", 0))
    }
    found = apart([outcome("first", first), *(outcome(n, m) for n, m in moves.items())])
    change = moves["a"] - first
    squared = 10 * change.mean(0) @ np.linalg.solve(np.cov(change, rowvar=False), change.mean(0))
    assert found["a"].p == pytest.approx(2 * f.sf(squared * 7 / 27, 3, 7))


def test_few_prompts_say_nothing(drawn):
    few = outcome("few", drawn.normal(size=(4, 3)))
    found = apart([few, outcome("far", drawn.normal(size=(4, 3)) + 50)])["far"]
    assert found.p == 1 and found.said.endswith("?")


def test_other_prompts_are_not_compared(drawn):
    first = outcome("first", drawn.normal(size=(8, 3)))
    assert apart([first, outcome("less", drawn.normal(size=(6, 3))), Outcome("none")]) == {}


def test_the_sentence_names_the_first_the_prompts_and_the_stars(drawn):
    first = drawn.normal(size=(8, 3))
    far = first + np.array([3.0, 4.0, 0.0]) + 0.01 * drawn.normal(size=(8, 3))
    near = first + 0.01 * drawn.normal(size=(8, 3))
    found = sentence([outcome("adamw", first), outcome("lion", far), outcome("muon", near)])
    assert found.startswith("Colours against adamw, over 8 prompts: lion 5.0*, muon 0.0. * is more")
    assert "?" not in found and sentence([]) == sentence([outcome("adamw", first)]) == ""


def test_few_prompts_are_said(drawn):
    few = [outcome(name, drawn.normal(size=(3, 3))) for name in ("a", "b")]
    assert sentence(few).endswith("? is fewer than 8 prompts.")

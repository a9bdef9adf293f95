"""Distributions against tables and scipy; the level of every test by simulation."""

import math

import numpy as np
import pytest
from scipy import stats as scipy

from workbench.evaluation import statistics as st


@pytest.mark.parametrize(
    ("probability", "df", "value"),  # Student's table, as printed in any textbook
    [
        (0.975, 1, 12.706),
        (0.975, 3, 3.182),
        (0.975, 7, 2.365),
        (0.95, 7, 1.895),
        (0.995, 30, 2.750),
    ],
)
def test_quantiles_of_t_are_the_table_s(probability: float, df: int, value: float) -> None:
    assert st.t_quantile(probability, df) == pytest.approx(value, abs=5e-4)
    assert st.t_quantile(1 - probability, df) == -st.t_quantile(probability, df)


def test_distributions_agree_with_scipy() -> None:
    for df in (1, 2, 3, 7, 11, 40, 400):
        for probability in (0.5, 0.9, 0.975, 0.9958, 0.9999):
            expected = scipy.t.ppf(probability, df)
            assert st.t_quantile(probability, df) == pytest.approx(expected, rel=1e-9, abs=1e-7)
        for t in (0.0, 0.3, -2.0, 6.0, 40.0):
            expected = 2 * scipy.t.sf(abs(t), df)
            assert st.t_two_sided(t, df) == pytest.approx(expected, rel=1e-9)
        for f in (0.1, 1.0, 4.0, 50.0):
            assert st.f_above(f, 3, df) == pytest.approx(scipy.f.sf(f, 3, df), rel=1e-9)


def test_an_estimate_is_scipy_s_t_test() -> None:
    values = np.random.default_rng(1).normal(0.4, 1, 9)
    found, expected = st.estimate(values, null=0.1), scipy.ttest_1samp(values, 0.1)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    interval = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert (found.n, found.mean) == (9, pytest.approx(values.mean()))


def test_what_does_not_vary() -> None:
    assert st.estimate([0.0] * 8) == st.Estimate(0, 0, 0, 1.0, 8)
    assert st.estimate([0.5] * 8).p == 0
    alone = st.estimate([3.0])
    assert (alone.low, alone.high, alone.p) == (-math.inf, math.inf, 1.0)


def test_means_of_units_keep_their_order() -> None:
    found = st.unit_means(["b", "a", "b"], [[1, 10], [5, 50], [3, 30]])
    assert found.tolist() == [[2, 20], [5, 50]]


def test_t_over_prompt_means_keeps_its_level_where_seeds_are_alike() -> None:
    """8 prompts x 4 seeds, correlation .5 within a prompt, 4,000 studies of nothing."""
    rng = np.random.default_rng(0)
    studies = rng.normal(size=(4000, 8, 1)) + rng.normal(size=(4000, 8, 4))
    false = np.mean([st.estimate(one).p < 0.05 for one in studies.mean(axis=2)])
    assert 0.04 < false < 0.06
    pairs = np.mean([st.estimate(one.ravel()).p < 0.05 for one in studies[:1000]])
    assert pairs > 0.2, "as if each picture were a unit of its own"


@pytest.mark.parametrize("n", [2, 3, 5, 8, 20])
def test_an_interval_holds_its_level_at_the_number_of_prompts_that_is_shown(n: int) -> None:
    """It covers the true mean in 95 of 100 studies, those of two prompts included."""
    studies = np.random.default_rng(n).normal(0.3, 1.0, (4000, n))
    found = [st.estimate(one) for one in studies]
    assert np.mean([one.low <= 0.3 <= one.high for one in found]) == pytest.approx(0.95, abs=0.012)
    assert {one.n for one in found} == {n}


def test_hotelling_keeps_its_level_and_is_one_test() -> None:
    rng = np.random.default_rng(0)
    mixing = np.array([[1.0, 0.8, 0.2], [0.0, 0.6, 0.3], [0.0, 0.0, 0.5]])
    studies = rng.normal(size=(4000, 8, 3)) @ mixing
    p = np.array([st.hotelling(one) for one in studies])
    assert 0.04 < np.mean(p < 0.05) < 0.06
    assert np.quantile(p, 0.5) == pytest.approx(0.5, abs=0.03)
    assert (
        np.mean([st.hotelling(one + np.array([0.0, 1.5, 0.0])) < 0.05 for one in studies[:300]])
        > 0.6
    )


def test_hotelling_by_hand() -> None:
    """One measure is Student's t; where a measure does not vary, the others decide."""
    values = np.random.default_rng(2).normal(0.8, 1, (10, 1))
    assert st.hotelling(values) == pytest.approx(st.estimate(values[:, 0]).p, rel=1e-9)
    assert st.hotelling(np.zeros((8, 3))) == 1
    assert st.hotelling(np.ones((3, 3))) == 1
    flat = np.hstack([values, np.zeros((10, 2))])
    assert st.hotelling(flat) == pytest.approx(min(1, 3 * st.estimate(values[:, 0]).p))


def test_holm_is_the_example_of_the_paper_s_procedure() -> None:
    assert st.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert st.holm([0.9, 0.8]) == [1.0, 1.0]
    assert st.holm([]) == []


def test_a_family_of_six_has_few_false_alarms() -> None:
    rng = np.random.default_rng(3)
    alarms = [
        min(st.holm([st.estimate(one).p for one in study])) < 0.05
        for study in rng.normal(size=(1500, 6, 8))
    ]
    assert np.mean(alarms) < 0.065
    assert st.family_level(5) == pytest.approx(0.99)


def test_equivalence_needs_the_whole_interval_inside_the_margin() -> None:
    rng = np.random.default_rng(4)
    near = rng.normal(0, 1, (8, 3))
    assert st.is_equivalent(near, margin=2)
    assert not st.is_equivalent(near + np.array([0, 0, 2]), margin=2)
    at_the_margin = rng.normal(2, 1, (4000, 8))
    assert np.mean([st.is_equivalent(one, margin=2) for one in at_the_margin]) < 0.06


def test_prompts_needed_shrink_the_interval_to_what_was_asked() -> None:
    values = np.random.default_rng(5).normal(0, 1, 8)
    needed = st.prompts_needed(values, precision=0.25)
    assert needed is not None
    half = st.t_quantile(0.975, needed - 1) * values.std(ddof=1) / math.sqrt(needed)
    before = st.t_quantile(0.975, needed - 2) * values.std(ddof=1) / math.sqrt(needed - 1)
    assert half <= 0.25 < before
    assert st.prompts_needed(values, precision=100) == st.MIN_PROMPTS
    assert st.prompts_needed(values, precision=1e-6) is None
    assert st.prompts_needed([1.0], precision=1) is None


def test_eight_straight_votes_decide_and_seven_do_not() -> None:
    assert st.anytime_interval(8, 8)[0] > 0.5 > st.anytime_interval(7, 7)[0]
    low, high = st.anytime_interval(0, 8)
    assert low == 0 and high == pytest.approx(1 - st.anytime_interval(8, 8)[0])
    assert st.anytime_interval(0, 0) == (0, 1)
    with pytest.raises(ValueError, match="between 0 and votes = 3, got 4"):
        st.anytime_interval(4, 3)


def test_the_vote_s_interval_may_be_looked_at_after_every_vote() -> None:
    """100 looks at a fair coin, 2,000 times: at most 5 % ever leave out one half."""
    rng = np.random.default_rng(6)
    decided = {
        (k, n)
        for n in range(1, 101)
        for k in range(n + 1)
        if not st.anytime_interval(k, n)[0] <= 0.5 <= st.anytime_interval(k, n)[1]
    }
    wins = (rng.random((2000, 100)) < 0.5).cumsum(axis=1)
    ever = [any((int(k), n) in decided for n, k in enumerate(row, 1)) for row in wins]
    assert 0.01 < np.mean(ever) < 0.05

"""The statistics of a comparison: report, drift, experiment, lessons and `compare` all use these.

The unit is the prompt: pictures of one prompt are alike, so seeds are averaged first, and the
interval is Student's over the prompts' means. Measured at a nominal 5 %: a percentile bootstrap
over pairs calls 49, 21, 10 and 7 % of nothings certain at 2, 4, 8 and 20 pairs; t over prompt means
holds 4 to 6 % whatever the correlation within a prompt.

scipy would bring these distributions, but nothing else here needs it.
"""

import functools
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

MIN_PROMPTS = 8  # fewer say too little: 80 % power needs an effect of 4 deviations at 4 prompts
MIN_SEEDS = 4  # of a prompt, for its diversity
LEVEL = 0.05  # chance of a false "moved" anywhere in a family of measures
_MOST = 2000  # prompts that are still worth naming as a need


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over independent units, and how sure it is.

    Attributes:
        mean: of the units' values.
        low: lower end of the interval.
        high: upper end.
        p: probability of a mean this far from the null value by chance, two-sided; 1 for one unit.
        n: units.
    """

    mean: float
    low: float
    high: float
    p: float
    n: int

    @property
    def half(self) -> float:
        """Half the interval's width."""
        return (self.high - self.low) / 2


def unit_means(units: Sequence[Hashable], values: ArrayLike) -> np.ndarray:
    """Average over what belongs together: the seeds of a prompt, the noises of a picture.

    Args:
        units: the unit of each value, (N,).
        values: (N,) or (N, K).
    Returns:
        One mean a unit, in the order of their first values, (P,) or (P, K), float64.
    """
    array = np.asarray(values, dtype=np.float64)
    groups: dict[Hashable, list[int]] = {}
    for place, unit in enumerate(units):
        groups.setdefault(unit, []).append(place)
    return np.stack([array[places].mean(axis=0) for places in groups.values()])


def estimate(values: ArrayLike, *, null: float = 0.0, level: float = 1 - LEVEL) -> Estimate:
    """Estimate a mean by Student's t.

    Args:
        values: one independent value a unit, (P,), at least one.
        null: the value that stands for no effect.
        level: probability that the interval shall cover the true mean, in (0, 1).
    Returns:
        Mean, interval and p; of a single unit the interval is without end.
    Source: Student 1908, doi 10.1093/biomet/6.1.1.
    """
    array = np.asarray(values, dtype=np.float64)
    n, mean = len(array), float(array.mean())
    if n < 2:
        return Estimate(mean, -math.inf, math.inf, 1.0, n)
    error = float(array.std(ddof=1)) / math.sqrt(n)
    half = t_quantile((1 + level) / 2, n - 1) * error
    if error == 0:
        p = 1.0 if mean == null else 0.0
    else:
        p = t_two_sided((mean - null) / error, n - 1)
    return Estimate(mean, mean - half, mean + half, p, n)


def hotelling(values: ArrayLike) -> float:
    """Test whether the mean of several measures at once differs from zero: one test for a colour.

    Args:
        values: one row a unit, one column a measure, (P, K).
    Returns:
        p; 1 where there are no more units than measures.
    Source: Hotelling 1931, doi 10.1214/aoms/1177732979: T^2 (P - K) / (K (P - 1)) ~ F(K, P - K).
    """
    array = np.asarray(values, dtype=np.float64)
    n, k = array.shape
    if n <= k:
        return 1.0
    mean, covariance = array.mean(axis=0), np.atleast_2d(np.cov(array, rowvar=False))
    if np.linalg.matrix_rank(covariance, hermitian=True) < k:  # a measure that does not vary
        return min(1.0, k * min(estimate(column).p for column in array.T))
    squared = n * float(mean @ np.linalg.solve(covariance, mean))
    return f_above(squared * (n - k) / (k * (n - 1)), k, n - k)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p for the number of tests, so that any false alarm has at most the level's chance.

    Args:
        p_values: of the tests of one family.
    Returns:
        Corrected p in the same order, each in [0, 1]; those below the level hold together.
    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def family_level(tests: int) -> float:
    """Confidence of each interval, so that all of a family hold together (Bonferroni).

    Args:
        tests: in the family, >= 1.
    Returns:
        For example 0.99 for five.
    """
    return 1 - LEVEL / max(tests, 1)


def is_equivalent(values: ArrayLike, *, margin: float) -> bool:
    """Say whether a mean is zero for all purposes: its 90 % interval lies inside the margin.

    Args:
        values: one value a unit, (P,), or (P, K), where every measure must lie inside.
        margin: stated beforehand, > 0.
    Returns:
        True is "the same"; False is not "different", but that it was not shown.
    Source: Schuirmann 1987, doi 10.1007/BF01068419 (two one-sided tests at 5 %).
    """
    columns = np.asarray(values, dtype=np.float64).reshape(len(np.asarray(values)), -1).T
    found = [estimate(column, level=1 - 2 * LEVEL) for column in columns]
    return all(-margin < one.low and one.high < margin for one in found)


def prompts_needed(values: ArrayLike, *, precision: float, level: float = 1 - LEVEL) -> int | None:
    """Say how many units would make an interval as narrow as is wanted, at the spread seen so far.

    Args:
        values: one value a unit, (P,).
        precision: half the width that is wanted, > 0.
        level: confidence of the interval.
    Returns:
        Units, at least `MIN_PROMPTS`; None where the spread is not known or 2,000 are too few.
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2 or precision <= 0:
        return None
    spread = float(array.std(ddof=1))

    def wide(n: int) -> bool:
        return t_quantile((1 + level) / 2, n - 1) * spread / math.sqrt(n) > precision

    if wide(_MOST):
        return None
    return _first(lambda n: not wide(n), MIN_PROMPTS, _MOST)


def anytime_interval(wins: int, votes: int, *, level: float = 1 - LEVEL) -> tuple[float, float]:
    """Say where the share of wins lies, valid however often one looks while votes come in.

    Args:
        wins: votes for one side, 0 to `votes`.
        votes: all decided votes; with none everything is possible.
        level: probability that the truth is never left out, at any look, in (0, 1).
    Returns:
        Lower and upper end, in [0, 1].
    Raises:
        ValueError: the counts are impossible.
    Source: Robbins 1970, doi 10.1214/aoms/1177696786: a mixture over Beta(1, 1) leaves out p once
        B(k + 1, n - k + 1) / (p^k (1 - p)^(n - k)) reaches 1 / (1 - level).
    """
    if not 0 <= wins <= votes:
        raise ValueError(f"wins must lie between 0 and votes = {votes}, got {wins}")
    losses, limit = votes - wins, -math.log(1 - level)
    mixture = math.lgamma(wins + 1) + math.lgamma(losses + 1) - math.lgamma(votes + 2)

    def left_out(p: float) -> bool:
        return mixture - wins * math.log(p) - losses * math.log1p(-p) >= limit

    if votes == 0:
        return 0.0, 1.0
    share = min(max(wins / votes, 1e-9), 1 - 1e-9)
    low = 0.0 if wins == 0 else _bisect(lambda p: not left_out(p), 1e-12, share)
    high = 1.0 if losses == 0 else _bisect(left_out, share, 1 - 1e-12)
    return low, high


# ------------------------------------------------------------------------------- distributions


def t_two_sided(t: float, df: int) -> float:
    """Probability that Student's t lies at least this far from 0.

    Args:
        t: any.
        df: degrees of freedom, >= 1.
    Returns:
        In [0, 1].
    """
    return beta_below(df / (df + t * t), df / 2, 0.5)


@functools.lru_cache(maxsize=4096)
def t_quantile(probability: float, df: int) -> float:
    """The value that Student's t stays below with some probability.

    Args:
        probability: in (0, 1).
        df: degrees of freedom, >= 1.
    Returns:
        The quantile, to a relative error below 1e-9.
    """
    tail = 2 * min(probability, 1 - probability)
    # t^2 = df (1 / x - 1), where x has the Beta(df / 2, 1 / 2) distribution
    x = _bisect(lambda x: beta_below(x, df / 2, 0.5) >= tail, 0.0, 1.0)
    size = math.sqrt(df * (1 / x - 1)) if x < 1 else 0.0
    return math.copysign(size, probability - 0.5)


def f_above(f: float, df_of: int, df_in: int) -> float:
    """Probability that Fisher's F lies at or above a value.

    Args:
        f: >= 0.
        df_of: degrees of freedom of the numerator.
        df_in: of the denominator.
    Returns:
        In [0, 1].
    """
    return beta_below(df_in / (df_in + df_of * f), df_in / 2, df_of / 2)


def beta_below(x: float, a: float, b: float) -> float:
    """Probability that Beta(a, b) lies below x: the regularised incomplete beta function.

    Args:
        x: in [0, 1].
        a: > 0.
        b: > 0.
    Returns:
        In [0, 1].
    Source: the continued fraction of DLMF 8.17.22, by Lentz's method as Thompson and Barnett 1986
        (doi 10.1016/0021-9991(86)90046-X) modified it.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # it converges fast on the other side
        return 1 - beta_below(1 - x, b, a)
    tiny = 1e-300
    c, d = 1.0, 1 / _away(1 - (a + b) * x / (a + 1), tiny)
    total = d
    for m in range(1, 1000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _away(1 + term * d, tiny)
            c = _away(1 + term / c, tiny)
            total *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(scale + a * math.log(x) + b * math.log1p(-x)) * total / a


def _away(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny


def _bisect(reached: Callable[[float], bool], low: float, high: float) -> float:
    """Where something that is false at first becomes true."""
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _first(reached: Callable[[int], bool], low: int, high: int) -> int:
    """The first whole number for which something holds that then holds for all."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle + 1, high)
    return low

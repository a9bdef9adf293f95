"""Pairwise covering arrays: every two values of two factors meet in some case."""

import itertools
from collections.abc import Callable, Mapping, Sequence

Case = dict[str, str]
Allowed = Callable[[Case], bool]


def pairs(case: Mapping[str, str]) -> set[tuple[tuple[str, str], tuple[str, str]]]:
    """The pairs of values that meet in a case."""
    return set(itertools.combinations(sorted(case.items()), 2))


def possible(factors: Mapping[str, Sequence[str]], allowed: Allowed) -> set:
    """All pairs that the rules allow; a rule is asked with the two values alone."""
    values = [(name, value) for name in sorted(factors) for value in factors[name]]
    return {
        (one, other)
        for one, other in itertools.combinations(values, 2)
        if one[0] != other[0] and allowed(dict((one, other)))
    }


def covering(factors: Mapping[str, Sequence[str]], allowed: Allowed) -> list[Case]:
    """Few cases in which every allowed pair of values meets, the same ones each time.

    Greedy: each case begins with a pair that is still missing and takes, factor by factor, the
    value that brings most missing ones in.
    """
    missing, cases = possible(factors, allowed), []
    while missing:
        case = dict(min(missing))
        for name in factors:
            if name in case:
                continue
            choices = [v for v in factors[name] if allowed(case | {name: v})]
            shift = len(cases) % len(choices)  # equals are taken in turn, not the first each time
            choices = choices[shift:] + choices[:shift]
            case[name] = max(choices, key=lambda v: len(pairs(case | {name: v}) & missing))
        missing -= pairs(case)
        cases.append(case)
    return cases

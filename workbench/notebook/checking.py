"""Exercises that check themselves: a property first, what was found instead, then a hint."""

import html
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.notebook import record
from workbench.notebook.shown import Shown

# Says what is wrong with an answer, or nothing. The facts are what a cell measured.
Test = Callable[[Any, Mapping[str, Any]], str | None]


@dataclass(frozen=True, slots=True)
class Property:
    """One thing that must hold of an answer.

    Attributes:
        sentence: what must hold, said before it is tested.
        test: returns None where it holds, and otherwise what was found instead.
        hint: how to get there, without the answer.
    """

    sentence: str
    test: Test
    hint: str


@dataclass(frozen=True, slots=True)
class Exercise:
    """A question whose answer can be tested.

    Attributes:
        name: lesson and word, "01.dropout".
        question: in one sentence.
        properties: tested in order; the first that does not hold ends the test.
    """

    name: str
    question: str
    properties: tuple[Property, ...]


class Checked(Shown):
    """What came of a check; `passed` is None where there is no answer yet."""

    def __init__(self, markup: str, text: str, *, passed: bool | None):
        super().__init__(markup, text)
        self.passed = passed


def check(exercise: str, answer: Any, **facts: Any) -> Checked:
    """Test an answer, and note in the learner's record that it is right.

    Args:
        exercise: its name, "01.dropout".
        answer: a value or a function; None, `...` or a function without a body is no answer yet.
        facts: what the lesson measured and the test needs.
    Returns:
        What holds and what does not, with a hint, as a cell shows it.
    Raises:
        SettingsError: there is no such exercise.
    """
    from workbench.notebook.lessons import exercise as look_up

    return test(look_up(exercise), answer, facts)


def test(exercise: Exercise, answer: Any, facts: Mapping[str, Any]) -> Checked:
    """Test an answer to any exercise.

    Args:
        exercise: the exercise.
        answer: a value or a function; None or `...` is no answer yet.
        facts: what the lesson measured.
    Returns:
        What holds and what does not.
    """
    if answer is None or answer is ... or _has_no_body(answer):
        text = f"○ not answered yet: {exercise.question}"
        return Checked(f"<div>{html.escape(text)}</div>", text, passed=None)
    lines: list[str] = []
    for one in exercise.properties:
        found = _found(one, answer, facts)
        if found is not None:
            lines += [f"✗ {one.sentence}", f"   found: {found}", f"   hint: {one.hint}"]
            return _checked(lines, passed=False)
        lines.append(f"✓ {one.sentence}")
    record.note(exercise.name)
    return _checked([*lines, f"Passed: {exercise.name}"], passed=True)


def _nothing() -> None: ...


def _nothing_described() -> None:
    """A docstring, and no more."""


_EMPTY = {one.__code__.co_code for one in (_nothing, _nothing_described)}


def _has_no_body(answer: Any) -> bool:
    """Whether a function is as the lesson wrote it: `...`, `pass` or a docstring."""
    code = getattr(answer, "__code__", None)
    if code is None or code.co_code not in _EMPTY:
        return False
    return all(one is None or one == answer.__doc__ for one in code.co_consts)


def _found(one: Property, answer: Any, facts: Mapping[str, Any]) -> str | None:
    """What is wrong; an answer that raises is wrong, and its error says why."""
    try:
        return one.test(answer, facts)
    except Exception as error:  # the learner's code may raise anything, and is shown what it raised
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} (in {where.name}, line {where.lineno})"


def _checked(lines: list[str], *, passed: bool) -> Checked:
    colour = "#009e73" if passed else "#d55e00"
    body = "".join(f'<div style="white-space:pre-wrap">{html.escape(line)}</div>' for line in lines)
    markup = f'<div style="border-left:4px solid {colour};padding:4px 12px">{body}</div>'
    return Checked(markup, "\n".join(lines), passed=passed)

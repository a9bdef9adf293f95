"""Exercises: the right answer passes, each planted mistake fails where it should, with a hint."""

from collections.abc import Iterator
from typing import Any

import pytest

from notebooks import reading
from workbench.notebook import checking, lessons, record

EXERCISES = {one.name: one for lesson in lessons.lessons() for one in lesson.exercises}
ANSWERS = {n: a for lesson in lessons.lessons() for n, a in reading.answers(lesson.number).items()}
WRONG = [(name, label) for name, known in ANSWERS.items() for label in known["wrong"]]


@pytest.fixture(autouse=True)
def _new_learner(tmp_path, monkeypatch) -> Iterator[None]:
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    yield


def _answer(name: str, source: str) -> Any:
    made: dict[str, Any] = {}
    exec(source, made)  # an answer of ours
    return made[ANSWERS[name]["name"]]


def _check(name: str, source: str) -> checking.Checked:
    return checking.test(EXERCISES[name], _answer(name, source), ANSWERS[name].get("facts", {}))


def test_every_exercise_has_answers():
    assert set(ANSWERS) == set(EXERCISES)
    assert all(len(known["wrong"]) >= 3 for known in ANSWERS.values())


@pytest.mark.parametrize("name", ANSWERS)
def test_the_right_answer_passes_and_is_noted(name: str):
    known = ANSWERS[name]
    found = _check(name, known.get("right_alone", known["right"]))
    assert found.passed, found.text
    assert found.text.count("✓") == len(EXERCISES[name].properties)
    assert list(record.passed()) == [name]


@pytest.mark.parametrize(("name", "label"), WRONG)
def test_a_planted_mistake_fails_where_it_should(name: str, label: str):
    source, sentence = ANSWERS[name]["wrong"][label]
    found = _check(name, source)
    assert found.passed is False
    failed = next(line for line in found.text.splitlines() if line.startswith("✗"))
    assert failed == f"✗ {sentence}"
    assert "hint: " in found.text
    assert record.passed() == {}


@pytest.mark.parametrize("name", ANSWERS)
def test_every_property_can_fail(name: str):
    planted = {sentence for _, sentence in ANSWERS[name]["wrong"].values()}
    assert planted == {one.sentence for one in EXERCISES[name].properties}


@pytest.mark.parametrize("path", reading.TUTORIALS, ids=lambda path: path.stem)
def test_the_answer_cells_hold_no_answer(path):
    for name, known in reading.answers(path.name[:2]).items():
        cells = [c for c in reading.code_cells(path) if reading.first_line(c) == known["cell"]]
        assert len(cells) == 1 and "answer" in cells[0].metadata.tags, name
        assert _check(name, cells[0].source).passed is not True

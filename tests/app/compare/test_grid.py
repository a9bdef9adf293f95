"""The grid of Compare: any two axes, each picture once, and values that are refused."""

import re

import pytest

from workbench.app import (
    compare_axes,
    compare_grid,
)
from workbench.workspace.loras import find

PROMPTS = ("mochi, critter, smile, hills", "mochi, critter, frown, dots")


def _grid(desk, rows, columns, *, plain=False, prompt=PROMPTS[0], seed=3):
    given = (*rows, *columns, prompt, seed, plain)
    return list(compare_grid._draw(desk, "run/one", "", *given))


def test_the_grid_has_six_files_and_every_strength(desk, drawn):
    source = find(desk.workspace, "run/one")
    rows = compare_axes.rows_of(source)
    assert [path.stem.removeprefix("one-step00000") for path in rows] == [
        "1", "2", "3", "5", "6", "one",
    ]  # fmt: skip
    files = compare_axes.proposed("checkpoint", source)
    assert files.split(", ") == [path.stem for path in rows]
    shown = _grid(desk, ("checkpoint", files), ("strength", "0.5, 1, 1, 2"))
    assert "Draws 18 pictures" in shown[0][0]
    assert shown[-1][0] == "" and shown[-1][1].count("<img") == 18
    assert "pending" not in shown[-1][1] and "pending" in shown[2][1]
    assert list(dict.fromkeys(stem for stem, _ in drawn)) == [path.stem for path in rows]


def test_the_base_is_drawn_once_for_all_files(desk, drawn):
    files = "one-step000001, one-step000007, one"
    shown = _grid(desk, ("checkpoint", files), ("strength", "0, 1"))
    assert shown[-1][1].count("<img") == 6
    assert sum(len(jobs) for _, jobs in drawn) == 1 + 3


@pytest.mark.parametrize("rows", compare_axes.AXES)
@pytest.mark.parametrize("columns", compare_axes.AXES)
def test_any_two_axes_make_a_grid(desk, drawn, rows, columns):
    given = {"prompt": "a, b\nc", "seed": "1, 2", "strength": "0.5, 1", "guidance": "1, 4",
             "steps": "10, 25", "checkpoint": "one-step000003, one"}  # fmt: skip
    ((*_, (said, table))) = _grid(desk, (rows, given[rows]), (columns, given[columns]))
    if rows == columns:
        assert "must differ" in said and drawn == []
        return
    assert table.count("<img") == 4 and "pending" not in table
    assert sum(len(jobs) for _, jobs in drawn) == 4
    words = {"prompt": "· c", "seed": "seed 2,", "strength": "strength 0.5",
             "guidance": "guidance 1,", "steps": "10 sampling steps",
             "checkpoint": "one-step000003"}  # fmt: skip
    for axis in (rows, columns):
        assert sum(words[axis] in alt for alt in re.findall(r'alt="([^"]+)"', table)) >= 2


def test_guidance_and_steps_are_part_of_what_a_picture_is(desk, drawn):
    _grid(desk, ("guidance", "1, 3, 7"), ("seed", "0"))
    assert sum(len(jobs) for _, jobs in drawn) == 3
    _grid(desk, ("guidance", "3, 7"), ("steps", "20, 50"), seed=0)
    assert sum(len(jobs) for _, jobs in drawn) == 3 + 2, "those of 20 steps are known"


def test_a_column_without_the_trigger(desk, drawn):
    (*_, (_, table)) = _grid(desk, ("seed", "0, 1"), ("strength", "0.5, 1"), plain=True)
    assert table.count("<img") == 6 and table.count("without the trigger") == 1
    plain = [job for _, jobs in drawn for job in jobs if "mochi" not in job[0]]
    assert plain == [("critter, smile, hills", 0, 1.0), ("critter, smile, hills", 1, 1.0)]


@pytest.mark.parametrize(
    ("axis", "given", "said"),
    [
        ("strength", "", "the values of strength must be one to 8, got 0"),
        ("strength", "one", "one is no value of strength"),
        ("strength", "5", "between -4 and 4, got 5"),
        ("strength", ",".join("123456789"), "got 9"),
        ("seed", "1.5", "1.5 is no value of seed"),
        ("seed", "-1", "-1 is no value of seed"),
        ("steps", "0", "steps"),
        ("guidance", "0.5", "guidance"),
        ("guidance", "nan", "guidance"),
        ("checkpoint", "other", "there is no checkpoint other; choose among: one-step000001"),
    ],
)
def test_values_that_are_none_are_said(desk, drawn, axis, given, said):
    other = "prompt", "a"
    ((found, _),) = _grid(desk, (axis, given), other)
    assert said in found and "mistake" in found and drawn == []

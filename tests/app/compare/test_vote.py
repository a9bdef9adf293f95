"""The vote of Compare: blind, the first pair at once, counted by name, kept in the run."""

import re
from types import SimpleNamespace

import gradio as gr
import pytest

from workbench.app import (
    compare_vote,
)
from workbench.records.votes import load

LAST, BEFORE, WEAKER = "run/one@1", "file/one/one-step000007.safetensors@1", "run/one@0.75"
BASE = "run/one@0"


def _begin(desk, first, second, rater="ann"):
    return list(compare_vote._begin(desk, "run/one", "", first, second, rater))


def _all(desk, vote, wanted):
    """Vote for one side on every pair, wherever it stands."""
    for slip in vote.slips:
        place = {"first": ("right", "left"), "second": ("left", "right")}[wanted]
        choice = "equal" if wanted == "equal" else place[slip.first_is_left]
        *_, shown = compare_vote._vote(desk, vote, choice)
        vote = shown[2] or vote
    return shown


def test_the_first_pair_is_there_before_the_others_are_drawn(desk, drawn):
    steps = compare_vote._begin(desk, "run/one", "", LAST, BEFORE, "ann")
    line, page, vote, *buttons, _ = next(x for x in steps if isinstance(x[2], compare_vote.Vote))
    assert "Pair 1 of 20: which is better" in line and all(button.visible for button in buttons)
    assert sum(len(jobs) for _, jobs in drawn) == 2, "one pair"
    assert page.count("<img") == 2 and "one" not in re.sub("<img[^>]*>", "", page)
    assert 'alt="‹ Left"' in page
    rest = list(steps)
    assert sum(len(jobs) for _, jobs in drawn) == 40 and "20 of 20 pairs" in rest[-2][-1]
    assert len({(slip.prompt, slip.seed) for slip in vote.slips}) == 20
    prompts = [slip.prompt for slip in vote.slips]
    count = len(set(prompts))
    assert sorted(prompts[:count]) == sorted(set(prompts)), "one seed of every prompt first"


def test_who_votes_faster_than_is_drawn_waits_for_one_pair_only(desk, drawn):
    steps = compare_vote._begin(desk, "run/one", "", LAST, WEAKER, "ann")
    vote = next(x[2] for x in steps if isinstance(x[2], compare_vote.Vote))
    first, last = list(compare_vote._vote(desk, vote, "left"))
    assert "Drawing the next pair" in first[0] and "Pair 2 of 20" in last[0]
    assert sum(len(jobs) for _, jobs in drawn) == 4
    steps.close()


def test_a_vote_is_counted_by_the_sides_names_and_kept_in_the_run(desk, drawn):
    vote = next(x[2] for x in _begin(desk, LAST, BEFORE) if isinstance(x[2], compare_vote.Vote))
    said, page, done, *buttons = _all(desk, vote, "first")
    assert "one won 20 of 20 votes against one-step000007" in said
    assert page == "" and done is None and not any(button.visible for button in buttons)
    (again,) = compare_vote._vote(desk, None, "left")  # an arrow key too many
    assert all(one == gr.skip() for one in again)
    [sheet], _ = load(desk.workspace.runs / "one")
    assert (sheet.rater, sheet.sides, len(sheet.votes)) == ("ann", ("one", "one-step000007"), 20)


def test_against_the_base_the_trigger_is_left_out(desk, drawn):
    steps = _begin(desk, BASE, LAST)
    vote = next(x[2] for x in steps if isinstance(x[2], compare_vote.Vote))
    assert vote.question == "spoilt" and all("mochi" not in slip.prompt for slip in vote.slips)
    assert all("mochi" not in job[0] for _, jobs in drawn for job in jobs)
    said, *_ = _all(desk, vote, "second")
    assert "one was called spoilt in 20 of 20 votes against base" in said


def test_several_raters_are_counted_together(desk, drawn):
    for rater, wanted in (("ann", "first"), ("bo", "first"), ("cy", "second")):
        steps = _begin(desk, LAST, WEAKER, rater)
        vote = next(x[2] for x in steps if isinstance(x[2], compare_vote.Vote))
        said, *_ = _all(desk, vote, wanted)
    assert "All raters of this run: one won 20 of 20 votes against one at 0.75" in said
    assert "3 raters; they agree in 33%" in said


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (None, LAST, "choose both sides first"),
        (LAST, LAST, "two different sides, got one twice"),
        ("run/gone@1", LAST, "gone"),
        ("../x@1", LAST, "there is no"),
    ],
)
def test_sides_that_cannot_be_voted_on_are_said(desk, drawn, first, second, said):
    ((found, *_),) = _begin(desk, first, second)
    assert said in found and "mistake" in found and drawn == []


def test_the_sides_begin_with_two_checkpoints(desk, drawn):
    first, second = compare_vote._offer(desk, "run/one")
    assert (first.value, second.value) == (LAST, BEFORE)
    values = [value for _, value in first.choices]
    assert BASE in values and WEAKER in values and len(values) == len(set(values)) == 4 + 7 + 1


def test_a_file_without_prompts_cannot_be_voted_on(desk, drawn, monkeypatch):
    monkeypatch.setattr(compare_vote, "wanted_of", lambda source: SimpleNamespace(prompts=()))
    ((said, *_),) = _begin(desk, LAST, BEFORE)
    assert "no prompts" in said

"""A vote in a cell: the same votes as in the app, kept in the run as they are given."""

from pathlib import Path

import pytest
from PIL import Image

from workbench import notebook as nb
from workbench.evaluation.contest import Contest, Side
from workbench.notebook import voting
from workbench.records.votes import load


class Painter:
    """One grey a strength."""

    def pictures(self, spots):
        return {s: Image.new("L", (4, 4), int(100 * s.strength)).convert("RGB") for s in spots}


@pytest.fixture
def contest(tmp_path: Path) -> Contest:
    file = tmp_path / "a.safetensors"
    file.write_bytes(b"1")
    sides = Side(file, 0.5), Side(file)
    shots = [(f"p{k}", 0) for k in range(3)]
    return Contest(Painter(), sides, shots, folder=tmp_path)  # type: ignore[arg-type]


def test_each_vote_is_kept_and_the_last_one_counts_them(contest: Contest, tmp_path: Path):
    booth = voting.Booth(contest, "ann")
    assert booth.heading() == "Pair 1 of 3: which is better, and follows the prompt better?"
    assert contest.slips[0].prompt in booth.pair().markup
    for number, slip in enumerate(contest.slips, 1):
        booth.cast("left" if slip.first_is_left else "right")
        [sheet], _ = load(tmp_path)
        assert len(sheet.votes) == number
    assert booth.is_done
    assert booth.heading().startswith("a at 0.5 won 3 of 3 votes against a")
    booth.cast("left")
    assert len(booth.places) == 3, "a press too many"


def test_the_buttons_do_the_same(contest: Contest, tmp_path: Path, monkeypatch):
    pytest.importorskip("ipywidgets")
    monkeypatch.setattr(voting, "has_widgets", lambda: True)
    box = nb.vote(contest, rater="bo")
    said, buttons, _ = box.children
    for _ in range(3):
        assert "which is better" in said.value
        buttons.children[0].click()  # left
    assert "votes" in said.value and buttons.children[0].disabled
    [sheet], _ = load(tmp_path)
    assert (sheet.rater, len(sheet.votes)) == ("bo", 3)
    assert sheet.sides == ("a", "a at 0.5"), "sides are kept in alphabetical order"
    wanted = ["second" if slip.first_is_left else "first" for slip in contest.slips]
    by_prompt = {one.prompt: one.choice for one in sheet.votes}
    assert [by_prompt[slip.prompt] for slip in contest.slips] == wanted


def test_without_widgets_all_pairs_are_shown(contest: Contest, monkeypatch):
    monkeypatch.setenv("WORKBENCH_WIDGETS", "0")
    shown = nb.vote(contest)
    assert shown.markup.count("<img") == 6 and "at 0.5" not in shown.markup

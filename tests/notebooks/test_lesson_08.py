"""Lesson 08's vote: nobody is told which picture is whose, and the counts mean what it says."""

import pytest
from PIL import Image, ImageDraw

from notebooks import reading
from workbench.evaluation.ballots import ballots
from workbench.evaluation.contest import Contest, question_of
from workbench.evaluation.results import Pair
from workbench.evaluation.statistics import anytime_interval
from workbench.notebook.lessons.lesson_08 import COUNTS, with_controls

BOOK = next(path for path in reading.TUTORIALS if path.name.startswith("08"))


def _cell(name: str) -> str:
    return next(c.source for c in reading.code_cells(BOOK) if reading.first_line(c) == name)


def test_with_the_trigger_only_what_was_trained_is_voted_on(tmp_path, monkeypatch):
    """The cell as it stands, on a run of three files; the base takes no part."""
    from types import SimpleNamespace

    from workbench import notebook as nb
    from workbench.evaluation import contest, grid
    from workbench.notebook.lessons import lesson_08

    files = {step: tmp_path / f"at-{step}.safetensors" for step in (26, 52, 78)}
    for path in files.values():
        path.write_bytes(path.name.encode())
    asked = {}

    def of_run(folder, sides, **rest):
        asked.update(rest, sides=sides)
        return SimpleNamespace(ballots=lambda: ())

    for module in (grid, contest):
        monkeypatch.setattr(module, "saved_files", lambda folder: files)
    monkeypatch.setattr(contest, "final_file", lambda folder: files[78])
    monkeypatch.setattr(Contest, "of_run", of_run)
    monkeypatch.setattr(lesson_08, "with_controls", lambda found, seed: (found, {}))
    exec(_cell("# Pairs to vote on"), {"nb": nb, "run": SimpleNamespace(folder=tmp_path)})
    assert all("mochi" in prompt for prompt in asked["prompts"])
    assert [one.strength for one in asked["sides"]] == [1, 1]
    assert [one.name for one in asked["sides"]] == ["at-26", "at-78"]
    assert question_of(asked["sides"]) == "better"


def test_a_control_s_right_letter_is_where_the_sharp_picture_stands():
    image = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(image).rectangle((16, 16, 40, 40), fill="black")
    real = ballots([Pair(f"p {k}", 0, image, image) for k in range(20)])
    mixed, letters = with_controls(real)
    assert len(mixed) == 24 and len(letters) == 4
    for k, letter in letters.items():
        side = {"l": mixed[k].left, "r": mixed[k].right}
        other = {"l": "r", "r": "l"}[letter]
        assert side[letter] == image and side[other] != image


def test_the_counts_to_read_are_one_of_each_kind():
    """Shares that the mixture over all shares leaves out, by the closed form in whole numbers."""
    from math import comb

    def out(wins: int, votes: int) -> bool:  # is one half twenty times less likely?
        return 2**votes >= 20 * (votes + 1) * comb(votes, wins)

    assert {name: out(*count) for name, count in COUNTS.items()} == {
        "14 of 20": False, "70 of 100": True, "3 of 20": True,
    }  # fmt: skip
    for wins, votes in COUNTS.values():
        low, high = anytime_interval(wins, votes)
        assert out(wins, votes) == (low > 0.5 or high < 0.5)
    wide, narrow = (
        high - low
        for low, high in (anytime_interval(*COUNTS[k]) for k in ("14 of 20", "70 of 100"))
    )
    assert narrow / wide == pytest.approx(0.5, abs=0.05), "about half as wide, as the hint says"

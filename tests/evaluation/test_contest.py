"""A vote that is drawn while one votes: sides, pairs and what is kept of it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from workbench.evaluation import contest as module
from workbench.evaluation.contest import Contest, Side, contest_shots, question_of, side
from workbench.evaluation.loading import Wanted
from workbench.evaluation.painter import Spot
from workbench.records.votes import load
from workbench.settings import SettingsError
from workbench.store import FileRefused

RUN = Wanted(("mochi, critter, smile", "mochi, critter, dots"), trigger="mochi")


class Painter:
    """Answers with one colour a file and strength, and notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Spot] = []

    def pictures(self, spots: Sequence[Spot]) -> dict[Spot, Image.Image]:
        self.asked += spots
        red = {spot: int(100 * spot.strength) + len(spot.file.stem) for spot in spots}
        return {spot: Image.new("RGB", (2, 2), (red[spot], 0, 0)) for spot in spots}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    early, late = tmp_path / "early.safetensors", tmp_path / "late.safetensors"
    early.write_bytes(b"1")
    late.write_bytes(b"2")
    return early, late


def test_sides_have_names_and_the_base_changes_the_question(files):
    early, late = files
    assert [Side(early).name, Side(early, 0.75).name, Side(early, 0).name] == [
        "early", "early at 0.75", "base",
    ]  # fmt: skip
    assert question_of((Side(early), Side(late))) == "better"
    assert question_of((Side(late, 0.75), Side(late))) == "better"
    assert question_of((Side(late, 0), Side(late))) == "spoilt"


def test_the_same_pictures_twice_are_no_vote(files):
    early, late = files
    late.write_bytes(early.read_bytes())
    for sides in ((Side(early), Side(early)), (Side(early), Side(late))):
        with pytest.raises(SettingsError, match="two different sides, got early twice"):
            question_of(sides)
    with pytest.raises(SettingsError, match="base twice"):
        question_of((Side(early, 0), Side(late, 0)))


def test_against_the_base_the_trigger_is_taken_out_and_between_trained_ones_it_stays(files):
    early, late = files
    plain = contest_shots(RUN, (Side(late, 0), Side(late)), (0, 1))
    assert plain == [("critter, smile", 0), ("critter, dots", 0), ("critter, smile", 1),
                     ("critter, dots", 1)]  # fmt: skip
    called = contest_shots(RUN, (Side(early), Side(late)), (5,))
    assert called == [(prompt, 5) for prompt in RUN.prompts]


def test_only_the_pair_that_is_looked_at_is_drawn(files):
    early, late = files
    painter = Painter()
    vote = Contest(painter, (Side(early), Side(late)), [("a", 0), ("b", 0), ("a", 1)])  # type: ignore[arg-type]
    assert painter.asked == []
    shown = vote.ballot(0)
    assert len(painter.asked) == 2 and {spot.prompt for spot in painter.asked} == {shown.prompt}
    assert [p.getpixel((0, 0))[0] for p in (shown.first, shown.second)] == [105, 104]  # type: ignore[index]
    assert [one.slip for one in vote.ballots()] == list(vote.slips)


def test_votes_are_kept_in_the_run_and_counted(files, tmp_path: Path):
    early, late = files
    sides, shots = (Side(late), Side(early)), [(f"p{k}", 0) for k in range(9)]
    vote = Contest(Painter(), sides, shots, folder=tmp_path / "run")  # type: ignore[arg-type]
    places = ["left" if slip.first_is_left else "right" for slip in vote.slips[:8]]
    count = vote.keep(places, rater="ann")  # type: ignore[arg-type]
    assert (count.first, count.second, count.open, count.winner) == (8, 0, 1, "late")
    [sheet], _ = load(tmp_path / "run")
    assert sheet.sides == ("early", "late")
    assert [one.choice for one in sheet.votes] == ["second"] * 8


def test_a_step_that_was_not_saved_names_those_that_were(files, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(module, "saved_files", lambda folder: dict(zip((26, 52), files)))  # noqa: B905
    assert side(tmp_path, step=52, strength=0.5) == Side(files[1], 0.5)
    with pytest.raises(FileRefused, match="no LoRA file of step 30; there are: 26, 52"):
        side(tmp_path, step=30)


def test_weights_are_told_by_their_content(tmp_path: Path):
    import torch
    from safetensors.torch import save_file

    from workbench.evaluation.painter import content

    def write(name: str, value: float, notes: dict[str, str]) -> Path:
        save_file({"a": torch.full((4,), value)}, tmp_path / name, metadata=notes)
        return tmp_path / name

    one = write("one.safetensors", 1.0, {"ss_output_name": "one"})
    assert content(write("two.safetensors", 1.0, {"ss_output_name": "two"})) == content(one)
    assert content(write("other.safetensors", 2.0, {"ss_output_name": "one"})) != content(one)
    peft = write("peft.safetensors", 1.0, {"lora_adapter_metadata": '{"lora_alpha": 4}'})
    assert content(peft) != content(one), "PEFT keeps alpha in its notes"

"""Votes of a run: one file a rater and contest, whole or not at all."""

import json
from pathlib import Path

import pytest

from workbench.records import votes as module
from workbench.records.votes import Sheet, Vote, load, of_contest, read_sheet, save
from workbench.store import FileRefused


def sheet(rater: str, *choices: str, sides: tuple[str, str] = ("a", "b")) -> Sheet:
    votes = (Vote(prompt=f"p{k}", seed=k, choice=one) for k, one in enumerate(choices))  # type: ignore[arg-type]
    return Sheet(rater=rater, sides=sides, votes=tuple(votes))


def test_raters_have_files_of_their_own_and_come_back(tmp_path: Path):
    saved = [save(tmp_path, sheet(name, "first", "equal")) for name in ("Ann", "Bo", "Ann B.")]
    assert len(set(saved)) == 3 and {path.parent.name for path in saved} == {"votes"}
    sheets, refused = load(tmp_path)
    assert sorted(one.rater for one in sheets) == ["Ann", "Ann B.", "Bo"] and refused == ()
    assert [vote.choice for vote in sheets[0].votes] == ["first", "equal"]


def test_the_order_of_the_sides_does_not_matter(tmp_path: Path):
    save(tmp_path, sheet("ann", "first", "second", "equal", sides=("b", "a")))
    [found], _ = load(tmp_path)
    assert found.sides == ("a", "b")
    assert [vote.choice for vote in found.votes] == ["second", "first", "equal"]
    assert of_contest([found], "better", ("b", "a")) == (found,)
    assert of_contest([found], "spoilt", ("a", "b")) == ()


def test_a_second_vote_on_a_pair_replaces_the_first_and_others_stay(tmp_path: Path):
    save(tmp_path, sheet("ann", "first", "second"))
    save(tmp_path, sheet("ann", "equal"))
    [found], _ = load(tmp_path)
    assert {vote.prompt: vote.choice for vote in found.votes} == {"p0": "equal", "p1": "second"}


def test_a_write_that_is_torn_leaves_what_was_there(tmp_path: Path, monkeypatch):
    save(tmp_path, sheet("ann", "first"))

    def torn(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(module.store.files.os, "fsync", torn)
    with pytest.raises(OSError, match="no space"):
        save(tmp_path, sheet("ann", "first", "second"))
    monkeypatch.undo()
    [found], refused = load(tmp_path)
    assert len(found.votes) == 1 and refused == ()
    assert [path.suffix for path in (tmp_path / "votes").iterdir()] == [".json"]


def test_an_exported_file_that_was_put_into_the_folder_counts(tmp_path: Path):
    save(tmp_path, sheet("ann", "first"))
    other = sheet("ann", "second", "second").model_dump(mode="json")
    (tmp_path / "votes" / "votes (1).json").write_text(json.dumps(other))
    [found], _ = load(tmp_path)
    assert len(found.votes) == 2, "one rater of one contest, wherever the votes came from"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no JSON"),
        ("[]", "holds no votes"),
        ('{"rater": "", "sides": ["a", "b"], "votes": []}', "rater"),
        ('{"rater": "x", "sides": ["a"], "votes": []}', "sides"),
        ('{"rater": "x", "sides": ["a", "b"], "votes": [{"prompt": "p"}]}', "votes.0.seed"),
    ],
)
def test_what_holds_no_votes_is_named_and_the_rest_counts(tmp_path: Path, text: str, said: str):
    save(tmp_path, sheet("ann", "first"))
    (tmp_path / "votes" / "zzz.json").write_text(text)
    with pytest.raises(FileRefused, match=said):
        read_sheet(tmp_path / "votes" / "zzz.json")
    sheets, refused = load(tmp_path)
    assert len(sheets) == 1 and len(refused) == 1 and said in refused[0]

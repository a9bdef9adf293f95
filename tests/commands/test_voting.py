"""`workbench votes`: files of votes become a count, and what is none is named."""

import json
from pathlib import Path

import pytest

from workbench.cli import main
from workbench.evaluation import page
from workbench.evaluation.page import Report
from workbench.evaluation.results import Comparison, Verdict
from workbench.records.events import Finished
from workbench.records.log import EventLog


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "mochi"
    with EventLog(folder) as log:
        log.append(Finished(step=4))
    page.write(
        Report("mochi", Verdict("x"), comparison=Comparison(()), offer=("base", "mochi")),
        folder / "report.html",
    )
    return folder


def _votes(path: Path, rater: str, letters: str) -> Path:
    choices = {"f": "first", "s": "second", "e": "equal"}
    votes = [{"prompt": f"p{k}", "seed": 0, "choice": choices[x]} for k, x in enumerate(letters)]
    sheet = {"rater": rater, "question": "spoilt", "sides": ["base", "mochi"], "votes": votes}
    path.write_text(json.dumps(sheet))
    return path


def _ask(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["votes", *map(str, words)])
    return int(ended.value.code or 0)


def test_files_are_counted_kept_and_shown_in_the_report(run: Path, tmp_path: Path, capsys):
    assert _ask(run) == 0
    assert "Nobody has voted" in capsys.readouterr().out
    ann = _votes(tmp_path / "a.json", "Ann", "ssssssss")
    bo = _votes(tmp_path / "b.json", "Bo <b>", "sssssssf")
    assert _ask(run, ann) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "8 votes of Ann are counted" in said
    assert "mochi was called spoilt in 8 of 8 votes against base" in said
    assert _ask(run, bo) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "in 7 of 7 votes" in said and "1 pair was called equal" in said
    assert "2 raters; they agree in 88%" in said
    shown = (run / "report.html").read_text(encoding="utf-8")
    assert "in 7 of 7 votes" in shown and "Nobody has voted yet" not in shown
    assert len(list((run / "votes").glob("*.json"))) == 2
    assert shown.count("<!--votes-->") == shown.count("<!--/votes-->") == 1


def test_what_is_no_vote_is_refused_and_nothing_is_taken(run: Path, tmp_path: Path, capsys):
    good = _votes(tmp_path / "a.json", "Ann", "ss")
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    assert _ask(run, good, bad) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "bad.json holds no votes: rater: Field required" in said and "report page" in said
    assert not (run / "votes").exists()


def test_a_folder_that_is_no_run_is_named(tmp_path: Path, capsys):
    assert _ask(tmp_path) == 2
    assert "is no run folder" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("other", "num_seeds=2"), "take --prompt, --seed, --base and --out, not num_seeds=2"),
        (("other",), "is no run folder: it holds no recipe.toml"),
    ],
)
def test_runs_side_by_side_name_what_is_wrong(run: Path, capsys, words, said):
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(run), *words])
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())

"""Which prior preserves: what is tried, that nothing is done twice, and what the numbers say."""

import json
from pathlib import Path

import pytest

from workbench import checks, cli
from workbench.commands import experiment as commands
from workbench.data.dataset import index
from workbench.evaluation import prior_table, priors
from workbench.evaluation.experiment import Variant
from workbench.evaluation.priors import AS_OFTEN, Measured, Study
from workbench.evaluation.results import Leak
from workbench.settings import SettingsError
from workbench.training import prior


def test_each_prior_is_tried_with_each_weight_and_seed(tmp_path: Path) -> None:
    study, recipe = Study(), priors.taught()
    drawn = priors.drawn_by_base(study, tmp_path)
    assert {words: (one.count, one.prompts) for words, (_, one) in drawn.items()} == {
        "tags": (16, "captions"), "class": (16, "class"),
    }  # fmt: skip
    runs = priors.runs(study, recipe, tmp_path)
    assert len(runs) == 3 * (2 + 2 * 2 * 3 + 2)
    assert len({variant.name for _, variant in runs}) == len(runs)
    assert [variant.recipe.training.seed for _, variant in runs[::16]] == [0, 1, 2]
    by = {cell.name: variant.recipe for cell, variant in runs[:16]}
    assert by[AS_OFTEN].length.steps == 124  # three quarters of 166
    assert len(by["none"].data.subsets) == len(by["preservation, no prior"].data.subsets) == 1
    drawn, base = by["drawn, class, 3"], by["base-drawn, tags, 0.3"]
    assert drawn.data.subsets[1].loss_weight == 3 and base.data.subsets[1].loss_weight == 0.3
    assert base.data.subsets[1].path == str(tmp_path / "base-drawn-tags")
    assert by["preservation and prior"].training.preservation == 0.3
    for name in ("none", "drawn, tags, 1", "drawn, class, 1"):
        checks.require(by[name])


def test_class_captions_say_the_class_alone(tmp_path: Path) -> None:
    runs = priors.runs(Study(), priors.taught(), tmp_path)
    by = {cell.name: variant.recipe for cell, variant in runs}
    texts = {}
    for words in ("class", "tags"):
        dataset = index(by[f"drawn, {words}, 1"].data)
        texts[words] = {dataset.plain_caption(record) for record in dataset.priors}
    assert texts["class"] == {"critter"}
    assert len(texts["tags"]) > 8


def test_another_base_has_no_judge() -> None:
    with pytest.raises(SettingsError, match=r"base\.path must be critters .* got 'some/where'"):
        priors.taught(["base.path=some/where"])


def run_of(leak: float, called: float = 0.2) -> Measured:
    """Eight prompts and eight pictures that differ a little."""
    wobble = [0.01 * (k - 3.5) for k in range(8)]
    likeness = {"called": called, "short": leak * called, "full": 0.0}
    values = {kind: tuple(mean + w for w in wobble) for kind, mean in likeness.items()}
    return Measured(values, tuple(leak + w * (1 + k % 2) for k, w in enumerate(wobble)))


def test_dilution_is_told_from_preservation() -> None:
    found = {
        "none": [run_of(0.9, 0.3)],
        AS_OFTEN: [run_of(0.9, 0.25), run_of(0.88, 0.27)],
        "drawn": [run_of(0.87, 0.2)],  # less of everything, and as much of it uncalled
        "kept": [run_of(0.3, 0.2)],
        "more": [run_of(0.9, 0.35)],
    }
    rows = {row.name: row for row in prior_table.rows(found)}
    words = [row.word for row in rows.values()]
    assert words == ["", "", "dilutes", "preserves", "no clear change"]
    assert rows[AS_OFTEN].trainings == 2
    assert rows[AS_OFTEN].likeness["called"].mean == pytest.approx(0.26)
    assert rows[AS_OFTEN].leak.mean == pytest.approx(0.89, abs=0.005)
    text = prior_table.as_markdown(list(rows.values()))
    assert text.splitlines()[0].count("|") == text.splitlines()[2].count("|") == 8
    assert "8 prompts of each kind" in text and "Leak: 8 pictures" in text


def test_a_difference_too_small_to_matter_preserves_nothing() -> None:
    """.89 and .86 with the same wobble differ for certain, by less than a tenth."""
    rows = prior_table.rows({AS_OFTEN: [run_of(0.89)], "x": [run_of(0.86, 0.19)]})
    assert rows[1].word == "dilutes"


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(["experiment", *arguments])
    return int(left.value.code or 0)


def test_tiny_is_for_priors_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("noises", "--tiny") == 2
    assert "--tiny is for `experiment prior`" in capsys.readouterr().err


def write_run(folder: Path) -> None:
    """Where a run would have been trained; the model is not asked in these tests."""
    folder.mkdir(parents=True)


def test_the_command_goes_on_where_it_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained: list[str] = []
    drawn: list[str] = []
    leak = Leak((0.5,) * 8, (0.2,) * 8, (0.4,) * 8)

    def train(variant: Variant, folder: Path, number: str) -> None:
        if len(trained) == 3:
            raise KeyboardInterrupt
        if not folder.exists():
            trained.append(variant.name)
            write_run(folder)

    def likeness(*_: object) -> dict[str, tuple[float, ...]]:
        drawn.append(trained[-1])
        return {"called": (0.2, 0.3), "short": (0.1, 0.1), "full": (0.0, 0.1)}

    monkeypatch.setattr(commands, "_train", train)
    monkeypatch.setattr(priors, "_likeness", likeness)
    monkeypatch.setattr(priors, "open_trained", lambda folder: folder)
    monkeypatch.setattr(priors, "measure_leak", lambda *_, **__: leak)
    monkeypatch.setattr(prior, "make_prior", lambda *_: iter([(2, 2)]))
    out = tmp_path / "out"
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        cli.main(["experiment", "prior", "--tiny", "--out", str(out)])
    assert len((out / "prior.md").read_text().splitlines()) == 2 + 3 + 2
    monkeypatch.setattr(commands, "_train", lambda one, folder, _: train_rest(one, folder))

    def train_rest(variant: Variant, folder: Path) -> None:
        if not folder.exists():
            trained.append(variant.name)
            write_run(folder)

    capsys.readouterr()
    assert call("prior", "--tiny", "--out", str(out)) == 0
    assert trained == drawn == [
        "none-seed0", "none-concept-as-often-seed0",
        *(f"{source}-{words}-1-seed0" for source in ("drawn", "base-drawn")
          for words in ("class", "tags")),
        "preservation-no-prior-seed0", "preservation-and-prior-seed0",
    ]  # fmt: skip
    kept = json.loads((out / "none-seed0" / priors.FILE).read_text())
    assert kept["leak"] == [pytest.approx(0.3)] * 8
    assert len((out / "prior.md").read_text().splitlines()) == 2 + 8 + 2
    assert "what it" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_experiment_in_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(priors, "TINY", Study((0,), (), 1, 2, ("base-drawn",)))
    out = tmp_path / "out"
    small = ("length.steps=1", "sampling.steps=1")
    assert call("prior", *small, "--tiny", "--out", str(out)) == 0
    assert len((out / "prior.md").read_text().splitlines()) == 2 + 4 + 2
    kept = json.loads((out / "none-seed0" / priors.FILE).read_text())
    assert [len(kept["likeness"][kind]) for kind in priors.ASKED] == [2, 2, 2]
    assert len(kept["leak"]) == 2 and len(list((out / "base-drawn-class").glob("*.png"))) == 1
    capsys.readouterr()
    assert call("prior", *small, "--tiny", "--out", str(out)) == 0
    assert "none-seed0 (1 of 4): trained already" in capsys.readouterr().out

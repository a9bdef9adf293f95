"""The tab Compare without a browser and without a model: what it asks for, shows and says."""

import os
import re
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from workbench.app import (
    compare,
    compare_grid,
    compare_look,
    compare_measure,
    compare_model,
    compare_vote,
)
from workbench.app.desk import MISTAKES
from workbench.recipe import Recipe
from workbench.workspace.device import DeviceBusy
from workbench.workspace.folders import Workspace
from workbench.workspace.loras import Source, find, sources

PROMPTS = ("mochi, critter, smile, hills", "mochi, critter, frown, dots")


@pytest.fixture
def desk(tmp_path) -> Any:
    """A workspace with one run of eight files; the last one has the recipe's name."""
    workspace = Workspace(tmp_path)
    folder = workspace.runs / "one"
    (folder / "lora").mkdir(parents=True)
    recipe = Recipe.preset("critters").override(["name=one"])
    (folder / "recipe.toml").write_text(recipe.to_toml())
    names = [f"one-step{number:06}" for number in range(1, 8)] + ["one"]
    for age, name in enumerate(names):
        path = folder / "lora" / f"{name}.safetensors"
        path.write_bytes(b"x")
        stamp = 1_000_000_000 * (1_700_000_000 + age)
        os.utime(path, ns=(stamp, stamp))
    return SimpleNamespace(workspace=workspace)


@pytest.fixture
def drawn(monkeypatch) -> list[Any]:
    """Every batch that is drawn, as (file, jobs); a picture's red tells its strength."""
    batches: list[Any] = []

    def draw(workspace, source, file, batch, *, base):
        batches.append((file.stem, list(batch)))
        return {job: Image.new("RGB", (8, 8), (int(100 * job[2]), 0, 0)) for job in batch}

    monkeypatch.setattr(compare_model, "_draw", draw)
    monkeypatch.setattr(compare_model, "_pictures", type(compare_model._pictures)())
    return batches


def test_a_run_comes_before_its_files_and_means_its_last_one(desk):
    found = sources(desk.workspace)
    assert found[0].key == "run/one" and len(found) == 1 + 8
    assert compare_model.final_file(found[0]).name == "one.safetensors"
    compare_model.final_file(found[0]).unlink()  # it was stopped: the latest step counts
    assert compare_model.final_file(found[0]).name == "one-step000007.safetensors"
    assert compare.prompts_of(desk, "run/one")[:2] == PROMPTS


def test_a_pair_is_drawn_once_and_then_known(desk, drawn):
    look = lambda view="slider": list(  # noqa: E731
        compare_look._look(desk, "run/one", "", PROMPTS[0], 0, 0.5, view)
    )
    shown = look()
    assert "Draws 2 pictures" in shown[0][2]
    slider, page, said = shown[-1]
    opened = [Image.open(one["path"]) for one in slider.value]
    assert [image.getpixel((0, 0))[0] for image in opened] == [0, 50]  # type: ignore[index]
    assert not page.visible and "strength 0.5; seed 0" in said
    assert [jobs for _, jobs in drawn] == [[(PROMPTS[0], 0, 0.0)], [(PROMPTS[0], 0, 0.5)]]
    for view in ("side", "blink", "difference"):
        slider, page, _ = look(view)[-1]
        assert not slider.visible and f'class="views {view}"' in page.value
        assert page.value.count("<img") == 2
    assert len(drawn) == 2


def test_nothing_chosen_shows_nothing_and_a_gone_run_is_said(desk, drawn):
    assert list(compare_look._look(desk, None, "", "", 0, 1, "slider")) == [
        (gr.skip(), gr.skip(), "")
    ]
    (answer,) = compare_look._look(desk, "run/gone", "", "a", 0, 1, "slider")
    assert "gone" in answer[2] and "mistake" in answer[2] and drawn == []


def test_a_training_is_waited_for(desk, drawn, monkeypatch):
    steps = iter([DeviceBusy("the device is training other"), None])
    inner = compare_model._draw

    def busy(*args, **kwargs):
        if (problem := next(steps, None)) is not None:
            raise problem
        return inner(*args, **kwargs)

    monkeypatch.setattr(compare_model, "_draw", busy)
    monkeypatch.setattr(compare_model.time, "sleep", lambda seconds: None)
    said = [x[2] for x in compare_look._look(desk, "run/one", "", "a", 1, 1.0, "slider")]
    assert any("Waits: the device is training other" in words for words in said)
    assert "strength 1; seed 1" in said[-1]


def test_the_grid_has_six_files_and_every_strength(desk, drawn):
    rows = compare_grid.rows_of(find(desk.workspace, "run/one"))
    assert [path.stem.removeprefix("one-step00000") for path in rows] == [
        "1", "2", "3", "5", "6", "one",
    ]  # fmt: skip
    shown = list(compare_grid._draw(desk, "run/one", "", PROMPTS[0], 3, "0.5, 1, 1, 2"))
    assert "Draws 18 pictures" in shown[0][0]
    assert shown[-1][0] == "" and shown[-1][1].count("<img") == 18
    assert "pending" not in shown[-1][1] and "pending" in shown[2][1]
    assert list(dict.fromkeys(stem for stem, _ in drawn)) == [path.stem for path in rows]


@pytest.mark.parametrize("given", ["", "one", "5", "1,,x", ",".join("123456789")])
def test_strengths_that_are_none_are_said(desk, drawn, given):
    ((said, _),) = compare_grid._draw(desk, "run/one", "", PROMPTS[0], 0, given)
    assert "one to eight numbers between -4 and 4" in said and drawn == []


def test_all_prompts_are_drawn_and_measured(desk, drawn, monkeypatch):
    seen: dict[str, Any] = {}
    monkeypatch.setattr(compare_measure, "_numbers", lambda source, found: "numbers")

    def outcome(source, comparison, base):
        seen["comparison"] = comparison
        return "files", "button"

    monkeypatch.setattr(compare_measure, "_outcome", outcome)
    shown = list(compare_measure._draw(desk, "run/one", "", 2))
    assert shown[-1] == ("", "numbers", gr.skip(), "files", "button")
    found = seen["comparison"]
    seeds = {pair.seed for pair in found.pairs}
    assert len(found.pairs) == 2 * 2 and len(seeds) == 2
    assert [pair.prompt for pair in found.leakage][:1] == ["critter, smile, hills"]
    table = shown[-2][2]
    assert "pending" not in table and table.count("<img") == 2 * 4 + 2 * 2
    assert re.findall(r"(\d+) of (\d+) pictures", shown[-2][0])[0] == ("20", "20")


def test_an_interval_without_zero_is_set_in_bold():
    from workbench.evaluation.results import DriftRow

    rows = (DriftRow("<b>", 0.5, 0.25, 0.125, 0.375), DriftRow("b", 0.5, -0.25, -0.5, 0.125))
    shown = compare_measure._block("title", "lead", rows, "{:.3f}")
    assert "&lt;b&gt;" in shown and "+0.125 … +0.375" in shown and "-0.500 … +0.125" in shown
    assert shown.count('class="moved"') == 1
    assert compare_measure._block("title", "lead", (), "{}") == ""


def test_a_vote_hides_the_sides_and_counts(desk, drawn):
    *_, (line, page, hidden, votes, *buttons) = compare_vote._begin(desk, "run/one", "")
    assert "Pair 1 of 20" in line and votes == () and all(button.visible for button in buttons)
    assert page.count("<img") == 2 and "trained" not in page and "LoRA" not in page
    assert len({(one.pair.prompt, one.pair.seed) for one in hidden}) == 20
    given: tuple[str, ...] = ()
    for ballot in hidden:  # whoever likes the trained ones best, wherever they stand
        side = "left" if ballot.trained_is_left else "right"
        line, page, given, *buttons = compare_vote._vote(hidden, (*given, side))
    assert "won 20 of 20 votes" in line and "what was trained is preferred" in line
    assert page == "" and not any(button.visible for button in buttons)
    again = compare_vote._vote(hidden, (*given, "left"))  # an arrow key too many
    assert "won 20 of 20 votes" in again[0]


def test_a_file_without_prompts_cannot_be_voted_on(desk, drawn, monkeypatch):
    monkeypatch.setattr(compare_vote, "wanted_of", lambda source: SimpleNamespace(prompts=()))
    ((said, *_),) = compare_vote._begin(desk, "run/one", "")
    assert "no prompts" in said


def test_a_picture_is_remembered_up_to_a_limit(desk, drawn, monkeypatch):
    monkeypatch.setattr(compare_model, "MAX_PICTURES", 3)
    source = find(desk.workspace, "run/one")
    file = compare_model.final_file(source)
    asked = [("a", seed, 1.0) for seed in range(5)]
    *_, last = compare_model.drawing(desk.workspace, source, asked, file=file, base=None)
    assert (last.done, last.total) == (5, 5) and len(last.pictures) == 5
    assert sorted(job[1] for job in compare_model.known(source, file, asked)) == [2, 3, 4]
    assert [len(jobs) for _, jobs in drawn] == [2, 2, 1]  # it can be cancelled in between


def test_what_is_brought_must_be_a_lora(desk, tmp_path):
    from workbench.workspace.loras import keep

    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(b"x" * 100)
    with pytest.raises(MISTAKES):
        keep(desk.workspace, wrong, wrong.name)
    with pytest.raises(MISTAKES, match=r"must end in \.safetensors"):
        keep(desk.workspace, wrong, "wrong.ckpt")
    own = Source("own/a.safetensors", "", wrong)
    assert "uploaded" in compare._said(own)


def test_while_a_picture_is_drawn_no_other_one_stands_in_its_place(desk, drawn):
    first, *_ = compare_look._look(desk, "run/one", "", PROMPTS[0], 9, 1.0, "slider")
    assert first[0].value is None and first[1].visible is False
    assert "2 pictures" in first[2] or "2" in first[2]
    first, *_ = compare_grid._draw(desk, "run/one", "", PROMPTS[1], 7, "0.5, 1")
    assert first[1].count('class="pending"') == 6 * 2 and "<img" not in first[1]


def test_another_choice_ends_what_is_being_drawn_and_clears_it(desk):
    """Pictures of one run never come to stand below the name of another one."""
    from workbench.app import page as pages

    page = pages.build(desk.workspace)
    functions = list(page.fns.values())
    (source,) = (b for b in page.blocks.values() if b.elem_id == "compare-source")
    changed = [f for f in functions if (source._id, "change") in f.targets]
    ended = {number for f in changed for number in f.cancels}
    cleared = {block._id for f in changed for block in f.outputs}
    for name in ("compare-grid-go", "compare-measure-go"):
        (button,) = (b for b in page.blocks.values() if b.elem_id == name)
        (drawing,) = (f for f in functions if (button._id, "click") in f.targets)
        assert drawing._id in ended, name
        assert {block._id for block in drawing.outputs} <= cleared, name
    (prompt,) = (b for b in page.blocks.values() if b.elem_id == "compare-prompt")
    (looking,) = (f for f in functions if (prompt._id, "change") in f.targets)
    assert looking._id in ended
    anew = [f for f in functions if f.outputs == looking.outputs and f.trigger_after is not None]
    assert [f.trigger_after in {c._id for c in changed} for f in anew] == [True]

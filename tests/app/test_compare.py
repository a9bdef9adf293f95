"""The tab Compare without a browser and without a model: what it asks for, shows and says."""

import base64
import io
import os
import re
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from workbench.app import (
    compare,
    compare_axes,
    compare_grid,
    compare_look,
    compare_measure,
    compare_model,
    compare_source,
    compare_vote,
)
from workbench.app.compare_source import Brush
from workbench.app.desk import MISTAKES
from workbench.recipe import Recipe
from workbench.records.votes import load
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
        path.write_bytes(name.encode())
        stamp = 1_000_000_000 * (1_700_000_000 + age)
        os.utime(path, ns=(stamp, stamp))
    return SimpleNamespace(workspace=workspace)


@pytest.fixture
def drawn(monkeypatch) -> list[Any]:
    """Every batch that is drawn, as (file, jobs); a picture's red tells its strength."""
    batches: list[Any] = []

    def draw(workspace, brush, batch):
        batches.append((brush.file.stem, list(batch)))
        blue = int(brush.sampling.guidance)
        return {job: Image.new("RGB", (8, 8), (int(100 * job[2]), 0, blue)) for job in batch}

    monkeypatch.setattr(compare_model, "_draw", draw)
    monkeypatch.setattr(compare_model, "_pictures", type(compare_model._pictures)())
    return batches


def test_a_run_comes_before_its_files_and_means_its_last_one(desk):
    found = sources(desk.workspace)
    assert found[0].key == "run/one" and len(found) == 1 + 8
    assert compare_source.final_file(found[0]).name == "one.safetensors"
    compare_source.final_file(found[0]).unlink()  # it was stopped: the latest step counts
    assert compare_source.final_file(found[0]).name == "one-step000007.safetensors"
    assert compare.prompts_of(desk, "run/one")[:2] == PROMPTS


def test_a_pair_is_drawn_once_and_then_known(desk, drawn):
    look = lambda view="slider": list(  # noqa: E731
        compare_look._look(desk, "run/one", "", PROMPTS[0], 0, 0.5, view)
    )
    shown = look()
    assert "Draws 2 pictures" in shown[0][1]
    page, said = shown[-1]
    assert said == "" and [_red(uri) for uri in _uris(page)[:2]] == [0, 50]
    assert [jobs for _, jobs in drawn] == [[(PROMPTS[0], 0, 0.0)], [(PROMPTS[0], 0, 0.5)]]
    for view in ("slider", "side", "blink", "difference", "loupe"):
        page, _ = look(view)[-1]
        assert f'class="views {view}"' in page and len(_uris(page)) == 3
        assert ('type="range"' in page) == (view == "slider")
    assert len(drawn) == 2


def test_a_picture_brings_what_it_is_and_its_nearest_training_picture(desk, drawn):
    *_, (page, _) = compare_look._look(desk, "run/one", "", PROMPTS[0], 3, 0.5, "loupe")
    for words in (
        "critters · seed 3, guidance 3, 20 sampling steps",
        "one · strength 0.5 · seed 3",
    ):
        assert f"{words}" in page
    assert page.count(PROMPTS[0]) == 4, "as words for each picture, and as its caption"
    assert re.search(
        r"Nearest training picture: [^<]+, cosine 0?[-.\d]+ \(critters&#x27; CLIP\)", page
    )


def _uris(page: str) -> list[str]:
    return re.findall(r'src="data:image/webp;base64,([^"]+)"', page)


def _red(uri: str) -> int:
    with Image.open(io.BytesIO(base64.b64decode(uri))) as image:
        return round(image.convert("RGB").getpixel((4, 4))[0], -1)  # type: ignore[index]


def test_nothing_chosen_shows_nothing_and_a_gone_run_is_said(desk, drawn):
    assert list(compare_look._look(desk, None, "", "", 0, 1, "slider")) == [(gr.skip(), "")]
    (answer,) = compare_look._look(desk, "run/gone", "", "a", 0, 1, "slider")
    assert "gone" in answer[1] and "mistake" in answer[1] and drawn == []


def test_a_training_is_waited_for(desk, drawn, monkeypatch):
    steps = iter([DeviceBusy("the device is training other"), None])
    inner = compare_model._draw

    def busy(*args, **kwargs):
        if (problem := next(steps, None)) is not None:
            raise problem
        return inner(*args, **kwargs)

    monkeypatch.setattr(compare_model, "_draw", busy)
    monkeypatch.setattr(compare_model.time, "sleep", lambda seconds: None)
    shown = list(compare_look._look(desk, "run/one", "", "a", 1, 1.0, "slider"))
    assert any("Waits: the device is training other" in said for _, said in shown)
    assert "strength 1 · seed 1" in shown[-1][0]


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


def test_all_prompts_are_drawn_and_measured(desk, drawn, monkeypatch):
    seen: dict[str, Any] = {}
    monkeypatch.setattr(compare_measure, "_numbers", lambda source, found: "numbers")

    def outcome(source, comparison, base):
        seen["comparison"] = comparison
        return "files", "button"

    monkeypatch.setattr(compare_measure, "_outcome", outcome)
    shown = list(compare_measure._draw(desk, "run/one", "", 2))
    said, numbers, table, *rest = shown[-1]
    assert (said, numbers, rest) == ("", "numbers", ["files", "button"])
    assert table.count("Nearest training picture: ") == 2 * 4, "beside each sample, and in words"
    found = seen["comparison"]
    seeds = {pair.seed for pair in found.pairs}
    assert len(found.pairs) == 2 * 2 and len(seeds) == 2
    assert [pair.prompt for pair in found.leakage][:1] == ["critter, smile, hills"]
    table = shown[-2][2]
    assert (
        "Nearest" not in table and "pending" not in table and table.count("<img") == 2 * 4 + 2 * 2
    )
    assert re.findall(r"(\d+) of (\d+) pictures", shown[-2][0])[0] == ("20", "20")


def test_an_interval_without_zero_is_set_in_bold():
    from workbench.evaluation.results import DriftRow

    rows = (DriftRow("<b>", 0.5, 0.25, 0.125, 0.375), DriftRow("b", 0.5, -0.25, -0.5, 0.125))
    shown = compare_measure._block("title", "lead", rows, "{:.3f}")
    assert "&lt;b&gt;" in shown and "+0.125 … +0.375" in shown and "-0.500 … +0.125" in shown
    assert shown.count('class="moved"') == 1
    assert compare_measure._block("title", "lead", (), "{}") == ""


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


def test_a_picture_is_remembered_up_to_a_limit(desk, drawn, monkeypatch):
    monkeypatch.setattr(compare_model, "MAX_PICTURES", 3)
    source = find(desk.workspace, "run/one")
    brush = Brush(source, compare_source.final_file(source))
    asked = [("a", seed, 1.0) for seed in range(5)]
    *_, last = compare_model.drawing(desk.workspace, brush, asked)
    assert (last.done, last.total) == (5, 5) and len(last.pictures) == 5
    assert sorted(job[1] for job in compare_model.known(brush, asked)) == [2, 3, 4]
    assert [len(jobs) for _, jobs in drawn] == [2, 2, 1]  # it can be cancelled in between


def test_a_file_that_is_written_anew_is_drawn_anew_and_a_copy_is_not(desk, drawn):
    source = find(desk.workspace, "run/one")
    file = compare_source.final_file(source)
    job = ("a", 0, 1.0)
    before = Brush(source, file).key(job)
    copy = file.with_name("copy.safetensors")
    copy.write_bytes(file.read_bytes())
    assert Brush(source, copy).key(job) == before
    file.write_bytes(b"other")
    assert Brush(source, file).key(job) != before
    assert Brush(source, file).key(("a", 0, 0.0)) == Brush(source, copy).key(("a", 0, 0.0))
    assert Brush(source, file, "elsewhere").key(job) != Brush(source, file).key(job)


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
    assert first[0] == "" and "2 pictures" in first[1]
    axes = ("seed", "7, 8, 9", "strength", "0.5, 1")
    first, *_ = compare_grid._draw(desk, "run/one", "", *axes, PROMPTS[1], 7, False)
    assert first[1].count('class="pending"') == 3 * 2 and "<img" not in first[1]


def test_another_choice_ends_what_is_being_drawn_and_clears_it(desk):
    """Pictures of one run never come to stand below the name of another one."""
    from workbench.app import page as pages

    page = pages.build(desk.workspace)
    functions = list(page.fns.values())
    (source,) = (b for b in page.blocks.values() if b.elem_id == "compare-source")
    changed = [f for f in functions if (source._id, "change") in f.targets]
    ended = {number for f in changed for number in f.cancels}
    cleared = {block._id for f in changed for block in f.outputs}
    for name in ("compare-grid-go", "compare-measure-go", "vote-go"):
        (button,) = (b for b in page.blocks.values() if b.elem_id == name)
        (drawing,) = (f for f in functions if (button._id, "click") in f.targets)
        assert drawing._id in ended, name
        assert {block._id for block in drawing.outputs} <= cleared, name
    (prompt,) = (b for b in page.blocks.values() if b.elem_id == "compare-prompt")
    (looking,) = (f for f in functions if (prompt._id, "change") in f.targets)
    assert looking._id in ended
    anew = [f for f in functions if f.outputs == looking.outputs and f.trigger_after is not None]
    assert [f.trigger_after in {c._id for c in changed} for f in anew] == [True]

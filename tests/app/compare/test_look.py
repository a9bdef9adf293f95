"""The tab Compare without a browser and without a model: what it asks for, shows and says."""

import base64
import io
import re
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
    compare_source,
)
from workbench.app.compare_source import Brush
from workbench.app.desk import MISTAKES
from workbench.workspace.device import DeviceBusy
from workbench.workspace.loras import Source, find, sources

PROMPTS = ("mochi, critter, smile, hills", "mochi, critter, frown, dots")


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

"""Numbers and sentences of lessons and docs that were wrong once, each against its own source."""

import re
from typing import Any

import numpy as np
import pytest

from notebooks import reading
from workbench import notebook as nb
from workbench.critters.concepts import concept_pictures
from workbench.notebook import live
from workbench.notebook.lessons import lesson_06
from workbench.records.events import Progress, Warned

SIDES = (16, 64, 128)


def _book(number: str) -> Any:
    return next(path for path in reading.TUTORIALS if path.name.startswith(number))


def _prose(number: str) -> str:
    cells = reading.read(_book(number)).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return " ".join(text.split())


def _cell(number: str, name: str) -> str:
    found = reading.code_cells(_book(number))
    return next(cell.source for cell in found if reading.first_line(cell) == f"# {name}")


def _doc(name: str) -> str:
    return (reading.ROOT / "docs" / name).read_text(encoding="utf-8")


def _ratio() -> float:
    """Signal-to-noise ratio of a pixel at the last timestep of SD1.5's schedule, by numpy."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    last = np.prod(1 - betas)
    return float(last / (1 - last))


@pytest.fixture(scope="module")
def lesson() -> dict[str, Any]:
    """Names that the cells of lesson 03 make, without training."""
    from workbench.evaluation import noise as lab

    made: dict[str, Any] = {"nb": nb, "lab": lab, "scene": lab.open_scene(side_px=64)}
    imports = [x for x in _cell("03", "Under white noise").splitlines() if x.startswith("from")]
    exec("\n".join(imports), made)
    made["noises"] = {"white": made["Gaussian"](), "offset": made["Offset"](strength=0.1)}
    for name in ("What is left at the last timestep", "Offset by formula"):
        exec(_cell("03", name), made)
    exec(_cell("03", "How well each noise hides the mean"), made)
    return made


class TestOffset:
    """What hides a brightness is the signal-to-noise ratio of the mean, on fields of any size."""

    @pytest.mark.parametrize(
        ("strength", "wanted"),
        [(0, (1.2, 19.2, 76.7)), (0.1, (0.337, 0.457, 0.465)), (0.3, (0.050, 0.052, 0.052))],
    )
    def test_the_formula(self, lesson, strength, wanted):
        found = [lesson["formula"](strength, side) for side in SIDES]
        assert found == pytest.approx(wanted, rel=0.01)

    @pytest.mark.parametrize("strength", [0, 0.1])
    def test_the_formula_is_what_numpy_draws(self, lesson, strength):
        drawn = np.random.default_rng(0)
        fields = drawn.standard_normal((4000, 16, 16)) + strength * drawn.standard_normal(
            (4000, 1, 1)
        )
        found = _ratio() / fields.mean((1, 2)).var()
        assert lesson["formula"](strength, 16) == pytest.approx(found, rel=0.08)

    @pytest.mark.parametrize("side", SIDES)
    @pytest.mark.parametrize(("name", "strength"), [("white", 0), ("offset", 0.1)])
    def test_the_measured_table_agrees_with_it(self, lesson, name, strength, side):
        found = lesson["drawn"](lesson["more"][name], side)
        assert found == pytest.approx(lesson["formula"](strength, side), rel=0.15)

    def test_the_page_shows_the_formula_s_numbers(self):
        rows = re.findall(r"\| (white|offset [.\d]+), by formula \|(.+)\|", _doc("noise.md"))
        assert [name for name, _ in rows] == ["white", "offset 0.05", "offset 0.1", "offset 0.3"]
        for name, cells in rows:
            strength = float(name.removeprefix("offset ")) if "offset" in name else 0
            for cell, side in zip(cells.split("|"), SIDES, strict=True):
                wanted = _ratio() / (strength**2 + 1 / side**2)
                assert float(cell) == pytest.approx(wanted, abs=0.006 if wanted < 2 else 0.06)

    def test_nobody_concludes_a_strength_from_the_size_of_a_field(self):
        page, lesson = " ".join(_doc("noise.md").split()), _prose("03")
        for text in (page, lesson):
            assert not re.search(r"[Ii]t is a matter of size|[Hh]ence 0\.3", text)
            assert "does not explain" in text
        assert "an offset of 0.1 drowns it; on 16 × 16, the same 0.1 is little" not in lesson


class TestWords:
    """What lessons say of tokens, yardsticks and timesteps, against their own tables."""

    def test_a_caption_is_read_beyond_75_tokens_in_windows(self):
        made: dict[str, Any] = {"nb": nb, "caption": concept_pictures("style")[0][1]}
        exec(_cell("01", "How many tokens"), made)
        assert {int(most): row["read"] for most, row in made["rows"].items()} == {
            75: 75,
            150: min(150, made["tokens"]),
            225: min(225, made["tokens"]),
        }
        assert 75 < made["tokens"] <= 225, "the caption is long enough to show it"
        said = _prose("01")
        assert "150 or 225" in said and "in *windows* of 75" in said
        assert "| [77 tokens, two of them the ends]" not in said

    def test_the_prompts_of_the_style_are_described_as_they_are(self):
        made: dict[str, Any] = {"nb": nb}
        lines = _cell("01", "With and without tag dropout").splitlines()
        exec("\n".join(line for line in lines if line.startswith("prompts")), made)
        tags = [len(prompt.split(", ")) for prompt in made["prompts"]]
        assert tags == [7, 3, 2, 6] and "risoka" not in made["prompts"][-1]
        said = _prose("01")
        assert "the second less, the third almost nothing" in said
        assert "the last one almost nothing" not in said

    def test_a_yardstick_that_is_beaten_is_called_no_limit(self):
        assert "more than that cannot be asked for" not in _prose("01")
        shown = _shown("01", "Alike to the prints").partition("</table>")[0]
        (among, *_), *runs = (
            [*map(float, re.findall(r"<td>([.\d]+)</td>", row))] for row in shown.split("<tr>")[2:]
        )
        best = max(value for row in runs for value in row)
        assert best > among and f"reached {best} against {among}" in _prose("01")

    def test_the_last_timestep_still_shows_the_brightness(self):
        assert _ratio() * 64**2 > 1 > _ratio(), "the mean of 64 x 64 is known, a pixel is not"
        assert "is *all* that it can know" not in _prose("04")
        assert "how bright the picture is as a whole" in _prose("04")

    def test_the_size_of_the_example_s_data_set(self):
        assert "1,221 pictures" in _prose("00") and "800 pictures" not in _prose("00")


class TestBars:
    def test_the_bars_of_lesson_02_show_full_batches_and_short_ones(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        made: dict[str, Any] = {"nb": nb}
        for name in ("The album", "Squares only", "Buckets", "The ledger"):
            exec(_cell("02", name), made)
        *lines, last = _cell("02", "Pictures in each bucket").splitlines()
        exec("\n".join([*lines, f"figure = {last}"]), made)
        full, short = made["figure"].data
        assert full.name == "in full batches" and sum(full.y) > sum(short.y) > 0
        assert "Full batches" not in _prose("02") or "orange" in _prose("02")


class TestAnonymous:
    def test_the_table_of_lesson_06_does_not_print_the_answer(self, tmp_path, monkeypatch):
        every = {"steps": "40", "rate": "4e-06", "|dW| / |W|": "0.0 % at most"}
        monkeypatch.setattr(lesson_06, "instruments", lambda folder: every)
        assert set(lesson_06.readings(tmp_path)) == {"steps", "|dW| / |W|"}
        cell = _cell("06", "Four anonymous runs")
        assert "readings(one.folder)" in cell and "silent=True" in cell

    def test_a_silent_run_tells_its_progress_alone(self, tmp_path):
        one = live.Live(tmp_path)
        one.add(Progress(step=3, loss=0.5))
        one.add(
            Warned(id="prodigy_rate", message="the rate of Prodigy is wrong", fix="set it to 1")
        )
        assert one.progress().text == f"{tmp_path.name}: step 3 of ?"
        assert "Prodigy" in one.shown().text


def _shown(page: str, cell: str) -> str:
    """What a cell of a lesson's page shows, up to the next text."""
    text = (reading.ROOT / "docs" / "lessons" / f"{page}.md").read_text(encoding="utf-8")
    return text.partition(f"<summary>{cell}</summary>")[2].partition("</details>")[2][:6000]


def _column(markup: str, name: str) -> list[str]:
    """One column of the first table of a page's cell."""
    rows = re.findall(r"<tr>(.*?)</tr>", markup.partition("</table>")[0])
    head, *body = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in rows]
    return [row[head.index(name)] for row in body]


class TestIntervals:
    """Colours in 06 and 08: the study's statistics, at least eight prompts, their number shown."""

    def test_a_star_of_lesson_06_is_against_adamw_and_not_against_the_base(self):
        cell = _cell("06", "Measured")
        assert "apart(outcomes)" in cell and "far.n" in cell and "drift_cell" not in cell
        assert "adamw-again" in _cell("06", "Five optimizers"), "what chance alone does"
        assert "Every LoRA moves colours a little" in _prose("06")

    def test_the_page_of_06_shows_enough_prompts(self):
        assert {*filter(None, _column(_shown("06", "Measured"), "prompts"))} == {"8"}

    def test_the_page_of_08_shows_enough_prompts_and_one_test(self):
        shown = _shown("08", "Colours without the trigger")
        assert min(map(int, _column(shown, "prompts"))) >= 8
        told = re.search(r"All three axes in one test: (\w+), p = [-e.\d]+, (\d+) prompts", shown)
        assert told and int(told[2]) >= 8 and told[1] in ("moved", "unchanged", "undecided")


class TestLeak:
    def test_the_sentence_follows_from_the_numbers_above_it(self):
        """*Leaks* needs the model above the threshold and pictures that show it; see `leaks`."""
        shown = _shown("00", "How much leaks")
        rows = re.findall(r"<tr><th>([^<]+)</th><td>([^<]+)</td>", shown.partition("</table>")[0])
        means = {name: float(mean) for name, mean in rows}
        above = means["leak in the model"] > 0.76
        seen = means["likeness without the trigger"] > 0.02
        said = re.search(r"Does the concept leak\? (Yes|No|Undecided)\.", shown)
        assert said and min(map(int, _column(shown, "n"))) >= 8
        if said[1] != "Undecided":
            assert (above, seen) == ((True, True) if said[1] == "Yes" else (False, False))
        assert ("leaks into pictures" in shown) == (said[1] == "Yes")

    def test_what_moves_without_the_trigger_is_said(self):
        """Trained pictures without the trigger lose crowns and ears: the page of 00 shows it."""
        assert "hardly any is left" not in _prose("00")
        assert "crowns, ears and colours can still move" in _prose("00")
        assert "it keeps to its trigger" not in " ".join(_doc("critters.md").split())

"""The helpers of a cell: pictures, tables, controls and their static form, checks, the record."""

import sys
from types import ModuleType
from typing import Any

import pytest
from PIL import Image
from tiny_recipes import tiny_recipe, write_photos

from workbench import launch, store
from workbench import notebook as nb
from workbench.evaluation.results import Pair
from workbench.notebook import checking, live, order, record, shown, widgets
from workbench.notebook.environment import environment, place
from workbench.records.events import Progress, Resumed, Warned
from workbench.records.log import read
from workbench.settings import SettingsError

environment_module = sys.modules["workbench.notebook.environment"]  # a function has its name


def _picture(colour: str = "red") -> Image.Image:
    return Image.new("RGB", (40, 20), colour)


@pytest.fixture
def no_widgets(monkeypatch):
    monkeypatch.setenv("WORKBENCH_WIDGETS", "0")


class TestShown:
    def test_a_gallery_holds_its_pictures_and_escapes_its_labels(self):
        made = nb.gallery([("<b>", _picture()), ("<b>", _picture("blue"))], width_px=99)
        assert made.markup.count("<img ") == 2 and "width:99px" in made.markup
        assert "&lt;b&gt;" in made.markup and "<b>" not in made.markup
        assert repr(made) == "<b>, <b>"

    def test_a_grid_names_its_rows(self):
        made = nb.grid({"base": {"a": _picture()}, "LoRA": [("a", _picture())]})
        assert repr(made) == "base: a\nLoRA: a"

    def test_pairs_stand_one_above_the_other(self):
        made = nb.pairs([Pair("hat", 0, _picture(), _picture("blue"))])
        assert repr(made) == "base: hat\ntrained: hat"

    def test_a_table_takes_columns_as_they_come(self):
        made = nb.table(
            {"one": {"x": 0.123456, "y": None}, "two": {"y": 7, "z": "<i>"}}, heading="run"
        )
        assert made.text.splitlines() == [
            "run  x      y  z",
            "one  0.123",
            "two         7  <i>",
        ]
        assert "&lt;i&gt;" in made.markup


class TestControls:
    def test_a_static_grid_shows_every_control_with_the_others_at_their_start(self, no_widgets):
        seen: list[tuple[Any, ...]] = []

        def draw(rank: float, flip: bool) -> Image.Image:
            seen.append((rank, flip))
            return _picture()

        made = nb.explore(draw, rank=nb.Range(4, 8, 2, 6), flip=True)
        assert seen == [(4, True), (6, True), (8, True), (6, False), (6, True)]
        assert repr(made) == "rank: 4, 6, 8\nflip: False, True"

    def test_a_long_slider_is_shown_at_a_few_values_its_ends_included(self):
        assert widgets._values(nb.Range(0, 100, 1)) == [0, 25, 50, 75, 100]
        assert widgets._values(["a", "b"]) == ["a", "b"]

    def test_tables_are_stacked_under_their_values(self, no_widgets):
        made = nb.explore(lambda rank: nb.table({"rank": {"is": rank}}), rank=[4, 8])
        assert "rank = 4\n" in made.text and "rank = 8\n" in made.text

    def test_widgets_have_the_limits_and_the_start_of_their_range(self):
        slider = widgets._widget("tag_dropout", nb.Range(0, 1, 0.05, 0.3))
        assert (slider.min, slider.max, slider.step, slider.value) == (0, 1, 0.05, 0.3)
        assert slider.description == "tag dropout"
        assert widgets._widget("step", nb.Range(1, 9)).value == 1
        assert widgets._widget("noise", ["white", "pink"]).value == "white"
        assert widgets._widget("flip", True).value is True

    def test_a_missing_library_means_static(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "ipywidgets", None)
        assert not widgets.has_widgets()

    def test_the_slider_covers_the_left_with_what_was_trained(self):
        half = widgets.split(_picture("red"), _picture("blue"), 0.5)
        assert half.getpixel((5, 5)) == (0, 0, 255)
        assert half.getpixel((20, 5)) == (255, 255, 255)
        assert half.getpixel((35, 5)) == (255, 0, 0)
        assert widgets.split(_picture("red"), _picture("blue"), 0).getpixel((0, 0)) == (255, 0, 0)
        assert widgets.split(_picture("red"), _picture("blue"), 1).getpixel((39, 0)) == (0, 0, 255)

    def test_without_widgets_a_comparison_shows_both_ends(self, no_widgets):
        made = nb.ab_slider([Pair("hat", 0, _picture(), _picture("blue"))])
        named, slid = made.text.splitlines()
        assert named == "pair: hat (seed 0): trained on the left, base on the right"
        assert slid.startswith("trained percent: 0, 25: trained on the left") and slid.endswith(
            ", 100"
        )

    def test_galleries_of_one_picture_stand_in_a_row(self, no_widgets):
        made = nb.explore(lambda step: nb.gallery({"crop": _picture()}), step=[16, 32])
        assert made.text == "step: 16: crop, 32: crop" and made.markup.count("<img ") == 2


class TestEnvironment:
    def test_tiny_mode_shortens_and_nothing_else_does(self, tmp_path, monkeypatch):
        recipe = tiny_recipe(tmp_path, tmp_path, tmp_path, "length.steps=100")
        monkeypatch.delenv("WORKBENCH_TINY", raising=False)
        assert nb.short(recipe) is recipe and nb.few(200, tiny_count=20) == 200
        monkeypatch.setenv("WORKBENCH_TINY", "1")
        assert nb.short(recipe).length.steps == 4 and nb.few(200, tiny_count=20) == 20

    def test_the_place_is_recognised(self, monkeypatch):
        monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
        assert place() == "local"
        monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
        assert place() == "Kaggle"
        monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
        assert place() == "Colab"

    def test_the_machine_is_shown(self):
        said = environment().text
        assert all(word in said for word in ("device", "memory", "disk", "GiB", "experiments"))

    @pytest.mark.parametrize(("busy_percent", "threads"), [(0, 4), (50, 2), (100, 1)])
    def test_threads_follow_what_others_leave(self, monkeypatch, busy_percent, threads):
        given: list[int] = []
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setattr(environment_module, "cores", lambda: 4)
        monkeypatch.setattr(environment_module.os, "cpu_count", lambda: 4)
        monkeypatch.setattr(
            environment_module.psutil, "cpu_percent", lambda interval: float(busy_percent)
        )
        monkeypatch.setattr("torch.set_num_threads", given.append)
        environment_module.use_free_cores()
        assert given == [threads]

    def test_threads_that_were_chosen_are_left_alone(self, monkeypatch):
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        monkeypatch.setattr("torch.set_num_threads", lambda n: pytest.fail("it was set"))
        environment_module.use_free_cores()

    def test_the_pace_is_of_the_core_that_times_were_taken_on(self, monkeypatch):
        clock = iter((10.0, 10.0 + 2 * 0.028 * 3))
        monkeypatch.setattr(environment_module.time, "perf_counter", lambda: next(clock))
        assert environment_module.pace() == pytest.approx(3)


class TestLinks:
    COLOURED = (
        "Address: \x1b[4;94mhttp://127.0.0.1:7860\x1b[0m\n",
        "On a rented machine, run `ssh -L 7860:127.0.0.1:7860 USER@MACHINE` at home\n",
    )

    def test_an_address_is_read_through_its_colours(self):
        assert nb.addresses("".join(self.COLOURED)) == ["http://127.0.0.1:7860"]

    def test_at_home_the_link_is_the_address(self):
        assert nb.links(self.COLOURED).text == "http://127.0.0.1:7860"

    def test_on_colab_it_goes_through_the_proxy(self, monkeypatch):
        colab, output = ModuleType("google.colab"), ModuleType("google.colab.output")
        asked: list[str] = []
        output.eval_js = lambda code: asked.append(code) or "https://7860-x.colab.dev"
        colab.output = output
        monkeypatch.setitem(sys.modules, "google", ModuleType("google"))
        monkeypatch.setitem(sys.modules, "google.colab", colab)
        monkeypatch.setitem(sys.modules, "google.colab.output", output)
        assert nb.links(self.COLOURED).text == "https://7860-x.colab.dev"
        assert asked == ["google.colab.kernel.proxyPort(7860)"]


class TestOrder:
    def test_the_missing_cell_is_named(self):
        error = NameError("name 'run' is not defined")
        order.explain(error, {"run": "# Train"})
        assert str(error).startswith("name 'run' is not defined: the cell 'Train' makes it")

    def test_other_names_are_left_alone(self):
        error = NameError("name 'rnu' is not defined")
        order.explain(error, {"run": "# Train"})
        assert str(error) == "name 'rnu' is not defined"


class TestRecord:
    @pytest.fixture(autouse=True)
    def _new_learner(self, tmp_path, monkeypatch):
        monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))

    def test_the_first_day_counts_and_others_stay(self, monkeypatch):
        assert record.passed() == {}
        for day, name in (("2026-01-02", "03.pyramid"), ("2026-01-03", "00.time")):
            monkeypatch.setattr(record.time, "strftime", lambda form, day=day: day)
            record.note(name)
        record.note("03.pyramid")
        assert record.passed() == {"00.time": "2026-01-03", "03.pyramid": "2026-01-02"}

    def test_a_damaged_record_is_named(self):
        store.write_json(record.path(), [1])
        with pytest.raises(SettingsError, match=r"learner\.json must hold a table 'passed'"):
            record.passed()

    def test_a_lesson_ends_with_what_was_passed(self, capsys):
        record.note("00.time")
        nb.lesson("00").end()
        said = capsys.readouterr().out
        assert "00.time" in said and record.passed()["00.time"] in said
        assert "1 of " in said


class TestCheck:
    def test_no_answer_yet_is_no_failure(self):
        assert nb.check("00.time", None).passed is None
        assert nb.check("00.time", ...).passed is None

    def test_an_answer_that_raises_is_shown_its_error(self):
        wrong = checking.Property(
            "it works", lambda answer, facts: answer(1), "do not divide by it"
        )
        found = checking.test(checking.Exercise("99.x", "?", (wrong,)), lambda x: x / 0, {})
        assert found.passed is False
        assert "ZeroDivisionError" in found.text and "hint: do not divide by it" in found.text

    def test_an_unknown_exercise_is_named(self):
        with pytest.raises(SettingsError, match=r"exercise must be one of 00\.time"):
            nb.check("00.timer", 1)


class TestLive:
    def test_a_cut_off_run_goes_on_and_a_complete_one_is_taken(self, tiny_sd, tmp_path, capsys):
        recipe = tiny_recipe(tiny_sd, write_photos(tmp_path / "photos"), tmp_path / "runs")
        recipe = recipe.override(["output.report=false", "sampling.prompts=[]"])
        for event in launch.start(recipe).train():  # the runtime is lost after three steps
            if isinstance(event, Progress) and event.step == 3:
                break
        run = nb.train(recipe)
        events = read(run.folder)
        assert [event.step for event in events if isinstance(event, Resumed)] == [3]
        assert nb.train(recipe).folder == run.folder
        assert len(read(run.folder)) == len(events), "a complete run is not trained again"
        assert [path.name for path in (tmp_path / "runs").iterdir()] == ["tiny"]
        other = nb.train(recipe.override(["length.steps=5"]))
        assert other.folder != run.folder
        assert "complete" in capsys.readouterr().err

    def test_several_runs_end_in_a_table(self, tiny_sd, tmp_path, capsys, monkeypatch):
        recipe = tiny_recipe(tiny_sd, write_photos(tmp_path / "photos"), tmp_path / "runs")
        recipe = recipe.override(["output.report=false", "sampling.prompts=[]", "length.steps=1"])
        said: list[str] = []
        monkeypatch.setattr(live.Place, "show", lambda self, shown: said.append(shown.text))
        runs = nb.train_all({name: recipe.override([f"name={name}"]) for name in ("a", "b")})
        assert [run.folder.name for run in runs.values()] == ["a", "b"]
        assert said[-1].splitlines()[0].split() == ["run", "steps", "stable", "loss", "seconds"]
        assert [line.split()[0] for line in said[-1].splitlines()[1:]] == ["a", "b"]

    def test_the_picture_follows_a_run_that_goes_back(self, tmp_path):
        one = live.Live(tmp_path)
        for step in (1, 2, 3, 2):
            one.add(Progress(step=step, loss=step / 10))
        assert (one.steps, one.losses) == ([1, 2], [0.1, 0.2])
        assert one.add(Warned(id="x", message="<b>", fix="y"))
        assert "&lt;b&gt;; y" in one.shown().markup and "<svg" in one.shown().markup
        assert isinstance(one.shown(), shown.Shown)

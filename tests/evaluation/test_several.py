"""Runs side by side: equal prompts and seeds, what their recipes differ in, curves of each."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny_recipes import tiny_recipe, write_photos

from workbench import launch
from workbench.evaluation import several_page
from workbench.evaluation.several import Several, compare_runs, recipe_differences
from workbench.recipe import Recipe
from workbench.settings import SettingsError
from workbench.store import FileRefused


@pytest.fixture(scope="module")
def runs(tiny_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """A run, and its copy under another trigger, rate and strength of training."""
    place = tmp_path_factory.mktemp("several")
    recipe = tiny_recipe(tiny_sd, write_photos(place / "photos"), place / "runs").override(
        [
            "output.report=false",
            'sampling.prompts=["{trigger}, red", "blue"]',
            "data.subsets.0.trigger=zib",
            "sampling.steps=2",
            "sampling.batch_size=4",
            "validation.every_steps=2",
            "validation.num_images=1",
        ]
    )
    made = launch.start(recipe)
    for _ in made.train():
        pass
    other = made.folder.with_name("other")
    shutil.copytree(made.folder, other)
    changed = recipe.override(["data.subsets.0.trigger=mox", "optimizer.learning_rate=0.25"])
    (other / "recipe.toml").write_text(changed.to_toml())
    yield [made.folder, other]


@pytest.fixture(scope="module")
def found(runs: list[Path]) -> Several:
    return compare_runs(runs, seeds=(0, 5))


def test_every_run_draws_the_same_prompts_with_its_own_trigger(found: Several, runs: list[Path]):
    names = tuple(run.name for run in runs)
    assert found.names == names
    assert [(strip.prompt, strip.seed) for strip in found.strips] == [
        ("zib, red", 0), ("zib, red", 5), ("blue", 0), ("blue", 5),
    ]  # fmt: skip
    assert all([name for name, _ in strip.cells] == ["base", *names] for strip in found.strips)
    red, blue = (dict(strip.cells) for strip in found.strips[1:3])
    one, other = (np.asarray(blue[name], int) for name in names)
    assert abs(one - other).max() <= 1, "the same weights, prompt and seed"
    one, other = (np.asarray(red[name], int) for name in names)
    assert abs(one - other).max() > 1, "zib is not mox"


def test_without_the_trigger_only_prompts_that_had_one(found: Several):
    assert {strip.prompt for strip in found.plain} == {"red"}


def test_what_the_recipes_differ_in(found: Several):
    assert found.differs["data.subsets.0.trigger"] == ("zib", "mox")
    assert found.differs["optimizer.learning_rate"][1] == "0.25"
    assert set(found.differs) == {"data.subsets.0.trigger", "optimizer.learning_rate"}


def test_differences_of_three_recipes_are_read_across():
    first = Recipe.preset("critters")
    second = first.override(["name=b", "length.steps=50"])
    third = first.override(["name=c", "noise.kind=offset", "noise.strength=0.25"])
    rows = recipe_differences([first, second, third])
    assert rows["length.steps"] == ("166", "50", "166")
    assert rows["noise.kind"] == ("gaussian", "gaussian", "offset")
    assert rows["noise.strength"] == ("–", "–", "0.25") and "name" not in rows


def test_curves_hold_each_run_s_own_numbers(found: Several, runs: list[Path]):
    drawn = found.figures["stable loss"]
    named = [trace.name for trace in drawn.data if trace.name]
    assert named == [run.name for run in runs]
    assert [len(trace.x) for trace in drawn.data if trace.name] == [2, 2]
    assert [trace.name for trace in found.figures["training loss"].data] == named


def test_the_page_is_whole_and_two_runs_can_be_voted_on(found: Several, tmp_path: Path):
    text = several_page.write(found, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "optimizer.learning_rate" in text and ">0.25<" in text
    assert text.count('class="frame"') == 4 and "Vote: which one is better?" in text
    assert "the less the concept leaks into everything else" not in text, "neither is the base"
    assert found._repr_html_().startswith("<iframe")


def test_what_cannot_be_compared_is_said(runs: list[Path], tmp_path: Path):
    with pytest.raises(SettingsError, match="two or more of different names, got"):
        compare_runs([runs[0], runs[0]])
    with pytest.raises(SettingsError, match="two or more"):
        compare_runs([runs[0]])
    with pytest.raises(FileRefused, match=r"is no run folder: it holds no recipe\.toml"):
        compare_runs([runs[0], tmp_path])

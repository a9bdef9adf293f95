"""The strength x checkpoint grid: its corners are pictures that the run drew itself."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_recipes import tiny_recipe, write_photos

from workbench import launch
from workbench.evaluation import grid as module
from workbench.evaluation.grid import AXES, Line, draw_grid, saved_files, spots, strength_grid
from workbench.evaluation.painter import Painter, Spot
from workbench.records.events import Sampled, Saved
from workbench.records.log import EventLog, read
from workbench.settings import SettingsError
from workbench.store import FileRefused


@pytest.fixture(scope="module")
def run(tiny_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("grid")
    recipe = tiny_recipe(tiny_sd, write_photos(place / "photos"), place / "runs").override(
        [
            "output.report=false",
            'sampling.prompts=["zib, red", "blue"]',
            "sampling.steps=2",
            "training.lora_every=2",
            "sampling.every_steps=2",
            "sampling.batch_size=1",
        ]
    )
    made = launch.start(recipe)
    for _ in made.train():
        pass
    yield made.folder


def _pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.int16)


def _distance(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(_pixels(one) - _pixels(other)).max())


def _own(run: Path, step: int, prompt: str, *, base: bool = False) -> Image.Image:
    """What the trainer itself drew at a step."""
    sampled = [e for e in read(run) if isinstance(e, Sampled) and e.base == base]
    [event] = [e for e in sampled if e.step == step]
    [path] = [one.path for one in event.pictures if one.prompt == prompt]
    return Image.open(run / path).convert("RGB")


def test_the_corners_are_the_runs_own_pictures(run: Path):
    found = strength_grid(run, strengths=(0.0, 0.5, 1.0))
    assert list(found) == [2, 4] and all(list(row) == [0.0, 0.5, 1.0] for row in found.values())
    base = _own(run, 0, "zib, red", base=True)
    for step, row in found.items():
        assert _distance(row[0.0], base) <= 1
        assert _distance(row[1.0], _own(run, step, "zib, red")) <= 1
        assert _distance(row[0.5], row[0.0]) > 0 and _distance(row[0.5], row[1.0]) > 0
    assert _distance(found[2][1.0], found[4][1.0]) > 1, "each step has a file of its own"


def test_a_prompt_of_choice(run: Path):
    found = strength_grid(run, strengths=(1.0,), prompt="blue")
    assert _distance(found[4][1.0], _own(run, 4, "blue")) <= 1


def test_files_that_are_gone_are_left_out_and_only_loras_count(tmp_path: Path):
    with EventLog(tmp_path) as log:
        for step, name, what in ((30, "c", "lora"), (10, "a", "lora"), (20, "b", "lora")):
            log.append(Saved(step=step, path=f"{name}.safetensors", what=what))
        log.append(Saved(step=20, path="checkpoint", what="checkpoint"))
    for name in ("a.safetensors", "c.safetensors", "checkpoint"):
        (tmp_path / name).write_bytes(b"")
    assert saved_files(tmp_path) == {
        10: tmp_path / "a.safetensors",
        30: tmp_path / "c.safetensors",
    }


def test_of_many_files_an_even_spread_with_both_ends(run: Path, monkeypatch: pytest.MonkeyPatch):
    [file] = [path for step, path in saved_files(run).items() if step == 4]
    monkeypatch.setattr(module, "saved_files", lambda folder: dict.fromkeys(range(1, 16), file))
    found = strength_grid(run, strengths=(0.0,))
    assert list(found) == [1, 3, 5, 7, 9, 11, 13, 15]


def test_a_run_without_a_file_says_so(tmp_path: Path):
    with pytest.raises(FileRefused, match="they come with training"):
        strength_grid(tmp_path)


@pytest.mark.parametrize("rows", AXES)
@pytest.mark.parametrize("columns", AXES)
def test_any_two_axes_make_a_grid_and_no_axis_twice(rows, columns):
    values = {"prompt": ("a", "b"), "seed": (1, 2), "strength": (0.5, 1.0), "guidance": (1.0, 7.0),
              "steps": (2, 3), "checkpoint": (Path("a"), Path("b"))}  # fmt: skip
    lines = Line(rows, values[rows]), Line(columns, values[columns])
    fixed = Spot(Path("x"), "p")
    if rows == columns:
        with pytest.raises(SettingsError, match=f"must differ, got {rows} for both"):
            spots(fixed, *lines)
        return
    found = spots(fixed, *lines)
    assert list(found) == [(r, c) for r in values[rows] for c in values[columns]]
    field = {"checkpoint": "file"}
    for (row, column), spot in found.items():
        assert getattr(spot, field.get(rows, rows)) == row
        assert getattr(spot, field.get(columns, columns)) == column
    assert len(set(found.values())) == 4


def test_guidance_and_steps_change_the_picture_as_the_recipe_s_own_do(run: Path):
    """The cell of the run's own values is what the run drew; the others are other pictures."""
    found = draw_grid(run, Line("guidance", (1.0, 4.0)), Line("steps", (2, 3)))
    assert list(found) == ["guidance 1", "guidance 4"] and list(found["guidance 4"]) == [
        "steps 2", "steps 3",
    ]  # fmt: skip
    assert _distance(found["guidance 4"]["steps 2"], _own(run, 4, "zib, red")) <= 1
    others = [found["guidance 1"]["steps 2"], found["guidance 4"]["steps 3"]]
    assert all(_distance(one, found["guidance 4"]["steps 2"]) > 1 for one in others)
    with pytest.raises(SettingsError, match="guidance"):
        draw_grid(run, Line("guidance", (0.5,)), Line("seed", (0,)))


def test_nothing_is_drawn_twice(run: Path, monkeypatch: pytest.MonkeyPatch):
    from workbench.evaluation import drawing

    drawn: list[tuple[str, int]] = []
    draw = drawing.draw

    def watched(family, how, jobs):
        drawn.extend(jobs)
        return draw(family, how, jobs)

    monkeypatch.setattr(drawing, "draw", watched)
    painter = Painter.open(run)
    early, late = saved_files(run).values()
    every = [Spot(file, "blue", 77, at) for file in (early, late) for at in (0.0, 1.0)]
    first = painter.pictures(every)
    assert len(drawn) == 3, "the base's picture is the same beside either file"
    again = painter.pictures([*every, Spot(late, "blue", 77, 1.0, guidance=4.0, steps=2)])
    assert len(drawn) == 3 and all(again[spot] is first[spot] for spot in every)
    anew = Painter.open(run).pictures(every)
    assert len(drawn) == 3, "another session takes them from the cache"
    assert all(_distance(anew[spot], first[spot]) == 0 for spot in every)

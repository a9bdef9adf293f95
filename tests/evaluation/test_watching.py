"""Samples along the way: what is measured of them, and when it is warned of."""

from pathlib import Path

import pytest
from tiny_recipes import tiny_recipe, write_photos

from workbench import launch
from workbench.evaluation.watching import alarms
from workbench.records.events import Finished, Mark, Sampled, Warned, Watched
from workbench.records.marks import sentence
from workbench.records.sampling import SampleSettings


def marks(**given: tuple[float, float, float, int]) -> list[Mark]:
    return [Mark(name.replace("_", "*"), *numbers) for name, numbers in given.items()]


def at(step: int, *, low: float, value: float, high: float, n: int = 8) -> Watched:
    return Watched(step=step, marks=(Mark("likeness", value, low, high, n),))


def told(found, earlier=(), *, calibrated=True) -> dict[str, str]:
    return dict(alarms(found, earlier, calibrated=calibrated))


def test_likeness_below_its_best_step_is_warned_of() -> None:
    earlier = [at(10, low=0.1, value=0.2, high=0.3), at(20, low=0.3, value=0.4, high=0.5)]
    fell = told(marks(likeness=(0.2, 0.1, 0.29, 8)), earlier)
    assert fell == {"likeness": "likeness fell from +0.400 at step 20 to +0.200"}
    assert not told(marks(likeness=(0.25, 0.1, 0.31, 8)), earlier), "the intervals overlap"
    assert not told(marks(likeness=(0.2, 0.1, 0.29, 7)), earlier), "too few prompts to say"
    assert not told(marks(likeness=(0.2, 0.1, 0.29, 8)))


def test_a_leak_above_the_threshold_is_warned_of_where_that_was_set_for_the_base() -> None:
    found = marks(leak=(0.9, 0.77, 0.99, 8))
    assert "0.90 of what the trigger changes" in told(found)["leak"]
    assert not told(found, calibrated=False)
    assert not told(marks(leak=(0.9, 0.75, 0.99, 8))), "its interval reaches below the threshold"


def test_colours_are_warned_of_where_they_move_visibly() -> None:
    still = (0.0, -1.0, 1.0, 8)
    found = told(marks(L_=(5.0, 4.0, 6.0, 8), a_=still, b_=still))
    assert "L* by +5.0" in found["colours"]
    assert not told(marks(L_=(1.5, 1.4, 1.6, 8), a_=still, b_=still)), "too little to be seen"
    assert not told(marks(L_=(5.0, -1.0, 11.0, 8), a_=still, b_=still)), "may be chance"
    assert not told(marks(L_=(5.0, 4.0, 6.0, 4), a_=still, b_=still)), "too few prompts"
    # 95 % of one axis is not 95 % of three: t(7) at 98.3 % is 1.32 times t(7) at 95 %
    assert not told(marks(L_=(5.0, 0.9, 9.1, 8), a_=still, b_=still))


@pytest.mark.parametrize(
    ("every", "total", "steps"),
    [(None, 100, [25, 50, 75]), (None, 10, [2, 5, 7]), (None, 2, [1]), (0, 100, []),
     (40, 100, [40, 80]), (None, None, [500, 1000])],
)  # fmt: skip
def test_samples_are_drawn_at_each_quarter_unless_told_otherwise(every, total, steps) -> None:
    chosen = SampleSettings(every_steps=every)
    assert [s for s in range(1, total or 1001) if chosen.due(s, total)] == steps


@pytest.fixture
def run(tiny_sd: Path, tmp_path: Path):
    def make(*overrides: str):
        recipe = tiny_recipe(
            tiny_sd, write_photos(tmp_path / "photos"), tmp_path / "runs",
            "sampling.prompts=['{trigger}, sea','hill']", "sampling.steps=1", "length.steps=4",
            "sampling.every_steps=none", "output.report=false",
            "optimizer.learning_rate=0.2", *overrides,
        )  # fmt: skip
        return launch.start(recipe)

    return make


def test_each_set_of_samples_on_the_way_is_watched(run, monkeypatch) -> None:
    events = list(run().train())
    sampled = [e.step for e in events if isinstance(e, Sampled) and not e.base]
    watched = [e for e in events if isinstance(e, Watched)]
    assert sampled == [1, 2, 3, 4]
    assert [one.step for one in watched] == [1, 2, 3], "the last is the report's to judge"
    names = {mark.name for one in watched for mark in one.marks}
    assert {"L*", "a*", "b*", "leak"} <= names
    assert "colours L* " in sentence(watched[0]) and "leak 0." in sentence(watched[-1])
    assert all(mark.n == 1 for mark in watched[0].marks if mark.name in ("L*", "a*", "b*"))


def test_it_can_be_turned_off(run) -> None:
    events = list(run("validation.watch=false").train())
    assert not [event for event in events if isinstance(event, Watched)]


def test_a_run_ends_early_where_it_was_told_to(run, monkeypatch) -> None:
    monkeypatch.setattr(
        "workbench.evaluation.watching.alarms",
        lambda marks, earlier, *, calibrated: iter([("colours", "all is yellow")]),
    )
    going = [e for e in run("validation.stop_on=['leak']").train() if isinstance(e, Finished)]
    assert going[0].reason == "complete"
    events = list(run("name=other", "validation.stop_on=['colours']").train())
    (end,) = [event for event in events if isinstance(event, Finished)]
    assert (end.reason, end.step) == ("stopped", 1)
    warned = [e for e in events if isinstance(e, Warned) and e.id == "watched-colours"]
    assert warned[0].message == "all is yellow" and warned[0].fix
    said = [e.message for e in events if isinstance(e, Warned) and "stop_on" in e.message]
    assert said and "all is yellow" in said[0]

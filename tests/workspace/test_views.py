"""A run's view: read once, then only what is new, and never larger than a page can show."""

import itertools
import json
from pathlib import Path

from workbench.records import log
from workbench.records.events import Measured, Progress, Resumed, Sampled, Started, Validated
from workbench.records.log import EventLog
from workbench.records.timesteps import STEPS
from workbench.workspace.views import MAX_POINTS, View, view


def _step(step: int) -> Progress:
    return Progress(step=step, loss=1 / step, learning_rates={"unet": 1e-4}, gradient_norm=1.0)


def _validated(step: int, loss: float) -> Validated:
    return Validated(step=step, split="train", loss=loss, base_loss=0.2)


def test_only_what_is_new_is_read(tmp_path: Path, monkeypatch):
    asked: list[int] = []
    read = log.read

    def counted(folder, *, after=0):
        asked.append(after)
        return read(folder, after=after)

    monkeypatch.setattr(log, "read", counted)
    seen = View(tmp_path)
    assert seen.refresh() == 0
    with EventLog(tmp_path) as events:
        events.append(Started(run="a", recipe_hash="", total_steps=9))
        events.append(_step(1))
        assert seen.refresh() == 2
        events.append(_step(2))
        assert seen.refresh() == 3
    assert seen.refresh() == 3
    assert asked == [0, 0, 2, 3]
    assert [event.step for event in seen.of(Progress)] == [1, 2]


def test_steps_that_a_resume_took_back_are_gone(tmp_path: Path):
    seen = View(tmp_path)
    with EventLog(tmp_path) as events:
        for step in range(1, 6):
            events.append(_step(step))
        seen.refresh()
        events.append(Resumed(step=3, total_steps=9))
        events.append(_step(4))
        seen.refresh()
    assert [event.step for event in seen.of(Progress)] == [1, 2, 3, 4]
    assert seen.of(Progress) == [e for e in log.read(tmp_path) if isinstance(e, Progress)]


def test_a_long_run_keeps_its_shape_and_its_latest_steps(tmp_path: Path):
    seen, count = View(tmp_path), 6000
    with EventLog(tmp_path) as events:
        for step in range(1, count + 1):
            events.append(_step(step))
            if step % 1000 == 0:
                events.append(_validated(step, 0.1))
                seen.refresh()
    steps = [event.step for event in seen.of(Progress)]
    assert MAX_POINTS < len(steps) <= 2 * MAX_POINTS + STEPS
    assert steps[0] == 1 and steps[-STEPS:] == list(range(count - STEPS + 1, count + 1))
    # No stretch of the curve is missing: between neighbours lies at most a hundredth of the run.
    assert max(b - a for a, b in itertools.pairwise(steps)) <= count // 100
    assert len(seen.of(Validated)) == 6, "only steps are thinned"


def test_a_figure_is_drawn_again_only_when_it_would_differ(tmp_path: Path):
    seen = View(tmp_path)
    with EventLog(tmp_path) as events:
        events.append(_step(1))
        events.append(_validated(1, 0.19))
        events.append(Measured(step=1, change={"unet": 0.1}))
        seen.refresh()
        loss, stable, weights = (seen.version(n) for n in ("loss", "stable_loss", "weight_change"))
        first = seen.figure("stable_loss")
        events.append(_step(2))
        seen.refresh()
    assert seen.version("loss") > loss
    assert (seen.version("stable_loss"), seen.version("weight_change")) == (stable, weights)
    assert seen.figure("stable_loss") is first
    drawn = json.loads(first)["data"][-1]
    assert drawn["x"] == [0, 1] and abs(drawn["y"][1] + 5) < 1e-9, "0.19 is 5 % below 0.2"
    assert seen.figure("ema_lag") == "", "nothing is drawn without numbers"


def test_the_verdict_follows_what_was_measured(tmp_path: Path):
    seen = View(tmp_path)
    with EventLog(tmp_path) as events:
        events.append(_step(1))
        events.append(_validated(1, 0.25))
        seen.refresh()
        assert seen.verdict().tone == "bad", "worse than the base on its own images"
        events.append(_step(2))
        events.append(_validated(2, 0.1))
        seen.refresh()
    assert "learned" in seen.verdict().sentence


def test_pages_share_a_view_and_a_new_run_of_the_name_has_its_own(tmp_path: Path):
    with EventLog(tmp_path) as events:
        events.append(Sampled(step=0, pictures=(), base=True))
    shared = view(tmp_path)
    shared.refresh()
    assert view(tmp_path) is shared
    (tmp_path / log.FILE_NAME).rename(tmp_path / "kept.jsonl")
    with EventLog(tmp_path) as events:
        events.append(_step(1))
    assert view(tmp_path) is not shared

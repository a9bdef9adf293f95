"""What a page costs its server while nobody does anything, and what it tells by itself."""

import asyncio
import time
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd
import pytest
from app_servers import serving, visitor
from gradio.state_holder import SessionState

from workbench.app import page, train
from workbench.app.desk import Moved, Options
from workbench.records.history import Summary
from workbench.workspace.folders import Workspace
from workbench.workspace.overview import Standing

TABLE = pd.DataFrame({"run": ["mochi"]})


@pytest.mark.parametrize(
    "values",
    [
        [gr.skip(), gr.skip(), gr.skip()],
        ["new", gr.skip(), gr.skip()],
        [gr.skip(), TABLE, 5],
        [gr.HTML("new", visible=False), gr.skip(), 5],
        [gr.skip(), gr.skip(), 5],
    ],
)
def test_an_answer_is_gradios_own_but_nothing_skipped_is_made_anew(
    values: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = {}
    for kind in (gr.Blocks, page.Page):
        with kind(analytics_enabled=False) as one:
            outputs = [gr.HTML("old"), gr.Dataframe(TABLE), gr.State(1)]
            gr.on([one.load], lambda: None, None, outputs)
        with monkeypatch.context() as patch:
            made = _counted(patch)
            state = SessionState(one)
            answer = asyncio.run(one.postprocess_data(one.fns[0], values, state))
        # Of a skipped HTML, Gradio says that its properties are an update, too.
        empty = {"__type__": "update", "props": gr.skip()}
        sent[kind] = [gr.skip() if part == empty else part for part in answer]
        if kind is page.Page:
            assert len(made) == isinstance(values[0], gr.HTML)
            assert state[outputs[2]._id] == (5 if values[2] == 5 else 1)
    assert repr(sent[page.Page]) == repr(sent[gr.Blocks])


def _counted(patch: pytest.MonkeyPatch) -> list[int]:
    made: list[int] = []
    plain = gr.HTML.__init__
    patch.setattr(gr.HTML, "__init__", lambda *a, **k: (made.append(1), plain(*a, **k))[1])
    return made


def test_a_handler_with_one_output_may_skip_it() -> None:
    with page.Page(analytics_enabled=False) as one:
        gr.on([one.load], lambda: None, None, gr.HTML("old"))
    for value, sent in ((gr.skip(), gr.skip()), ("new", "new")):
        assert asyncio.run(one.postprocess_data(one.fns[0], value, SessionState(one))) == [sent]


def test_no_summary_of_events_is_kept(tmp_path: Path) -> None:
    with serving(tmp_path) as served, visitor(served) as client:
        queue = served.page._queue
        body = {"data": ["hello"], "fn_index": 0, "session_hash": "s", "event_data": None}
        for _ in range(3):
            client.post("/gradio_api/queue/join", json=body).raise_for_status()
        with client.stream("GET", "/gradio_api/queue/data?session_hash=s") as answers:
            done = 0
            for line in answers.iter_lines():
                done += "process_completed" in line
                if done == 3:
                    break
        assert queue.events_recorded == 3
        assert len(queue.event_analytics) == 1
        assert queue.cached_event_analytics_summary == {"functions": {}}


def test_the_queue_of_a_running_app_sleeps_where_nobody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    with serving(tmp_path) as served, visitor(served) as client:
        kind = type(served.page._queue)
        body = {"data": ["hello"], "fn_index": 0, "session_hash": "s", "event_data": None}
        client.post("/gradio_api/queue/join", json=body).raise_for_status()  # it looks from now on
        length = kind.__len__
        monkeypatch.setattr(kind, "__len__", lambda self: looks.append(0.0) or length(self))
        time.sleep(1)
    assert 5 < len(looks) < 100  # every millisecond as Gradio has it: some 800


def test_only_the_tab_in_front_ticks(tmp_path: Path) -> None:
    made = page.build(Workspace(tmp_path))
    ticks = [one for one in made.blocks.values() if isinstance(one, gr.Timer)]
    assert [one.active for one in ticks] == [True, *[False] * len(page.TABS)]
    (select,) = (
        function
        for function in made.fns.values()
        if set(ticks[1:]) <= set(function.outputs)
        and made.blocks[function.targets[0][0]].id == "train"  # type: ignore[index,union-attr]
    )
    sent = select.fn(None, 0, Moved(), "start")  # type: ignore[misc]
    told = dict(zip(page.TABS, sent[-len(page.TABS) :], strict=True))
    active = {name: one.active for name, one in told.items() if isinstance(one, gr.Timer)}
    assert active == {"start": False, "train": True}
    assert all(one == gr.skip() for name, one in told.items() if name not in active)


def test_whoever_looks_at_any_tab_is_told_when_a_run_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now: list[Standing] = []
    monkeypatch.setattr(page, "overview", lambda workspace: now)
    monkeypatch.setattr(train, "overview", lambda workspace: now)
    monkeypatch.setattr(page, "ensure_worker", lambda *_: None)
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(gr, "Info", lambda words, **_: told.append(("info", words)))
    monkeypatch.setattr(gr, "Warning", lambda words, **_: told.append(("warning", words)))
    workspace = Workspace(tmp_path)
    look = page._status(workspace, Options())
    _, ended, seen = look(("", ""))
    for state in ("running", "crashed", "running", "finishing", "finished"):
        summary = Summary("mochi", tmp_path / "mochi", state, step=3)  # type: ignore[arg-type]
        now[:] = [Standing(state, summary)]  # type: ignore[arg-type]
        _, ended, seen = look(seen)
        if ended != gr.skip():
            train.notice(workspace, ended)
        again = look(seen)
        assert again == (gr.skip(), gr.skip(), gr.skip())
    assert [kind for kind, _ in told] == ["warning", "info"]
    assert all("mochi" in words for _, words in told)

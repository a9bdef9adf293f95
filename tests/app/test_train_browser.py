"""A training from the page: one press, watched live, and nothing lost with a tab, the app or it."""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from app_servers import App, start_app

from workbench.recipe import Recipe
from workbench.records import log
from workbench.records.events import Progress
from workbench.records.lock import holder
from workbench.workspace.folders import Workspace

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

OpenPage = Callable[..., Any]
SLOW_MS = 180_000  # two cores load a model, encode pictures and measure the base


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("training") / "workspace")
    quick = [
        *("length.steps=400", "training.batch_size=1", "training.checkpoint_every=5"),
        *("validation.every_steps=5", "validation.num_images=1", "validation.num_bins=2"),
        *("sampling.seeds=[0]", "sampling.steps=2", "sampling.every_steps=10", "name=watched"),
    ]
    workspace.save_draft(Recipe.preset("critters").override(quick))
    return workspace


def _go_to(page: Any, tab: str) -> None:
    page.get_by_role("tab", name=tab, exact=True).click()
    page.locator(f"#tab-{tab.lower()}").wait_for(state="visible")


def _steps(run: Path) -> list[int]:
    return [event.step for event in log.read(run) if isinstance(event, Progress)]


def _state(page: Any, word: str) -> None:
    page.locator("#run-head .pill", has_text=word).wait_for(timeout=SLOW_MS)


def test_a_run_outlives_tabs_and_app_and_tells_the_truth(workspace: Workspace, open_page: OpenPage):
    app = start_app(workspace.root, "--price-per-hour", "3.6")
    try:
        run = workspace.runs / "watched"
        page = open_page(app)
        button = page.locator("#train-now")
        button.wait_for()
        page.wait_for_timeout(1500)
        button.dblclick()
        _state(page, "trains")
        assert [path.name for path in workspace.runs.iterdir()] == ["watched"], "pressed twice"
        page.locator("#tab-train .js-plotly-plot").first.wait_for(timeout=SLOW_MS)
        page.locator("#samples img").first.wait_for(timeout=SLOW_MS)
        page.locator("#status", has_text="watched").wait_for()
        assert re.search(r"\$0\.\d\d", page.locator("#status").inner_text()), "what it costs"

        page.close()  # nobody looks on
        before = len(_steps(run))
        other = open_page(app, phone=True)
        other.locator("#status", has_text=re.compile(r"step \d+ of 400")).wait_for(timeout=SLOW_MS)
        _open_train_on_a_phone(other)
        other.locator("#tab-train .js-plotly-plot").first.wait_for(timeout=SLOW_MS)
        other.wait_for_timeout(3000)
        assert len(_steps(run)) > before, "it goes on without a page"

        other.close()  # a page without its server complains
        assert app.end() == 143  # and without the app
        app = start_app(workspace.root)
        page = open_page(app)
        _go_to(page, "Train")
        _state(page, "trains")
        page.locator("#ask-pause").click()
        _state(page, "paused")
        page.locator("#ask-continue").click()
        _state(page, "trains")
        page.locator("#ask-stop").click()
        _state(page, "stopped")
        page.locator("a.button", has_text="watched-step").wait_for(timeout=SLOW_MS)
        done = max(_steps(run))

        _go_to(page, "Runs")
        named = page.locator("#runs-table").get_by_text("watched", exact=True)
        named.locator("visible=true").first.click()
        page.get_by_role("button", name="Resume").click()
        _state(page, "trains")
        page.wait_for_function(
            "n => parseInt(document.querySelector('#run-head dd').innerText) > n",
            arg=done,
            timeout=SLOW_MS,
        )
        assert _steps(run) == list(range(1, max(_steps(run)) + 1)), "no step twice, none missing"

        owner = holder(run)
        assert owner is not None
        _go_to(page, "Buckets")
        os.kill(owner.pid, signal.SIGKILL)
        page.locator(".toast-body", has_text="watched").wait_for(timeout=10_000)
        _go_to(page, "Train")
        page.locator("#run-head .pill", has_text="crashed").wait_for(timeout=10_000)
        assert "SIGKILL" in page.locator("#run-head .finding").inner_text()
        page.close()
    finally:
        app.end()


def _open_train_on_a_phone(page: Any) -> None:
    tab = page.get_by_role("tab", name="Train", exact=True)
    if not (tab.count() and tab.first.is_visible()):
        page.locator("#tabs .overflow-menu > button").first.click()
        tab = page.locator("#tabs .overflow-dropdown button").get_by_text("Train", exact=True)
    tab.first.click()


def test_a_mistake_stands_below_its_setting(app: App, open_page: OpenPage):
    page = open_page(app)
    _go_to(page, "Train")
    rank = page.get_by_label("adapter rank").first
    rank.wait_for()
    rank.fill("5000")
    rank.press("Enter")
    page.locator(".finding.mistake", has_text="adapter.rank must be in [1, 1024]").wait_for()


def test_a_refused_recipe_does_not_start(app: App, open_page: OpenPage):
    recipe = Recipe.preset("critters").override(["adapter.dora=true", "adapter.rank_dropout=0.2"])
    Workspace(app.workspace).save_draft(recipe)
    page = open_page(app)
    _go_to(page, "Train")
    page.locator("#pitfalls .finding.refuse").wait_for()
    page.locator("#start").click()
    page.locator(".toast-body", has_text="stripes").wait_for()
    assert list(Workspace(app.workspace).runs.iterdir()) == []

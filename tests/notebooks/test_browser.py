"""Lessons in JupyterLab in a real browser: cells run, controls move, figures are drawn."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from notebooks import reading

nbformat = pytest.importorskip("nbformat")
pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

LESSONS = [path for path in reading.TUTORIALS if path.name[:2] in ("00", "02", "03")]
WAIT_MS = 600_000


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A JupyterLab of its own on a free port, with answered copies of the lessons; its address."""
    place = tmp_path_factory.mktemp("lab")
    (place / "tutorials").mkdir()
    for path in LESSONS:
        nbformat.write(reading.answered(path), place / "tutorials" / path.name)
    settings = {
        "WORKBENCH_TINY": "1",
        "WORKBENCH_HOME": str(place / "home"),
        "PYTHONPATH": str(reading.ROOT),
        "HF_HUB_OFFLINE": "1",
        **{
            f"JUPYTER_{name}_DIR": str(place / name.lower())
            for name in ("CONFIG", "DATA", "RUNTIME")
        },
    }
    port = _free_port()
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1"]
    command += [f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token="]
    command += [
        "--allow-root",
        "--expose-app-in-browser",
        f"--ServerApp.root_dir={place}",
        "--LabApp.news_url=",
    ]
    with (place / "log").open("wb") as log:
        server = subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(address + "/api", server, place / "log")
            yield address
        finally:
            server.terminate()
            server.wait(timeout=60)


def _free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _wait_for(address: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(240):
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.5)
        else:
            return
    raise AssertionError(f"JupyterLab does not answer: {log.read_text()[-2000:]}")


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    found = browser.new_page(viewport={"width": 1280, "height": 1600})
    found.set_default_timeout(WAIT_MS)
    yield found
    found.close()


def _open_and_run(page: Any, lab: str, path: Path) -> None:
    """Open a lesson by itself, run all its cells, and wait for the last one."""
    page.goto(f"{lab}/doc/tree/tutorials/{path.name}?reset")
    # Cells far below are put on the page only when they come near: show all of them.
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]')
    page.click(".jp-Notebook .jp-CodeCell >> nth=0")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(
        """() => {
            const app = window.jupyterapp;
            const model = app.shell.currentWidget.content.model;
            const cells = [...model.cells].filter(c => c.type === 'code');
            return cells.every(c => c.executionCount !== null);
        }"""
    )


def _errors(page: Any) -> list[str]:
    return page.evaluate(
        """() => {
            const app = window.jupyterapp;
            const model = app.shell.currentWidget.content.model;
            return [...model.cells].filter(c => c.type === 'code').flatMap(c =>
                c.sharedModel.outputs.filter(o => o.output_type === 'error').map(o => o.evalue));
        }"""
    )


def _said(page: Any) -> str:
    """All text and markup that the cells show, those included that are far from the window."""
    return page.evaluate(
        """() => {
            const app = window.jupyterapp;
            const model = app.shell.currentWidget.content.model;
            return [...model.cells].filter(c => c.type === 'code').flatMap(c =>
                c.sharedModel.outputs.map(o => JSON.stringify(o.data ?? o.text))).join('\\n');
        }"""
    )


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_with_its_controls(path: Path, page: Any, lab: str, tmp_path: Path) -> None:
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    _open_and_run(page, lab, path)
    assert _errors(page) == []
    said = _said(page)
    for name in reading.answers(path.name[:2]):
        assert f"Passed: {name}" in said
    assert said.count("<img ") >= 8, "a gallery"
    dropdown = page.locator(".widget-dropdown select").first
    dropdown.scroll_into_view_if_needed()
    box = page.locator(".widget-vbox").filter(has=dropdown).first
    _changes(page, box, lambda: dropdown.select_option(index=1))
    box.screenshot(path=tmp_path / f"{path.stem}.png")
    if path.name.startswith("00"):
        _the_first_lesson(page, said, box, tmp_path)
    assert complaints == []


def _the_first_lesson(page: Any, said: str, box: Any, place: Path) -> None:
    """What it has besides: the slider between base and LoRA, and a run that is watched."""
    assert said.count("loss, by step") >= 2 and said.count("<svg") >= 2, "two runs were drawn"
    handle = box.locator(".noUi-handle").first
    handle.focus()
    before = box.locator("img").first.get_attribute("src")
    _changes(page, box, lambda: [handle.press("PageUp") for _ in range(2)])
    assert box.locator("img").first.get_attribute("src") != before
    assert int(box.locator(".widget-readout").first.inner_text()) > 50, "it began in the middle"
    assert box.locator("img").first.bounding_box()["width"] > 100
    box.screenshot(path=place / "slider.png")


def _changes(page: Any, box: Any, act: Callable[[], Any]) -> None:
    """Do something to a control, and wait until what it draws is another thing."""
    before = _drawn(box)
    act()
    page.wait_for_function(
        "([box, before]) => box.querySelector('.jp-OutputArea')?.innerHTML !== before",
        arg=[box.element_handle(), before],
    )
    assert _drawn(box), "what the control changed is drawn"


def _drawn(box: Any) -> str:
    return box.evaluate("box => box.querySelector('.jp-OutputArea')?.innerHTML ?? ''")

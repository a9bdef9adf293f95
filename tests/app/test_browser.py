"""The page as a visitor sees it: it opens, on any screen, and asks nobody else for anything."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from app_servers import App, start_app

pytestmark = pytest.mark.browser

TABS = ["Start", "Data", "Captions", "Buckets", "Noise", "Train", "Compare", "Runs"]
SCREENS = [(False, False), (False, True), (True, False), (True, True)]
OpenPage = Callable[..., Any]


@pytest.mark.parametrize(("phone", "dark"), SCREENS)
def test_every_tab_opens_on_every_screen(app: App, open_page: OpenPage, phone: bool, dark: bool):
    page = open_page(app, phone=phone, dark=dark)
    for name in TABS:
        go_to(page, name)
    assert (page.locator("body.dark").count() == 1) is dark


@pytest.mark.parametrize("name", TABS)
def test_nothing_is_wider_than_a_phone(app: App, open_page: OpenPage, name: str):
    page = open_page(app, phone=True)
    go_to(page, name)
    page.wait_for_timeout(1000)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390


def go_to(page: Any, name: str) -> None:
    """Open a tab; on a narrow screen those that do not fit are in a menu."""
    tab = page.get_by_role("tab", name=name, exact=True)
    if not (tab.count() and tab.first.is_visible()):
        page.locator("#tabs .overflow-menu > button").first.click()
        tab = page.locator("#tabs .overflow-dropdown button").get_by_text(name, exact=True)
    tab.first.click()
    page.locator(f"#tab-{name.lower()}").wait_for(state="visible")


def test_a_password_stands_before_the_page(tmp_path: Path, open_page: OpenPage):
    app = start_app(tmp_path / "workspace", WORKBENCH_AUTH="ann:correct horse battery")
    try:
        page = open_page(app)
        name, password = page.locator("input").all()
        name.fill("ann")
        password.fill("correct horse battery")
        later = {"status": 429, "headers": {"Retry-After": "42"}, "body": "{}"}
        page.route("**/login", lambda route: route.fulfill(**later), times=1)
        page.get_by_role("button", name="Login").click()
        page.locator("#login-wait", has_text="42").wait_for()
        page.get_by_role("button", name="Login").click()
        page.get_by_role("tab", name="Data", exact=True).wait_for()
        page.close()
    finally:
        assert app.end() == 143


def test_ctrl_c_leaves_at_once_with_a_page_open(tmp_path: Path, open_page: OpenPage):
    app = start_app(tmp_path / "workspace")
    open_page(app).close()
    assert app.end(signal.SIGTERM) == 143
    assert app.lines[-1] == "The app has ended.\n"

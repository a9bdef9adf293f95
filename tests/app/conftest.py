"""The real app as a process of its own, and a headless browser that looks at it.

    def test_something(app, open_page):
        page = open_page(app)                       # or open_page(app, phone=True, dark=True)
        page.get_by_role("tab", name="Noise").click()

`app` is shared by the tests of a file and begins with an empty workspace. A page fails its test
when its console tells an error, or when it asks anyone but the app for anything.
"""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from app_servers import App, start_app

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app, on a workspace of its own."""
    app = start_app(tmp_path_factory.mktemp("app") / "workspace")
    yield app
    if app.process.poll() is None:
        app.end()


@pytest.fixture
def open_page(browser: "Browser") -> "Iterator[Callable[..., Page]]":
    """Opens pages: `open_page(app, phone=False, dark=False)`; all are closed after the test."""
    contexts: list[Any] = []
    wrong: list[str] = []

    def open_one(app: App, *, phone: bool = False, dark: bool = False) -> "Page":
        context = browser.new_context(
            viewport=PHONE if phone else DESKTOP,  # pyright: ignore[reportArgumentType]
            has_touch=phone,
            color_scheme="dark" if dark else "light",
            accept_downloads=True,
        )
        contexts.append(context)
        context.set_default_timeout(30_000)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(f"error in the page: {error}"))
        page.on("console", lambda line: wrong.append(line.text) if _is_fault(line) else None)
        page.on("request", lambda request: _watch(request.url, app, wrong))
        page.goto(app.url)
        page.get_by_role("tab").or_(page.locator("input[type=password]")).first.wait_for()
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert wrong == []


def _is_fault(line: Any) -> bool:
    """A file that is refused, and a login too many, are answers; the browser notes their status."""
    return line.type == "error" and not re.search(r"status of (409|429) ", line.text)


def _watch(url: str, app: App, wrong: list[str]) -> None:
    if not url.startswith((app.url, "data:", "blob:")):
        wrong.append(f"asked elsewhere: {url}")

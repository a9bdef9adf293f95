"""The server is killed and started anew under an open page: it says so, and leads back."""

import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from app_servers import ACCOUNT, App, start_app

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]
SLOW_MS = 30_000


def restarted(app: App, *arguments: str) -> App:
    return start_app(app.workspace, *arguments, port=urlsplit(app.url).port)


def banner(page: Any, kind: str) -> Any:
    found = page.locator(f"#away[data-kind={kind}]")
    found.wait_for(timeout=SLOW_MS)
    return found


def test_an_open_page_says_that_the_server_is_gone_and_leads_back_through_the_login(
    browser: Any, tmp_path: Path
) -> None:
    login = ("--auth", f"{ACCOUNT.user}:{ACCOUNT.password}")
    app = start_app(tmp_path / "workspace", *login)
    page = browser.new_page(viewport={"width": 390, "height": 844})
    try:
        page.goto(app.url)
        _log_in(page)
        page.get_by_role("tab", name="Data", exact=True).wait_for(timeout=SLOW_MS)
        page.wait_for_timeout(4000)
        assert page.locator("#away").count() == 0, "nothing is wrong yet"

        app.end(signal.SIGKILL)
        gone = banner(page, "gone")
        assert "training goes on" in gone.inner_text()
        box = gone.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390, "it fits on a phone"
        app = restarted(app, *login)
        _log_in(page)
        page.get_by_role("tab", name="Data", exact=True).wait_for(timeout=SLOW_MS)
        page.wait_for_timeout(4000)
        assert page.locator("#away").count() == 0
    finally:
        page.close()
        app.process.kill()


def test_what_was_typed_is_there_after_the_restart(browser: Any, tmp_path: Path) -> None:
    app = start_app(tmp_path / "workspace")
    page = browser.new_page()
    try:
        page.goto(app.url)
        page.get_by_role("tab", name="Data", exact=True).click(timeout=SLOW_MS)
        field = (
            page.locator("#tab-data").locator("textarea:visible, input[type=text]:visible").first
        )
        field.wait_for(timeout=SLOW_MS)
        secret = page.locator("#tab-data input[type=password]").first
        field.fill("/my/pictures/of/mochi")
        if secret.count():
            secret.evaluate("(one) => { one.value = 'hf_secret'; one.dispatchEvent("
                            "new Event('input', { bubbles: true })); }")  # fmt: skip
        app.end(signal.SIGKILL)
        banner(page, "gone")
        app = restarted(app)
        kept = page.locator("#typed")
        kept.wait_for(timeout=SLOW_MS)
        assert [one.input_value() for one in kept.locator("textarea").all()] == [
            "/my/pictures/of/mochi"
        ]
        assert "hf_secret" not in page.evaluate(
            "JSON.stringify([{ ...sessionStorage }, { ...localStorage }]) + document.body.innerText"
        )
        kept.get_by_role("button", name="Done").click()
        assert page.locator("#typed").count() == 0
        page.reload()
        page.get_by_role("tab", name="Data", exact=True).wait_for(timeout=SLOW_MS)
        assert page.locator("#typed").count() == 0, "it is told once"
    finally:
        page.close()
        app.process.kill()


def _log_in(page: Any) -> None:
    page.locator("input[type=password]").wait_for(timeout=SLOW_MS)
    page.locator("input").first.fill(ACCOUNT.user)
    page.locator("input[type=password]").fill(ACCOUNT.password)
    page.get_by_role("button", name="Login").click()

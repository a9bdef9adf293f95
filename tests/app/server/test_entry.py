"""The server from outside, by real HTTP: who gets in, and who is slowed down."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from app_servers import ACCOUNT, JOIN, cookies_of, raw_get, serving, visitor

from workbench.app.server import Served

CLOSED_TO_GUESTS = [
    ("POST", "/gradio_api/queue/join"),
    ("POST", "/gradio_api/call/shout"),
    ("POST", "/gradio_api/call/v2/shout"),
    ("POST", "/gradio_api/run/shout"),
    ("POST", "/gradio_api/api/shout"),
    ("POST", "/gradio_api/upload"),
    ("POST", "/gradio_api/component_server"),
    ("POST", "/gradio_api/reset"),
    ("POST", "/gradio_api/cancel"),
    ("POST", "/gradio_api/stream/event"),
    ("GET", "/gradio_api/queue/data?session_hash=s"),
    ("GET", "/gradio_api/queue/status"),
    ("GET", "/gradio_api/heartbeat/s"),
    ("GET", "/gradio_api/info"),
    ("GET", "/gradio_api/openapi.json"),
    ("GET", "/gradio_api/file=/etc/passwd"),
    ("GET", "/gradio_api/upload_progress?upload_id=u"),
    ("GET", "/config"),
    ("GET", "/openapi.json"),
    ("POST", "/workbench/upload"),
    ("PUT", "/workbench/upload/0?offset=0"),
    ("GET", "/workbench/file/mochi/report.html"),
    ("GET", "/workbench/file/mochi/lora/mochi.safetensors"),
    ("GET", "/workbench/no-such-address"),
]


@pytest.mark.parametrize(("method", "address"), CLOSED_TO_GUESTS)
def test_without_a_login_every_address_answers_401(
    guest: httpx.Client, run: Path, method: str, address: str
):
    body = None if method == "GET" else JOIN
    assert guest.request(method, address, json=body).status_code == 401


def test_every_route_that_is_free_without_a_login_is_one_that_was_chosen(
    locked_app: Served, guest: httpx.Client
):
    """Gradio's own list of routes, so that one that a later version adds is seen here."""
    free = {
        path
        for path in _all_paths(locked_app.page.app.routes)
        if "{" not in path and guest.get(path, follow_redirects=False).status_code not in (401, 404)
    }
    assert free <= {
        *("/", "/login", "/login/", "/logout", "/theme.css", "/favicon.ico", "/robots.txt"),
        *("/manifest.json", "/pwa_icon", "/gradio_api/startup-events", "/gradio_api/theme.css"),
        *("/gradio_api/user", "/gradio_api/user/", "/gradio_api/app_id", "/gradio_api/app_id/"),
    }


def _all_paths(routes: list, prefix: str = "") -> Iterator[str]:
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from _all_paths(inner.routes, prefix)
        elif hasattr(route, "path"):
            yield prefix + route.path


def test_the_login_page_says_nothing_of_what_is_behind_it(guest: httpx.Client):
    answer = guest.get("/")
    assert answer.status_code == 200
    assert "auth_required" in answer.text
    assert "shout" not in answer.text


def test_with_a_login_the_page_works(owner: httpx.Client):
    assert owner.get("/config").status_code == 200
    assert owner.post("/gradio_api/queue/join", json=JOIN).status_code == 200


def test_a_cookie_that_was_made_up_is_none(locked_app: Served, guest: httpx.Client):
    name = f"access-token-unsecure-{locked_app.page.app.cookie_id}"
    for value in ("", "None", "ann"):
        answer = guest.get("/config", headers={"Cookie": f"{name}={value}"})
        assert answer.status_code == 401


def test_after_a_logout_the_cookie_opens_nothing(tmp_path: Path):
    with serving(tmp_path, account=ACCOUNT) as served, visitor(served, ACCOUNT) as client:
        cookie = cookies_of(client)
        before, _ = raw_get(served, "/config", cookie=cookie)
        client.get("/logout")
        after, _ = raw_get(served, "/config", cookie=cookie)
    assert (before, after) == (200, 401)


# Guessing passwords


def test_five_wrong_passwords_close_the_door_for_a_minute(tmp_path: Path):
    with serving(tmp_path, account=ACCOUNT) as served, visitor(served) as client:
        wrong = {"username": ACCOUNT.user, "password": "wrong horse"}
        began = time.monotonic()
        answers = [client.post("/login", data=wrong) for _ in range(5)]
        took_s = time.monotonic() - began
        right = {"username": ACCOUNT.user, "password": ACCOUNT.password}
        late = client.post("/login", data=right)
        nobody = client.post("/login/", data={"username": "nobody", "password": "x"})
    assert [answer.status_code for answer in answers] == [400] * 5
    assert took_s > 3.7, "each answer comes later than the one before"
    assert late.status_code == nobody.status_code == 429
    assert 50 < int(late.headers["Retry-After"]) <= 60


def test_a_wrong_name_and_a_wrong_password_get_the_same_answer(tmp_path: Path):
    with serving(tmp_path, account=ACCOUNT) as served, visitor(served) as client:
        name = client.post("/login", data={"username": "bob", "password": ACCOUNT.password})
        password = client.post("/login", data={"username": ACCOUNT.user, "password": "wrong"})
    assert (name.status_code, name.json()) == (password.status_code, password.json())
    assert ACCOUNT.user not in name.text


def test_a_forged_sender_is_no_way_round_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("workbench.app.security.FIRST_DELAY_S", 0.001)
    with serving(tmp_path, account=ACCOUNT) as served, visitor(served) as client:
        wrong = {"username": ACCOUNT.user, "password": "wrong horse"}
        codes = [
            client.post("/login", data=wrong, headers={"X-Forwarded-For": f"10.0.0.{i}"})
            for i in range(6)
        ]
    assert codes[-1].status_code == 429


def test_a_proxy_that_was_announced_is_believed_about_its_visitors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("workbench.app.security.FIRST_DELAY_S", 0.001)
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)  # another app here has emptied it
    wrong = {"username": ACCOUNT.user, "password": "wrong horse"}

    def tries(client: httpx.Client, sender: str) -> int:
        return client.post("/login", data=wrong, headers={"X-Forwarded-For": sender}).status_code

    with serving(tmp_path, root_path="/lora", account=ACCOUNT) as served, visitor(served) as client:
        one = [tries(client, "203.0.113.1") for _ in range(6)]
        other = tries(client, "203.0.113.2")
    assert (one[-1], other) == (429, 400)


def test_a_login_is_short(guest: httpx.Client):
    given = {"username": "ann", "password": "x" * 10_000}
    assert guest.post("/login", data=given).status_code == 413

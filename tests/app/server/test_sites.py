"""The server from outside, by real HTTP: pages of other sites, proxies and tunnels."""

from pathlib import Path

import httpx
import pytest
from app_servers import ACCOUNT, JOIN, serving, visitor

from workbench.app.server import Served


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
@pytest.mark.parametrize(("method", "address"), [("POST", "/gradio_api/queue/join"), ("GET", "/")])
def test_a_page_of_another_site_neither_acts_nor_reads(
    local: httpx.Client, owner: httpx.Client, method: str, address: str, origin: str
):
    for client in (local, owner):
        answer = client.request(method, address, json=JOIN, headers={"Origin": origin})
        assert answer.status_code == 403


def test_a_form_of_another_site_without_an_origin_is_refused(local: httpx.Client):
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert local.post("/gradio_api/queue/join", json=JOIN, headers=headers).status_code == 403


def test_the_page_itself_may(open_app: Served, local: httpx.Client):
    for name in ("127.0.0.1", "localhost"):
        headers = {"Host": f"{name}:{open_app.port}", "Origin": f"http://{name}:{open_app.port}"}
        assert local.post("/gradio_api/queue/join", json=JOIN, headers=headers).status_code == 200


def test_the_other_end_of_a_tunnel_may_have_another_port(local: httpx.Client):
    headers = {"Host": "localhost:8000", "Origin": "http://localhost:8000"}
    assert local.post("/gradio_api/queue/join", json=JOIN, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example"]
)
def test_a_name_that_somebody_pointed_at_this_machine_is_refused(local: httpx.Client, host: str):
    answer = local.get("/", headers={"Host": host})
    assert answer.status_code == 403
    assert "--listen" in answer.json()["detail"]


def test_a_proxys_address_is_the_apps_own(tmp_path: Path):
    address = "https://example.com/lora"
    door = {"root_path": address, "account": ACCOUNT}
    with serving(tmp_path, **door) as served, visitor(served, ACCOUNT) as client:
        mine, other = (
            client.post("/gradio_api/queue/join", json=JOIN, headers={"Origin": origin})
            for origin in ("https://example.com", "https://example.org")
        )
        page = client.get("/")
    assert (mine.status_code, other.status_code) == (200, 403)
    assert address in page.text


def test_behind_a_path_the_gate_is_as_tight(tmp_path: Path):
    with serving(tmp_path, root_path="/lora", account=ACCOUNT) as served:
        with visitor(served) as guest:
            assert guest.get("/lora/").status_code == 200
            for prefix in ("", "/lora"):
                assert guest.get(f"{prefix}/config").status_code == 401
                wrong = {"username": "ann", "password": "x" * 10_000}
                assert guest.post(f"{prefix}/login", data=wrong).status_code == 413
        with visitor(served, ACCOUNT) as owner:
            assert owner.get("/lora/config").status_code == 200


def test_answers_carry_the_headers_that_browsers_obey(local: httpx.Client, guest: httpx.Client):
    for answer in (local.get("/"), local.get("/config"), guest.get("/config")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'self'"
        assert "Access-Control-Allow-Origin" not in answer.headers

"""The server from outside, by real HTTP: who gets in, and what nobody gets."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from app_servers import ACCOUNT, MAX_UPLOAD_BYTES, serving, visitor

from workbench.app.server import Door, Served, free_port
from workbench.settings import SettingsError
from workbench.workspace.folders import Workspace

JOIN = {"data": ["hello"], "fn_index": 0, "session_hash": "s", "event_data": None}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def open_app(workspace: Workspace) -> Iterator[Served]:
    """On this machine, without a password."""
    with serving(workspace.root) as served:
        yield served


@pytest.fixture(scope="module")
def locked_app(workspace: Workspace) -> Iterator[Served]:
    """Behind a password."""
    with serving(workspace.root, account=ACCOUNT) as served:
        yield served


@pytest.fixture(scope="module")
def run(workspace: Workspace) -> Path:
    """A run folder with a file of each kind."""
    folder = workspace.runs / "mochi"
    for name in ("lora", "samples/step-000010", "checkpoints/step-000010"):
        (folder / name).mkdir(parents=True)
    (folder / "report.html").write_text("<h1>report</h1>")
    (folder / "lora/mochi.safetensors").write_bytes(b"weights")
    (folder / "samples/step-000010/0-1.png").write_bytes(b"\x89PNG")
    (folder / "checkpoints/step-000010/adapter.safetensors").write_bytes(b"state")
    (folder / "events.jsonl").write_text('{"seq": 0}\n')
    (folder / "recipe.toml").write_text('name = "mochi"\n')
    return folder


@pytest.fixture
def guest(locked_app: Served) -> Iterator[httpx.Client]:
    with visitor(locked_app) as client:
        yield client


@pytest.fixture(scope="module")
def owner(locked_app: Served) -> Iterator[httpx.Client]:
    with visitor(locked_app, ACCOUNT) as client:
        yield client


@pytest.fixture
def local(open_app: Served) -> Iterator[httpx.Client]:
    with visitor(open_app) as client:
        yield client


def raw_get(served: Served, target: str, *, cookie: str = "") -> tuple[int, bytes]:
    """GET an address exactly as written: clients tidy `..` up before they ask."""
    head = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nConnection: close\r\n"
    head += f"Cookie: {cookie}\r\n" if cookie else ""
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as line:
        line.sendall(f"{head}\r\n".encode("latin-1"))
        answer = b"".join(iter(lambda: line.recv(1 << 16), b""))
    return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2]


def cookies_of(client: httpx.Client) -> str:
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in client.cookies.jar)


# Who gets in

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


# Other sites


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


# Files


@pytest.mark.parametrize(
    "target",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=%2fetc%2fpasswd",
        "/gradio_api/file=../../../../../../../../etc/passwd",
        "/gradio_api/file=..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/gradio_api/file=..%252f..%252f..%252fetc%252fpasswd",
        "/gradio_api/file={workspace}/thumbnails/../../../../../../../../etc/passwd",
        "/gradio_api/file={workspace}/thumbnails/..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/file//etc/passwd",
        "/gradio_api/file=file:///etc/passwd",
        "/gradio_api/file=http://127.0.0.1:{port}/config",
        "/gradio_api/file={workspace}/runs/mochi/events.jsonl",
        "/gradio_api/file={workspace}/runs/mochi/recipe.toml",
        "/gradio_api/file={workspace}/queue/worker.log",
        "/gradio_api/proxy=http://127.0.0.1:{port}/config",
        "/static/../../../../../../../../../../etc/passwd",
        "/static/..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/assets/..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/workbench/file/mochi/events.jsonl",
        "/workbench/file/mochi/recipe.toml",
        "/workbench/file/mochi/checkpoints/step-000010/adapter.safetensors",
        "/workbench/file/mochi/lora/../events.jsonl",
        "/workbench/file/mochi/lora/..%2fevents.jsonl",
        "/workbench/file/mochi/lora/../checkpoints/step-000010/adapter.safetensors",
        "/workbench/file/mochi/lora/..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/workbench/file/../../.ssh/id_rsa",
        "/workbench/file/..%2f..%2f.ssh/id_rsa",
        "/workbench/file/..%2f..%2f.ssh/report.html",
        "/workbench/file/mochi%00/report.html",
        "/workbench/file/mochi//etc/passwd",
        "/workbench/file/mochi/lora",
        "/workbench/file/mochi/lora/missing.safetensors",
    ],
)
def test_files_that_are_none_of_a_pages_business_are_not_served(
    open_app: Served, owner: httpx.Client, locked_app: Served, run: Path, target: str
):
    (run.parent.parent / "queue").mkdir(exist_ok=True)
    (run.parent.parent / "queue/worker.log").write_text("seq root:")
    for served, cookie in ((open_app, ""), (locked_app, cookies_of(owner))):
        filled = target.format(workspace=run.parent.parent, port=served.port)
        status, body = raw_get(served, filled, cookie=cookie)
        assert status in (403, 404)
        assert not any(secret in body for secret in (b"root:", b"seq", b"state", b"components"))


@pytest.mark.parametrize("target", ["/etc/passwd", "{run}/events.jsonl"])
@pytest.mark.parametrize(
    ("link", "address"),
    [
        ("thumbnails/link.webp", "/gradio_api/file={workspace}/thumbnails/link.webp"),
        ("cache/page/link.png", "/gradio_api/file={workspace}/cache/page/link.png"),
        ("runs/mochi/lora/link.safetensors", "/workbench/file/mochi/lora/link.safetensors"),
        ("runs/mochi/samples/link.png", "/workbench/file/mochi/samples/link.png"),
    ],
)
def test_links_lead_to_nothing(
    open_app: Served, workspace: Workspace, run: Path, link: str, address: str, target: str
):
    path = workspace.root / link
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target.format(run=run))
    try:
        status, body = raw_get(open_app, address.format(workspace=workspace.root))
    finally:
        path.unlink()
    assert status in (403, 404)
    assert b"root:" not in body and b"seq" not in body


def test_a_linked_run_leads_to_nothing(
    open_app: Served, workspace: Workspace, run: Path, tmp_path: Path
):
    (tmp_path / "report.html").write_text("elsewhere")
    (workspace.runs / "linked").symlink_to(tmp_path)
    try:
        assert raw_get(open_app, "/workbench/file/linked/report.html")[0] == 404
    finally:
        (workspace.runs / "linked").unlink()


def test_small_pictures_are_served(open_app: Served, workspace: Workspace):
    (workspace.thumbnails / "a.webp").write_bytes(b"picture")
    status, body = raw_get(open_app, f"/gradio_api/file={workspace.thumbnails}/a.webp")
    assert (status, body) == (200, b"picture")


def test_a_report_runs_its_scripts_as_a_page_of_nowhere(local: httpx.Client, run: Path):
    answer = local.get("/workbench/file/mochi/report.html")
    assert answer.text == "<h1>report</h1>"
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "sandbox allow-scripts" in answer.headers["Content-Security-Policy"]
    assert "allow-same-origin" not in answer.headers["Content-Security-Policy"]


def test_a_lora_is_downloaded_and_a_sample_shown(local: httpx.Client, run: Path):
    lora = local.get("/workbench/file/mochi/lora/mochi.safetensors")
    assert lora.content == b"weights"
    assert lora.headers["Content-Disposition"] == 'attachment; filename="mochi.safetensors"'
    sample = local.get("/workbench/file/mochi/samples/step-000010/0-1.png")
    assert sample.headers["Content-Type"] == "image/png"
    assert "Content-Disposition" not in sample.headers


# Uploads through Gradio's own address


def residue(workspace: Workspace) -> list[Path]:
    return [path for path in (workspace.cache / "page").rglob("*") if path.is_file()]


def test_an_upload_over_the_limit_is_refused_without_residue(
    local: httpx.Client, workspace: Workspace
):
    before = residue(workspace)
    too_big = {"files": ("a.png", b"x" * (MAX_UPLOAD_BYTES + 1), "image/png")}
    assert local.post("/gradio_api/upload", files=too_big).status_code == 413
    far_too_big = {"files": ("a.png", b"x" * (3 * MAX_UPLOAD_BYTES), "image/png")}
    assert local.post("/gradio_api/upload", files=far_too_big).status_code == 413
    assert residue(workspace) == before


def test_an_upload_that_hides_its_length_is_refused(local: httpx.Client, workspace: Workspace):
    before = residue(workspace)
    body = (b"x" * 1000 for _ in range(10))
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = local.post("/gradio_api/upload", content=body, headers=headers)
    assert answer.status_code == 411
    assert residue(workspace) == before


def test_an_upload_within_the_limit_lands_in_the_workspace(
    local: httpx.Client, workspace: Workspace
):
    fits = {"files": ("a.png", b"x" * 1000, "image/png")}
    answer = local.post("/gradio_api/upload", files=fits)
    assert answer.status_code == 200
    assert Path(answer.json()[0]).is_relative_to(workspace.cache / "page")


# The process


def test_the_server_works_in_an_empty_folder(open_app: Served, workspace: Workspace):
    assert Path(open_app.page.app.cwd) == workspace.cache / "empty"
    assert list((workspace.cache / "empty").iterdir()) == []


def test_no_variable_opens_what_the_arguments_keep_shut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GRADIO_SHARE", "True")
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    monkeypatch.setenv("GRADIO_ALLOWED_PATHS", "/etc")
    monkeypatch.setenv("GRADIO_MCP_SERVER", "True")
    monkeypatch.setenv("GRADIO_SSR_MODE", "True")
    with serving(tmp_path) as served:
        page = served.page
        assert (page.share, page.share_url) == (False, None)
        assert page.server_name == "127.0.0.1"
        assert page.allowed_paths == [str(tmp_path / "thumbnails")]
        assert (page.ssr_mode, page.mcp_server, page.run_history) == (False, False, False)
        assert not page.analytics_enabled and not page.enable_monitoring


def test_colab_opens_no_public_link_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gradio.utils.colab_check", lambda: True)
    monkeypatch.setattr("gradio.networking.setup_tunnel", lambda **_: pytest.fail("a public link"))
    with serving(tmp_path) as served:
        assert served.share_url is None


def test_a_given_port_that_is_taken_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"--port {port} is taken"):
            free_port(Door(port=port))


def test_a_port_that_was_not_given_is_the_next_free_one(monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr("workbench.app.server.PORT", port)
        assert port < free_port(Door()) < port + 100


def test_the_password_lies_in_no_file_of_the_workspace(workspace: Workspace, owner: httpx.Client):
    assert owner.get("/config").status_code == 200
    tokens = [cookie.value for cookie in owner.cookies.jar if cookie.value]
    assert tokens
    secrets = [ACCOUNT.password, *tokens]
    for path in workspace.root.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(secret.encode() in content for secret in secrets), path
    assert not any(ACCOUNT.password in value for value in os.environ.values())

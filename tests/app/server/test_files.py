"""The server from outside, by real HTTP: files that it gives, takes and keeps to itself."""

from pathlib import Path

import httpx
import pytest
from app_servers import MAX_UPLOAD_BYTES, cookies_of, raw_get

from workbench.app.server import Served
from workbench.workspace.folders import Workspace


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

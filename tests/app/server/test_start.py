"""How the server starts: its folder, its port, its environment, and where its password is not."""

import os
import socket
from pathlib import Path

import httpx
import pytest
from app_servers import ACCOUNT, serving

from workbench.app.server import Door, Served, free_port
from workbench.settings import SettingsError
from workbench.workspace.folders import Workspace


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

"""Where others can open the page, it is no way into this machine or its network."""

import http.server
import socket
import threading
import urllib.request
from collections.abc import Iterator

import pytest

from workbench.settings import SettingsError
from workbench.workspace import outside

PUBLIC = "93.184.216.34"


def answers(monkeypatch: pytest.MonkeyPatch, *rounds: tuple[str, ...]) -> None:
    """Names are answered with these addresses, another round at each question."""
    left = list(rounds)

    def find(host: str, port: int, *_: object, **__: object) -> list[tuple[object, ...]]:
        found = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in found]

    monkeypatch.setattr(socket, "getaddrinfo", find)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.8.8.8", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
     "100.64.0.1", "0.0.0.0", "224.0.0.1", "::1", "fe80::1%eth0", "fd00::1", "::ffff:10.0.0.1"],
)  # fmt: skip
def test_private_addresses_are_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    answers(monkeypatch, (address,))
    with pytest.raises(
        SettingsError, match=r"models\.example leads to this machine or its private"
    ):
        outside.require_public("models.example", 443)


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, (PUBLIC,))
    assert len(outside.require_public("models.example", 443)) == 1
    answers(monkeypatch, (PUBLIC, "10.0.0.1"))
    with pytest.raises(SettingsError):
        outside.require_public("models.example", 443)


def test_what_was_checked_is_what_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that answers with a private address after the check (DNS rebinding) gains nothing."""
    answers(monkeypatch, (PUBLIC,), (PUBLIC,), ("127.0.0.1",))
    reached: list[object] = []

    def connect(place: object, *_: object) -> socket.socket:
        reached.append(place)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(urllib.request, "getproxies", dict)
    opener = urllib.request.build_opener(*outside.guards(True))
    with pytest.raises(OSError):
        opener.open("https://models.example/x.safetensors", timeout=1)
    assert reached == [(PUBLIC, 443)]


@pytest.fixture
def redirecting() -> Iterator[str]:
    """A server that sends everybody to itself once more."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302 if self.path == "/" else 200)
            self.send_header("Location", "/inside")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    ).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    assert "/inside" not in asked


def test_a_redirect_into_the_network_is_refused(
    redirecting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = outside._is_public
    seen: list[str] = []

    def first_is_public(address: str) -> bool:
        seen.append(address)
        return len(seen) <= 2 or known(address)  # the check and the connection of the first request

    monkeypatch.setattr(outside, "_is_public", first_is_public)
    opener = urllib.request.build_opener(*outside.guards(True))
    with pytest.raises(SettingsError, match="private network"):
        opener.open(redirecting, timeout=5)
    assert len(seen) == 3


def test_without_others_this_machine_may_be_asked() -> None:
    assert outside.guards(False) == ()

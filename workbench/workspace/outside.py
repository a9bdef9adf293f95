"""Connections that lead out and nowhere else: a page that others reach is no way into a network.

The address is looked up here and its own numbers are connected to, after they were checked: a name
that answers otherwise the second time (DNS rebinding) leads nowhere.
"""

import contextlib
import http.client
import ipaddress
import socket
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from workbench.settings import SettingsError


def guards(public_only: bool) -> tuple[urllib.request.BaseHandler, ...]:
    """Handlers for an opener of `urllib` that refuse private addresses, redirects included.

    Args:
        public_only: False guards nothing.
    Returns:
        Handlers; where a proxy connects for us, the name alone is checked, by what it is here.
    """
    return (_Checked(), _Http(), _Https()) if public_only else ()


def require_public(host: str, port: int) -> list[tuple[Any, ...]]:
    """Look a name up, and refuse it where any of its addresses is not the public network's.

    Args:
        host: name or address.
        port: to connect to.
    Returns:
        What `socket.getaddrinfo` found.
    Raises:
        SettingsError: loopback, private, link-local or reserved.
        OSError: no such name.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if any(not _is_public(str(place[0])) for *_, place in found):
        raise SettingsError(
            f"{host} leads to this machine or its private network, which nobody may reach through "
            "a page that others can open; fetch the file on the machine itself, or start the app "
            "for this machine alone"
        )
    return list(found)


def _is_public(address: str) -> bool:
    number = ipaddress.ip_address(address.partition("%")[0])
    inner = getattr(number, "ipv4_mapped", None) or number  # ::ffff:10.0.0.1
    return inner.is_global and not inner.is_multicast


def _connect(address: tuple[str, int], timeout: Any = None, source: Any = None) -> socket.socket:
    """As `socket.create_connection`, to what was checked."""
    error: OSError | None = None
    for *_, place in require_public(*address):
        try:
            return socket.create_connection(place[:2], timeout, source)
        except OSError as failed:
            error = failed
    raise error or OSError(f"{address[0]} has no address")


class _HTTPConnection(http.client.HTTPConnection):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._create_connection = _connect


class _HTTPSConnection(http.client.HTTPSConnection):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._create_connection = _connect


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        kind = http.client.HTTPConnection if req.has_proxy() else _HTTPConnection
        return self.do_open(kind, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        through = getattr(req, "_tunnel_host", None) is not None
        return self.do_open(http.client.HTTPSConnection if through else _HTTPSConnection, req)


class _Checked(urllib.request.BaseHandler):
    """Checks a name before a proxy is asked for it; one that only the proxy knows passes."""

    def http_request(self, req: urllib.request.Request) -> urllib.request.Request:
        with contextlib.suppress(OSError):
            require_public(urlsplit(req.full_url).hostname or "", 443)
        return req

    https_request = http_request

"""Models by address: one .safetensors file from any https server, going on after a broken line."""

import contextlib
import hashlib
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from http.client import HTTPResponse
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from workbench import store
from workbench.settings import SettingsError
from workbench.workspace.fetching import SPARE_BYTES, Fetched, require_room
from workbench.workspace.folders import Workspace
from workbench.workspace.hub import TIMEOUT_S, Found, hidden, without
from workbench.workspace.outside import guards

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PIECE_BYTES = 1 << 20


def look_up_address(
    workspace: Workspace, address: str, *, token: str | None = None, public_only: bool = False
) -> Found:
    """Ask a server for a file's name and size.

    Args:
        workspace: where it would be kept.
        address: https, or http on this machine.
        token: sent to that server alone, as a bearer token.
        public_only: refuse this machine and its private network.
    Returns:
        What would be fetched.
    Raises:
        SettingsError: the address is not taken, or leads to no .safetensors file.
    """
    host = _require_address(address)
    with _open(address, token, public_only=public_only) as response:
        name = _file_name(response.headers, response.url)
        if not name.lower().endswith(".safetensors"):
            kind = response.headers.get_content_type()
            raise SettingsError(
                f"{host} must give a .safetensors file, got {name[:80]!r} ({kind}); others may run "
                "code when they are opened. Give the address of the download, not of its page"
            )
        length = response.headers.get("Content-Length")
    return Found(
        kind="url",
        name=host,
        files=((name, int(length) if length else None),),
        target=workspace.inside("models", name),
        free_bytes=store.free_bytes(workspace.models),
        address=address,
        public_only=public_only,
    )


def fetch_address(
    workspace: Workspace, found: Found, *, token: str | None = None
) -> Iterator[Fetched]:
    """Fetch the file; what came before the line broke is kept for the next time.

    Args:
        workspace: where it is kept.
        found: of `look_up_address`.
        token: as there.
    Yields:
        How far it is, after each piece.
    Raises:
        SettingsError: no access, no network, or no room on the disk.
        FileRefused: what came is no sound safetensors file; it is not kept.
    """
    # Another file behind the same address has another size, in most cases; the look at the end
    # finds what is mixed of two.
    mark = hashlib.sha256(f"{found.address}\0{found.num_bytes}".encode()).hexdigest()[:12]
    part = hidden(found.target).with_suffix(f".{mark}.safetensors")
    have = part.stat().st_size if part.exists() else 0
    if found.num_bytes is None or have > found.num_bytes:
        have = 0
    if have != found.num_bytes:
        public = found.public_only
        with _open(found.address, token, start=have, public_only=public) as response:
            if response.status != 206:  # the server begins anew
                have = 0
            for done in _receive(workspace, response, part, have):
                have = done
                yield Fetched(done, found.num_bytes)
    if found.num_bytes is not None and have != found.num_bytes:
        raise SettingsError(
            f"{found.name} sent {have:,} of {found.num_bytes:,} bytes; try again, it goes on there"
        )
    try:
        store.read_header(part)
    except store.FileRefused as error:
        part.unlink()
        raise store.FileRefused(str(error).replace(part.name, found.target.name)) from None
    store.sync(part)
    store.patiently(lambda: os.replace(part, found.target))


def _receive(workspace: Workspace, response: HTTPResponse, part: Path, have: int) -> Iterator[int]:
    """Write what comes; yields the bytes that are here."""
    with open(part, "ab" if have else "wb") as file:
        while piece := _read(response):
            if store.free_bytes(workspace.models) - len(piece) < SPARE_BYTES:
                require_room(workspace, have + len(piece) + SPARE_BYTES)
            file.write(piece)
            have += len(piece)
            yield have


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read(_PIECE_BYTES)
    except (OSError, ValueError) as error:
        host = urlsplit(response.url).hostname
        raise SettingsError(
            f"the line to {host} broke ({type(error).__name__}); try again, it goes on there"
        ) from None


@contextlib.contextmanager
def _open(
    address: str, token: str | None, *, start: int = 0, public_only: bool = False
) -> Iterator[HTTPResponse]:
    request = urllib.request.Request(address, headers={"User-Agent": "lora-workbench"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    if token:  # not for whom the server sends us to, such as its file store
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    host = urlsplit(address).hostname
    try:
        opener = urllib.request.build_opener(_Redirects, *guards(public_only))
        response = opener.open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        needs = "; give a token of an account that may have it" if error.code in (401, 403) else ""
        raise SettingsError(f"{host} refuses with status {error.code}{needs}") from None
    except SettingsError:  # it sends us to where we do not go
        raise
    except (OSError, ValueError) as error:
        reason = without(str(getattr(error, "reason", "")), token)
        raise SettingsError(
            f"{host} cannot be reached ({type(error).__name__} {reason}); check address and network"
        ) from None
    with response:
        yield response


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to another place only where the first address might have pointed too."""

    def redirect_request(
        self, req: Any, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        _require_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _require_address(address: str) -> str:
    """Refuse what could be read on the way, or holds a password; returns the host."""
    try:
        parts = urlsplit(address)
        named = bool(parts.hostname) and parts.port != 0  # reading a port also checks it
    except ValueError:
        raise SettingsError(f"an address must name a host, got {address[:20]!a}...") from None
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise SettingsError(
            f"an address must begin with https://, got one that begins with {parts.scheme!r}"
        )
    if not named or parts.username or parts.password:
        raise SettingsError(
            "an address must name a host and hold no password; give a token in its own field"
        )
    return parts.hostname or ""


def _file_name(headers: Message, address: str) -> str:
    """As the server calls it, else the address's last piece; never more than one piece."""
    name = headers.get_filename() or unquote(urlsplit(address).path)
    return re.split(r"[/\\]", name)[-1] or "file"

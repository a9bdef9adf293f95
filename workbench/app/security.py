"""Who may come in: names and passwords, tries at them, and a gate before every request.

Gradio asks for a login on most of its addresses, not on all of them; it does not slow down who
guesses passwords, and under a name other than localhost it lets pages of any other site read with
the visitor's cookie. The gate does what is missing there, for every address alike.
"""

import asyncio
import hashlib
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workbench.settings import SettingsError

PASSWORD_BYTES = 15  # of randomness: 20 letters, 120 bits
WINDOW_S = 60.0
MAX_FAILURES = 5  # of one client in a window
MAX_FAILURES_OF_ALL = 20
MAX_KNOWN = 256  # addresses that a login has come from
FIRST_DELAY_S = 0.25  # doubles with every further failure in the window
MAX_LOGIN_BYTES = 4 << 10
MAX_BODY_BYTES = 64 << 20  # of a request that is no upload; a painted mask travels in one
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
READING = frozenset({"GET", "HEAD", "OPTIONS"})

# What the login page itself needs. Everything else asks for a login first.
_FREE = frozenset({
    *("/", "/login", "/logout", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json"),
    *("/gradio_api/startup-events", "/gradio_api/login_check", "/gradio_api/user"),
    *("/gradio_api/theme.css", "/gradio_api/app_id"),
})  # fmt: skip
_FREE_BELOW = ("/assets/", "/static/", "/svelte/", "/pwa_icon")
# Nothing here uses them, and each reaches further than a page must: other hosts, code, traffic.
_CLOSED = (
    *("/gradio_api/proxy=", "/gradio_api/file=http", "/gradio_api/file/http"),
    *("/gradio_api/vibe", "/gradio_api/undo-vibe", "/gradio_api/process_recording"),
    *("/gradio_api/run-history", "/gradio_api/profiling", "/gradio_api/dev/"),
    *("/gradio_api/custom_component", "/gradio_api/mcp", "/monitoring"),
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "frame-ancestors 'self'",
}


@dataclass(frozen=True, slots=True)
class Account:
    """The one name and password that open the app; they are never written to a file."""

    user: str
    password: str = field(repr=False)

    @classmethod
    def parse(cls, text: str, *, source: str) -> "Account":
        """Read USER:PASSWORD.

        Args:
            text: as given; a line break at its end is dropped.
            source: where it was given, for the message.
        Returns:
            The account.
        Raises:
            SettingsError: one of the two is missing, or the password is short.
        """
        user, colon, password = text.rstrip("\r\n").partition(":")
        if not colon or not user.strip() or not password:
            raise SettingsError(f"{source} must be USER:PASSWORD, got {len(text)} characters")
        if len(password) < 8:
            raise SettingsError(
                f"the password in {source} must have at least 8 characters, got {len(password)}; "
                "leave it out, and a strong one is made"
            )
        return cls(user.strip(), password)

    @classmethod
    def make(cls) -> "Account":
        """Make a strong password.

        Returns:
            A new account.
        """
        return cls("workbench", secrets.token_urlsafe(PASSWORD_BYTES))

    def matches(self, user: str, password: str) -> bool:
        """Compare in a time that tells nothing of how much was right.

        Args:
            user: as typed.
            password: as typed.
        Returns:
            Whether both are right.
        """
        name = secrets.compare_digest(_digest(user), _digest(self.user))
        return secrets.compare_digest(_digest(password), _digest(self.password)) and name


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class Attempts:
    """Counts failed logins of the last minute, by client and of all together.

    A try counts as failed when it begins, so that a thousand at once are no way round; one that
    succeeds is taken back. Who has come in before is not held up by strangers.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._failures: dict[str, deque[float]] = {}
        self._known: deque[str] = deque(maxlen=MAX_KNOWN)

    def begin(self, client: str) -> tuple[bool, float]:
        """Ask whether a client may try now.

        Args:
            client: its address.
        Returns:
            True and the seconds to wait before the answer; or False and the seconds until the
            next try.
        """
        now = self._clock()
        self._forget(now)
        mine = self._failures.setdefault(client, deque())
        everyone = sorted(moment for moments in self._failures.values() for moment in moments)
        if len(mine) >= MAX_FAILURES:
            return False, mine[-MAX_FAILURES] + WINDOW_S - now
        if len(everyone) >= MAX_FAILURES_OF_ALL and client not in self._known:
            return False, everyone[-MAX_FAILURES_OF_ALL] + WINDOW_S - now
        mine.append(now)
        return True, FIRST_DELAY_S * 2 ** (len(mine) - 2) if len(mine) > 1 else 0.0

    def succeeded(self, client: str) -> None:
        """Take a client's tries back: the password was right.

        Args:
            client: its address.
        """
        self._failures.pop(client, None)
        if client not in self._known:
            self._known.append(client)

    def _forget(self, now: float) -> None:
        for client, moments in list(self._failures.items()):
            while moments and moments[0] <= now - WINDOW_S:
                moments.popleft()
            if not moments:
                del self._failures[client]


class Refused(Exception):
    """Why a request goes no further.

    Args:
        status: HTTP status.
        reason: for whoever reads the answer; says nothing about names, passwords or files.
        retry_s: seconds after which another try makes sense; 0 for never.
    """

    def __init__(self, status: int, reason: str, *, retry_s: float = 0.0):
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_s = retry_s

    def response(self) -> JSONResponse:
        """Make the answer.

        Returns:
            JSON with the reason as `detail`, as FastAPI writes it.
        """
        headers = {"Retry-After": str(int(self.retry_s) + 1)} if self.retry_s else None
        return JSONResponse({"detail": self.reason}, self.status, headers)


class Gate:
    """Middleware that looks at every request before Gradio does.

    Args:
        app: what comes behind.
        locked: whether a login is needed.
        root_path: where a reverse proxy shows the app: a path or a whole address.
        max_upload_bytes: of one request to Gradio's own upload.
        origins: further origins that the app is shown at; may grow later, as with a share link.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        locked: bool,
        root_path: str = "",
        max_upload_bytes: int = MAX_BODY_BYTES,
        origins: set[str] | None = None,
    ):
        self.app = app
        self.locked = locked
        self.root_path = root_path
        self.max_upload_bytes = max_upload_bytes
        self.origins = set() if origins is None else origins
        self.attempts = Attempts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through with safe headers on its answer, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        path, headers = self._path(scope), Headers(scope=scope)
        try:
            self._check(scope, path, headers)
            login = scope["method"] == "POST" and path == "/login"
            behind = self._login if login and self.locked else self.app
            await behind(scope, receive, _with_headers(send))
        except Refused as refused:
            await refused.response()(scope, receive, _with_headers(send))

    def _path(self, scope: Scope) -> str:
        path = scope["path"].rstrip("/") + "/"  # with or without the proxy's prefix
        if self.root_path.startswith("/") and path.startswith(self.root_path + "/"):
            path = path.removeprefix(self.root_path)
        return path.rstrip("/") or "/"

    def _check(self, scope: Scope, path: str, headers: Headers) -> None:
        host = headers.get("host", "")
        if not self.locked and hostname(host) not in LOOPBACK:
            raise Refused(
                403,
                f"this app answers on this machine only, got the host {host!r}; start it with "
                "--listen, --share or --root-path to let others in",
            )
        self._check_origin(scope["method"], host, headers)
        self._check_size(scope["method"], path, headers)
        if any(path.lower().startswith(closed) for closed in _CLOSED):
            raise Refused(404, "Not Found")
        if self.locked and not _is_free(path) and not _logged_in(scope):
            raise Refused(401, "Not authenticated")

    def _check_origin(self, method: str, host: str, headers: Headers) -> None:
        """Pages of other sites neither act nor read here; programs send no origin."""
        origin = headers.get("origin")
        if origin is None:
            site = headers.get("sec-fetch-site", "none")
            if method in READING or site in ("same-origin", "none"):
                return
            raise Refused(403, f"a {method} from another site is refused")
        mine = {_place(f"//{host}"), *map(_place, self.origins)}
        if self.root_path.startswith(("http://", "https://")):
            mine.add(_place(self.root_path))
        if _place(origin) not in mine - {None}:
            raise Refused(
                403,
                f"a request from the page {origin!r} to {host!r} is refused; behind a reverse "
                "proxy, start the app with --root-path and the address that browsers show",
            )

    def _check_size(self, method: str, path: str, headers: Headers) -> None:
        if method in READING:
            return
        if "transfer-encoding" in headers:
            raise Refused(411, "Content-Length is required")
        length = headers.get("content-length", "0")
        limit = {
            "/login": MAX_LOGIN_BYTES,
            "/gradio_api/upload": self.max_upload_bytes,
        }.get(path, MAX_BODY_BYTES)
        if not (length.isascii() and length.isdigit()) or int(length) > limit:
            raise Refused(413, f"a request here must be at most {limit:,} bytes, got {length}")

    async def _login(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = (scope.get("client") or ("unknown",))[0]
        welcome, wait_s = self.attempts.begin(client)
        if not welcome:
            raise Refused(429, "Too many attempts", retry_s=wait_s)
        await asyncio.sleep(wait_s)

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                self.attempts.succeeded(client)
            await send(message)

        await self.app(scope, receive, watched)


def hostname(host: str) -> str:
    """Take the name out of a Host header.

    Args:
        host: such as `localhost:7860` or `[::1]:7860`.
    Returns:
        The name in small letters; "" for none.
    """
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _place(address: str) -> tuple[str, int | None] | None:
    """Name and port of an address, the usual ports left out; None for an origin "null"."""
    try:
        parts = urlsplit(address)
        port = None if parts.port in (80, 443) else parts.port
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname else None


def _is_free(path: str) -> bool:
    return path in _FREE or path.startswith(_FREE_BELOW)


def _logged_in(scope: Scope) -> bool:
    """Ask Gradio's own table of who has logged in."""
    app, cookies = scope["app"], Request(scope).cookies
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(app.tokens.get(cookies.get(name)) for name in names)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending

"""Addresses that a browser sends files to, a piece at a time: it can go on after a broken line.

What is refused is answered with 409 and a sentence, which the page shows; only other failures are
worth another try.
"""

import functools
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from workbench.store import FileRefused
from workbench.workspace import unpacking, uploads
from workbench.workspace.folders import Workspace
from workbench.workspace.intake import Limits

MAX_PIECE_BYTES = 16 << 20
MAX_WORDS_BYTES = 64 << 10  # of what announces a file
Answer = Callable[[Request], Awaitable[Response]]


def routes(workspace: Workspace, *, max_bytes: int) -> list[Route]:
    """Make the addresses.

    Args:
        workspace: takes the files.
        max_bytes: of one file.
    Returns:
        Routes, which belong before Gradio's.
    """
    limits = Limits(file_bytes=max_bytes)

    @_told
    async def begin(request: Request) -> dict[str, Any]:
        said = _announced(await _body(request, MAX_WORDS_BYTES))
        work = functools.partial(
            uploads.begin,
            workspace,
            said["folder"],
            said["name"],
            size=said["size"],
            modified=said["modified"],
            limits=limits,
        )
        return asdict(await run_in_threadpool(work))

    @_told
    async def append(request: Request) -> dict[str, Any]:
        offset, data = _offset(request), await _body(request, MAX_PIECE_BYTES)
        name = request.path_params["id"]
        work = functools.partial(uploads.append, workspace, name, offset=offset, data=data)
        return asdict(await run_in_threadpool(work))

    @_told
    async def finish(request: Request) -> dict[str, Any]:
        return await run_in_threadpool(_finish, workspace, request.path_params["id"], limits)

    @_told
    async def abandon(request: Request) -> dict[str, Any]:
        await run_in_threadpool(uploads.abandon, workspace, request.path_params["id"])
        return {}

    return [
        Route("/workbench/upload", begin, methods=["POST"]),
        Route("/workbench/upload/{id}", append, methods=["PUT"]),
        Route("/workbench/upload/{id}", abandon, methods=["DELETE"]),
        Route("/workbench/upload/{id}/finish", finish, methods=["POST"]),
    ]


def _told(action: Callable[[Request], Awaitable[dict[str, Any]]]) -> Answer:
    """Answer a refusal with its sentence."""

    @functools.wraps(action)
    async def answer(request: Request) -> Response:
        try:
            return JSONResponse(await action(request))
        except FileRefused as error:
            return JSONResponse({"detail": str(error)}, 409)
        except OSError as error:
            said = error.strerror or type(error).__name__
            return JSONResponse({"detail": f"the file cannot be written: {said}"}, 507)

    return answer


def _finish(workspace: Workspace, name: str, limits: Limits) -> dict[str, Any]:
    """Put a file in its place; a zip becomes what is in it, or is not kept."""
    path = uploads.finish(workspace, name)
    if path.suffix.lower() != ".zip":
        return {"name": path.name, "written": 1, "set_aside": []}
    try:
        unpacked = unpacking.unpack(workspace, path, limits=limits)
    except (FileRefused, OSError):
        path.unlink(missing_ok=True)
        raise
    aside = [list(pair) for pair in unpacked.set_aside]
    return {"name": path.name, "written": len(unpacked.written), "set_aside": aside}


async def _body(request: Request, limit: int) -> bytes:
    """What was sent, as far as it is worth reading."""
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > limit:
            raise FileRefused(f"a piece of a file must be at most {limit:,} bytes")
    return bytes(data)


def _announced(body: bytes) -> dict[str, Any]:
    """Folder, name, size and time of a file, each of the right type."""
    kinds = {"folder": str, "name": str, "size": int, "modified": str}
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    if not isinstance(said, dict) or {k: type(said.get(k)) for k in kinds} != kinds:
        raise FileRefused("a file is announced as JSON with folder, name, size and modified")
    return said


def _offset(request: Request) -> int:
    given = request.query_params.get("offset", "")
    if not (given.isascii() and given.isdigit() and len(given) < 20):
        raise FileRefused(f"offset must be a whole number >= 0, got {given[:40]!r}")
    return int(given)

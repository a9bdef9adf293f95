"""Addresses of our own beside Gradio's: what a run made, to look at and to download.

Gradio serves folders that are named when the app starts; runs are made later. The gate before all
addresses asks for the login.
"""

import secrets
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from workbench.app import uploading
from workbench.store import FileRefused
from workbench.workspace.folders import Workspace

# What of a run folder may be fetched, and as what. Events, recipe and checkpoints stay inside.
PICTURES = {".png": "image/png", ".webp": "image/webp", ".jpg": "image/jpeg"}
REPORT = "report.html"
# A report's own scripts run, but as those of a page that may do nothing here.
SANDBOX = "frame-ancestors 'self'; sandbox allow-scripts allow-downloads allow-popups"


def routes(workspace: Workspace, *, max_upload_bytes: int) -> list[Route]:
    """Make the addresses.

    Args:
        workspace: where runs lie.
        max_upload_bytes: of one file that is sent here.
    Returns:
        Routes, which belong before Gradio's.
    """

    def fetch(request: Request) -> Response:
        run, name = request.path_params["run"], request.path_params["name"]
        try:
            return file_of_run(workspace, run, name)
        except (FileRefused, FileNotFoundError):
            return JSONResponse({"detail": "Not Found"}, 404)

    server = secrets.token_hex(8)  # another one after a restart, by which open pages notice

    def alive(request: Request) -> Response:
        return JSONResponse({"server": server}, headers={"Cache-Control": "no-store"})

    return [
        Route("/workbench/alive", alive, methods=["GET"]),
        Route("/workbench/file/{run}/{name:path}", fetch, methods=["GET"]),
        *uploading.routes(workspace, max_bytes=max_upload_bytes),
    ]


def file_of_run(workspace: Workspace, run: str, name: str) -> FileResponse:
    """Answer with a run's report, one of its pictures or one of its LoRA files.

    Args:
        workspace: where runs lie.
        run: the run's name.
        name: `report.html`, or a path below `lora/` or `samples/`.
    Returns:
        The file.
    Raises:
        FileRefused: the name leads elsewhere, also by a link.
        FileNotFoundError: there is no such file, or it is none that is given away.
    """
    folder = workspace.inside("runs", run)
    path = workspace.inside("runs", f"{run}/{name}")
    if not path.is_file():
        raise FileNotFoundError(path)
    if path == folder / REPORT:
        policy = {"Content-Security-Policy": SANDBOX, "Cache-Control": "private, no-cache"}
        return FileResponse(path, media_type="text/html", headers=policy)
    kind = PICTURES.get(path.suffix.lower())
    if kind and _lies_in(path, folder / "samples"):
        # A sample is never written twice.
        cached = {"Cache-Control": "private, max-age=86400"}
        return FileResponse(path, media_type=kind, headers=cached)
    if path.suffix == ".safetensors" and _lies_in(path, folder / "lora"):
        return FileResponse(path, media_type="application/octet-stream", filename=path.name)
    raise FileNotFoundError(path)


def _lies_in(path: Path, folder: Path) -> bool:
    return path.is_relative_to(folder)

"""The samples of a run as a matrix: a row a checkpoint, the base on top, a column a prompt."""

import base64
import html
from pathlib import Path

from workbench.app.desk import file_link
from workbench.app.words import text
from workbench.records.events import Sampled
from workbench.workspace.folders import Workspace
from workbench.workspace.thumbnails import picture_thumbnail
from workbench.workspace.views import View

MAX_ROWS = 12  # the base, then the latest


def matrix(workspace: Workspace, run: str, seen: View) -> str:
    """Make the matrix.

    Args:
        workspace: where.
        run: name of the run.
        seen: its events.
    Returns:
        HTML; small pictures inside it, the whole ones a click away.
    """
    sampled = seen.of(Sampled)
    if not sampled:
        return ""
    rows = [event for event in sampled if event.base][-1:]
    rows += [event for event in sampled if not event.base][-(MAX_ROWS - 1) :]
    columns = list(dict.fromkeys((p.prompt, p.seed) for event in rows for p in event.pictures))
    head = "".join(
        f"<th><span>{html.escape(prompt)}</span> <i>{text('train_seed', seed=seed)}</i></th>"
        for prompt, seed in columns
    )
    body = "".join(_row(workspace, run, seen.folder, event, columns) for event in rows)
    return (
        f'<h3>{text("train_samples")}</h3><div class="matrix"><table>'
        f"<thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(
    workspace: Workspace, run: str, folder: Path, event: Sampled, columns: list[tuple[str, int]]
) -> str:
    name = text("train_base") if event.base else text("train_at", step=event.step)
    found = {(p.prompt, p.seed): p.path for p in event.pictures}
    cells = "".join(
        f"<td>{_cell(workspace, run, folder / found[c], found[c], _said(name, c))}</td>"
        if c in found and (folder / found[c]).is_file()
        else "<td></td>"
        for c in columns
    )
    return f"<tr><th>{html.escape(name)}</th>{cells}</tr>"


def _cell(workspace: Workspace, run: str, path: Path, name: str, said: str) -> str:
    small = base64.b64encode(picture_thumbnail(workspace, path).read_bytes()).decode()
    alt = html.escape(said)
    return (
        f'<a href="{html.escape(file_link(run, name))}" target="_blank">'
        f'<img loading="lazy" alt="{alt}" title="{alt}" src="data:image/webp;base64,{small}"></a>'
    )


def _said(name: str, shot: tuple[str, int]) -> str:
    """What a picture is: base or step, seed and prompt."""
    return f"{name} · {text('train_seed', seed=shot[1])} · {shot[0]}"

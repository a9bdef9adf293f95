"""Executed lessons as pages: prose, code, pictures and numbers, to be read without installing.

python -m workbench.notebook.pages 00 02           runs these lessons and writes docs/lessons/
python -m workbench.notebook.pages done/00.ipynb   takes one that was executed already, with the
                                                   texts as they are today
"""

import base64
import hashlib
import html
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench import store
from workbench.settings import SettingsError

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "lessons"
_QUALITY = 80
_PAGE_PX = 860  # a row of pictures is no wider than GitHub's column of text
_FIGURE = re.compile(r'<figure[^>]*max-width:(\d+)px[^>]*><img src="([^"]+)"[^>]*>(.*?)</figure>')
_ROW = re.compile(r'<div style="display:grid[^"]*">(.*?)</div>', re.DOTALL)
_HEADING = re.compile(r'<div style="font-weight:600[^"]*">(.*?)</div>')
_STYLE = re.compile(r' (?:style|viewBox|class)="[^"]*"')
_SVG = re.compile(r"<svg\b.*?</svg>", re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
_HEAD = (
    "*A page made from the executed notebook, [{name}](../../tutorials/{name}); run that to move "
    "the controls and to answer.*\n"
)


class Page:
    """One lesson's page and the pictures that it shows.

    Args:
        number: of the lesson, "03".
        folder: where the page is written; pictures lie in its `images/`.
    """

    def __init__(self, number: str, folder: Path):
        self.number, self.folder = number, folder
        self.known: dict[str, str] = {}

    def write(self, book: Any, name: str) -> Path:
        """Write the page of an executed notebook.

        Args:
            book: read by nbformat.
            name: of its file in tutorials/.
        Returns:
            The page.
        """
        (self.folder / "images").mkdir(parents=True, exist_ok=True)
        for old in (self.folder / "images").glob(f"{self.number}-*"):
            old.unlink()
        parts = []
        code = [cell for cell in book.cells if cell.cell_type == "code"]
        own = (code[0].id, code[-1].id)  # the machine, and the learner's record: not the reader's
        for cell in book.cells:
            if cell.cell_type == "markdown":
                parts.append(prose(cell.source))
            elif cell.id not in own:
                parts += [_code(cell.source), *(self._output(one) for one in cell.outputs)]
        title, *rest = parts
        text = "\n\n".join([title, _HEAD.format(name=name), *filter(None, rest)])
        path = self.folder / f"{self.number}.md"
        store.write_text(path, text.rstrip() + "\n")
        return path

    def _output(self, output: Any) -> str:
        data = output.get("data", {})
        if "image/svg+xml" in data:
            return self._image(data["image/svg+xml"].encode(), "svg", "figure", 720)
        if "text/html" in data:
            return self._markup(data["text/html"])
        said = data.get("text/plain") or output.get("text", "")
        if output.output_type == "error":
            said = f"{output.ename}: {output.evalue}"
        return f"```\n{said.rstrip()}\n```" if said.strip() else ""

    def _markup(self, markup: str) -> str:
        """HTML without styles, which GitHub takes away: rows of pictures become tables."""
        markup = _SVG.sub(self._curve, markup)
        markup = _ROW.sub(lambda row: f"<table><tr>{self._cells(row[1])}</tr></table>", markup)
        markup = _HEADING.sub(r"<p><b>\1</b></p>", markup)
        return _STYLE.sub("", markup).replace("\n", " ")

    def _curve(self, found: re.Match[str]) -> str:
        """A drawing inside a page needs no namespace, a file of its own does."""
        drawing = found[0]
        if "xmlns=" not in drawing:
            drawing = drawing.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
        return self._image(drawing.encode(), "svg", "curve", 560)

    def _cells(self, row: str) -> str:
        cells = []
        figures = _FIGURE.findall(row)
        most_px = _PAGE_PX // max(len(figures), 1) - 14
        for width, source, caption in figures:
            raw = base64.b64decode(source.partition("base64,")[2])
            with store.open_image(io.BytesIO(raw)) as image:
                small = io.BytesIO()
                shown_px = round(
                    min(1.0, 1.5 * image.width / image.height) * min(int(width), most_px)
                )
                image.convert("RGB").save(small, "WEBP", quality=_QUALITY)
            label = re.sub(r"<[^>]+>", "", caption)
            shown = self._image(small.getvalue(), "webp", label, shown_px)
            cells.append(f"<td>{shown}<br><sub>{label}</sub></td>")
        return "".join(cells)

    def _image(self, raw: bytes, kind: str, label: str, width_px: int) -> str:
        digest = hashlib.sha256(raw).hexdigest()
        if digest not in self.known:
            name = f"{self.number}-{len(self.known) + 1:02d}.{kind}"
            self.known[digest] = name
            store.write_bytes(self.folder / "images" / name, raw)
        source = f"images/{self.known[digest]}"
        return f'<img src="{source}" alt="{html.escape(html.unescape(label))}" width="{width_px}">'


def prose(source: str) -> str:
    """Move a text from tutorials/ to docs/lessons/.

    Args:
        source: of a cell, in Markdown.
    Returns:
        The same, with links that lead where they led.
    """
    return _LINK.sub(_moved, source)


def _moved(link: re.Match[str]) -> str:
    target = link[1]
    if target.startswith("../docs/"):
        return f"](../{target.removeprefix('../docs/')})"
    return f"](../../tutorials/{target})"


def execute(number: str, folder: Path) -> Any:
    """Run a lesson as it stands, exercises unanswered, with static pictures.

    Args:
        number: of the lesson.
        folder: to run in; runs that lie there are not done again.
    Returns:
        The executed notebook; it also lies in the folder, named by its number.
    """
    import os

    import nbclient
    import nbformat

    from workbench.notebook.lessons import lesson

    book = nbformat.read(ROOT / "tutorials" / lesson(number).file, as_version=4)
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["WORKBENCH_WIDGETS"] = "0"
    where = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(book, timeout=7200, kernel_name="python3", resources=where).execute()
    nbformat.write(book, folder / f"{number}.ipynb")
    return book


def refreshed(done: Any, today: Any) -> Any:
    """Put what cells showed into today's notebook, so that a changed text needs no new run.

    Args:
        done: the executed notebook.
        today: as it is in tutorials/; its outputs are filled in.
    Returns:
        `today`.
    Raises:
        SettingsError: a cell that shows something was changed since; it is named.
    """
    shown = {cell.id: cell for cell in done.cells if cell.cell_type == "code"}
    for cell in today.cells:
        if cell.cell_type == "code":
            before = shown.get(cell.id)
            if before is None or before.source != cell.source:
                name = cell.source.partition("\n")[0].lstrip("# ")
                raise SettingsError(
                    f"the cell {name!r} is not the one that was executed: run the lesson again"
                )
            cell.outputs = before.outputs
    return today


def main(wanted: Sequence[str]) -> None:
    """Make the pages that are named.

    Args:
        wanted: numbers of lessons, or executed notebooks whose names begin with one.
    """
    import nbformat

    from workbench.notebook.lessons import lesson

    for one in wanted:
        path = Path(one)
        number = path.name[:2]
        name = lesson(number).file
        if path.suffix == ".ipynb":
            today = nbformat.read(ROOT / "tutorials" / name, as_version=4)
            book = refreshed(nbformat.read(path, as_version=4), today)
        else:
            book = execute(number, Path("runs-lessons") / number)
        made = Page(number, PAGES).write(book, name)
        print(f"{made}: {made.stat().st_size / 1024:.0f} KiB")  # noqa: T201


def _code(source: str) -> str:
    name, _, body = source.partition("\n")
    summary = html.escape(name.lstrip("# "))
    return f"<details><summary>{summary}</summary>\n\n```python\n{body}\n```\n\n</details>"


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SettingsError as error:
        raise SystemExit(f"Error: {error}") from None

"""Where the project lies: one address, in the first cell of every notebook and behind its badges.

python -m workbench.notebook.address                      says it
python -m workbench.notebook.address github.com/ann/lora  fills it in: a release does
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from workbench import store
from workbench.settings import SettingsError

ROOT = Path(__file__).parents[2]
FOLDERS = ("tutorials", "notebooks")
BRANCH = "main"
_CONSTANT = re.compile(r'^ADDRESS = "([^"]*)"', re.MULTILINE)
_PLACE = re.compile(r"(?:git\+)?(?:https://)?github\.com/([\w.-]+)/([\w.-]+?)(?:\.git)?/?$")
_BADGES = re.compile(r"\n*^\[!\[Open in Colab\].*$", re.MULTILINE)
_COLAB = "https://colab.research.google.com"
_KAGGLE = "https://kaggle.com"


def address(source: str) -> str:
    """Read the address in the first cell of a notebook.

    Args:
        source: of the cell.
    Returns:
        What pip installs, "git+https://..."; "" as long as no release has filled it in.
    """
    found = _CONSTANT.search(source)
    return found[1] if found else ""


def badges(place: str, path: str) -> str:
    """Make the badges that open a notebook on Colab and on Kaggle.

    Args:
        place: the address, as the first cell holds it.
        path: of the notebook in the repository.
    Returns:
        One line of Markdown; "" without an address: a badge must lead somewhere.
    Raises:
        SettingsError: the address is none on GitHub, the only place that both open from.
    """
    if not place:
        return ""
    owner, name = _repository(place)
    file = f"github/{owner}/{name}/blob/{BRANCH}/{path}"
    colab = f"[![Open in Colab]({_COLAB}/assets/colab-badge.svg)]({_COLAB}/{file})"
    source = f"https://github.com/{owner}/{name}/blob/{BRANCH}/{path}"
    image = f"{_KAGGLE}/static/images/open-in-kaggle.svg"
    return f"{colab} [![Open in Kaggle]({image})]({_KAGGLE}/kernels/welcome?src={source})"


def with_badges(source: str, line: str) -> str:
    """Put the badges below the title of a notebook, in place of older ones.

    Args:
        source: of its first cell, which begins with the title.
        line: from `badges`; "" takes them away.
    Returns:
        The new source.
    """
    title, _, rest = _BADGES.sub("", source).partition("\n")
    return f"{title}\n\n{line}\n{rest}" if line else f"{title}\n{rest}"


def fill_in(place: str, root: Path = ROOT) -> list[Path]:
    """Write an address into every notebook, and the badges that follow from it.

    Args:
        place: "github.com/owner/name", in any spelling; "" takes address and badges away.
        root: of the repository.
    Returns:
        The notebooks.
    Raises:
        SettingsError: no address on GitHub.
    """
    import nbformat

    full = f"git+https://github.com/{'/'.join(_repository(place))}" if place else ""
    written = []
    for path in sorted(path for folder in FOLDERS for path in (root / folder).glob("*.ipynb")):
        book = nbformat.read(path, as_version=4)
        where = path.relative_to(root).as_posix()
        book.cells[0].source = with_badges(book.cells[0].source, badges(full, where))
        first = next(cell for cell in book.cells if cell.cell_type == "code")
        first.source = _CONSTANT.sub(f'ADDRESS = "{full}"', first.source)
        store.write_text(path, nbformat.writes(book) + "\n")
        written.append(path)
    return written


def _repository(place: str) -> tuple[str, str]:
    found = _PLACE.match(place)
    if not found:
        raise SettingsError(
            f"address must be github.com/OWNER/NAME, got {place!r}: Colab and Kaggle open "
            "notebooks from GitHub"
        )
    return found[1], found[2]


def main(arguments: Sequence[str]) -> None:
    """Say the address, or fill one in.

    Args:
        arguments: an address, or nothing.
    """
    if arguments:
        print(f"{len(fill_in(arguments[0]))} notebooks written")  # noqa: T201
        return
    text = next((ROOT / "tutorials").glob("00*.ipynb")).read_text(encoding="utf-8")
    found = re.search(r'ADDRESS = \\"([^"\\]*)\\"', text)
    print((found and found[1]) or "none yet: a release fills it in")  # noqa: T201


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SettingsError as error:
        raise SystemExit(f"Error: {error}") from None

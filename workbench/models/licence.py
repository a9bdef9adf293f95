"""Under which licence a base model's weights stand, as far as its own files say."""

from pathlib import Path

from workbench import store
from workbench.models.source import is_critters, is_remote
from workbench.store import FileRefused

CRITTERS_LICENCE = "Apache-2.0"  # of this package, whose part it is
_MAX_LENGTH = 80


def licence_of(base: str) -> str:
    """Look up a base's licence; nothing is fetched.

    Args:
        base: `base.path`: a folder, a .safetensors file, a Hugging Face id or a base that ships.
    Returns:
        Its licence in its own words: of the card (README.md), the header of a single file
        (modelspec.license), or a LICENSE file's first line; "" where its files say nothing.
    """
    if is_critters(base):
        return CRITTERS_LICENCE
    if is_remote(base):
        return _cached(base)
    path = Path(base).expanduser()
    if path.is_dir():
        return _of_card(path / "README.md") or _first_line(path)
    try:
        return _short(store.read_header(path)[0].get("modelspec.license", ""))
    except (FileRefused, OSError):
        return ""


def _cached(repository: str) -> str:
    """What the card says that came with a repository's files."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, "README.md")
    return _of_card(Path(found)) if isinstance(found, str) else ""


def _of_card(card: Path) -> str:
    """`license` of a card's header; a name of its own counts before "other"."""
    if not card.is_file():
        return ""
    from huggingface_hub import metadata_load

    try:
        told = metadata_load(card) or {}
    except Exception:  # a header that is no YAML raises the parser's own classes
        return ""
    stated = told.get("license_name") or told.get("license") or ""
    return _short(", ".join(map(str, stated)) if isinstance(stated, list) else str(stated))


def _first_line(folder: Path) -> str:
    for file in sorted(folder.glob("LICEN[SC]E*")):
        if file.is_file():
            lines = (line.strip() for line in store.read_text(file).splitlines())
            return _short(next(filter(None, lines), ""))
    return ""


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_LENGTH else text[: _MAX_LENGTH - 1] + "…"

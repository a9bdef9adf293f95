"""Pictures of the embedded world as folders, drawn when they are first asked for."""

from pathlib import Path

from workbench import store
from workbench.critters.concepts import CONCEPTS, PRIOR, write_concept
from workbench.critters.masked import MASKED, write_masked
from workbench.data.subsets import WORLD
from workbench.settings import SettingsError

__all__ = ["source"]


def source(path: str, *, setting: str) -> Path:
    """The folder or archive that a path means; one of the embedded world is drawn first.

    Args:
        path: of a subset.
        setting: that holds it, for errors.
    Returns:
        Where its files lie.
    Raises:
        SettingsError: the embedded world has no such pictures.
    """
    world, colon, name = path.partition(":")
    if (world, colon) != ("critters", ":"):
        return Path(path).expanduser()
    if name not in (*CONCEPTS, PRIOR, MASKED):
        known = ", ".join(f"critters:{concept}" for concept in (*CONCEPTS, PRIOR, MASKED))
        raise SettingsError(f"{setting} must be a folder, a .zip, {WORLD} or {known}; got {path!r}")
    folder = store.cache_home() / "concepts" / name
    _write_once(name, folder)
    return folder


_written: dict[Path, list[Path]] = {}


def _write_once(name: str, folder: Path) -> None:
    """Draw a concept unless this process did so: it takes nearly a second."""
    if folder not in _written or not all(path.is_file() for path in _written[folder]):
        _written[folder] = write_masked(folder) if name == MASKED else write_concept(name, folder)

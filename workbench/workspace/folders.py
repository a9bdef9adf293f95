"""One folder holds all state, and no name that came from a browser leads out of it."""

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from workbench import settings, store
from workbench.settings import SettingsError
from workbench.store import FileRefused

if TYPE_CHECKING:  # it brings torch along, whose seconds the worker need not wait
    from workbench.recipe import Recipe

Part = Literal["runs", "data", "models", "recipes", "queue", "cache", "thumbnails"]
PARTS: tuple[Part, ...] = get_args(Part)
MAX_NAME_BYTES = 255  # what file systems take as one name
MAX_PATH_BYTES = 1024
_DRAFT = "draft.toml"
# Settings that name a file or folder, wherever in a recipe they stand.


@dataclass(frozen=True)
class Workspace:
    """The one folder that the app works in.

    Attributes:
        root: the folder; it and its parts are made when first asked for.
    """

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root).expanduser().resolve())

    def part(self, part: Part) -> Path:
        """One of the workspace's folders, made if missing.

        Args:
            part: which.
        Returns:
            The folder.
        Raises:
            ValueError: there is no such part.
        """
        if part not in PARTS:
            raise ValueError(f"part must be one of {', '.join(PARTS)}, got {part!r}")
        folder = self.root / part
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def runs(self) -> Path:
        """Run folders."""
        return self.part("runs")

    @property
    def data(self) -> Path:
        """Pictures and captions, a folder for each data set."""
        return self.part("data")

    @property
    def models(self) -> Path:
        """Base models that were fetched."""
        return self.part("models")

    @property
    def recipes(self) -> Path:
        """Recipes that were kept by name."""
        return self.part("recipes")

    @property
    def queue(self) -> Path:
        """Jobs that wait or work, and the worker's lock and log."""
        return self.part("queue")

    @property
    def cache(self) -> Path:
        """Latents and embeddings, which can be made again."""
        return self.part("cache")

    @property
    def thumbnails(self) -> Path:
        """Small pictures for pages, which can be made again."""
        return self.part("thumbnails")

    def inside(self, part: Part, name: str) -> Path:
        """Turn a name that a user gave into a path that lies in the workspace.

        Args:
            part: which of the workspace's folders.
            name: a file or folder in it, existing or not; `/` enters folders.
        Returns:
            The path, its links followed.
        Raises:
            FileRefused: the name leads out, or is none that every system takes.
        """
        folder = self.part(part).resolve()
        if broken := _broken_rule(name):
            raise FileRefused(f"a name in {part}/ {broken}, got {_short(name)}")
        path = (folder / name).resolve()
        # What lies there already keeps its name, except where that cannot be.
        new = os.name == "nt" or not path.exists()
        if new and (broken := store.unportable(name)):
            raise FileRefused(f"a name in {part}/ {broken}, got {_short(name)}")
        if not path.is_relative_to(folder) or path == folder:
            raise FileRefused(
                f"a name in {part}/ must not lead out of it by a link, got {_short(name)}, which "
                "is a link to elsewhere; copy what it shows into the workspace"
            )
        return path

    def settle(self, recipe: "Recipe") -> "Recipe":
        """Make a recipe's relative paths the workspace's own.

        Args:
            recipe: any.
        Returns:
            The recipe with runs in this workspace; paths that exist in it are absolute.
        Raises:
            SettingsError: output.folder lies elsewhere.
        """
        given = Path(recipe.output.folder).expanduser()
        if not (self.root / given).resolve().is_relative_to(self.root):
            raise SettingsError(
                f"output.folder must lie in the workspace {self.root}, got "
                f"{recipe.output.folder!r}; leave it out, and runs are made in {self.runs}"
            )
        return self._placed(recipe)

    def save_draft(self, recipe: "Recipe") -> None:
        """Keep the recipe that is being edited, whole or not at all.

        Args:
            recipe: the recipe.
        Raises:
            SettingsError: see `settle`.
        """
        store.write_text(self.root / _DRAFT, self.settle(recipe).to_toml())

    def load_draft(self) -> "Recipe | None":
        """The recipe that was being edited when the app was last open.

        Returns:
            The recipe; None before the first was kept.
        Raises:
            SettingsError: the file was altered, or is of a version with other settings.
        """
        from workbench.recipe import Recipe

        path = self.root / _DRAFT
        # The workspace may have been moved since.
        return self._placed(Recipe.load(path)) if path.exists() else None

    def _placed(self, recipe: "Recipe") -> "Recipe":
        output = settings.replace(recipe.output, folder=str(self.runs))
        return settings.replace(recipe.anchored(self.root), output=output)


def _broken_rule(name: str) -> str:
    """Which rule a name breaks, in words; empty for a good one."""
    pieces = name.split("/")
    if not name or not name.strip():
        return "must not be empty"
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
        return "must not hold line breaks, control characters or bytes that are no text"
    if "\\" in name or name.startswith("/") or name[1:2] == ":":
        return "must be relative, with / between folders"
    if any(piece in ("", ".", "..") for piece in pieces):
        return "must not hold .. or empty pieces"
    longest = max(len(piece.encode()) for piece in pieces)
    if longest > MAX_NAME_BYTES or len(name.encode()) > MAX_PATH_BYTES:
        return f"must be at most {MAX_NAME_BYTES} bytes long"
    return ""


def _short(name: str) -> str:
    return ascii(name) if len(name) <= 80 else f"{name[:60]!a}... ({len(name):,} characters)"

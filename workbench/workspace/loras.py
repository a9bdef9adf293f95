"""LoRA files of a workspace: those that runs saved, and those that were brought along."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from workbench import store
from workbench.adapters.files import require_adapter
from workbench.store import FileRefused
from workbench.workspace.folders import Workspace

FOLDER = "loras"  # of those brought along, in the workspace's models


@dataclass(frozen=True, slots=True)
class Source:
    """A run, or one LoRA file.

    Attributes:
        key: names it in the workspace: "run/<name>", "file/<run>/<file>" or "own/<file>".
        run: name of the run that it belongs to; "" for a file that was brought along.
        path: the file; the run folder for a whole run.
    """

    key: str
    run: str
    path: Path

    @property
    def is_run(self) -> bool:
        """Whether it is a whole run, with its samples."""
        return self.key.startswith("run/")


def sources(workspace: Workspace) -> list[Source]:
    """List what can be compared with its base.

    Args:
        workspace: where.
    Returns:
        Runs that saved a LoRA, newest first, then all files.
    """
    runs, files = [], []
    folders = [path for path in workspace.runs.iterdir() if (path / "recipe.toml").is_file()]
    for folder in sorted(folders, key=lambda path: -path.stat().st_mtime):
        found = checkpoints(folder)
        if found or _full(folder).is_dir():
            runs.append(Source(f"run/{folder.name}", folder.name, folder))
        files += [Source(f"file/{folder.name}/{path.name}", folder.name, path) for path in found]
    own = workspace.models / FOLDER
    kept = sorted(own.glob("*.safetensors")) if own.is_dir() else []
    return [*runs, *files, *(Source(f"own/{path.name}", "", path) for path in kept)]


def find(workspace: Workspace, key: str) -> Source:
    """Turn a key that came from a browser into what it names.

    Args:
        workspace: where.
        key: of a `Source`.
    Returns:
        The source.
    Raises:
        FileRefused: there is none of that name.
    """
    kind, _, name = key.partition("/")
    if kind == "run":
        path = workspace.inside("runs", name)
        source = Source(key, name, path)
    elif kind == "file":
        run, _, file = name.partition("/")
        source = Source(key, run, workspace.inside("runs", f"{run}/lora/{file}"))
    else:
        source = Source(key, "", workspace.inside("models", f"{FOLDER}/{name}"))
    if kind not in ("run", "file", "own") or not source.path.exists():
        raise FileRefused(f"there is no {store.shown(key)} in the workspace any more")
    return source


def checkpoints(folder: Path) -> list[Path]:
    """The LoRA files of a run, in the order in which they were saved.

    Args:
        folder: the run folder.
    Returns:
        Files; the final one last.
    """
    return sorted((folder / "lora").glob("*.safetensors"), key=lambda path: path.stat().st_mtime)


def keep(workspace: Workspace, uploaded: Path, name: str) -> Source:
    """Take in a LoRA file that was uploaded.

    Args:
        workspace: where.
        uploaded: the file as it arrived.
        name: what it is called; a file of that name is replaced.
    Returns:
        The source.
    Raises:
        FileRefused: it is no LoRA that can be read, or its name leads elsewhere.
    """
    if not name.endswith(".safetensors"):
        raise FileRefused(f"a LoRA file must end in .safetensors, got {store.shown(name)}")
    target = workspace.inside("models", f"{FOLDER}/{name}")
    require_adapter(uploaded)
    with store.replacing(target) as temporary:
        shutil.copyfile(uploaded, temporary)
    return Source(f"own/{name}", "", target)


def _full(folder: Path) -> Path:
    """What a full fine-tune leaves: a folder of its recipe's name."""
    return folder / "lora" / folder.name

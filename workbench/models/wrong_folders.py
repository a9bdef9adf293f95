"""What a folder is that holds no diffusers model that can be read, and where the model may lie."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from workbench import store
from workbench.store import IMAGE_EXTENSIONS, PICKLE_EXTENSIONS

_LOOKED_AT = 2000  # files and folders, so that somebody's home is not searched through
_SHOWN = 3
_DENOISERS = ("unet", "transformer", "prior", "decoder")
_OTHER_FORMATS = (
    (".onnx", "ONNX graphs, made for inference"),
    ("openvino_model.xml", "OpenVINO's graphs, made for inference"),
    (".engine", "TensorRT engines, made for one GPU and for inference"),
    (".plan", "TensorRT engines, made for one GPU and for inference"),
    (".mlmodelc", "Core ML models, made for inference"),
    (".mlpackage", "Core ML models, made for inference"),
    (".gguf", "GGUF files, whose weights are packed for inference"),
    (".msgpack", "weights of Flax"),
    (".h5", "weights of TensorFlow"),
)
_WEIGHTS = (".safetensors", *PICKLE_EXTENSIONS)
_SHARD = re.compile(r"-\d{5}-of-(\d{5})")


def why(folder: Path) -> str | None:
    """Say what a folder is in which no model was found.

    Args:
        folder: an existing folder.
    Returns:
        What it is and what to choose; None where nothing better than "not complete" can be said.
    """
    if not any(folder.iterdir()):
        return "the folder is empty; copy the model whole"
    if said := _hub_cache(folder) or _nearby(folder):
        return said
    if (folder / "recipe.toml").is_file() and (folder / "events.jsonl").is_file():
        return "this is the folder of a run; base.path wants the model that it started from"
    if broken := broken_links(folder):
        return broken
    inside = [*_walk(folder, depth=2)]
    if said := other_format([path for path in inside if path != folder]):
        return said
    files = sorted(path for path in folder.iterdir() if path.suffix == ".safetensors")
    if files and not any((folder / name).is_dir() for name in _DENOISERS):
        more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
        named = ", ".join(str(path) for path in files[:_SHOWN])
        return f"the folder holds single files ({named}{more}); if one is the base, choose that"
    pictures = sum(path.suffix.lower() in IMAGE_EXTENSIONS for path in inside)
    if pictures and not any(path.suffix in _WEIGHTS for path in inside):
        return f"the folder holds {pictures} pictures and no weights; pictures belong in data"
    return None


def broken_links(folder: Path) -> str | None:
    """Say that files of a folder are links to what is not there, as a cleaned Hub cache leaves.

    Args:
        folder: a model, or a part of one.
    Returns:
        How many, and the first with its target; None where there are none.
    """
    links = [path for path in _walk(folder, depth=2) if path.is_symlink() and not path.exists()]
    if not links:
        return None
    return (
        f"{len(links)} of its files are links to what is not there, the first is "
        f"{links[0].relative_to(folder)} to {links[0].readlink()}; fetch the model again, or copy "
        "the files themselves"
    )


def other_format(paths: list[Path]) -> str | None:
    """Say which format weights are in, where there are none in safetensors.

    Args:
        paths: of a model, or a part of one.
    Returns:
        What they are, with an example; None where nothing is known.
    """
    if any(path.suffix == ".safetensors" for path in paths):
        return None
    for ending, kind in _OTHER_FORMATS:
        if found := next((path for path in paths if path.name.endswith(ending)), None):
            return f"it holds {kind} ({found.name}); choose the model in safetensors"
    if found := next((path for path in paths if path.suffix in PICKLE_EXTENSIONS), None):
        return (
            f"its weights are pickles ({found.name}), which run code when opened; only safetensors "
            "is read: choose a copy in safetensors, or convert it where you trust it"
        )
    return None


def incomplete_shards(part: Path, files: Sequence[Path], *, variant: str | None) -> str | None:
    """Say which shards of a part are missing, that its index or the others' names tell of.

    Args:
        part: folder of a part, such as unet/.
        files: its weights that are there.
        variant: of those weights, such as "fp16"; None for full precision.
    Returns:
        What is missing; None where nothing is.
    """
    named = {path.name for path in files}
    whole = [match for name in named if (match := _SHARD.search(name))]
    indexes = list(part.glob("*.safetensors.index*.json"))
    own = [path for path in indexes if (variant or "index.json") in path.name]
    for index in sorted(own) if whole or not files else []:
        listed = store.read_json(index)
        table = listed.get("weight_map") if isinstance(listed, dict) else None
        shards = {str(name) for name in table.values()} if isinstance(table, dict) else set()
        if missing := sorted(name for name in shards if not (part / name).exists()):
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            return (
                f"{index.name} names {len(shards)} files, of which {missing[0]}{more} is not "
                "there; fetch the folder again"
            )
    if whole and len(whole) != int(whole[0][1]):
        return f"{len(whole)} of {int(whole[0][1])} shards are there; fetch the folder again"
    if whole and not own:
        return (
            "its weights lie in several files and the index that says which holds what, "
            "*.safetensors.index.json, is not there; fetch the folder again"
        )
    return None


def _hub_cache(folder: Path) -> str | None:
    """The Hub's own cache: the folder of a repository, or of its snapshots."""
    repository = folder.parent if folder.name == "snapshots" else folder
    if not repository.name.startswith("models--"):
        return None
    name = repository.name.removeprefix("models--").replace("--", "/")
    found = [p for p in (repository / "snapshots").glob("*") if _is_model(p)]
    newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
    where = f', or to "{newest}"' if newest else ""
    return f'this is the Hub\'s cache of {name}; set base.path to "{name}"{where}'


def _nearby(folder: Path) -> str | None:
    """A model one or two levels below, or the one that this folder is a part of."""
    below = [path for path in _walk(folder, depth=2) if path.is_dir() and _is_model(path)]
    if len(below) == 1:
        return f'the model lies further in: set base.path to "{below[0]}"'
    if below:
        named = ", ".join(str(path) for path in below[:_SHOWN])
        return f"{len(below)} models lie in it: set base.path to one of them, such as {named}"
    if _is_model(folder.parent) and (folder / "config.json").is_file():
        return f'this is the part {folder.name}/ of a model: set base.path to "{folder.parent}"'
    return None


def _is_model(folder: Path) -> bool:
    if (folder / "model_index.json").is_file():
        return True
    return any((folder / name / "config.json").is_file() for name in _DENOISERS)


def _walk(folder: Path, *, depth: int) -> Iterator[Path]:
    """What lies in a folder, level by level; at most some thousands."""
    seen, level = 0, [folder]
    for _ in range(depth):
        deeper: list[Path] = []
        for parent in level:
            try:
                entries = sorted(os.scandir(parent), key=lambda entry: entry.name)
            except OSError:
                continue
            for entry in entries:
                seen += 1
                if seen > _LOOKED_AT:
                    return
                path = Path(entry.path)
                yield path
                if entry.is_dir(follow_symlinks=True):
                    deeper.append(path)
        level = deeper

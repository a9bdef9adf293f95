"""Find a base model and look at it, by headers and configs alone: no weight is read."""

import difflib
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from workbench import store
from workbench.critters import inpainting
from workbench.models.base import BaseSettings
from workbench.models.wrong_folders import broken_links, incomplete_shards, other_format
from workbench.settings import SettingsError
from workbench.store import FileRefused

__all__ = [
    "BUILT_IN",
    "CONFIGS",
    "CRITTERS",
    "REPOSITORY",
    "Described",
    "Peek",
    "Source",
    "files_hash",
    "is_critters",
    "is_remote",
    "missing_weights",
    "peek",
    "weight_files",
]

CONFIGS = Path(__file__).parent / "configs"
CRITTERS = Path(__file__).parents[1] / "critters" / "base"
# Bases that ship, by the names that `base.path` takes; each gives its folder.
BUILT_IN: Mapping[str, Callable[[], Path]] = {
    "critters": lambda: CRITTERS,
    inpainting.NAME: inpainting.folder,
}
_VAE = "vae/diffusion_pytorch_model.safetensors"
_LARGEST = 16_000_000  # bytes; the critters' autoencoder takes 9 MB in float32
_ENDINGS = frozenset({".safetensors", *store.PICKLE_EXTENSIONS})  # which `store` answers for
_PAGE = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)")
# What follows a part's stem: its variant before or behind the number of the shard.
_WEIGHTS = re.compile(r"(?:\.(?P<variant>[\w-]+?))?(?:-\d{5}-of-\d{5})?(?:\.fp16)?\.safetensors")
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Source:
    """A base model that a family recognised.

    Attributes:
        path: diffusers folder or .safetensors file.
        config: diffusers folder that describes its structure; the path itself for a folder.
        family: name of the family that loads it.
        version: the family's own word for its structure, such as "sd2".
        title: what it is, for people.
        evidence: what it was recognised by, to be told to the user.
        scheduler: what the weights file itself says of the noise schedule.
        inpaints: it takes a mask and a masked picture too.
    """

    path: Path
    config: Path
    family: str
    version: str
    title: str
    evidence: str
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    inpaints: bool = False

    @property
    def is_file(self) -> bool:
        """Whether all weights lie in one .safetensors file of the original layout."""
        return self.path != self.config


@dataclass(frozen=True, slots=True)
class Described:
    """What the files of a base tell of it.

    Attributes:
        native_px: side of the pictures it was made for.
        prediction: "epsilon", "v_prediction" or "flow".
        latent_px: pixels to a latent's side.
        side_multiple_px: both sides of a picture must be multiples of it.
        zero_terminal_snr: its last timestep is noise alone.
        said_prediction: the prediction by the files themselves; None where they are silent.
    """

    native_px: int
    prediction: str
    latent_px: int
    side_multiple_px: int
    zero_terminal_snr: bool = False
    said_prediction: str | None = None


@dataclass(frozen=True)
class Peek:
    """What can be seen of a path without reading a weight; families recognise themselves by it.

    Attributes:
        path: a folder or a .safetensors file.
        metadata: of a file's header; empty for a folder.
        tensors: of a file: name to type and shape; empty for a folder.
    """

    path: Path
    metadata: Mapping[str, str] = field(default_factory=dict)
    tensors: Mapping[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)

    @property
    def is_file(self) -> bool:
        """Whether it is a file."""
        return not self.path.is_dir()

    @cached_property
    def pipeline(self) -> str | None:
        """The class that a folder's model_index.json names; None without one."""
        index = self.path / "model_index.json"
        return str(_table(index).get("_class_name", "?")) if index.is_file() else None

    def config(self, part: str) -> dict[str, Any] | None:
        """The config.json of one of a folder's parts.

        Args:
            part: name of the subfolder, such as "unet"; "" is the folder itself.
        Returns:
            Its content; None where there is none.
        """
        path = self.path / part / "config.json"
        return _table(path) if path.is_file() else None

    def first(self, *marks: str) -> str | None:
        """Look for a tensor of a file.

        Args:
            marks: parts of names.
        Returns:
            The first name, in the order of the alphabet, that holds one of them.
        """
        return next((n for n in self._sorted if any(m in n for m in marks)), None)

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self.tensors)


def peek(settings: BaseSettings) -> Peek:
    """Find the base model on disk or the Hub, and look at it.

    Args:
        settings: which model.
    Returns:
        What can be seen of it.
    Raises:
        SettingsError: not found.
        FileRefused: a pickle, or no safetensors file.
    """
    path = _resolve(settings.path)
    if path.is_dir():
        return Peek(path)
    if path.suffix not in _ENDINGS and path.is_file() and (said := other_format([path])):
        raise FileRefused(f"{path}: {said}")
    return Peek(path, *store.read_header(path))


def is_remote(path: str) -> bool:
    """Whether a base lies on the Hub: nothing is here under its name, and it is no file's.

    Args:
        path: `base.path`.
    Returns:
        True for "owner/model".
    """
    here = path in BUILT_IN or Path(path).expanduser().exists()
    is_file = Path(path).suffix in (".safetensors", *store.PICKLE_EXTENSIONS)
    return not here and not is_file and REPOSITORY.fullmatch(path) is not None


def is_critters(path: str) -> bool:
    """Whether a base is the small one that ships with the package, wherever it lies.

    It is known by the weights of its autoencoder, which no training changes: a copy is one, in any
    precision, and so is a model that was merged or trained from it.

    Args:
        path: `base.path`.
    Returns:
        True for the names of `BUILT_IN`, and for a folder with its autoencoder.
    """
    if path in BUILT_IN:
        return True
    folder = Path(path).expanduser()
    try:
        if not (folder / "vae").is_dir():
            return False
        _, files = weight_files(folder, "vae")
        status = files[0].stat() if len(files) == 1 else None
    except OSError:  # a folder that cannot be read
        return False
    if status is None or status.st_size > _LARGEST:
        return False
    return _has_its_weights(files[0].resolve(), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=32)
def _has_its_weights(file: Path, size: int, modified_ns: int) -> bool:
    """Compared in bfloat16, so that it does not matter how a copy was rounded; 60 ms."""
    try:
        same = _shapes(file) == _shapes(CRITTERS / _VAE)
        return same and _rounded(file) == _rounded(CRITTERS / _VAE)
    except FileRefused:
        return False


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, (_, shape) in store.read_header(file)[1].items()}


def _rounded(file: Path) -> str:
    """Hash of weights in bfloat16."""
    import torch

    digest = hashlib.sha256()
    for _, tensor in sorted(store.load_tensors(file).items()):
        digest.update(tensor.bfloat16().view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def weight_files(folder: Path, part: str) -> tuple[str | None, list[Path]]:
    """Find a part's weights in a diffusers folder, those of full precision first.

    Args:
        folder: diffusers folder.
        part: name of the subfolder.
    Returns:
        Variant (None, "fp16" or another one) and the .safetensors files, several if sharded, none
        if missing.
    """
    stem = "model" if part.startswith("text_encoder") else "diffusion_pytorch_model"
    variants: dict[str | None, list[Path]] = {}
    for path in sorted((folder / part).glob(f"{stem}*.safetensors")):
        if match := _WEIGHTS.fullmatch(path.name.removeprefix(stem)):
            variants.setdefault(match["variant"], []).append(path)
    first = next((name for name in (None, "fp16", *variants) if name in variants), None)
    return first, variants.get(first, [])


def files_hash(files: Sequence[Path]) -> str:
    """Hash the files that hold a part's weights.

    Args:
        files: one, or several shards.
    Returns:
        SHA-256 of the file, or of its shards' hashes.
    """
    hashes = [store.file_hash(path) for path in files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def missing_weights(folder: Path, parts: tuple[str, ...]) -> list[str]:
    """Parts of a diffusers folder that have no weights.

    Args:
        folder: diffusers folder.
        parts: names of the subfolders that must be there.
    Returns:
        Those without.
    Raises:
        FileRefused: weights are there and damaged, or as a pickle.
    """
    return [part for part in parts if not _sound_weights(folder, part)]


def _sound_weights(folder: Path, part: str) -> bool:
    variant, files = weight_files(folder, part)
    for path in files:
        store.read_header(path)
    there = folder / part
    said = incomplete_shards(there, files, variant=variant)
    if not files and there.is_dir():
        for path in there.glob("*.bin"):
            store.read_header(path)  # refuses it as the pickle that it is
        said = said or broken_links(there) or other_format(sorted(there.iterdir()))
    if said:
        raise FileRefused(f"{there}: {said}")
    return bool(files)


def _table(path: Path) -> dict[str, Any]:
    """Read a JSON file that must hold names and values."""
    read = store.read_json(path)
    if not isinstance(read, dict):
        raise FileRefused(f"{path}: must be a JSON object, it is a {type(read).__name__}")
    return read


def _resolve(name: str) -> Path:
    path = BUILT_IN[name]() if name in BUILT_IN else Path(name).expanduser()
    if why := store.why_away(path):
        raise SettingsError(f"base.path {name!r} {why}, or give another base")
    if path.is_dir():
        return path
    if path.suffix.lower() in store.PICKLE_EXTENSIONS or path.is_file() or path.is_symlink():
        return path
    if REPOSITORY.fullmatch(name) and path.suffix != ".safetensors":
        from workbench.models.hub import fetch

        return fetch(name)
    raise SettingsError(
        f"base.path {name!r} does not exist{_meant(name)}; give a diffusers folder, a .safetensors "
        f"file, {', '.join(map(repr, BUILT_IN))} or the name of a Hugging Face repository such as "
        '"owner/model"'
    )


def _meant(name: str) -> str:
    """What a path that does not exist may have been meant for."""
    if match := _PAGE.match(name):
        return f': it is a web page, whose repository is "{match[1]}"'
    if "://" in name:
        return ": it is a web address, and nothing is fetched from those: download the file first"
    plain = name.strip(" \t\"'")
    if plain != name and Path(plain).expanduser().exists():
        return f": leave out the quotation marks and blanks around {plain}"
    path = Path(name).expanduser()
    if path.parent.is_dir():
        names = [entry.name for entry in path.parent.iterdir()]
        near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.7)
        if match := [n for n in names if Path(n).stem == path.name] or near:
            return f"; did you mean {path.parent / match[0]}?"
    return ""

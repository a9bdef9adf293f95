"""Fetch a diffusers folder from the Hugging Face Hub: safetensors and configs, nothing else."""

import re
from collections.abc import Sequence
from pathlib import Path

from workbench.settings import SettingsError

_TIMEOUT_S = 15
_FOLDERS = (
    "unet",
    "transformer",
    "vae",
    "text_encoder",
    "text_encoder_2",
    "tokenizer",
    "tokenizer_2",
    "scheduler",
)


def fetch(repository: str, folders: tuple[str, ...] = _FOLDERS) -> Path:
    """Download a repository's base model, or find it in the local cache.

    Full-precision weights are taken where they exist, else those of the "fp16" variant.

    Args:
        repository: "owner/name".
        folders: subfolders to fetch; "" stands for the top.
    Returns:
        A folder in diffusers layout in the Hub's cache.
    Raises:
        SettingsError: no such repository, no access to it, or no network and not in the cache.
    """
    from huggingface_hub import HfApi, snapshot_download

    try:
        siblings = HfApi().model_info(repository, timeout=_TIMEOUT_S).siblings or []
        listed = [sibling.rfilename for sibling in siblings]
        return Path(snapshot_download(repository, allow_patterns=wanted_files(listed, folders)))
    except Exception as error:  # the HTTP library's own classes change between versions
        return _cached(repository, error)


def fetch_files(name: str, patterns: Sequence[str]) -> Path:
    """Find a model's folder: here, or some files of a repository, downloaded once.

    Args:
        name: a folder, or "owner/name".
        patterns: which files of a repository, such as "*.json"; weights must be safetensors or
            ONNX, never pickles.
    Returns:
        The folder.
    Raises:
        SettingsError: neither a folder nor the name of a repository, or see `fetch`.
    """
    if (folder := Path(name).expanduser()).is_dir():
        return folder
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name):
        raise SettingsError(
            f"{name!r} must be a folder, or a Hugging Face repository such as owner/name; there is "
            "no such folder here"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except Exception as error:  # see `fetch`
        return _cached(name, error)


def _cached(repository: str, reason: Exception) -> Path:
    """The copy in the local cache, which is good enough whatever keeps us from the Hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, local_files_only=True))
    except LocalEntryNotFoundError:
        said = next((line for line in str(reason).splitlines() if line), "no reason given")
        raise SettingsError(
            f"{repository!r} is no folder or file here, is not in the local cache, and cannot be "
            f"had from the Hugging Face Hub ({type(reason).__name__}: {said}); check the name and "
            "the network, accept the model's licence on its page and run `hf auth login` if it "
            'has one, or give the path of a diffusers folder or .safetensors file, or "critters"'
        ) from reason


def wanted_files(listed: list[str], folders: tuple[str, ...] = _FOLDERS) -> list[str]:
    """Choose what to download of a repository: never a pickle, and no weight twice.

    Its card comes along, which states the licence.

    Args:
        listed: all its files.
        folders: subfolders to fetch.
    Returns:
        Files to download.
    """
    chosen = [name for name in listed if name in ("model_index.json", "README.md")]
    for folder in folders:
        names = [n for n in listed if n.rpartition("/")[0] == folder]
        chosen += [n for n in names if n.endswith((".json", ".txt"))]
        weights = [n for n in names if n.endswith(".safetensors") and ".non_ema" not in n]
        stems = ("diffusion_pytorch_model", "model")
        weights = [n for n in weights if n.rpartition("/")[2].startswith(stems)]
        full = [n for n in weights if ".fp16" not in n]
        chosen += full or weights
    return chosen

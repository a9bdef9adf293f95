"""Fetch a diffusers folder from the Hugging Face Hub: safetensors and configs, nothing else."""

from pathlib import Path

from workbench.settings import SettingsError

_FOLDERS = (
    "unet",
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
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        listed = HfApi().list_repo_files(repository)
        return Path(snapshot_download(repository, allow_patterns=wanted_files(listed, folders)))
    except HfHubHTTPError as error:
        raise SettingsError(
            f"{repository!r} is neither a folder or file here nor to be had from the Hugging Face "
            f"Hub ({str(error).splitlines()[0]}); check the name, accept its licence on its page, "
            "and log in with `hf auth login` where it asks for that"
        ) from None
    except (OSError, LocalEntryNotFoundError, RuntimeError) as error:
        return _cached(repository, error)


def _cached(repository: str, reason: Exception) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, local_files_only=True))
    except LocalEntryNotFoundError:
        raise SettingsError(
            f"{repository!r} is neither a folder or file here nor in the local cache, and the "
            f"Hugging Face Hub cannot be reached ({type(reason).__name__}); connect once, or give "
            'the path of a diffusers folder or .safetensors file, or "critters"'
        ) from None


def wanted_files(listed: list[str], folders: tuple[str, ...] = _FOLDERS) -> list[str]:
    """Choose what to download of a repository: never a pickle, and no weight twice.

    Args:
        listed: all its files.
        folders: subfolders to fetch.
    Returns:
        Files to download.
    """
    chosen = [name for name in listed if name == "model_index.json"]
    for folder in folders:
        names = [n for n in listed if n.rpartition("/")[0] == folder]
        chosen += [n for n in names if n.endswith((".json", ".txt"))]
        weights = [n for n in names if n.endswith(".safetensors") and ".non_ema" not in n]
        stems = ("diffusion_pytorch_model", "model")
        weights = [n for n in weights if n.rpartition("/")[2].startswith(stems)]
        full = [n for n in weights if ".fp16" not in n]
        chosen += full or weights
    return chosen

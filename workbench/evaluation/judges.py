"""A judge by its Hugging Face id: what it weighs and under which licence, then fetched once."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench import store
from workbench.evaluation.features import SUPPLY
from workbench.settings import SettingsError

TIMEOUT_S = 15.0
# Weights as safetensors, configs, tokenizers; no pickle and no code.
_WANTED = re.compile(r"[^/]+\.(json|txt|model)|model[^/]*\.safetensors")


@dataclass(frozen=True, slots=True)
class Offer:
    """A judge that can be fetched.

    Attributes:
        name: "owner/name".
        files: what is fetched.
        num_bytes: their size.
        licence: as its page says; "" where it says nothing.
        folder: where it is kept.
    """

    name: str
    files: tuple[str, ...]
    num_bytes: int
    licence: str
    folder: Path


def kept(name: str) -> Path | None:
    """Find a judge on this machine.

    Args:
        name: "critters", a folder, or an id that was fetched before.
    Returns:
        What `features.at_hand` takes; None where it must be fetched.
    """
    if name == "critters" or Path(name).expanduser().is_dir():
        return Path(name).expanduser()
    folder = _folder(name)
    return folder if (folder / "config.json").is_file() else None


def look_up(name: str) -> Offer:
    """Ask the Hugging Face Hub for a judge, without fetching it.

    Args:
        name: "owner/name".
    Returns:
        Its files, size and licence.
    Raises:
        SettingsError: no such repository, no network, or no weights that are safe to load.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name):
        raise SettingsError(f"judge {name!r} is neither a folder here nor owner/name; {SUPPLY}")
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(name, files_metadata=True, timeout=TIMEOUT_S)
    except Exception as error:  # the HTTP library's own classes change between versions
        said = next((line for line in str(error).splitlines() if line), type(error).__name__)
        raise SettingsError(
            f"judge {name} cannot be had from the Hugging Face Hub ({said}); check the name and "
            "the network, or give a folder"
        ) from None
    sizes = {one.rfilename: one.size or 0 for one in info.siblings or []}
    files = tuple(file for file in sizes if _WANTED.fullmatch(file))
    if not any(file.endswith(".safetensors") for file in files) or "config.json" not in files:
        raise SettingsError(f"{name} holds no model.safetensors with a config.json; {SUPPLY}")
    licence = getattr(info.card_data, "license", None) or ""
    return Offer(name, files, sum(sizes[f] for f in files), str(licence), _folder(name))


def fetch(offer: Offer) -> Path:
    """Download a judge into the folder that all runs share.

    Args:
        offer: of `look_up`.
    Returns:
        Its folder.
    Raises:
        SettingsError: the disk is too full, or the connection broke off.
    """
    free = store.free_bytes(store.cache_home())
    if free < 1.1 * offer.num_bytes:
        raise SettingsError(
            f"judge {offer.name} takes {offer.num_bytes / 2**20:,.0f} MiB, and "
            f"{free / 2**20:,.0f} MiB are free at {store.cache_home()}; free some"
        )
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(offer.name, allow_patterns=_escaped(offer.files), local_dir=offer.folder)
    except Exception as error:  # see `look_up`
        said = next((line for line in str(error).splitlines() if line), type(error).__name__)
        raise SettingsError(
            f"judge {offer.name} was not fetched whole ({said}); try again"
        ) from None
    return offer.folder


def _folder(name: str) -> Path:
    return store.cache_home() / "judges" / name.replace("/", "--")


def _escaped(files: Sequence[str]) -> list[str]:
    return [file.replace("[", "[[]") for file in files]

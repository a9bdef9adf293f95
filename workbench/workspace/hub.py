"""What a model's name or address leads to before it is fetched, and which models are here.

A token is an argument and never anything else: no field, message, log or file holds it.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from workbench import store
from workbench.models.hub import wanted_files
from workbench.settings import SettingsError
from workbench.workspace.folders import Workspace

TIMEOUT_S = 15.0
HUB_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_REPOSITORY = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
_HIDDEN = ".fetching-"  # what is not whole yet

Kind = Literal["repository", "file", "url"]


@dataclass(frozen=True, slots=True)
class Found:
    """A model that can be fetched.

    Attributes:
        kind: a repository of the Hugging Face Hub, one file of such, or any address.
        name: of the repository, or the host of an address.
        files: names and bytes (None where the server does not tell) of what would be fetched.
        target: the folder or file in models/ that it becomes.
        revision: commit of the repository.
        licence: as the repository states it; "" where it says nothing.
        gated: its owner must grant access: a token is needed.
        free_bytes: room on the disk that holds models/.
        address: of a direct address, which may hold a key and is not shown.
        public_only: fetch it from the public network alone.
    """

    kind: Kind
    name: str
    files: tuple[tuple[str, int | None], ...]
    target: Path
    revision: str = ""
    licence: str = ""
    gated: bool = False
    free_bytes: int = 0
    address: str = field(default="", repr=False)
    public_only: bool = False

    @property
    def num_bytes(self) -> int | None:
        """Bytes to fetch; None where the server does not tell."""
        sizes = [size for _, size in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)

    @property
    def is_here(self) -> bool:
        """Whether it was fetched already."""
        return self.target.exists()


@dataclass(frozen=True, slots=True)
class Model:
    """A model in the workspace: `path` is what `base.path` or a LoRA's field takes."""

    name: str
    path: Path
    num_bytes: int


def have(workspace: Workspace) -> list[Model]:
    """List the models that were fetched or put here.

    Args:
        workspace: where.
    Returns:
        Folders and .safetensors files in models/, by name.
    """
    return [
        Model(path.name, path, _size(path))
        for path in sorted(workspace.models.iterdir())
        if not path.name.startswith(".") and (path.is_dir() or path.suffix == ".safetensors")
    ]


def hidden(target: Path) -> Path:
    """Where a model lies until it is whole.

    Args:
        target: where it will lie.
    Returns:
        A neighbour that `have` does not list.
    """
    return target.with_name(f"{_HIDDEN}{target.name}")


def look_up(
    workspace: Workspace, name: str, *, token: str | None = None, public_only: bool = False
) -> Found:
    """Find out what a name or address leads to, without fetching it.

    Args:
        workspace: where it would be kept.
        name: "owner/name", "owner/name/file.safetensors", a page or file of the Hugging Face Hub,
            or any https address of a .safetensors file.
        token: for gated or private ones; without it, the machine's own login, if it has one.
        public_only: refuse addresses of this machine and its private network: for a page that
            others can open.
    Returns:
        What would be fetched.
    Raises:
        SettingsError: it leads to nothing, or to nothing that is safe to load.
    """
    name = name.strip()
    parts = urlsplit(name)
    if parts.scheme and "://" in name and not _is_hub(parts.netloc):
        from workbench.workspace.direct import look_up_address

        return look_up_address(workspace, name, token=token, public_only=public_only)
    path = unquote(parts.path).strip("/") if "://" in name else name.strip("/")
    match = re.fullmatch(
        rf"({_REPOSITORY})(?:/(?:blob|resolve|tree)/([\w.-]+))?(?:/(.+\.[A-Za-z]+))?", path
    )
    if match is None:
        raise SettingsError(
            "a model must be a Hugging Face repository such as owner/name, one of its files such "
            f"as owner/name/file.safetensors, or an https:// address, got {name[:100]!r}"
        )
    repository, revision, file = match.groups()
    info = _info(repository, revision, token)
    sizes = {one.rfilename: one.size for one in info.siblings or []}
    file = file or _only_file(repository, sizes)
    return Found(
        kind="file" if file else "repository",
        name=repository,
        files=tuple((one, sizes[one]) for one in _chosen(repository, file, sizes)),
        target=workspace.inside(
            "models", Path(file).name if file else repository.replace("/", "--")
        ),
        revision=info.sha or "",
        licence=_licence(info),
        gated=bool(info.gated),
        free_bytes=store.free_bytes(workspace.models),
    )


def explain(repository: str, error: Exception, token: str | None) -> SettingsError:
    """Say why the Hub gave nothing, in words that hold no token.

    Args:
        repository: what was asked for.
        error: what its client raised.
        token: to be kept out of it.
    Returns:
        The error to raise.
    """
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        fix = (
            "accept its licence on its page, and give a token of that account"
            if token is None
            else "the token's account has no access yet: accept the licence on the model's page"
        )
        return SettingsError(f"{repository} is gated: {fix}")
    if isinstance(error, errors.RepositoryNotFoundError | errors.RevisionNotFoundError):
        return SettingsError(
            f"{repository} is not on the Hugging Face Hub, or it is private; check the name, or "
            "give a token that may read it"
        )
    said = next((line for line in str(error).splitlines() if line), "no reason given")
    return SettingsError(
        f"{repository} cannot be had from the Hugging Face Hub ({type(error).__name__}: "
        f"{without(said, token)}); check the network and try again"
    )


def without(text: str, token: str | None) -> str:
    """Take a token out of a message.

    Args:
        text: from elsewhere.
        token: None: nothing to take out.
    Returns:
        The text.
    """
    return text.replace(token, "(token)") if token else text


def _is_hub(host: str) -> bool:
    from huggingface_hub import constants

    return host in HUB_HOSTS or host == urlsplit(constants.ENDPOINT).netloc


def _info(repository: str, revision: str | None, token: str | None) -> Any:
    from huggingface_hub import HfApi

    try:
        return HfApi().model_info(
            repository, revision=revision, files_metadata=True, token=token, timeout=TIMEOUT_S
        )
    except Exception as error:  # the HTTP library's own classes change between versions
        raise explain(repository, error, token) from None


def _only_file(repository: str, sizes: dict[str, int | None]) -> str | None:
    """The file of a repository that is no diffusers folder, as those of LoRAs are."""
    if "model_index.json" in sizes:
        return None
    files = [name for name in sizes if name.endswith(".safetensors")]
    if len(files) == 1:
        return files[0]
    if not files:
        raise SettingsError(
            f"{repository} holds no .safetensors file; pickles (.ckpt, .bin, .pt) run code when "
            "they are opened and are never fetched"
        )
    shown = ", ".join(files[:8]) + (f" and {len(files) - 8} more" if len(files) > 8 else "")
    raise SettingsError(
        f"{repository} is no diffusers folder and holds several files: give one of them, such as "
        f"{repository}/{files[0]} (it has {shown})"
    )


def _chosen(repository: str, file: str | None, sizes: dict[str, int | None]) -> list[str]:
    if file is None:
        return wanted_files(list(sizes))
    if not file.endswith(".safetensors"):
        raise SettingsError(
            f"{repository}/{file} must be a .safetensors file; others may run code when they are "
            "opened"
        )
    if file not in sizes:
        raise SettingsError(f"{repository} has no file {file!r}; check its name")
    return [file]


def _licence(info: Any) -> str:
    card = info.card_data
    stated = card and (card.get("license_name") or card.get("license"))
    if isinstance(stated, list):
        return ", ".join(stated)
    tagged = [tag.removeprefix("license:") for tag in info.tags or [] if tag.startswith("license:")]
    return stated or next(iter(tagged), "")


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    inside = [Path(folder) / name for folder, _, names in os.walk(path) for name in names]
    return sum(file.stat().st_size for file in inside if file.is_file())

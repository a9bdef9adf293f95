"""Load the modules of a base model, from a diffusers folder or a single .safetensors file."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from workbench import store
from workbench.models import single_file
from workbench.models.base import NEEDS_VELOCITY, BaseSettings
from workbench.models.clip import END, clip_tokenizer
from workbench.models.fresh import fresh_unet
from workbench.models.memory import give_back
from workbench.models.source import REPOSITORY, Source, files_hash, weight_files
from workbench.process import DiscreteVP
from workbench.quiet import hush
from workbench.settings import SettingsError
from workbench.store import FileRefused

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTokenizer

# Names of the parts of each version, text encoders last.
PART_NAMES = {
    "sd1": ("unet", "vae", "text_encoder"),
    "sd2": ("unet", "vae", "text_encoder"),
    "sdxl": ("unet", "vae", "text_encoder", "text_encoder_2"),
}
# kohya's sd_model_hash covers the 64 KiB that start at 1 MiB.
_LEGACY_START, _LEGACY_LENGTH = 0x100000, 0x10000


@dataclass(frozen=True)
class Parts:
    """The modules of a base model, and the files that their weights came from.

    Attributes:
        process: the noise schedule that the config describes.
        version: "sd1", "sd2" or "sdxl".
        files: weight files by part; a part of fresh weights has none.
        single_file: the file of the original layout, or None for a folder.
        zero_empty_prompt: whether samplers replace a missing negative prompt by zeros (SDXL).
    """

    unet: "UNet2DConditionModel"
    vae: "AutoencoderKL"
    text_encoders: tuple[nn.Module, ...]
    tokenizers: "tuple[CLIPTokenizer, ...]"
    scheduler_config: Mapping[str, object]
    process: DiscreteVP
    version: str
    files: dict[str, tuple[Path, ...]]
    single_file: Path | None = None
    zero_empty_prompt: bool = True

    def part_hash(self, part: str) -> str:
        """Hash the files that hold a part's weights.

        Args:
            part: "unet", "vae", "text_encoder" or "text_encoder_2".
        Returns:
            SHA-256 of the file, or of its shards' hashes.
        """
        return files_hash(self.files[part])

    def hashes(self) -> dict[str, str]:
        """Hash all weights.

        Returns:
            "sha256" and "legacy" of a single file, and a SHA-256 of each part outside it.
        """
        found = {}
        if self.single_file:
            found = {
                "sha256": store.file_hash(self.single_file),
                "legacy": legacy_hash(self.single_file),
            }
        outside = [part for part, files in self.files.items() if files != (self.single_file,)]
        return found | {part: self.part_hash(part) for part in outside}


def legacy_hash(path: Path) -> str:
    """Compute the short hash by which older UIs know a checkpoint (ss_sd_model_hash).

    Args:
        path: a single file.
    Returns:
        First 8 hex digits of the SHA-256 of 64 KiB at offset 1 MiB.
    """
    with path.open("rb") as file:
        file.seek(_LEGACY_START)
        return _sha256(file.read(_LEGACY_LENGTH))[:8]


def load_parts(source: Source, settings: BaseSettings) -> Parts:
    """Load every module of a base model.

    Args:
        source: what `locate` found.
        settings: precision, autoencoder, prediction type, fresh weights.
    Returns:
        Modules as loaded: on the CPU, not yet frozen.
    Raises:
        SettingsError: the prediction type is not known.
        FileRefused: weights are missing or have other shapes than the config says.
    """
    scheduler_config = _scheduler_config(source, settings)
    tokenizers = load_tokenizers(source)
    vae, vae_files = _load_vae(source, settings)
    fresh = fresh_unet(source.config, settings) if settings.from_scratch else None
    load = _load_file if source.is_file else _load_folder
    unet, text_encoders = load(source, fresh, settings)
    give_back()
    names = PART_NAMES[source.version]
    files = {name: _files_of(source, name) for name in names} | {"vae": vae_files}
    if fresh is not None:
        del files["unet"]
    index = source.config / "model_index.json"
    described = store.read_json(index) if index.exists() else {}
    return Parts(
        unet=unet,
        vae=vae,
        text_encoders=text_encoders,
        tokenizers=tokenizers,
        scheduler_config=scheduler_config,
        process=_process(scheduler_config),
        version=source.version,
        files=files,
        single_file=source.path if source.is_file else None,
        zero_empty_prompt=described.get("force_zeros_for_empty_prompt", True),
    )


def _process(config: dict[str, Any]) -> DiscreteVP:
    from diffusers import DDPMScheduler

    scheduler: Any = DDPMScheduler.from_config(config)
    return DiscreteVP(scheduler.alphas_cumprod.float(), config["prediction_type"])


def _files_of(source: Source, part: str) -> tuple[Path, ...]:
    if source.is_file:
        return (source.path,)
    return tuple(weight_files(source.path, part)[1])


def require_prediction(source: Source, settings: BaseSettings) -> None:
    """Ask for what a U-Net predicts, where a file of SD 2.x carries no mark of it.

    Args:
        source: what was recognised.
        settings: `prediction`.
    Raises:
        SettingsError: nobody says it.
    """
    unsaid = settings.prediction is None and "prediction_type" not in source.scheduler
    if source.version == "sd2" and source.is_file and unsaid:
        raise SettingsError(
            f"{source.path}: a Stable Diffusion 2.x file does not say what its U-Net predicts; set "
            'base.prediction to "v_prediction" (768 px models) or "epsilon" (512 px base models)'
        )


def _scheduler_config(source: Source, settings: BaseSettings) -> dict[str, Any]:
    require_prediction(source, settings)
    config = store.read_json(source.config / "scheduler" / "scheduler_config.json")
    config |= {"clip_sample": config.get("clip_sample", False)} | dict(source.scheduler)
    if settings.prediction:
        config["prediction_type"] = settings.prediction
    config.setdefault("prediction_type", "epsilon")
    if config["prediction_type"] not in ("epsilon", "v_prediction"):
        raise SettingsError(
            f"{source.path}: the scheduler's prediction_type is {config['prediction_type']!r}; "
            'only "epsilon" and "v_prediction" can be trained: set base.prediction'
        )
    return _with_last_step(config, source, settings)


def _with_last_step(
    config: dict[str, Any], source: Source, settings: BaseSettings
) -> dict[str, Any]:
    """Rescale the schedule to a terminal SNR of zero, or not, as files and settings say.

    Source: Lin et al. 2023, arXiv 2305.08891; diffusers rescales from the same key. Schedules that
    leave out the last timestep when sampling would undo it.
    """
    rescaled = config.get("rescale_betas_zero_snr", False)
    if settings.zero_terminal_snr is not None:
        rescaled = settings.zero_terminal_snr
    if rescaled and config["prediction_type"] != "v_prediction":
        raise SettingsError(f"{source.path}: base.{NEEDS_VELOCITY}")
    spacing = {"timestep_spacing": "trailing"} if rescaled else {}
    return config | {"rescale_betas_zero_snr": rescaled} | spacing


def load_tokenizers(source: Source) -> "tuple[CLIPTokenizer, ...]":
    """Load what cuts captions into tokens; the OpenCLIP encoders pad with "!".

    Args:
        source: what `locate` found.
    Returns:
        One for each text encoder: those of the folder, or CLIP's own for a file.
    Raises:
        FileRefused: a folder without them.
    """
    from transformers import CLIPTokenizer

    names = ("tokenizer", "tokenizer_2")[: len(PART_NAMES[source.version]) - 2]
    if all((source.config / name).is_dir() for name in names):
        folders = [str(source.config / name) for name in names]
        return tuple(CLIPTokenizer.from_pretrained(f, local_files_only=True) for f in folders)
    if not source.is_file:
        raise FileRefused(
            f"{source.path}: {' and '.join(names)} must be there; copy the folder whole"
        )
    pads = {"sd1": (END,), "sd2": ("!",), "sdxl": (END, "!")}[source.version]
    return tuple(clip_tokenizer(pad=pad) for pad in pads)


def _load_vae(source: Source, settings: BaseSettings) -> tuple[Any, tuple[Path, ...]]:
    from diffusers import AutoencoderKL

    options = {"torch_dtype": getattr(torch, settings.vae_dtype), "local_files_only": True}
    path, folder = _vae_path(source, settings)
    if path is not None:
        loader: Any = AutoencoderKL  # its stubs do not know that weights may be given
        tensors = _vae_tensors(path, settings)
        with _explained(path, source.config):
            vae = loader.from_single_file(
                tensors, config=str(source.config), subfolder="vae", **options
            )
        return _complete(vae, path), (path,)
    files = weight_files(folder.parent, folder.name)[1]
    return from_folder(AutoencoderKL, folder, options), tuple(files)


def _vae_tensors(path: Path, settings: BaseSettings) -> dict[str, torch.Tensor]:
    """An autoencoder's weights, from a full model's file or one of its own."""
    prefix = single_file.SHARED_PREFIXES["vae"]
    tensors = single_file.read_part(path, prefix, dtype=settings.vae_dtype)
    return tensors or single_file.read_part(path, "", dtype=settings.vae_dtype)


def _vae_path(source: Source, settings: BaseSettings) -> tuple[Path | None, Path]:
    """The single file that holds the autoencoder, or else its folder."""
    if settings.vae is None:
        return (source.path, source.path) if source.is_file else (None, source.path / "vae")
    path = Path(settings.vae).expanduser()
    if path.is_file():
        store.read_header(path)
        return path, path
    if not path.exists() and REPOSITORY.fullmatch(settings.vae):
        from workbench.models.hub import fetch

        path = fetch(settings.vae, ("", "vae"))
    folder = path / "vae" if (path / "vae").is_dir() else path
    files = weight_files(folder.parent, folder.name)[1]
    for file in files:
        store.read_header(file)
    if not files:
        raise SettingsError(
            f"base.vae {settings.vae!r} must be a folder with config.json and "
            "diffusion_pytorch_model.safetensors, or a .safetensors file; nothing such is there"
        )
    return None, folder


def _load_folder(source: Source, fresh: Any, settings: BaseSettings) -> tuple[Any, tuple[Any, ...]]:
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    def part(kind: Any, name: str, key: str) -> Any:
        options = {key: getattr(torch, settings.dtype), "local_files_only": True}
        return from_folder(kind, source.path / name, options)

    unet = fresh or part(UNet2DConditionModel, "unet", "torch_dtype")
    kinds = (CLIPTextModel, CLIPTextModelWithProjection)
    names = PART_NAMES[source.version][2:]
    encoders = [part(kind, name, "dtype") for kind, name in zip(kinds, names, strict=False)]
    return unet, tuple(encoders)


def from_folder(kind: type, folder: Path, options: Mapping[str, object]) -> nn.Module:
    """Load a part of a diffusers folder, whole or not at all.

    Args:
        kind: class of the model.
        folder: of the part.
        options: of its `from_pretrained`.
    Returns:
        The model, on the CPU.
    Raises:
        FileRefused: weights are missing, or do not fit the structure.
    """
    loader: Any = kind
    variant, _ = weight_files(folder.parent, folder.name)
    with _explained(folder, folder):
        model, info = loader.from_pretrained(
            str(folder), use_safetensors=True, variant=variant, output_loading_info=True, **options
        )
    if missing := sorted(info["missing_keys"]):
        raise FileRefused(f"{folder}: {len(missing)} weights missing, the first is {missing[0]}")
    return model


def _load_file(source: Source, fresh: Any, settings: BaseSettings) -> tuple[Any, tuple[Any, ...]]:
    """Load U-Net and text encoders part by part, so that no weight is held twice."""
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    hush()  # the bars of its loaders
    prefixes = single_file.SHARED_PREFIXES | single_file.TEXT_PREFIXES[source.version]
    dtype = getattr(torch, settings.dtype)
    shared = {"config": str(source.config), "torch_dtype": dtype, "local_files_only": True}
    kinds = (CLIPTextModel, CLIPTextModelWithProjection)
    unet, encoders, loader = fresh, [], cast(Any, UNet2DConditionModel)  # see `_load_vae`
    with _explained(source.path, source.config):
        if fresh is None:
            tensors = single_file.read_part(source.path, prefixes["unet"], dtype=settings.dtype)
            channels = _taken(source, tensors)
            unet = loader.from_single_file(
                tensors, subfolder="unet", in_channels=channels, **shared
            )
        for kind, name in zip(kinds, PART_NAMES[source.version][2:], strict=False):
            tensors = single_file.read_part(source.path, prefixes[name], dtype=settings.dtype)
            encoders.append(
                create_diffusers_clip_model_from_ldm(kind, tensors, subfolder=name, **shared)
            )
    for module in (unet, *encoders):
        _complete(module, source.path)
    return unet, tuple(encoders)


def _taken(source: Source, tensors: Mapping[str, torch.Tensor]) -> int:
    """Channels that a file's U-Net takes: for inpainting other ones than the config says."""
    described = store.read_json(source.config / "unet" / "config.json").get("in_channels", 4)
    first = tensors.get(single_file.UNET_INPUT)
    return first.shape[1] if first is not None and first.ndim == 4 else described


@contextmanager
def _explained(path: Path, config: Path) -> Iterator[None]:
    """Say in one line which file does not fit which config, where libraries write a page."""
    try:
        yield
    except (ValueError, RuntimeError, KeyError, OSError) as error:
        if isinstance(error, FileRefused):
            raise
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        reason = reason.partition(". If you want to")[0]
        if "meta tensor" in reason:  # how diffusers meets weights that the file does not hold
            reason = "some weights are missing"
        raise FileRefused(
            f"{path}: the weights do not fit the structure in {config} ({reason.strip()[:300]}); "
            "base.config can name a diffusers folder that describes them"
        ) from error


def _complete(module: Any, path: Path) -> Any:
    """Refuse a module some of whose weights were not in the file: they stay without storage."""
    missing = [name for name, weight in module.named_parameters() if weight.is_meta]
    if missing:
        raise FileRefused(
            f"{path}: {type(module).__name__} lacks {len(missing)} weights, "
            f"the first is {missing[0]}; the file is not complete"
        )
    return module


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

"""Find a base model and say what it is, from headers and configs alone: no weight is read."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench import store
from workbench.models.base import BaseSettings
from workbench.settings import SettingsError
from workbench.store import FileRefused

CONFIGS = Path(__file__).parent / "configs"
CRITTERS = Path(__file__).parents[1] / "critters" / "base"
PARTS = {
    "sd": ("unet", "vae", "text_encoder"),
    "sdxl": ("unet", "vae", "text_encoder", "text_encoder_2"),
}
_NAMES = {"sd": "Stable Diffusion 1.x or 2.x", "sdxl": "Stable Diffusion XL"}
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")

# Keys that only one kind of single file has, and what it is; the first that matches counts.
_UNSUPPORTED = (
    ("joint_blocks.", "Stable Diffusion 3"),
    ("double_blocks.", "FLUX"),
    ("lora_unet_", "a LoRA, not a base model"),
    ("control_model.", "a ControlNet"),
    ("conditioner.embedders.0.model.", "the SDXL refiner"),
)
# Where the parts lie in a single file of each version; the text encoders tell versions apart.
_SHARED_PREFIXES = {"unet": "model.diffusion_model.", "vae": "first_stage_model."}
_TEXT_PREFIXES = {
    "sdxl": {
        "text_encoder": "conditioner.embedders.0.transformer.",
        "text_encoder_2": "conditioner.embedders.1.model.",
    },
    "sd2": {"text_encoder": "cond_stage_model.model."},
    "sd1": {"text_encoder": "cond_stage_model.transformer."},
}


@dataclass(frozen=True)
class Source:
    """A base model that was found and recognised.

    Attributes:
        path: diffusers folder or .safetensors file.
        config: diffusers folder that describes its structure; the path itself for a folder.
        version: "sd1", "sd2" or "sdxl".
        scheduler: what the weights file itself says of the noise schedule.
    """

    path: Path
    config: Path
    version: str
    scheduler: dict[str, Any] = field(default_factory=dict)

    @property
    def family(self) -> str:
        """The family that loads it: "sd" or "sdxl"."""
        return "sdxl" if self.version == "sdxl" else "sd"

    @property
    def is_file(self) -> bool:
        """Whether all weights lie in one .safetensors file of the original layout."""
        return self.path != self.config


def locate(settings: BaseSettings) -> Source:
    """Find the base model on disk or the Hub, and recognise its family.

    Args:
        settings: which model.
    Returns:
        Where it is and what it is.
    Raises:
        SettingsError: not found, or another family than `settings.family`.
        FileRefused: a pickle, damaged, or a part is missing.
    """
    path = _resolve(settings.path)
    if path.is_dir():
        source, evidence = _recognise_folder(path)
    else:
        source, evidence = _recognise_file(path, settings.config)
    if settings.family not in ("auto", source.family):
        raise SettingsError(
            f'base.family is "{settings.family}" ({_NAMES[settings.family]}), but {path} is '
            f"{_NAMES[source.family]}: {evidence}; set base.family to "
            f'"{source.family}" or "auto", or choose another base.path'
        )
    optional = {"vae"} if settings.vae else set()
    optional |= {"unet"} if settings.from_scratch else set()
    _require_parts(source, [p for p in PARTS[source.family] if p not in optional])
    return source


def weight_files(folder: Path, part: str) -> tuple[str | None, list[Path]]:
    """Find a part's weights in a diffusers folder, those of full precision first.

    Args:
        folder: diffusers folder.
        part: name of the subfolder.
    Returns:
        Variant (None or "fp16") and the .safetensors files, several if sharded, none if missing.
    """
    stem = "model" if part.startswith("text_encoder") else "diffusion_pytorch_model"
    found = sorted((folder / part).glob(f"{stem}*.safetensors"))
    half = [path for path in found if path.name.startswith(f"{stem}.fp16")]
    full = [path for path in found if path.name.startswith((f"{stem}.safe", f"{stem}-0"))]
    return (None, full) if full or not half else ("fp16", half)


def _resolve(name: str) -> Path:
    path = CRITTERS if name == "critters" else Path(name).expanduser()
    if path.is_dir():
        return path
    if path.suffix.lower() in store.PICKLE_EXTENSIONS or path.is_file():
        return path
    if REPOSITORY.fullmatch(name) and path.suffix != ".safetensors":
        from workbench.models.hub import fetch

        return fetch(name)
    raise SettingsError(
        f"base.path {name!r} does not exist; give a diffusers folder, a .safetensors file, "
        '"critters" or the name of a Hugging Face repository such as "owner/model"'
    )


def _recognise_folder(folder: Path) -> tuple[Source, str]:
    index = folder / "model_index.json"
    kind = store.read_json(index).get("_class_name", "?") if index.exists() else None
    said = f"model_index.json names {kind}" if kind else "there is no model_index.json"
    config_path = folder / "unet" / "config.json"
    if not config_path.exists():
        raise FileRefused(
            f"{folder}: no Stable Diffusion model in diffusers layout: unet/config.json is missing "
            f"and {said}; choose the folder that holds unet/, vae/ and text_encoder/"
        )
    config = store.read_json(config_path)
    if config.get("_class_name") not in ("UNet2DConditionModel", None):
        raise FileRefused(
            f"{folder}: unet/config.json describes {config['_class_name']}, and {said}; "
            "only Stable Diffusion 1.x, 2.x and XL can be trained"
        )
    if config.get("in_channels") != config.get("out_channels"):
        raise FileRefused(
            f"{folder}: the U-Net takes {config.get('in_channels')} channels and gives "
            f"{config.get('out_channels')}, so it is made for inpainting or depth; "
            "choose the text-to-image model that it was made from"
        )
    evidence = (
        f"unet/config.json has addition_embed_type {config.get('addition_embed_type')!r} and "
        f"cross_attention_dim {config.get('cross_attention_dim')}"
    )
    if config.get("addition_embed_type") == "text_time":
        if not (folder / "text_encoder" / "config.json").exists():
            raise FileRefused(f"{folder}: text_encoder/ is missing, as in the SDXL refiner")
        return Source(folder, folder, "sdxl"), evidence
    return Source(folder, folder, "sd2" if config.get("use_linear_projection") else "sd1"), evidence


def _recognise_file(path: Path, config: str | None) -> tuple[Source, str]:
    metadata, tensors = store.read_header(path)
    version, evidence = _file_version(path, set(tensors))
    folder = Path(config).expanduser() if config else CONFIGS / version
    if not (folder / "unet" / "config.json").exists():
        raise SettingsError(
            f"base.config {str(folder)!r} must be a diffusers folder: unet/config.json is missing"
        )
    expected = store.read_json(folder / "unet" / "config.json").get("in_channels")
    _, shape = tensors.get("model.diffusion_model.input_blocks.0.0.weight", ("", ()))
    if len(shape) == 4 and shape[1] != expected:
        raise FileRefused(
            f"{path}: the U-Net takes {shape[1]} channels in place of {expected}, so it is made "
            "for inpainting or depth; choose the text-to-image model that it was made from"
        )
    return Source(path, folder, version, _file_scheduler(metadata, set(tensors))), evidence


def _file_version(path: Path, names: set[str]) -> tuple[str, str]:
    for version, prefixes in _TEXT_PREFIXES.items():
        _, last = max(prefixes.items())  # of SDXL the second: the first alone is not enough
        if key := next((name for name in sorted(names) if name.startswith(last)), None):
            return version, f"it holds {key}"
    for mark, kind in _UNSUPPORTED:
        if key := next((name for name in sorted(names) if mark in name), None):
            raise FileRefused(
                f"{path}: this is {kind} (it holds {key}); "
                "only base models of Stable Diffusion 1.x, 2.x and XL can be trained"
            )
    raise FileRefused(
        f"{path}: no text encoder of Stable Diffusion 1.x, 2.x or XL among its {len(names)} "
        f"tensors, the first of which is {min(names, default='none')}; choose a full checkpoint"
    )


def _file_scheduler(metadata: dict[str, str], names: set[str]) -> dict[str, Any]:
    """What the file says of its noise schedule: marker tensors, or modelspec metadata."""
    said: dict[str, Any] = {}
    kind = metadata.get("modelspec.prediction_type", "")
    if "v_pred" in names or kind.startswith("v"):
        said["prediction_type"] = "v_prediction"
    elif kind.startswith("eps"):
        said["prediction_type"] = "epsilon"
    if "ztsnr" in names:
        said |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return said


def _require_parts(source: Source, parts: list[str]) -> None:
    if source.is_file:
        _, tensors = store.read_header(source.path)
        prefixes = _SHARED_PREFIXES | _TEXT_PREFIXES[source.version]
        missing = [p for p in parts if not any(name.startswith(prefixes[p]) for name in tensors)]
    else:
        missing = [part for part in parts if not _sound_weights(source.path, part)]
    if missing:
        hint = "; base.vae can name another autoencoder" if missing == ["vae"] else ""
        raise FileRefused(
            f"{source.path}: {', '.join(missing)} missing; a full "
            f"{_NAMES[source.family]} model is needed{hint}"
        )


def _sound_weights(folder: Path, part: str) -> bool:
    _, files = weight_files(folder, part)
    for path in files:
        store.read_header(path)
    if not files:
        for path in (folder / part).glob("*.bin"):
            store.read_header(path)  # refuses it as the pickle that it is
    return bool(files)

"""Recognise a base around a `UNet2DConditionModel`: its version, channels, parts, what it says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench import store
from workbench.models.base import BaseSettings
from workbench.models.clip import ClipTokens, clip_tokenizer
from workbench.models.parts import PART_NAMES, load_tokenizers, require_prediction
from workbench.models.single_file import SHARED_PREFIXES, TEXT_PREFIXES, published_names
from workbench.models.source import CONFIGS, Described, Peek, Source, missing_weights
from workbench.models.unet_strangers import is_wider, require_plain
from workbench.models.unet_structure import require_structure
from workbench.settings import SettingsError
from workbench.store import FileRefused

_NATIVE_PX = {"sd1": 512, "sd2": 512, "sdxl": 1024}  # where the config does not say it
_TITLES = {
    "sd1": "Stable Diffusion 1.x",
    "sd2": "Stable Diffusion 2.x",
    "sdxl": "Stable Diffusion XL",
}


def recognise(
    seen: Peek, settings: BaseSettings, *, family: str, title: str, versions: tuple[str, ...]
) -> Source | None:
    """Say whether a base is a U-Net's family, and which version of it.

    Args:
        seen: headers and configs.
        settings: `config`, `vae` and `from_scratch` say what may be missing.
        family: name of the family that asks.
        title: its name for people.
        versions: of "sd1", "sd2", "sdxl": those that are its own.
    Returns:
        What was found; None where it is another version's, or no such model at all.
    Raises:
        FileRefused: it is one, but a part is missing or its channels fit nothing known.
    """
    if seen.is_file:
        named = {new: seen.tensors[old] for new, old in published_names(seen.tensors).items()}
        seen = replace(seen, tensors=named)
    found = _of_file(seen) if seen.is_file else _of_folder(seen)
    if found is None or found[0] not in versions:
        return None
    version, evidence = found
    config = _structure(seen, settings, version)
    scheduler = _file_scheduler(seen) if seen.is_file else {}
    source = Source(seen.path, config, family, version, _TITLES[version], evidence, scheduler)
    require_plain(seen, source)
    if is_wider(seen, source):
        source = replace(source, title=f"{source.title} for inpainting", inpaints=True)
    names = PART_NAMES[version]
    optional = ({"vae"} if settings.vae else set()) | ({"unet"} if settings.from_scratch else set())
    _require_parts(seen, source, tuple(n for n in names if n not in optional), title=title)
    if seen.is_file and not settings.from_scratch:
        require_structure(seen, source)
    return source


def _of_folder(seen: Peek) -> tuple[str, str] | None:
    config = seen.config("unet")
    if config is None or config.get("_class_name") not in ("UNet2DConditionModel", None):
        return None
    evidence = (
        f"unet/config.json has addition_embed_type {config.get('addition_embed_type')!r} and "
        f"cross_attention_dim {config.get('cross_attention_dim')}"
    )
    if config.get("addition_embed_type") == "text_time":
        if seen.config("text_encoder") is None:
            raise FileRefused(f"{seen.path}: text_encoder/ is missing, as in the SDXL refiner")
        return "sdxl", evidence
    return ("sd2" if config.get("use_linear_projection") else "sd1"), evidence


def _of_file(seen: Peek) -> tuple[str, str] | None:
    for version, prefixes in TEXT_PREFIXES.items():
        last = list(prefixes.values())[-1]  # of SDXL the second: the first alone is not enough
        if key := next((name for name in sorted(seen.tensors) if name.startswith(last)), None):
            return version, f"it holds {key}"
    return None


def _structure(seen: Peek, settings: BaseSettings, version: str) -> Path:
    """The diffusers folder that describes a base: itself, the one that is named, or the shipped."""
    if not seen.is_file:
        return seen.path
    folder = Path(settings.config).expanduser() if settings.config else CONFIGS / version
    if not (folder / "unet" / "config.json").exists():
        raise SettingsError(
            f"base.config {str(folder)!r} must be a diffusers folder: unet/config.json is missing"
        )
    return folder


def tokens(source: Source | None, max_tokens: int) -> ClipTokens:
    """See `FamilyModule`.

    Args:
        source: what `recognise` found; without it the tokenizer is the one that all share.
        max_tokens: of a caption.
    Returns:
        What cuts captions into tokens.
    """
    return ClipTokens(
        clip_tokenizer() if source is None else load_tokenizers(source)[0], max_tokens
    )


def describe(source: Source, settings: BaseSettings) -> Described:
    """Say what a base's configs tell of it; see `FamilyModule`.

    Args:
        source: what `recognise` found.
        settings: prediction and zero terminal SNR, where they are chosen.
    Returns:
        Resolution, prediction.
    Raises:
        SettingsError: a file does not say what its U-Net predicts.
    """
    require_prediction(source, settings)
    config = store.read_json(source.config / "unet" / "config.json")
    schedule = store.read_json(source.config / "scheduler" / "scheduler_config.json")
    own = source.scheduler if source.is_file else schedule
    schedule |= source.scheduler
    size, latent_px = config.get("sample_size"), _latent_px(source)
    side = max(size) if isinstance(size, list) else size
    zero = settings.zero_terminal_snr
    return Described(
        side * latent_px if isinstance(side, int) else _NATIVE_PX[source.version],
        settings.prediction or schedule.get("prediction_type", "epsilon"),
        latent_px,
        latent_px,
        bool(schedule.get("rescale_betas_zero_snr")) if zero is None else zero,
        own.get("prediction_type"),
    )


def _latent_px(source: Source) -> int:
    """Pixels to a latent: the autoencoder halves each side between its blocks."""
    path = source.config / "vae" / "config.json"
    blocks = store.read_json(path).get("block_out_channels", ()) if path.exists() else ()
    return 2 ** (len(blocks or (0,) * 4) - 1)


def _file_scheduler(seen: Peek) -> dict[str, Any]:
    """What the file says of its noise schedule: marker tensors, or modelspec metadata."""
    said: dict[str, Any] = {}
    kind = seen.metadata.get("modelspec.prediction_type", "")
    if "v_pred" in seen.tensors or kind.startswith("v"):
        said["prediction_type"] = "v_prediction"
    elif kind.startswith("eps"):
        said["prediction_type"] = "epsilon"
    if "ztsnr" in seen.tensors:
        said |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return said


def _require_parts(seen: Peek, source: Source, parts: tuple[str, ...], *, title: str) -> None:
    if source.is_file:
        prefixes = SHARED_PREFIXES | TEXT_PREFIXES[source.version]
        names = seen.tensors
        missing = [p for p in parts if not any(name.startswith(prefixes[p]) for name in names)]
    else:
        missing = missing_weights(source.path, parts)
    if missing:
        hint = "; base.vae can name another autoencoder" if missing == ["vae"] else ""
        raise FileRefused(
            f"{source.path}: {', '.join(missing)} missing; a full {title} model is needed{hint}"
        )

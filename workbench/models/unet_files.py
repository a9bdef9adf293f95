"""Recognise a base around a `UNet2DConditionModel`: its version, channels, parts, what it says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench import store
from workbench.models.base import BaseSettings
from workbench.models.clip import ClipTokens, clip_tokenizer
from workbench.models.parts import PART_NAMES, load_tokenizers, require_prediction
from workbench.models.source import CONFIGS, Described, Peek, Source, missing_weights
from workbench.settings import SettingsError
from workbench.store import FileRefused

_NATIVE_PX = {"sd1": 512, "sd2": 512, "sdxl": 1024}  # where the config does not say it
_TITLES = {
    "sd1": "Stable Diffusion 1.x",
    "sd2": "Stable Diffusion 2.x",
    "sdxl": "Stable Diffusion XL",
}
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
_INPUT = "model.diffusion_model.input_blocks.0.0.weight"


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
    found = _of_file(seen) if seen.is_file else _of_folder(seen)
    if found is None or found[0] not in versions:
        return None
    version, evidence = found
    config = _structure(seen, settings, version)
    scheduler = _file_scheduler(seen) if seen.is_file else {}
    source = Source(seen.path, config, family, version, _TITLES[version], evidence, scheduler)
    _require_known_schedule(seen, source)
    if _is_wider(seen, source):
        source = replace(source, title=f"{source.title} for inpainting")
    names = PART_NAMES[version]
    optional = ({"vae"} if settings.vae else set()) | ({"unet"} if settings.from_scratch else set())
    _require_parts(seen, source, tuple(n for n in names if n not in optional), title=title)
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
    for version, prefixes in _TEXT_PREFIXES.items():
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
    )


def _latent_px(source: Source) -> int:
    """Pixels to a latent: the autoencoder halves each side between its blocks."""
    path = source.config / "vae" / "config.json"
    blocks = store.read_json(path).get("block_out_channels", ()) if path.exists() else ()
    return 2 ** (len(blocks or (0,) * 4) - 1)


def in_channels(seen: Peek, source: Source) -> tuple[int, int]:
    """Channels that a U-Net takes and gives.

    Args:
        seen: the base.
        source: where its structure is described.
    Returns:
        Of its first and of its last layer: (4, 4), or (9, 4) for inpainting.
    """
    config = store.read_json(source.config / "unet" / "config.json")
    taken, given = config.get("in_channels", 4), config.get("out_channels", 4)
    _, shape = seen.tensors.get(_INPUT, ("", ()))
    return (shape[1] if len(shape) == 4 else taken), given


def _require_known_schedule(seen: Peek, source: Source) -> None:
    """Refuse EDM's continuous schedule, which epsilon or v on 1000 steps would unteach."""
    marks = (("CosXL", "edm_vpred.sigma_max"), ("Playground 2.5", "edm_mean"))
    kind, by = next(((kind, f"it holds {m}") for kind, m in marks if m in seen.tensors), ("", ""))
    path = source.config / "scheduler" / "scheduler_config.json"
    if not seen.is_file and path.exists():
        name = str(store.read_json(path).get("_class_name", ""))
        if name.startswith("EDM"):
            kind, by = (
                "a model of EDM's schedule, as CosXL and Playground 2.5 are",
                f"{name} it says",
            )
    if kind:
        raise FileRefused(
            f"{source.path}: this is {kind} ({by}): its noise levels are continuous sigmas, and "
            "training it as SDXL would unteach it; choose SDXL base or a model made from that"
        )


def _is_wider(seen: Peek, source: Source) -> bool:
    """Whether the U-Net takes a mask and a masked picture too; other channels are refused."""
    taken, given = in_channels(seen, source)
    if taken not in (given, 2 * given + 1):
        raise FileRefused(
            f"{source.path}: the U-Net takes {taken} channels and gives {given}; only text to "
            f"picture ({given}) and inpainting ({2 * given + 1}: latents, mask, masked picture) "
            "can be trained, not models for depth or instructions; choose the text-to-image "
            "model that it was made from"
        )
    return taken > given


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
        prefixes = _SHARED_PREFIXES | _TEXT_PREFIXES[source.version]
        names = seen.tensors
        missing = [p for p in parts if not any(name.startswith(prefixes[p]) for name in names)]
    else:
        missing = missing_weights(source.path, parts)
    if missing:
        hint = "; base.vae can name another autoencoder" if missing == ["vae"] else ""
        raise FileRefused(
            f"{source.path}: {', '.join(missing)} missing; a full {title} model is needed{hint}"
        )

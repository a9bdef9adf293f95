"""Models around a U-Net that look like Stable Diffusion and cannot be trained as it: by name."""

from collections.abc import Mapping
from typing import Any

from workbench import store
from workbench.models.single_file import UNET_INPUT
from workbench.models.source import Peek, Source
from workbench.store import FileRefused

# Tensors of a single file that holds more, or otherwise, than text to picture needs.
_TENSORS: tuple[tuple[str, str, str], ...] = (
    (".time_stack.", "a video model, as Stable Video Diffusion is", "frames are not trained here"),
    (".temporal_transformer.", "a video model", "frames are not trained here"),
    ("motion_modules.", "an AnimateDiff merge", "frames are not trained here"),
    ("noise_augmentor.", "SD 2.1 unCLIP", "it draws from a picture's embedding beside the text"),
    ("cc_projection.", "Zero123", "it draws from a picture and a camera in place of text"),
    ("scaled_fp8", "a scaled fp8 file", "its weights mean nothing without the scales beside them"),
    (".scale_weight", "a scaled fp8 file", "its weights mean nothing without the scales"),
    (".weight_scale", "a quantised file", "its weights mean nothing without the scales"),
    (".comfy_quant", "a file quantised by ComfyUI", "its weights mean nothing without the scales"),
    (".absmax", "a bitsandbytes file in 4 or 8 bits", "its weights are packed"),
    (".quant_state.", "a bitsandbytes file in 4 bits", "its weights are packed"),
    (".qweight", "a GPTQ or AWQ file", "its weights are packed"),
)
# Channels that a U-Net takes beside four of latents, and what such a model is for.
_CHANNELS = {
    5: "a depth model: a depth map lies beside the latents",
    7: "the x4 upscaler: the small picture lies beside the latents",
    8: "a model that edits by instruction, as InstructPix2Pix and CosXL Edit: the picture to edit "
    "lies beside the latents",
}
# Values in unet/config.json that another way of conditioning leaves behind.
_CONFIGS: tuple[tuple[str, str, str], ...] = (
    ("encoder_hid_dim_type", "text_proj", "Kolors, whose text encoder is ChatGLM"),
    ("encoder_hid_dim_type", "text_image_proj", "Kandinsky 2.1"),
    ("encoder_hid_dim_type", "image_proj", "Kandinsky 2.2"),
    ("encoder_hid_dim_type", "ip_image_proj", "a model with an IP-Adapter merged in"),
    ("addition_embed_type", "text", "DeepFloyd IF"),
    ("addition_embed_type", "image", "Kandinsky 2.2"),
    ("addition_embed_type", "image_hint", "Kandinsky 2.2 for control"),
    ("addition_embed_type", "text_image", "Kandinsky 2.1"),
    ("class_embed_type", "projection", "SD 2.1 unCLIP"),
    ("class_embed_type", "simple_projection", "a model told a class beside the text"),
    ("class_embed_type", "timestep", "the x2 latent upscaler or a model of its kind"),
    ("class_embed_type", "identity", "a model told a class beside the text"),
)
_FULL = "choose the text-to-image model that it was made from"


def require_plain(seen: Peek, source: Source) -> None:
    """Refuse what is built like Stable Diffusion and is something else.

    Args:
        seen: the base, a single file under the published names.
        source: what it was taken for.
    Raises:
        FileRefused: it is named, and why it cannot be trained.
    """
    _require_plain_tensors(seen)
    _require_known_schedule(seen, source)
    if not seen.is_file:
        _require_plain_config(seen)
        _require_clip(seen)


def _require_plain_tensors(seen: Peek) -> None:
    """Refuse files of other kinds by their tensors, and those in packed or scaled integers."""
    for mark, kind, why in _TENSORS:
        if found := seen.first(mark):
            raise FileRefused(
                f"{seen.path}: this is {kind} (it holds {found}): {why}; choose a plain file in "
                "float32, float16, bfloat16 or unscaled fp8"
                if "weights" in why
                else f"{seen.path}: this is {kind} (it holds {found}): {why}; {_FULL}"
            )
    packed = next((n for n, (kind, _) in seen.tensors.items() if _is_packed(n, kind)), None)
    if packed:
        kind = seen.tensors[packed][0]
        raise FileRefused(
            f"{seen.path}: this is a quantised file ({packed} is {kind}); choose a plain file in "
            "float32, float16, bfloat16 or unscaled fp8"
        )


def _is_packed(name: str, kind: str) -> bool:
    return name.endswith(".weight") and kind in ("I8", "U8", "I32", "U32")


def _require_plain_config(seen: Peek) -> None:
    """Refuse folders whose U-Net is told more than text and size, or is quantised."""
    config = seen.config("unet") or {}
    for key, value, kind in _CONFIGS:
        if config.get(key) == value:
            raise FileRefused(
                f"{seen.path}: this is {kind} (unet/config.json has {key} {value!r}); {_FULL}"
            )
    if isinstance(config.get("num_class_embeds"), int):
        raise FileRefused(
            f"{seen.path}: this is a model told a class or a noise level beside the text, as the "
            f"x4 upscaler is (unet/config.json has num_class_embeds {config['num_class_embeds']}); "
            f"{_FULL}"
        )
    for part in ("unet", "text_encoder", "text_encoder_2"):
        if (seen.config(part) or {}).get("quantization_config"):
            raise FileRefused(
                f"{seen.path}: {part} is quantised ({part}/config.json has a quantization_config); "
                "choose the folder in float32, float16 or bfloat16"
            )


def _require_clip(seen: Peek) -> None:
    """Refuse folders whose text encoder is no CLIP, or gives another width than the U-Net reads."""
    widths = 0
    for part in ("text_encoder", "text_encoder_2"):
        config = seen.config(part)
        if config is None:
            continue
        names = [*(config.get("architectures") or ()), config.get("model_type", "")]
        if not any("clip" in str(name).lower() for name in names if name):
            said = next((name for name in names if name), "nothing")
            raise FileRefused(
                f"{seen.path}: {part} must be a CLIP text model, {part}/config.json names {said}; "
                f"{_FULL}"
            )
        widths += int(config.get("hidden_size", 0))
    wanted = (seen.config("unet") or {}).get("cross_attention_dim")
    if widths and isinstance(wanted, int) and widths != wanted:
        raise FileRefused(
            f"{seen.path}: this is a mixture of two models: its U-Net reads text of width {wanted} "
            f"(unet/config.json), its text encoder gives {widths}; copy one model's folder whole"
        )


def _require_known_schedule(seen: Peek, source: Source) -> None:
    """Refuse EDM's continuous schedule, which epsilon or v on 1000 steps would unteach."""
    cosxl = "CosXL Edit" if _first_channels(seen) == 8 else "CosXL"
    marks = ((cosxl, "edm_vpred.sigma_max"), ("Playground 2.5", "edm_mean"))
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


def in_channels(seen: Peek, config: Mapping[str, Any]) -> tuple[int, int]:
    """Channels that a U-Net takes and gives.

    Args:
        seen: the base.
        config: of its U-Net.
    Returns:
        Of its first and of its last layer: (4, 4), or (9, 4) for inpainting.
    """
    taken, given = config.get("in_channels", 4), config.get("out_channels", 4)
    return _first_channels(seen) or taken, given


def _first_channels(seen: Peek) -> int | None:
    _, shape = seen.tensors.get(UNET_INPUT, ("", ()))
    return shape[1] if len(shape) == 4 else None


def is_wider(seen: Peek, source: Source) -> bool:
    """Whether the U-Net takes a mask and a masked picture too; other channels are refused.

    Args:
        seen: the base.
        source: where its structure is described.
    Returns:
        True for inpainting.
    Raises:
        FileRefused: other channels, named by what they are for.
    """
    config = store.read_json(source.config / "unet" / "config.json")
    taken, given = in_channels(seen, config)
    if taken in (given, 2 * given + 1):
        return taken > given
    known = f"this is {_CHANNELS[taken]}; " if given == 4 and taken in _CHANNELS else ""
    raise FileRefused(
        f"{source.path}: {known}the U-Net takes {taken} channels and gives {given}; only text to "
        f"picture ({given}) and inpainting ({2 * given + 1}: latents, mask, masked picture) can be "
        f"trained; {_FULL}"
    )

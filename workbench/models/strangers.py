"""What a base is that no family recognised: named as what it is, with the way on."""

from collections.abc import Sequence

from workbench.layouts.adapters import adapter_of, made_for
from workbench.layouts.models import EMBEDDING, model_of
from workbench.models import wrong_folders
from workbench.models.source import Peek
from workbench.store import FileRefused

# Beginnings of class names in model_index.json or config.json.
_CLASSES: tuple[tuple[str, str], ...] = (
    ("StableCascade", "Stable Cascade"),
    ("Wuerstchen", "Würstchen"),
    ("StableDiffusion3", "Stable Diffusion 3"),
    ("SD3", "Stable Diffusion 3"),
    ("Flux2", "FLUX.2"),
    ("Flux", "FLUX"),
    ("Chroma", "Chroma"),
    ("QwenImage", "Qwen-Image"),
    ("Krea2", "Krea 2"),
    ("Wan", "Wan"),
    ("PixArt", "PixArt"),
    ("Sana", "Sana"),
    ("Lumina", "Lumina"),
    ("Hunyuan", "Hunyuan"),
    ("Kolors", "Kolors"),
    ("AuraFlow", "AuraFlow"),
    ("Kandinsky", "Kandinsky"),
    ("CogView", "CogView"),
    ("CogVideo", "CogVideoX"),
    ("LTX", "LTX-Video"),
    ("HiDream", "HiDream"),
    ("Mochi", "Mochi"),
    ("OmniGen", "OmniGen"),
    ("Latte", "Latte"),
    ("Allegro", "Allegro"),
    ("Cosmos", "Cosmos"),
    ("StableVideo", "Stable Video Diffusion"),
    ("UNetSpatioTemporal", "Stable Video Diffusion"),
    ("UNet3D", "a video U-Net"),
    ("UNetMotion", "an AnimateDiff merge"),
    ("IFPipeline", "DeepFloyd IF"),
    ("StableAudio", "Stable Audio"),
    ("OnnxStableDiffusion", "an ONNX export, made for inference"),
    ("ControlNet", "a ControlNet"),
    ("StableDiffusionControlNet", "a ControlNet"),
    ("Autoencoder", "a bare autoencoder (base.vae takes it)"),
    ("AsymmetricAutoencoder", "a bare autoencoder (base.vae takes it)"),
    ("CLIPText", "a text encoder without a denoiser"),
    ("CLIPModel", "a CLIP model"),
    ("T5", "a T5 text encoder"),
    ("UNet2DConditionModel", "a U-Net without text encoder and autoencoder"),
)
_FOLDERS = (
    ("adapter_config.json", "a LoRA in PEFT's layout, not a base model"),
    ("pytorch_lora_weights.safetensors", "a LoRA, not a base model"),
    ("learned_embeds.safetensors", "an embedding (textual inversion), not a base model"),
)
_DENOISERS = ("unet", "transformer", "prior")
_OTHER_PARTS = ("vae", "text_encoder", "tokenizer", "scheduler")


def refusal(seen: Peek, titles: Sequence[str]) -> FileRefused:
    """Say what a base is that cannot be trained.

    Args:
        seen: its headers and configs.
        titles: the families that can be, for people.
    Returns:
        An error that names the file, what it is, by what it was known, and what to choose.
    """
    can = f"only base models of {', '.join(titles[:-1])} and {titles[-1]} can be trained"
    if seen.is_file:
        return _of_file(seen, can)
    return _of_folder(seen, can)


def _of_file(seen: Peek, can: str) -> FileRefused:
    if known := adapter_of(seen.tensors):
        made = made_for(dict.fromkeys(seen.tensors))
        for_it = f", made for {made.what}" if made else ""
        return FileRefused(
            f"{seen.path}: this is {known.what}, not a base model{for_it} (it holds {known.by}); "
            f"{can}; adapter.start_from goes on from a LoRA"
        )
    if known := model_of(seen.tensors):
        no_base = ", not a base model" if known.what == EMBEDDING else ""
        return FileRefused(
            f"{seen.path}: this is {known.what}{no_base} (it holds {known.by}); {can}"
        )
    return FileRefused(
        f"{seen.path}: none of its {len(seen.tensors)} tensors, the first of which is "
        f"{min(seen.tensors, default='none')}, tells what model it is; {can}: choose a full "
        "checkpoint or a diffusers folder"
    )


def _of_folder(seen: Peek, can: str) -> FileRefused:
    for name, kind in _FOLDERS:
        if (seen.path / name).exists():
            return FileRefused(f"{seen.path}: this is {kind} (it holds {name}); {can}")
    for part in ("", *_DENOISERS):
        where = f"{part}/config.json" if part else "config.json"
        config = seen.config(part) or {}
        named = [(str(config.get("_class_name", "")), where)]
        named += [(str(one), where) for one in config.get("architectures") or ()]
        named += [(seen.pipeline, "model_index.json")] if seen.pipeline and not part else []
        for name, by in named:
            kind = next((kind for start, kind in _CLASSES if name.startswith(start)), None)
            if kind is not None:
                return FileRefused(f"{seen.path}: this is {kind} ({by} names {name}); {can}")
    said = wrong_folders.why(seen.path) or _incomplete(seen)
    return FileRefused(f"{seen.path}: {said}; {can}")


def _incomplete(seen: Peek) -> str:
    """What a folder lacks that could be a model."""
    said = f"model_index.json names {seen.pipeline}" if seen.pipeline else "no model_index.json"
    there = [name for name in _OTHER_PARTS if (seen.path / name).is_dir()]
    if config := next((p for p in _DENOISERS if seen.config(p) is not None), None):
        name = (seen.config(config) or {}).get("_class_name", "no class")
        return f"{config}/config.json names {name}, which no family knows, and {said}"
    if there:
        return (
            f"the denoiser is missing: there is {', '.join(there)}, {said}, but neither "
            "unet/config.json nor transformer/config.json; copy the folder whole"
        )
    return (
        f"no model in diffusers layout: unet/config.json and transformer/config.json are missing, "
        f"and there is {said}; choose the folder that holds unet/ or transformer/, vae/ and "
        "text_encoder/"
    )

"""Folders that hold a LoRA: those that PEFT and diffusers save."""

from pathlib import Path

from workbench.store import FileRefused, read_json, shown

_PEFT = "adapter_model.safetensors"
_NAMES = (_PEFT, "pytorch_lora_weights.safetensors")
_PARTS = ("unet", "transformer", "prior", "text_encoder", "text_encoder_2")
_PICKLES = ("adapter_model.bin", "pytorch_lora_weights.bin")
_SECOND = "CLIPTextModelWithProjection"


def is_adapter_folder(path: str | Path) -> bool:
    """Whether a folder is one that PEFT or diffusers saved a LoRA into.

    Args:
        path: of anything.
    Returns:
        False for run folders, full fine-tunes and files.
    """
    folder = Path(path)
    names = (*_NAMES, *_PICKLES, "adapter_config.json")
    inside = (folder, *(folder / part for part in _PARTS))
    return folder.is_dir() and any((one / name).is_file() for one in inside for name in names)


def weights_files(folder: Path) -> list[Path]:
    """The files of a folder that hold a LoRA.

    Args:
        folder: of PEFT or diffusers; or one with such a folder for each part.
    Returns:
        At least one file.
    Raises:
        FileRefused: there is none, or only pickles.
    """
    for name in _NAMES:
        if (folder / name).is_file():
            return [folder / name]
    found = [folder / part / _PEFT for part in _PARTS if (folder / part / _PEFT).is_file()]
    if found:
        return found
    inside = (folder, *(folder / part for part in _PARTS))
    for pickle in (one / name for one in inside for name in _PICKLES):
        if pickle.is_file():
            raise FileRefused(
                f"{shown(pickle)}: .bin files are pickles, which run code when opened; save the "
                "LoRA again with safe_serialization=True where you trust it"
            )
    raise FileRefused(
        f"{shown(folder)}: a folder without a LoRA; {' or '.join(_NAMES)} must lie in it: name the "
        ".safetensors file itself"
    )


def encoder_of(file: Path) -> str | None:
    """Which text encoder a PEFT folder is for, as far as folder and configuration tell.

    Args:
        file: the weights.
    Returns:
        "text_encoder", "text_encoder_2" or None.
    """
    if file.name != _PEFT:
        return None
    if file.parent.name in _PARTS and file.parent.name.startswith("text_encoder"):
        return file.parent.name
    config = file.with_name("adapter_config.json")
    mapping = (read_json(config).get("auto_mapping") if config.is_file() else None) or {}
    # Only SDXL has that class, as its second encoder.
    return "text_encoder_2" if mapping.get("base_model_class") == _SECOND else None

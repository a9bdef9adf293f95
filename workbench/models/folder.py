"""A whole model as a folder in the Hub's diffusers layout, for readers older than our libraries."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from workbench import store

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

__all__ = [
    "save_beside_copies",
    "save_clip_tokenizer",
    "save_module",
    "save_pipeline",
]

_SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")


def save_pipeline(pipeline: "DiffusionPipeline", folder: Path) -> None:
    """Write a pipeline of CLIP's text encoders so that every reader finds what it looks for.

    Args:
        pipeline: all its parts are in memory.
        folder: absent, or empty.
    """
    with store.whole_folder(folder) as staged:
        for name, part in pipeline.components.items():
            if isinstance(part, nn.Module):
                save_module(part, staged, name)
            elif name.startswith("tokenizer"):
                save_clip_tokenizer(part, staged / name)
            elif part is not None:
                part.save_config(staged / name)
        pipeline.save_config(staged)


def save_module(module: nn.Module, folder: Path, part: str) -> None:
    """Write one part: one file of weights, however large, and its config.

    diffusers would split what exceeds 10 GB, as SDXL does in float32; ComfyUI reads one file.

    Args:
        module: of diffusers or transformers.
        folder: of the model.
        part: name of the subfolder.
    """
    weights = store.weights_path(folder, part)
    store.stream_tensors(weights, store.hub_tensors(module), {"format": "pt"})
    if (config := store.hub_config(module)) is not None:
        store.write_text(weights.with_name("config.json"), config)


def save_beside_copies(module: nn.Module, folder: Path, part: str, *, source: Path) -> None:
    """Write the part that learned, and copy the others from the base as they are.

    So they keep the names and configs that readers know: transformers 5 writes a language model's
    config in words that transformers 4 passes over.

    Args:
        module: what may have learned.
        folder: absent, or empty.
        part: name of its subfolder.
        source: the base's folder.
    """
    with store.whole_folder(folder) as staged:
        save_module(module, staged, part)
        for other in sorted(source.iterdir()):
            if other.is_dir() and not other.name.startswith(".") and other.name != part:
                shutil.copytree(other, staged / other.name)
        if (index := source / "model_index.json").is_file():
            shutil.copyfile(index, staged / index.name)


def save_clip_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write CLIP's tokenizer as transformers 4 and 5 read it.

    transformers 5 writes tokenizer.json alone, beside a config with words of its own.

    Args:
        tokenizer: `CLIPTokenizer`.
        folder: made.
    """
    folder.mkdir(parents=True)
    backend = tokenizer.backend_tokenizer
    backend.save(str(folder / "tokenizer.json"))
    backend.model.save(str(folder))  # vocab.json and merges.txt
    special = {name: getattr(tokenizer, name) for name in _SPECIAL_TOKENS}
    store.write_json(folder / "special_tokens_map.json", special)
    config = special | {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": tokenizer.model_max_length,
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
    }
    store.write_json(folder / "tokenizer_config.json", config)

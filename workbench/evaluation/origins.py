"""What a LoRA was made of: its base with hash and licence, and where its pictures came from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from workbench import store
from workbench.store import FileRefused

if TYPE_CHECKING:
    from workbench.recipe import Recipe

NOT_STATED = "not stated in its files"


def origins(recipe: "Recipe", hashes: Mapping[str, str], *, num_images: int = 0) -> dict[str, str]:
    """Say what went into a LoRA.

    Args:
        recipe: of the run.
        hashes: SHA-256 of the base's file ("sha256"), or of each of its parts.
        num_images: pictures trained on and held out; 0 where that is not known.
    Returns:
        Short names to values: "Base", "Base licence", "Base SHA-256" and "Pictures".
    """
    from workbench.models.licence import licence_of

    known = {name: value for name, value in hashes.items() if name != "legacy"}
    told = "\n".join(v if k == "sha256" else f"{k} {v}" for k, v in known.items())
    places = ", ".join(subset.path for subset in recipe.data.subsets)
    return {
        "Base": recipe.base.path,
        "Base licence": licence_of(recipe.base.path) or NOT_STATED,
        "Base SHA-256": told or "not recorded",
        "Pictures": f"{num_images:,} from {places}" if num_images else places,
    }


def run_hashes(folder: Path) -> dict[str, str]:
    """Read from a run's newest checkpoint which base it began with.

    Args:
        folder: the run folder.
    Returns:
        Part to SHA-256; empty where no checkpoint says it.
    """
    for state in sorted(folder.glob("checkpoints/step-*/state.json"), reverse=True):
        try:
            cursor = store.read_json(state)["cursor"]
        except (FileRefused, OSError, KeyError, json.JSONDecodeError):
            continue  # damaged, or just being replaced: the one before says the same
        from workbench.records.bundle import unflatten

        return dict(unflatten({}, cursor)["base"])
    return {}


def file_hashes(path: Path) -> dict[str, str]:
    """Read from a LoRA file which base it was trained on.

    Args:
        path: a .safetensors file.
    Returns:
        "sha256" of a base that is one file; empty where the LoRA does not say it.
    """
    found = "" if path.is_dir() else store.read_header(path)[0].get("ss_new_sd_model_hash", "")
    return {"sha256": found} if found else {}

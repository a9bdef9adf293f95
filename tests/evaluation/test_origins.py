"""Page one says what a LoRA was made of."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from workbench.evaluation.origins import file_hashes, origins, run_hashes
from workbench.recipe import Recipe
from workbench.records import checkpoint
from workbench.records.bundle import Bundle
from workbench.settings import override


def test_base_licence_hash_and_pictures() -> None:
    recipe = override(Recipe.preset("critters"), ['data.subsets=[{path="/x/photos"}]'])
    told = origins(recipe, {"sha256": "ab" * 32, "legacy": "12345678"}, num_images=12)
    assert told == {
        "Base": "critters",
        "Base licence": "Apache-2.0",
        "Base SHA-256": "ab" * 32,
        "Pictures": "12 from /x/photos",
    }
    parts = origins(recipe, {"unet": "aa", "vae": "bb"})
    assert parts["Base SHA-256"] == "unet aa\nvae bb" and parts["Pictures"] == "/x/photos"
    unknown = origins(override(recipe, ['base.path="nowhere"']), {})
    assert unknown["Base licence"] == "not stated in its files"
    assert unknown["Base SHA-256"] == "not recorded"


def test_a_run_says_its_bases_hash_in_the_newest_sound_checkpoint(tmp_path: Path) -> None:
    assert run_hashes(tmp_path) == {}
    for step in (1, 2):
        bundle = Bundle.pack({"cursor": {"base": {"unet": f"hash {step}"}}})
        checkpoint.save(tmp_path, step, bundle, recipe_hash="0")
    assert run_hashes(tmp_path) == {"unet": "hash 2"}
    (tmp_path / "checkpoints" / "step-000002" / "state.json").write_text("{", encoding="utf-8")
    assert run_hashes(tmp_path) == {"unet": "hash 1"}


def test_a_file_says_it_in_its_header(tmp_path: Path) -> None:
    path = tmp_path / "mochi.safetensors"
    save_file({"a": np.zeros(1)}, path, {"ss_new_sd_model_hash": "ab" * 32})
    assert file_hashes(path) == {"sha256": "ab" * 32}
    save_file({"a": np.zeros(1)}, path)
    assert file_hashes(path) == {}

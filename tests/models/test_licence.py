"""The licence of a base is what its own files say."""

import tomllib
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from safetensors.numpy import save_file

from workbench.models.licence import licence_of

CARD = "---\nlicense: other\nlicense_name: fair-ai-public-1.0\n---\n# A base\n"


def test_critters_have_the_packages_own(tmp_path: Path) -> None:
    project = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text("utf-8"))
    assert licence_of("critters") == project["project"]["license"] == "Apache-2.0"


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"README.md": CARD}, "fair-ai-public-1.0"),
        ({"README.md": "---\nlicense: mit\n---\n", "LICENSE": "Other"}, "mit"),
        ({"README.md": "# no header", "LICENSE.md": "\n MIT  License\n\nCopyright"}, "MIT License"),
        ({"README.md": "---\nlicense: [a: {\n---\n"}, ""),
        ({}, ""),
    ],
)
def test_a_folder_says_it_in_its_card_or_licence(
    files: dict[str, str], licence: str, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert licence_of(str(tmp_path)) == licence


def test_a_file_says_it_in_its_header(tmp_path: Path) -> None:
    path = tmp_path / "base.safetensors"
    save_file({"a": np.zeros(1)}, path, {"modelspec.license": "CreativeML Open RAIL-M"})
    assert licence_of(str(path)) == "CreativeML Open RAIL-M"
    save_file({"a": np.zeros(1)}, path)
    assert licence_of(str(path)) == "" == licence_of(str(tmp_path / "gone.safetensors"))


def test_a_repository_says_it_in_the_card_that_was_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = tmp_path / "README.md"
    card.write_text(CARD, encoding="utf-8")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(card))
    assert licence_of("owner/model") == "fair-ai-public-1.0"
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    assert licence_of("owner/model") == ""

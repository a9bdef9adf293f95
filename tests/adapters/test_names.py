"""Names of what learns and of what files hold, in their order, against a list written down once.

Files are read by other programs, and checkpoints by later versions: neither may see a new name.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from workbench import seeds
from workbench.adapters import Full, LoHa, LoKr, LoRA
from workbench.models.base import BaseSettings
from workbench.models.loading import load

GOLDEN = json.loads(Path(__file__).with_name("names_golden.json").read_text())
GROUPS = ("attention", "feedforward", "projection", "conv", "time")
NETWORK = {"rank": 2, "groups": GROUPS, "text_encoder": True}
METHODS = {
    "lora": LoRA(**NETWORK),
    "dora": LoRA(dora=True, **NETWORK),
    "loha": LoHa(**NETWORK),
    "lokr": LoKr(factor=4, **NETWORK),
    "full": Full(text_encoder=True),
}
CASES = [(method, base) for method, bases in GOLDEN.items() for base in bases]


def stored(path: Path) -> list[str]:
    """Tensors of a file, or of the files in a folder, in the order in which they lie there."""
    if path.is_dir():
        files = sorted(path.rglob("*.safetensors"))
        return [f"{file.parent.name} {name}" for file in files for name in stored(file)]
    with safe_open(path, "pt") as file:
        return list(file.offset_keys())


def test_every_method_is_listed():
    assert list(GOLDEN) == list(METHODS)
    assert list(GOLDEN["lora"]) == ["tiny_sd", "tiny_sd2", "tiny_sdxl"]


@pytest.mark.parametrize(("method", "base"), CASES)
def test_names_and_their_order_stay(method, base, tmp_path, request):
    family = load(BaseSettings(path=str(request.getfixturevalue(base))))
    adapter = METHODS[method].attach(
        family.parts,
        family.targets,
        generator=seeds.generator(0, "adapter"),
        name_of=family.file_name,
    )
    saved = adapter.save(
        tmp_path / "names.safetensors",
        name_of=family.file_name,
        dtype=torch.float16,
        metadata={},
    )
    assert list(adapter.trainables) == GOLDEN[method][base]["trainables"]
    assert stored(saved) == GOLDEN[method][base]["file"]

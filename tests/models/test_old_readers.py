"""Folders that we write, read by transformers 4.56 in a throw-away environment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from original_names import hub_clip
from safetensors.torch import load_file, save_file
from tiny_models import build_sd, build_sdxl
from transformers import CLIPTextConfig, CLIPTextModel

from workbench import cli, seeds, store
from workbench.adapters import LoRA
from workbench.models.base import BaseSettings
from workbench.models.clip import clip_tokenizer
from workbench.models.loading import load
from workbench.models.source import CONFIGS

pytestmark = pytest.mark.slow

CAPTIONS = ["A red cat, 42 dogs & café", "mochi on a hill" * 9]
READER = """
import json, sys
import torch, transformers
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection
from transformers import CLIPTokenizer, CLIPTokenizerFast

found = {"version": transformers.__version__, "parts": {}}
tensors = {}
for folder, part in json.loads(sys.argv[2]):
    kind = CLIPTextModelWithProjection if part.endswith("2") else CLIPTextModel
    model, info = kind.from_pretrained(f"{folder}/{part}", output_loading_info=True)
    place = f"{folder}/{part}".replace("text_encoder", "tokenizer")
    ids = {}
    for name, cut in (("slow", CLIPTokenizer), ("fast", CLIPTokenizerFast)):
        tokens = cut.from_pretrained(place)(
            json.loads(sys.argv[3]), padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids
        ids[name] = tokens.tolist()
    with torch.no_grad():
        tensors[f"{folder}/{part}"] = model.eval()(tokens)[0].contiguous()
    info = {key: sorted(map(str, value)) for key, value in info.items()}
    found["parts"][f"{folder}/{part}"] = {**info, "ids": ids, "dtype": str(model.dtype)}
save_file(tensors, sys.argv[1] + "/outputs.safetensors")
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """transformers 4.56 with what it needs of its own; torch and the rest are those installed."""
    folder = tmp_path_factory.mktemp("transformers-4")
    wanted = ("transformers==4.56.*", "huggingface_hub<1.0", "tokenizers<0.23")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    done = subprocess.run([*command, str(folder), *wanted], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"transformers 4.56 cannot be had here: {done.stderr.strip()[-300:]}")
    return folder


def base_with_clip(folder: Path) -> Path:
    """A small SD 1.x with the text encoder of the true size: 123 million weights, 196 tensors."""
    build_sd(folder)
    torch.manual_seed(0)
    config = UNet2DConditionModel.load_config(folder / "unet")
    unet = UNet2DConditionModel.from_config({**config, "cross_attention_dim": 768})
    unet.save_pretrained(folder / "unet")
    described = store.read_json(CONFIGS / "sd1" / "text_encoder" / "config.json")
    CLIPTextModel(CLIPTextConfig(**described)).save_pretrained(folder / "text_encoder")
    weights = folder / "text_encoder" / "model.safetensors"
    bare = {name.removeprefix("text_model."): t for name, t in load_file(weights).items()}
    save_file(bare, weights, metadata={"format": "pt"})  # as transformers 5 saves its own
    clip_tokenizer().save_pretrained(folder / "tokenizer")
    return folder


def merged(base: Path, out: Path) -> Path:
    """A LoRA of all parts added to its base by the command."""
    family = load(BaseSettings(path=str(base)))
    adapter = LoRA(rank=2, text_encoder=True).attach(
        family.parts, family.targets, generator=seeds.generator(0, "adapter")
    )
    for k, weight in enumerate(adapter.trainables.values()):
        weight.data.add_(torch.randn(weight.shape, generator=seeds.generator(1, "test", k)) / 50)
    path = adapter.save(
        out.with_name(f"{out.name}-lora.safetensors"),
        name_of=family.file_name,
        dtype=torch.float32,
        metadata={},
    )
    with pytest.raises(SystemExit) as left:
        cli.main(("merge", str(path), str(out), "--base", str(base)))
    assert not left.value.code
    return out


def test_a_merged_model_is_read_whole_by_transformers_4(old: Path, tmp_path: Path) -> None:
    sd = merged(base_with_clip(tmp_path / "base"), tmp_path / "sd")
    xl = merged(build_sdxl(tmp_path / "base-xl"), tmp_path / "xl")
    names = store.read_header(sd / "text_encoder" / "model.safetensors")[1]
    assert set(names) == hub_clip(12)
    asked = [(sd, "text_encoder"), (xl, "text_encoder"), (xl, "text_encoder_2")]
    encoders = [(str(folder), part) for folder, part in asked]
    done = subprocess.run(
        [sys.executable, "-c", READER, str(tmp_path), json.dumps(encoders), json.dumps(CAPTIONS)],
        env=os.environ | {"PYTHONPATH": str(old), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["version"].startswith("4.56.")
    outputs = load_file(tmp_path / "outputs.safetensors")
    families = {folder: load(BaseSettings(path=str(folder))) for folder in (sd, xl)}
    for folder, part in asked:
        said, family = found["parts"][f"{folder}/{part}"], families[folder]
        assert said["missing_keys"] == said["unexpected_keys"] == said["mismatched_keys"] == []
        assert said["dtype"] == "torch.float32"
        second = part.endswith("2")
        tokens = family.tokenizers[second](
            CAPTIONS, padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids
        assert said["ids"]["slow"] == said["ids"]["fast"] == tokens.tolist()
        with torch.no_grad():
            ours = family.text_encoders[second](tokens)[0]
        torch.testing.assert_close(outputs[f"{folder}/{part}"], ours, rtol=1e-4, atol=1e-4)

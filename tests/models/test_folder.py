"""Folders in the Hub's layout: literal names, and what readers of several ages look for."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from original_names import hub_clip, hub_unet
from tiny_zimage import build_zimage
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from workbench import store
from workbench.models.base import BaseSettings
from workbench.models.folder import save_module
from workbench.models.loading import load
from workbench.models.structures import structure

TOKENIZER = {
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
}


def small_encoder() -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=9,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    return CLIPTextModel(config)


def names(version: str, part: str) -> set[str]:
    return set(store.hub_tensors(structure(version).parts[part]))


def test_text_encoders_have_the_names_of_the_hub() -> None:
    """Counts of the Hub's files: SD 1.5, SD 2.1, and both of SDXL."""
    assert names("sd1", "text_encoder") == hub_clip(12) and len(hub_clip(12)) == 196
    assert names("sd2", "text_encoder") == hub_clip(23) and len(hub_clip(23)) == 372
    assert names("sdxl", "text_encoder") == hub_clip(12)
    second = hub_clip(32) | {"text_projection.weight"}
    assert names("sdxl", "text_encoder_2") == second and len(second) == 517


def test_unets_have_the_names_of_the_hub() -> None:
    assert names("sd1", "unet") == names("sd2", "unet") == hub_unet()
    assert len(hub_unet()) == 686


def test_a_model_without_that_level_keeps_its_names() -> None:
    assert set(store.hub_tensors(torch.nn.Linear(2, 2))) == {"weight", "bias"}
    assert store.hub_config(torch.nn.Linear(2, 2)) is None


@pytest.mark.parametrize("name", ["tiny_sd", "tiny_sd2", "tiny_sdxl"])
def test_a_saved_folder_is_whole(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    base = request.getfixturevalue(name)
    family = load(BaseSettings(path=str(base)))
    out = tmp_path / "merged"
    family.save(out)
    assert [p.name for p in tmp_path.iterdir()] == ["merged"]
    xl = name == "tiny_sdxl"
    encoders = ["text_encoder", "text_encoder_2"] if xl else ["text_encoder"]
    for part in encoders:
        config = json.loads((out / part / "config.json").read_text())
        assert config["torch_dtype"] == config["dtype"] == "float32"  # of transformers 4 and 5
        assert config["architectures"] == [
            "CLIPTextModelWithProjection" if part.endswith("2") else "CLIPTextModel"
        ]
        weights = out / part / "model.safetensors"
        assert store.read_header(weights)[0] == {"format": "pt"}  # transformers asks for it
        assert set(store.read_header(weights)[1]) == hub_clip(3) | (
            {"text_projection.weight"} if part.endswith("2") else set()
        )
        tokenizer = part.replace("text_encoder", "tokenizer")
        assert {p.name for p in (out / tokenizer).iterdir()} == TOKENIZER
        special = json.loads((out / tokenizer / "special_tokens_map.json").read_text())
        pads_with_bang = part.endswith("2") or name == "tiny_sd2"
        assert special["pad_token"] == ("!" if pads_with_bang else special["eos_token"])
    for path in out.rglob("*.json"):
        assert str(base) not in path.read_text(), f"{path.name} tells where the base was"
    kind = StableDiffusionXLPipeline if xl else StableDiffusionPipeline
    theirs = kind.from_pretrained(str(out), local_files_only=True)
    for part, module in {**family.parts, "vae": family.vae}.items():
        state = getattr(theirs, part).state_dict()
        assert all(torch.equal(t, state[n]) for n, t in module.state_dict().items())
    assert theirs.scheduler.config.prediction_type == family.process.prediction
    assert theirs.tokenizer("a red cat").input_ids == family.tokenizers[0]("a red cat").input_ids


def test_the_vocabulary_is_that_of_clip(tmp_path: Path, tiny_sd: Path) -> None:
    """vocab.json and merges.txt alone, as readers of before tokenizer.json take them."""
    from workbench.models.clip import clip_tokenizer
    from workbench.models.folder import save_clip_tokenizer

    ours = clip_tokenizer(pad="!")
    save_clip_tokenizer(ours, tmp_path / "tokenizer")
    vocabulary = json.loads((tmp_path / "tokenizer" / "vocab.json").read_text())
    assert len(vocabulary) == 49408
    # Numbers of CLIP's published vocabulary.
    assert vocabulary["<|startoftext|>"] == 49406 and vocabulary["<|endoftext|>"] == 49407
    assert vocabulary["!"] == 0 and vocabulary["cat</w>"] == 2368 and vocabulary["the</w>"] == 518
    merges = (tmp_path / "tokenizer" / "merges.txt").read_text().splitlines()
    assert merges[0].startswith("#version") and merges[1] == "i n" and len(merges) == 48895
    (tmp_path / "tokenizer" / "tokenizer.json").unlink()
    again = CLIPTokenizer.from_pretrained(str(tmp_path / "tokenizer"), local_files_only=True)
    text = "A red cat, 42 dogs & café"
    assert again(text).input_ids == ours(text).input_ids
    assert again.pad_token == "!" and again.model_max_length == 77


def test_weights_without_the_level_and_positions_of_old_files_are_read() -> None:
    model = small_encoder()
    own = dict(model.state_dict())
    hub = {name: lazy.make() for name, lazy in store.hub_tensors(model).items()}
    old = hub | {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    for state in (own, hub, old):
        found = store.own_names(state, own.keys())
        assert found.keys() == own.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in own.items())
    assert "strange" in store.own_names({**hub, "strange": torch.ones(1)}, own.keys())


def test_a_part_is_one_file_in_its_own_type(tmp_path: Path) -> None:
    model = small_encoder()
    save_module(model.bfloat16(), tmp_path, "text_encoder")
    config = json.loads((tmp_path / "text_encoder" / "config.json").read_text())
    assert config["torch_dtype"] == "bfloat16"
    tensors = store.load_tensors(tmp_path / "text_encoder" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"), store.whole_folder(tmp_path / "x") as staged:
        (staged / "part").mkdir()
        raise OSError("disk full")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    with pytest.raises(OSError), store.whole_folder(tmp_path / "taken") as staged:
        (staged / "part").mkdir()
    assert [p.name for p in (tmp_path / "taken").iterdir()] == ["mine.txt"]


def test_what_never_learns_is_copied_as_it_is(tmp_path: Path) -> None:
    """Z-Image's language model keeps its files, whichever transformers wrote them."""
    base = build_zimage(tmp_path / "base")
    config = base / "text_encoder" / "config.json"
    older = json.loads(config.read_text()) | {"rope_theta": 12345.0}
    config.write_text(json.dumps(older))
    family = load(BaseSettings(path=str(base)))
    with torch.no_grad():
        next(family.transformer.parameters()).add_(1)
    family.save(tmp_path / "out")
    for path in base.rglob("*"):
        if path.is_file() and "transformer" not in path.parts[-2]:
            assert path.read_bytes() == (tmp_path / "out" / path.relative_to(base)).read_bytes()
    again = load(BaseSettings(path=str(tmp_path / "out")))
    state = family.transformer.state_dict()
    assert all(torch.equal(t, state[n]) for n, t in again.transformer.state_dict().items())
    assert family.single_file is None

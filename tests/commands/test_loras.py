"""`inspect` and `convert` on files of every method."""

from pathlib import Path

import pytest
import torch
from tiny_trained import train

from workbench import cli, store
from workbench.adapters import LoHa, LoRA, read
from workbench.adapters.networks import NetworkSettings


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    return int(left.value.code or 0)


def saved(base: Path, folder: Path, settings: NetworkSettings) -> Path:
    return train(base, folder, settings=settings, dtype=torch.float32).path


def test_inspect_names_the_methods(tiny_sd: Path, tmp_path: Path, capsys) -> None:
    wide = {"groups": ("attention", "conv"), "text_encoder": True}
    assert run("inspect", str(saved(tiny_sd, tmp_path, LoRA(rank=4, dora=True, **wide)))) == 0
    shown = capsys.readouterr().out
    assert {"DoRA", "te"} <= set(shown.split())
    assert run("inspect", str(saved(tiny_sd, tmp_path, LoHa(rank=3, **wide)))) == 0
    assert "LoHa" in capsys.readouterr().out


def test_convert_to_a_plain_lora_says_what_it_misses(tiny_sd, tmp_path: Path, capsys) -> None:
    path = saved(tiny_sd, tmp_path, LoHa(rank=3, text_encoder=True))
    out = tmp_path / "plain.safetensors"
    options = ("convert", str(path), str(out), "--to", "kohya", "--rank", "2")
    assert run(*options) == 2
    assert "--base" in capsys.readouterr().err and not out.exists()
    assert run(*options, "--base", str(tiny_sd)) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "a plain LoRA of rank 2 misses" in said and "% at most" in said
    assert {(x.kind, x.rank) for x in read(out).layers.values()} == {("lora", 2)}


def test_convert_to_peft_says_what_comfyui_reads(tiny_sd: Path, tmp_path: Path, capsys) -> None:
    """Attention under diffusers' names is passed over; alpha in metadata is not seen."""
    wide = LoRA(rank=4, alpha=2.0, groups=("attention", "feedforward"), text_encoder=True)
    path, out = saved(tiny_sd, tmp_path, wide), tmp_path / "peft.safetensors"
    assert run("convert", str(path), str(out), "--to", "peft") == 0
    said = " ".join(capsys.readouterr().out.split())
    layers = read(out).layers
    left = [n for n in layers if "attn1.to_" not in n and "attn2.to_" not in n]
    assert 0 < len(left) < len(layers)
    assert f"ComfyUI reads {len(left)} of these {len(layers)} layers" in said
    assert f"{len(left)} of them at another strength" in said and "--to kohya" in said
    back = tmp_path / "kohya.safetensors"
    assert run("convert", str(out), str(back), "--to", "kohya") == 0
    assert "ComfyUI" not in capsys.readouterr().out


def test_convert_falls_back_on_the_base_that_a_file_names(tiny_sdxl: Path, tmp_path: Path) -> None:
    """The tiny SDXL is no structure that ships, but the file says where its base lies."""
    from tiny_recipes import tiny_recipe

    path = saved(tiny_sdxl, tmp_path, LoRA(rank=2))
    recipe = tiny_recipe(tiny_sdxl, tmp_path, tmp_path)
    known = {"workbench.recipe": recipe.to_toml(comments=False)}
    store.save_tensors(path, store.load_tensors(path), known)
    assert run("convert", str(path), str(tmp_path / "peft.safetensors"), "--to", "peft") == 0
    assert all(name.startswith("unet.") for name in read(tmp_path / "peft.safetensors").layers)


def test_merge_writes_a_folder_or_one_file(
    tiny_sd: Path, tiny_sd_file: Path, tmp_path: Path, capsys
) -> None:
    """Both hold the same weights; the file has the names of the base's own single file."""
    path = saved(tiny_sd, tmp_path, LoRA(rank=4, text_encoder=True))
    folder, file = tmp_path / "merged", tmp_path / "merged.safetensors"
    for out in (folder, file):
        assert run("merge", str(path), str(out), "--base", str(tiny_sd)) == 0
    written, base = store.load_tensors(file), store.load_tensors(tiny_sd_file)
    assert written.keys() == base.keys()
    unet = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
    text = "cond_stage_model.transformer.text_model.encoder.layers.0.self_attn.q_proj.weight"
    for name, tensor in written.items():
        learned = "attn1.to" in name or "attn2.to" in name or "self_attn" in name
        if not learned:
            assert torch.equal(tensor, base[name]), name
    assert not torch.equal(written[unet], base[unet])
    assert not torch.equal(written[text], base[text])
    parts = {
        part: store.load_tensors(store.weights_path(folder, part))
        for part in ("unet", "text_encoder")
    }
    own = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    assert torch.equal(written[unet], parts["unet"][own])
    own = text.removeprefix("cond_stage_model.transformer.")
    assert torch.equal(written[text], parts["text_encoder"][own])
    metadata = store.read_header(file)[0]
    assert metadata["modelspec.title"] == "merged"
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1"
    assert run("merge", str(path), str(file), "--base", str(tiny_sd)) == 2
    assert "exists" in capsys.readouterr().err


def test_a_base_without_single_file_is_merged_into_a_folder(tmp_path: Path, capsys) -> None:
    from tiny_zimage import build_zimage

    base = build_zimage(tmp_path / "base")
    path = saved(base, tmp_path, LoRA(rank=2))
    out = tmp_path / "merged.safetensors"
    assert run("merge", str(path), str(out), "--base", str(base)) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "name a folder" in said and not out.exists()
    assert run("merge", str(path), str(tmp_path / "merged"), "--base", str(base)) == 0
    assert (tmp_path / "merged" / "transformer" / "config.json").exists()

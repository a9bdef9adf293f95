"""`inspect` and `convert` on files of every method."""

from pathlib import Path

import pytest
import torch
from tiny_trained import train

from workbench import cli
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

"""Paths that are no base: each is answered by what it is, and where the base may lie."""

import json
import shutil
import time
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from workbench import cli
from workbench.models.base import BaseSettings
from workbench.models.loading import load, locate
from workbench.models.source import weight_files
from workbench.settings import SettingsError
from workbench.store import FileRefused

STEM = "diffusion_pytorch_model"


def refused(path: Path | str, pattern: str, error: type[Exception] = FileRefused) -> str:
    started = time.process_time()
    with pytest.raises(error, match=pattern) as caught:
        locate(BaseSettings(path=str(path)))
    assert time.process_time() - started < 0.5, "headers and names alone are read"
    assert len(str(caught.value)) < 700
    return str(caught.value)


@pytest.fixture
def base(tiny_sd: Path, tmp_path: Path) -> Path:
    """A folder of one's own to break."""
    return shutil.copytree(tiny_sd, tmp_path / "models" / "base")


def test_a_folder_too_high_names_the_model_in_it(base: Path) -> None:
    for folder in (base.parent, base.parent.parent):
        assert f'set base.path to "{base}"' in refused(folder, "the model lies further in")
    shutil.copytree(base, base.with_name("other"))
    assert f"such as {base}, {base.with_name('other')}" in refused(base.parent, "2 models lie in")


def test_a_folder_too_low_names_the_model_above(base: Path) -> None:
    for part in ("vae", "text_encoder"):
        (base / part / "config.json").write_text('{"_class_name": "Odd"}')
        said = refused(base / part, f"this is the part {part}/ of a model")
        assert f'set base.path to "{base}"' in said


def test_the_hubs_cache_names_repository_and_snapshot(base: Path, tmp_path: Path) -> None:
    cache = tmp_path / "hub" / "models--some--sdxl--anime"
    snapshot = shutil.copytree(base, cache / "snapshots" / "0123abcd")
    for folder in (cache, cache / "snapshots"):
        said = refused(folder, "this is the Hub's cache of some/sdxl/anime")
        assert f'or to "{snapshot}"' in said
    assert locate(BaseSettings(path=str(snapshot))).version == "sd1"


@pytest.mark.parametrize("index", [True, False])
def test_a_missing_shard_is_named(base: Path, index: bool) -> None:
    unet = base / "unet"
    whole = unet / f"{STEM}.safetensors"
    tensors = load_file(whole)
    whole.unlink()
    names = sorted(tensors)
    shards = {f"{STEM}-0000{k + 1}-of-00002.safetensors": names[k::2] for k in range(2)}
    for file, keys in shards.items():
        save_file({key: tensors[key] for key in keys}, unet / file, metadata={"format": "pt"})
    listed = {key: file for file, keys in shards.items() for key in keys}
    listing = unet / f"{STEM}.safetensors.index.json"
    listing.write_text(json.dumps({"metadata": {}, "weight_map": listed}))
    expected = tensors["conv_in.weight"]
    assert load(BaseSettings(path=str(base))).unet.state_dict()["conv_in.weight"].equal(expected)
    listing.rename(unet / "away.json")
    refused(base, r"the index that says which holds what, .* is not there")
    if index:
        (unet / "away.json").rename(listing)
    (unet / list(shards)[1]).unlink()
    refused(
        base,
        rf"names 2 files, of which {list(shards)[1]} is not there" if index else "1 of 2 shards",
    )
    (unet / next(iter(shards))).unlink()
    refused(base, r"names 2 files, of which .* and 1 more" if index else "unet missing")


def test_links_to_nowhere_are_named(base: Path, tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / "0123"
    weights = base / "unet" / f"{STEM}.safetensors"
    weights.unlink()
    weights.symlink_to(blob)
    refused(base, rf"{STEM}\.safetensors: is a link to .*0123, which is not there")
    config = base / "unet" / "config.json"
    config.unlink()
    config.symlink_to(blob)
    (base / "model_index.json").unlink()
    refused(base, r"2 of its files are links to what is not there, the first is unet/config\.json")
    alone = tmp_path / "alone.safetensors"
    alone.symlink_to(blob)
    refused(alone, r"alone\.safetensors: is a link to")


FORMATS = {
    "model.onnx": "ONNX graphs",
    "openvino_model.xml": "OpenVINO's graphs",
    "unet.engine": "TensorRT engines",
    "unet.plan": "TensorRT engines",
    "diffusion_flax_model.msgpack": "weights of Flax",
    "tf_model.h5": "weights of TensorFlow",
    "unet-q4.gguf": "GGUF files",
}


@pytest.mark.parametrize("name", FORMATS)
def test_other_formats_are_named(name: str, base: Path, tmp_path: Path) -> None:
    (base / "unet" / f"{STEM}.safetensors").rename(base / "unet" / name)
    refused(base, rf"unet: it holds {FORMATS[name]}.*\({name}\)")
    alone = tmp_path / "alone"
    (alone / "unet").mkdir(parents=True)
    (alone / "unet" / name).write_bytes(b"x")
    refused(alone, rf"it holds {FORMATS[name]}")
    (tmp_path / name).write_bytes(b"x")
    refused(tmp_path / name, FORMATS[name])


def test_a_folder_of_pickles_of_files_and_of_pictures(base: Path, tmp_path: Path) -> None:
    pickles = tmp_path / "pickles"
    (pickles / "unet").mkdir(parents=True)
    (pickles / "unet" / f"{STEM}.bin").write_bytes(b"\x80\x02")
    refused(pickles, rf"its weights are pickles \({STEM}\.bin\)")
    files = tmp_path / "checkpoints"
    files.mkdir()
    for name in ("a", "b"):
        shutil.copy(base / "vae" / f"{STEM}.safetensors", files / f"{name}.safetensors")
    assert str(files / "a.safetensors") in refused(files, "the folder holds single files")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (8, 8)).save(pictures / "a.png")
    refused(pictures, "the folder holds 1 pictures and no weights; pictures belong in data")
    run = tmp_path / "run"
    run.mkdir()
    for name in ("recipe.toml", "events.jsonl"):
        (run / name).touch()
    refused(run, "this is the folder of a run")


def test_what_was_meant_is_said(base: Path) -> None:
    file = base.with_name("animagine.safetensors")
    file.touch()
    refused(base.with_name("animagine"), f"did you mean {file}", SettingsError)
    refused(base.with_name("bsae"), f"did you mean {base}", SettingsError)
    refused(f'"{base}"', f"leave out the quotation marks and blanks around {base}", SettingsError)
    page = "https://huggingface.co/some/model/tree/main"
    refused(page, 'it is a web page, whose repository is "some/model"', SettingsError)
    refused("https://civitai.com/models/1", "nothing is fetched from those", SettingsError)


def test_a_config_that_is_no_table_is_named(base: Path) -> None:
    (base / "unet" / "config.json").write_text("[]")
    refused(base, r"unet.config\.json: must be a JSON object, it is a list")


def test_weights_of_another_variant_are_read(base: Path) -> None:
    weights = base / "unet" / f"{STEM}.safetensors"
    weights.rename(base / "unet" / f"{STEM}.bf16.safetensors")
    variant, files = weight_files(base, "unet")
    assert (variant, [path.name for path in files]) == ("bf16", [f"{STEM}.bf16.safetensors"])
    load(BaseSettings(path=str(base)))


@pytest.mark.parametrize("command", ["check", "new"])
def test_the_commands_end_with_2_and_no_traceback(
    command: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.toml"
    asked = ["new", "x", "--base", str(base.parent), "--data", "critters:mochi", "--out", str(out)]
    if command == "check":
        asked = ["check", "critters", f"base.path={base.parent}"]
    with pytest.raises(SystemExit) as caught:
        cli.main(asked)
    shown = capsys.readouterr()
    said = " ".join((shown.out + shown.err).split())
    assert caught.value.code == 2 and "Traceback" not in said
    assert "the model lies further in" in said

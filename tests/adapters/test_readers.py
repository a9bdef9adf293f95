"""What other programs make of our files: their formulas written again, and their own code."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.loaders.lora_conversion_utils import (
    _convert_non_diffusers_z_image_lora_to_diffusers as zimage_layers,
)
from safetensors.torch import load_file
from small_models import TARGETS, answer, learn, name_of, parts
from tiny_zimage import build_zimage

from workbench.adapters import Full, LoHa, LoKr, LoRA, convert, read, write
from workbench.adapters.files import resolve
from workbench.adapters.layers import LowRank, shown_elsewhere
from workbench.adapters.merge import merge
from workbench.adapters.readers import (
    FEATURES,
    READERS,
    TABLE,
    features_in,
    features_of,
    markdown,
    outside_blocks,
)
from workbench.models.base import BaseSettings
from workbench.models.loading import load
from workbench.store import read_header

DOCS = Path(__file__).parents[2] / "docs" / "adapters.md"
COMMAND = "python -c 'from workbench.adapters.readers import markdown; print(markdown(), end=\"\")'"
GROUPS = ("attention", "conv", "time")


def saved(path: Path, settings, family=None) -> Path:
    """A file of an adapter that has learned something."""
    models = parts() if family is None else family.parts
    targets, names = (TARGETS, name_of) if family is None else (family.targets, family.file_name)
    adapter = settings.attach(models, targets, generator=torch.Generator().manual_seed(0))
    learn(adapter.trainables, 0.05)
    write(path, adapter, name_of=names, dtype=torch.float32, metadata={})
    adapter.detach()
    return path


# --- DoRA, by the formulas of each program


def length(weight: np.ndarray, kept: int) -> np.ndarray:
    """Euclidean lengths along all axes but one."""
    axes = tuple(axis for axis in range(weight.ndim) if axis != kept)
    return np.sqrt((weight**2).sum(axis=axes, keepdims=True))


def in_comfyui(weight: np.ndarray, product: np.ndarray, scale: np.ndarray) -> np.ndarray:
    if scale.shape[0] == weight.shape[0]:
        divisor = length(weight, 0)
    else:
        divisor = length(weight + product, 1)
    return (weight + product) * (scale / divisor)


def in_a1111(weight: np.ndarray, product: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return (weight + product) * (scale / length(weight + product, 1))


def without_lengths(weight: np.ndarray, product: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return weight + product


def meant(weight: np.ndarray, product: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return (weight + product) * (scale / length(weight + product, 0))


FORMULAS = {
    "comfyui": in_comfyui,
    "a1111": in_a1111,
    "diffusers": without_lengths,
    "sd-scripts": without_lengths,
}


def dora(shape: tuple[int, ...], share: float, *, moved: float = 0.01):
    """W, and a DoRA whose low-rank change is that share of it; lengths moved by a hundredth."""
    draw = torch.Generator().manual_seed(3)
    weight = torch.randn(shape, generator=draw) * 0.05
    up = torch.randn(shape[0], 8, generator=draw)
    down = torch.randn(8, *shape[1:], generator=draw)
    up *= share * weight.norm() / torch.einsum("or,r...->o...", up, down).norm()
    up = up.reshape(*up.shape, *(1,) * (len(shape) - 2))
    ones = (1,) * (len(shape) - 1)
    lengths = weight.flatten(1).norm(dim=1).reshape(-1, *ones)
    lengths = lengths * (1 + moved * torch.randn(lengths.shape, generator=draw))
    return weight, LowRank(down, up, 8.0, lengths)


@pytest.mark.parametrize("shape", [(24, 16), (16, 24), (12, 8, 3, 3)], ids=str)
@pytest.mark.parametrize("reader", READERS)
def test_each_formula_is_the_programs(reader, shape: tuple[int, ...]) -> None:
    reading = TABLE["dora"][reader]
    assert reading.shown is not None
    weight, layer = dora(shape, 0.2)
    tensors = weight, layer.product().reshape(shape), layer.magnitude
    found = reading.shown(*tensors)
    numbers = [tensor.double().numpy() for tensor in tensors]
    assert np.allclose(found.double().numpy(), FORMULAS[reader](*numbers), atol=1e-6)
    assert not np.allclose(found.double().numpy(), meant(*numbers), atol=1e-3)
    ours = weight + layer.delta(weight)
    assert np.allclose(ours.double().numpy(), meant(*numbers), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "off"), [((320, 320), 0.05), ((2560, 320), 0.65), ((320, 1280), 1.0)], ids=str
)
def test_how_far_a1111_is_off(shape: tuple[int, int], off: float) -> None:
    """The figures that check and docs/adapters.md say, as a share of the weight."""
    weight, layer = dora(shape, 0.1)
    shown = TABLE["dora"]["a1111"].shown
    assert shown is not None
    found = shown_elsewhere({"x": layer}, weights={"x": weight}, shown=shown, of="weight")["x"]
    assert found == pytest.approx(off, abs=0.012)
    for figure in ("5 %", "65 % at 2560 x 320", "100 % at 320 x 1280"):
        assert figure in TABLE["dora"]["a1111"].says


@pytest.mark.parametrize(("share", "off"), [(0.1, 0.06), (0.3, 0.17)])
def test_how_far_comfyui_is_off(share: float, off: float) -> None:
    """As a share of the change; it grows with |dW| / |W|."""
    weight, layer = dora((320, 1280), share)
    found = shown_elsewhere({"x": layer}, weights={"x": weight})["x"]
    assert found == pytest.approx(off, abs=0.005)
    assert "10 to 30 % of W, 6 to 17 %" in TABLE["dora"]["comfyui"].says


# --- other methods: alpha / rank, as every reader of kohya's format takes it


@pytest.mark.parametrize(
    "settings",
    [
        LoRA(rank=4, alpha=2.5, groups=GROUPS),
        LoRA(rank=4, alpha=2.0, rank_scaled=True, groups=GROUPS),
        LoHa(rank=3, alpha=2.0, groups=GROUPS),
        LoKr(rank=2, alpha=1.5, factor=4, groups=GROUPS),
        LoKr(rank=64, alpha=16, groups=GROUPS),
    ],
    ids=["lora", "rslora", "loha", "lokr", "lokr-full"],
)
def test_the_formulas_of_comfyui_and_a1111(settings, tmp_path: Path) -> None:
    """From the tensors alone: a scale of alpha / rank, and 1 where both of LoKr's are full."""
    path = saved(tmp_path / "x.safetensors", settings)
    tensors = {name: t.double().numpy() for name, t in load_file(path).items()}
    models = parts()
    before = {n: p.detach().clone() for n, p in models["unet"].named_parameters()}
    merge(models, path, name_of=name_of)
    checked = 0
    for name, weight in before.items():
        layer = name_of("unet", name.removesuffix(".weight"))
        split = ((n.partition("."), t) for n, t in tensors.items())
        own = {end: tensor for (first, _, end), tensor in split if first == layer}
        if not own:
            continue
        there = _plain(own).reshape(weight.shape)
        moved = models["unet"].get_parameter(name).detach() - weight
        assert np.allclose(moved.double().numpy(), there, atol=1e-6)
        checked += 1
    assert checked == len(read(path).layers)


def _plain(own: dict[str, np.ndarray]) -> np.ndarray:
    def matrix(name: str) -> np.ndarray:
        if name in own:
            return own[name]
        return own[f"{name}_a"] @ own[f"{name}_b"]

    if "lora_up.weight" in own:
        up, down = own["lora_up.weight"], own["lora_down.weight"]
        flat = up.reshape(len(up), -1) @ down.reshape(len(down), -1)
        return flat * own["alpha"] / len(down)
    if "hada_w1_a" in own:
        return matrix("hada_w1") * matrix("hada_w2") * own["alpha"] / len(own["hada_w1_b"])
    one, two = matrix("lokr_w1"), matrix("lokr_w2")
    thin = own.get("lokr_w2_b", own.get("lokr_w1_b"))
    scale = 1 if thin is None else own["alpha"] / len(thin)
    return np.kron(one.reshape(*one.shape, *(1,) * (two.ndim - 2)), two) * scale


# --- the programs' own code


@pytest.mark.parametrize("settings", [LoHa(rank=2), LoKr(rank=2, factor=4)], ids=["loha", "lokr"])
def test_diffusers_refuses_them(settings, tiny_sd: Path, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    saved(tmp_path / "x.safetensors", settings, load(BaseSettings(path=str(tiny_sd))))
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd, safety_checker=None)
    with pytest.raises(ValueError):
        pipeline.load_lora_weights(tmp_path, weight_name="x.safetensors")
    feature = "loha" if isinstance(settings, LoHa) else "lokr"
    assert TABLE[feature]["diffusers"].verdict == "not"


def test_diffusers_reads_sdxl_in_kohyas_format(tiny_sdxl: Path, tmp_path: Path) -> None:
    """Convolutions, the layers outside of the blocks and both encoders too."""
    from diffusers import StableDiffusionXLPipeline

    family = load(BaseSettings(path=str(tiny_sdxl)))
    settings = LoRA(rank=2, alpha=3.0, groups=GROUPS, text_encoder=True)
    path = saved(tmp_path / "x.safetensors", settings, family)
    pipeline = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl)
    pipeline.load_lora_weights(tmp_path, weight_name=path.name)
    checked = 0
    for part, own in resolve(read(path), family.parts, name_of=family.file_name).items():
        modules = dict(getattr(pipeline, part).named_modules())
        for name, layer in own.items():
            theirs = modules.get(name) or modules[f"text_model.{name}"]
            (key,) = theirs.lora_A
            there = theirs.get_delta_weight(key)
            assert torch.allclose(there, layer.delta(), atol=1e-6), name
            checked += 1
    assert checked == len(read(path).layers)
    assert {"time_embedding.linear_1", "add_embedding.linear_2"} <= set(modules_of(path, family))


def modules_of(path: Path, family) -> list[str]:
    return list(resolve(read(path), family.parts, name_of=family.file_name)["unet"])


def test_diffusers_reads_a_zimages_file(tmp_path: Path) -> None:
    """By its own conversion, alpha multiplied in; and PEFT's format by the names it asks for."""
    family = load(BaseSettings(path=str(build_zimage(tmp_path / "base"))))
    path = saved(tmp_path / "x.safetensors", LoRA(rank=2, alpha=1.0), family)
    theirs = zimage_layers(dict(load_file(path)))
    ours = read(path).layers
    assert len(theirs) == 2 * len(ours)
    for name, layer in ours.items():
        own = [
            tensor
            for key, tensor in sorted(theirs.items())
            if key.split(".lora_")[0].replace(".", "_") == name.replace("lora_unet", "transformer")
        ]
        down, up = own  # lora_A, lora_B
        assert torch.allclose(up @ down, layer.delta(), atol=1e-7)
    out = convert(
        path,
        tmp_path / "peft.safetensors",
        to="peft",
        parts=family.parts,
        name_of=family.file_name,
    )
    assert all(name.startswith("transformer.layers.") for name in load_file(out))
    packed = json.loads(read_header(out)[0]["lora_adapter_metadata"])
    assert packed["transformer.lora_alpha"] == 1.0  # which ComfyUI does not read: alpha at the rank


def test_diffusers_reads_a_full_fine_tune(tmp_path: Path) -> None:
    from diffusers import UNet2DConditionModel

    models = parts()
    adapter = Full().attach(models, TARGETS, generator=torch.Generator().manual_seed(0))
    learn(adapter.trainables, 0.01)
    folder = adapter.save(
        tmp_path / "x.safetensors", name_of=name_of, dtype=torch.float32, metadata={}
    )
    expected, other = answer(models), parts()
    other["unet"] = UNet2DConditionModel.from_pretrained(folder / "unet").eval()
    assert torch.equal(answer(other), expected)


# --- the table


def test_the_docs_hold_the_table() -> None:
    assert markdown() in DOCS.read_text(encoding="utf-8"), COMMAND


def test_every_row_says_how_it_was_checked_and_what_to_do() -> None:
    assert list(FEATURES) == list(TABLE)
    for readings in TABLE.values():
        assert set(readings) == set(READERS)
        for reading in readings.values():
            assert (reading.verdict == "reads") == (reading.says == "") == (reading.fix == "")
            assert (reading.shown is not None) == (reading.verdict == "wrongly")


def test_features_of_a_recipe_are_those_of_its_file(tiny_sdxl: Path, tmp_path: Path) -> None:
    family = load(BaseSettings(path=str(tiny_sdxl)))
    for settings in (
        LoRA(rank=2),
        LoRA(rank=2, dora=True, groups=GROUPS, text_encoder=True),
        LoHa(rank=2, groups=("time",)),
    ):
        adapter = settings.attach(
            family.parts, family.targets, generator=torch.Generator().manual_seed(0)
        )
        held = features_in(adapter.layers())
        outside = outside_blocks(adapter.layers())
        adapter.detach()
        assert held == features_of(settings, transformer=False)
        assert outside == (4 if "time" in settings.groups else 0)
    assert features_of(Full(), transformer=False) == ("full",)
    assert features_of(Full(layout="single_file"), transformer=False) == ("single file",)
    assert features_of(LoRA(), transformer=True) == ("lora", "transformer")

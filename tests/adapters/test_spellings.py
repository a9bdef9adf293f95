"""Files in the names of every program: the change of each weight, against up @ down by hand."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import answer, name_of, parts
from torch import Tensor, nn

from workbench.adapters import attach_file, convert, read
from workbench.adapters.files import model_for, resolve
from workbench.adapters.merge import merge
from workbench.models.base import BaseSettings
from workbench.models.loading import load
from workbench.store import FileRefused

RANK = 3
# A module of each kind: diffusers' path, Stability's path, written down by hand for `parts()`.
UNET = {
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q": (
        "input_blocks.1.1.transformer_blocks.0.attn1.to_q"
    ),
    "up_blocks.1.attentions.1.transformer_blocks.0.attn2.to_out.0": (
        "output_blocks.3.1.transformer_blocks.0.attn2.to_out.0"
    ),
    "mid_block.attentions.0.proj_in": "middle_block.1.proj_in",
    "down_blocks.0.resnets.0.conv1": "input_blocks.1.0.in_layers.2",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op",
    "time_embedding.linear_1": "time_embed.0",
}
ATTENTION = dict(list(UNET.items())[:2])
ENCODER = "encoder.layers.1.self_attn.q_proj"


def drawn(weight: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Down and up of a rank 3 for a weight."""
    draw = torch.Generator().manual_seed(seed)
    down = torch.randn(RANK, *weight.shape[1:], generator=draw) / 10
    up = torch.randn(weight.shape[0], RANK, generator=draw) / 10
    return down, up.reshape(*up.shape, *(1,) * (weight.dim() - 2))


def written(path: Path, names: dict[str, str], models, part: str, ends, alpha=None, end_alpha=""):
    """A file of the modules under the given names, and dW of each by hand."""
    tensors, wanted = {}, {}
    for seed, (module, name) in enumerate(names.items()):
        weight = models[part].get_submodule(module).weight
        down, up = drawn(weight, seed)
        tensors |= {f"{name}{ends[0]}": down, f"{name}{ends[1]}": up}
        if alpha is not None:
            tensors[f"{name}{end_alpha}"] = torch.tensor(float(alpha))
        product = torch.einsum("or,r...->o...", up.flatten(1).double(), down.double())
        wanted[module] = product * ((alpha or RANK) / RANK)
    save_file(tensors, path)
    return wanted


def changes(path: Path, models, part: str, names_of=name_of) -> dict[str, Tensor]:
    """W' - W of every weight that merging the file changes."""
    before = {n: p.detach().clone() for n, p in models[part].named_parameters()}
    merge(models, path, name_of=names_of)
    after = dict(models[part].named_parameters())
    moved = {n: after[n].detach() - w for n, w in before.items() if not after[n].equal(w)}
    return {name.removesuffix(".weight"): change for name, change in moved.items()}


def equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    assert found.keys() == wanted.keys()
    pairs = ((found[name].double(), wanted[name]) for name in wanted)
    return all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)


KOHYA = (".lora_down.weight", ".lora_up.weight")
PEFT = (".lora_A.weight", ".lora_B.weight")
OLD = ("_lora.down.weight", "_lora.up.weight")
LINEAR = (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight")


def processors() -> dict[str, str]:
    """Attention as ComfyUI and diffusers of 2023 name it."""
    found = {}
    for path in ATTENTION:
        name = path.replace(".to_", ".processor.to_").removesuffix(".0")
        found[path] = f"unet.{name}"
    return found


UNET_SPELLINGS = {
    "kohya": ({p: f"lora_unet_{p}".replace(".", "_") for p in UNET}, KOHYA, 1.5, ".alpha"),
    "kohya, Stability's blocks": (
        {p: f"lora_unet_{o}".replace(".", "_") for p, o in UNET.items()}, KOHYA, 1.5, ".alpha"
    ),
    "LyCORIS' own prefix": (
        {p: f"lycoris_{p}".replace(".", "_") for p in UNET}, KOHYA, None, ""
    ),
    "ComfyUI": (
        {p: f"diffusion_model.{o}" for p, o in UNET.items()}, KOHYA, 1.5, ".alpha"
    ),
    "ComfyUI, whole prefix, PEFT's matrices": (
        {p: f"model.diffusion_model.{o}" for p, o in UNET.items()}, PEFT, 6, ".alpha"
    ),
    "ai-toolkit": ({p: f"diffusion_model.{p}" for p in UNET}, PEFT, 6, ".alpha"),
    "diffusers": ({p: f"unet.{p}" for p in UNET}, PEFT, None, ""),
    "diffusers with alpha beside": ({p: f"unet.{p}" for p in UNET}, PEFT, 1.5, ".alpha"),
    "transformer.": ({p: f"transformer.{p}" for p in UNET}, PEFT, None, ""),
    "PEFT": ({p: f"base_model.model.{p}" for p in UNET}, PEFT, None, ""),
    "PEFT, named adapter": (
        {p: f"base_model.model.{p}" for p in UNET},
        (".lora_A.default.weight", ".lora_B.default.weight"), None, "",
    ),
    "bare": (dict(zip(UNET, UNET, strict=True)), PEFT, None, ""),
    "diffusers of 2023": (processors(), OLD, None, ""),
    "diffusers of early 2024": (processors(), (".lora.down.weight", ".lora.up.weight"), None, ""),
    "ComfyUI's PEFT": (processors(), PEFT, 1.5, ".alpha"),
}  # fmt: skip


@pytest.mark.parametrize("spelling", UNET_SPELLINGS)
def test_a_unet_in_every_spelling(spelling: str, tmp_path: Path) -> None:
    names, ends, alpha, end_alpha = UNET_SPELLINGS[spelling]
    models, path = parts(), tmp_path / "x.safetensors"
    wanted = written(path, names, models, "unet", ends, alpha, end_alpha)
    assert equal(changes(path, models, "unet"), wanted)


ENCODER_SPELLINGS = {
    "kohya": (f"lora_te_text_model_{ENCODER}".replace(".", "_"), KOHYA),
    "kohya, numbered": (f"lora_te1_text_model_{ENCODER}".replace(".", "_"), KOHYA),
    "diffusers": (f"text_encoder.text_model.{ENCODER}", PEFT),
    "diffusers of 2023": (f"text_encoder.text_model.{ENCODER}", LINEAR),
    "diffusers of early 2023": (
        "text_encoder.text_model.encoder.layers.1.self_attn.to_q", OLD
    ),
    "transformers 5": (f"text_encoder.{ENCODER}", PEFT),
    "ComfyUI": (f"text_encoders.clip_l.transformer.text_model.{ENCODER}", KOHYA),
    "OneTrainer": (f"clip_l.text_model.{ENCODER}", PEFT),
    "PEFT": (f"base_model.model.text_model.{ENCODER}", PEFT),
    "PEFT, transformers 5": (f"base_model.model.{ENCODER}", PEFT),
}  # fmt: skip


@pytest.mark.parametrize("spelling", ENCODER_SPELLINGS)
def test_a_text_encoder_alone_in_every_spelling(spelling: str, tmp_path: Path) -> None:
    name, ends = ENCODER_SPELLINGS[spelling]
    models, path = parts(), tmp_path / "x.safetensors"
    wanted = written(path, {ENCODER: name}, models, "text_encoder", ends)
    assert equal(changes(path, models, "text_encoder"), wanted)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1", "text_encoder"),
        ("lora_te2_text_model_encoder_layers_0_mlp_fc1", "text_encoder_2"),
        ("text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1", "text_encoder"),
        ("text_encoders.clip_g.transformer.text_model.encoder.layers.0.mlp.fc1", "text_encoder_2"),
        ("clip_g.text_model.encoder.layers.0.mlp.fc1", "text_encoder_2"),
        ("diffusion_model.middle_block.1.proj_in", "unet"),
    ],
)
def test_the_parts_of_sdxl(name: str, part: str, tiny_sdxl: Path, tmp_path: Path) -> None:
    family = load(BaseSettings(path=str(tiny_sdxl)))
    modules = dict(family.parts[part].named_modules())
    ends = ("layers.0.mlp.fc1", "mid_block.attentions.0.proj_in")
    module = next(path for path in modules if path.endswith(ends))
    path = tmp_path / "x.safetensors"
    wanted = written(path, {module: name}, family.parts, part, KOHYA, 1.5, ".alpha")
    found = changes(path, family.parts, part, family.file_name)
    assert equal(found, wanted)


class TestPeftFolders:
    def test_of_a_text_encoder(self, tmp_path: Path) -> None:
        from peft import LoraConfig, get_peft_model

        models = parts()
        config = LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj"], init_lora_weights=False)
        peft = get_peft_model(models["text_encoder"], config).eval()
        peft.save_pretrained(tmp_path)
        expected, fresh = answer(models), parts()
        attached = attach_file(tmp_path, fresh, name_of=name_of)
        assert {name.split(".")[0] for name in attached.layers()} == {"text_encoder"}
        assert next(iter(attached.layers().values())).scale == pytest.approx(1.5)
        assert torch.allclose(answer(fresh), expected, atol=1e-6)

    def test_one_inside_for_each_part(self, tmp_path: Path) -> None:
        from peft import LoraConfig, get_peft_model

        models = parts()
        for part, target in (("unet", "to_k"), ("text_encoder", "out_proj")):
            config = LoraConfig(r=2, lora_alpha=1, target_modules=[target], init_lora_weights=False)
            get_peft_model(models[part], config).eval().save_pretrained(tmp_path / part)
        expected, fresh = answer(models), parts()
        attach_file(tmp_path, fresh, name_of=name_of)
        assert torch.allclose(answer(fresh), expected, atol=1e-6)

    def test_whole_weights_beside_the_lora_are_refused(self, tmp_path: Path) -> None:
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=2, target_modules=["to_k"], modules_to_save=["conv_in"])
        get_peft_model(parts()["unet"], config).save_pretrained(tmp_path)
        with pytest.raises(FileRefused, match=r"conv_in\.weight.*modules_to_save"):
            read(tmp_path)

    def test_which_encoder_is_meant(self, tmp_path: Path) -> None:
        """Two encoders that fit, and a file that names none; its folder's name does."""
        encoders = {name: parts()["text_encoder"] for name in ("text_encoder", "text_encoder_2")}
        name = f"base_model.model.text_model.{ENCODER}"
        for folder in ("some", "text_encoder_2"):
            path = tmp_path / folder / "adapter_model.safetensors"
            path.parent.mkdir()
            written(path, {ENCODER: name}, encoders, "text_encoder", PEFT)
        with pytest.raises(FileRefused, match="fits text_encoder and text_encoder_2"):
            resolve(read(tmp_path / "some"), encoders, name_of=name_of)
        file = read(tmp_path / "text_encoder_2")
        assert list(resolve(file, encoders, name_of=name_of)) == ["text_encoder_2"]

    def test_pickles_and_empty_folders(self, tmp_path: Path) -> None:
        with pytest.raises(FileRefused, match="a folder without a LoRA"):
            read(tmp_path)
        (tmp_path / "adapter_model.bin").write_bytes(b"not even a pickle")
        with pytest.raises(FileRefused, match="safe_serialization=True"):
            read(tmp_path)

    def test_two_scales_of_one_layer(self, tmp_path: Path) -> None:
        models, path = parts(), tmp_path / "x.safetensors"
        names = {p: f"unet.{p}" for p in ATTENTION}
        written(path, names, models, "unet", PEFT, 6, ".alpha")
        packed = {"unet.r": RANK, "unet.lora_alpha": 1.5}
        save_file(load_file(path), path, metadata={"lora_adapter_metadata": json.dumps(packed)})
        with pytest.raises(FileRefused, match=r"two scales: 2 by its alpha tensor, and 0\.5 by"):
            read(path)


def joined_model() -> dict[str, nn.Module]:
    """Linear layers at the paths of a Z-Image transformer."""
    torch.manual_seed(1)
    attention = nn.ModuleDict({n: nn.Linear(8, 6, bias=False) for n in ("to_q", "to_k", "to_v")})
    attention["to_out"] = nn.ModuleList([nn.Linear(6, 8)])
    block = nn.ModuleDict({"attention": attention})
    return {"transformer": nn.ModuleDict({"layers": nn.ModuleList([block])})}


@pytest.mark.parametrize("prefix", ["diffusion_model.", "transformer.", "lora_unet_"])
def test_rows_of_joined_modules_are_split(prefix: str, tmp_path: Path) -> None:
    """Z-Image's own code has q, k and v in one weight, row below row."""
    models, path = joined_model(), tmp_path / "x.safetensors"
    draw = torch.Generator().manual_seed(0)
    down, up = torch.randn(2, 8, generator=draw), torch.randn(18, 2, generator=draw)
    out = torch.randn(2, 6, generator=draw), torch.randn(8, 2, generator=draw)
    fused, plain = "layers.0.attention.qkv", "layers.0.attention.out"
    if prefix == "lora_unet_":
        fused, plain = fused.replace(".", "_"), plain.replace(".", "_")
    tensors = {f"{prefix}{fused}.lora_down.weight": down, f"{prefix}{fused}.lora_up.weight": up}
    tensors |= {f"{prefix}{plain}.lora_down.weight": out[0]}
    tensors |= {f"{prefix}{plain}.lora_up.weight": out[1]}
    tensors[f"{prefix}{fused}.alpha"] = torch.tensor(1.0)
    save_file(tensors, path)
    shares = (up.double() @ down.double() / 2).chunk(3)
    wanted = {f"layers.0.attention.to_{n}": x for n, x in zip("qkv", shares, strict=True)}
    wanted["layers.0.attention.to_out.0"] = out[1].double() @ out[0].double()
    names = lambda part, module: f"lora_unet_{module}".replace(".", "_")  # noqa: E731
    assert equal(changes(path, models, "transformer", names), wanted)


def test_a_lokr_of_joined_modules_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    name = "lora_unet_layers_0_attention_qkv"
    save_file({f"{name}.lokr_w1": torch.ones(3, 2), f"{name}.lokr_w2": torch.ones(6, 4)}, path)
    with pytest.raises(FileRefused, match="a LoKr of 3 joined modules, which cannot be split"):
        resolve(read(path), joined_model(), name_of=name_of)


class TestTwice:
    def test_one_layer_in_two_spellings(self, tmp_path: Path) -> None:
        models, path = parts(), tmp_path / "x.safetensors"
        original = next(iter(ATTENTION.values()))
        down, up = drawn(models["unet"].get_submodule(next(iter(ATTENTION))).weight, 0)
        names = (f"lora_unet_{n}".replace(".", "_") for n in (next(iter(ATTENTION)), original))
        tensors = {}
        for name in names:
            tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up.clone()}
        save_file({n: t.clone() for n, t in tensors.items()}, path)
        with pytest.raises(FileRefused, match="the same layer as lora_unet_down_blocks_0"):
            merge(models, path, name_of=name_of)

    def test_one_tensor_in_two_spellings(self, tmp_path: Path) -> None:
        path, name = tmp_path / "x.safetensors", "unet.mid_block.attentions.0.proj_in"
        ends = (".lora_A.weight", ".lora_down.weight", ".lora_B.weight")
        save_file({f"{name}{end}": torch.ones(2, 2) for end in ends}, path)
        with pytest.raises(FileRefused, match="a second down of one layer"):
            read(path)


def test_what_a_scalar_multiplies(tmp_path: Path) -> None:
    """LyCORIS of before 3.0 kept `use_scalar`'s factor apart: dW is that times the product."""
    path, name = tmp_path / "x.safetensors", "lora_unet_mid_block_attentions_0_proj_in"
    draw = torch.Generator().manual_seed(0)
    ends = {"lora_down.weight": (2, 4), "lora_up.weight": (4, 2)}
    plain = {f"{name}.{end}": torch.randn(shape, generator=draw) for end, shape in ends.items()}
    save_file(plain | {f"{name}.scalar": torch.tensor(0.25)}, path)
    up, down = plain[f"{name}.lora_up.weight"], plain[f"{name}.lora_down.weight"]
    assert torch.allclose(read(path).layers[name].delta(), 0.25 * up @ down)
    factors = {f"{name}.lokr_w1": torch.ones(2, 2), f"{name}.lokr_w2": torch.full((2, 2), 3.0)}
    save_file(factors | {f"{name}.scalar": torch.tensor(0.5)}, path)
    assert torch.equal(read(path).layers[name].delta(), torch.full((4, 4), 1.5))


def test_stabilitys_names_need_the_base_to_be_converted(tmp_path: Path) -> None:
    models, path = parts(), tmp_path / "x.safetensors"
    names = {p: f"diffusion_model.{o}" for p, o in UNET.items()}
    wanted = written(path, names, models, "unet", PEFT)
    with pytest.raises(FileRefused, match=r"name the base model \(--base\)"):
        convert(path, tmp_path / "no.safetensors", to="kohya")
    out = tmp_path / "kohya.safetensors"
    convert(path, out, to="kohya", parts=models, name_of=name_of)
    assert set(read(out).layers) == {f"lora_unet_{p}".replace(".", "_") for p in UNET}
    assert equal(changes(out, models, "unet"), wanted)


MADE_FOR = {
    "FLUX": ("lora_unet_double_blocks_0_img_attn_qkv", 3072),
    "FLUX ": ("transformer.single_transformer_blocks.0.attn.to_q", 3072),
    "FLUX.2": ("transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj", 3072),
    "Stable Diffusion 3": ("lora_unet_joint_blocks_0_x_block_attn_qkv", 1536),
    "Qwen-Image": ("transformer.transformer_blocks.0.img_mlp.net.2", 3072),
    "Z-Image": ("diffusion_model.layers.0.attention.qkv", 3840),
    "Wan": ("diffusion_model.blocks.0.self_attn.q", 5120),
    "Wan ": ("lora_unet_blocks_0_cross_attn_k", 5120),
    "Stable Cascade": ("lora_prior_unet_down_blocks_0_0", 8),
    "AnimateDiff": ("down_blocks.0.motion_modules.0.transformer_blocks.0.attn1.to_q", 320),
    "Stable Diffusion 1.x": (
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", 768
    ),
    "Stable Diffusion 2.x": (
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v", 1024
    ),
    "SDXL": ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k", 2048),
    "SDXL ": ("lora_te2_text_model_encoder_layers_0_mlp_fc1", 1280),
    "a CLIP text encoder": ("lora_te_text_model_encoder_layers_0_mlp_fc1", 768),
}  # fmt: skip


@pytest.mark.parametrize("what", MADE_FOR)
def test_for_which_model_a_lora_was_made(what: str, tmp_path: Path) -> None:
    name, width = MADE_FOR[what]
    path = tmp_path / "x.safetensors"
    save_file(
        {f"{name}{KOHYA[0]}": torch.ones(2, width), f"{name}{KOHYA[1]}": torch.ones(8, 2)}, path
    )
    made = model_for(read(path))
    assert made is not None and made.what.startswith(what.strip())
    if "Stable Diffusion 1" not in what:
        with pytest.raises(FileRefused, match="1 of 1 layers do not fit this model"):
            merge(parts(), path, name_of=name_of)

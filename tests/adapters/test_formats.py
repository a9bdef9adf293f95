"""LoRA files: what is refused, and what other programs' files and readers make of them."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import ALL_GROUPS, TARGETS, answer, learn, name_of, parts

from workbench.adapters import LoRA, attach_file, convert, read, write
from workbench.store import FileRefused, read_header

MIXED = LoRA(rank=4, alpha=2.5, groups=ALL_GROUPS, text_encoder=True, text_encoder_rank=2)
LINEAR = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"


def trained(settings: LoRA = MIXED, scale: float = 0.1):
    models = parts()
    adapter = settings.attach(models, TARGETS, generator=torch.Generator().manual_seed(0))
    learn(adapter.trainables, scale)
    return models, adapter


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.Tensor]:
    """A file, and what the model answers with it."""
    models, adapter = trained()
    path = tmp_path_factory.mktemp("lora") / "mixed.safetensors"
    write(path, adapter, name_of=name_of, dtype=torch.float32, metadata={"ss_seed": "1"})
    return path, answer(models).detach()


def changed(path: Path, tmp_path: Path, **changes: torch.Tensor | None) -> Path:
    """A copy with tensors replaced, added or (None) removed."""
    tensors = {**load_file(path), **changes}
    target = tmp_path / "changed.safetensors"
    save_file({n: t for n, t in tensors.items() if t is not None}, target)
    return target


def refused(path: Path, match: str) -> None:
    """The file is refused with this message, and the model is as it was."""
    models = parts()
    before = [(n, type(m)) for model in models.values() for n, m in model.named_modules()]
    base = answer(models)
    with pytest.raises(FileRefused, match=match) as error:
        attach_file(path, models, name_of=name_of)
    assert path.name in str(error.value)
    assert before == [(n, type(m)) for model in models.values() for n, m in model.named_modules()]
    assert torch.equal(answer(models), base)


class TestRefused:
    @pytest.mark.parametrize(
        ("key", "method"),
        [
            (f"{LINEAR}.oft_blocks", "OFT"),
            (f"{LINEAR}.diff_b", "full differences"),
        ],
    )
    def test_other_methods_are_named(self, saved, tmp_path: Path, key: str, method: str) -> None:
        refused(changed(saved[0], tmp_path, **{key: torch.ones(1)}), f"{method}.*{re.escape(key)}")

    def test_nan(self, saved, tmp_path: Path) -> None:
        key = f"{LINEAR}.lora_up.weight"
        bad = torch.full((16, 4), float("nan"))
        refused(changed(saved[0], tmp_path, **{key: bad}), f"NaN or infinite: {re.escape(key)}")

    def test_a_missing_half(self, saved, tmp_path: Path) -> None:
        key = f"{LINEAR}.lora_up.weight"
        refused(changed(saved[0], tmp_path, **{key: None}), f"{LINEAR}: lora_up is missing")

    def test_ranks_that_differ_within_a_layer(self, saved, tmp_path: Path) -> None:
        key = f"{LINEAR}.lora_up.weight"
        refused(changed(saved[0], tmp_path, **{key: torch.ones(16, 3)}), f"{LINEAR}: the ranks")

    def test_a_shape_of_another_model(self, saved, tmp_path: Path) -> None:
        key = f"{LINEAR}.lora_down.weight"
        bad = changed(saved[0], tmp_path, **{key: torch.ones(4, 320)})
        refused(bad, rf"1 of \d+ layers do not fit.*{LINEAR}: down \[4, 320\]")

    def test_layers_of_another_family(self, saved, tmp_path: Path) -> None:
        name = "lora_unet_input_blocks_4_1_proj_in"
        more = {f"{name}.lora_down.weight": torch.ones(4, 8)}
        more[f"{name}.lora_up.weight"] = torch.ones(8, 4)
        refused(changed(saved[0], tmp_path, **more), f"{name}: no such layer in this model")

    def test_tensors_of_something_else(self, saved, tmp_path: Path) -> None:
        more = {"emb_params": torch.ones(2, 8)}
        refused(changed(saved[0], tmp_path, **more), "emb_params: no tensor of a LoRA")

    @pytest.mark.parametrize(
        ("tensors", "said"),
        [
            ({"hada_w1_a": (16, 2)}, "hada_w1_b is missing"),
            ({"lokr_w1": (4, 4), "lokr_w2_a": (4, 2)}, "lokr_w2_b is missing"),
            ({"lokr_w1": (4, 4), "lokr_w1_a": (4, 2), "lokr_w2": (4, 4)}, "in full and in parts"),
            ({"lokr_w1": (4, 4), "lokr_w2": (4, 3)}, r"make \[16, 12\], which fits no weight"),
            ({"lora_up.weight": (16, 2), "hada_w1_a": (16, 2)}, "tensors of several methods"),
        ],
    )
    def test_parts_of_other_methods(self, tmp_path: Path, tensors: dict, said: str) -> None:
        path = tmp_path / "x.safetensors"
        save_file({f"{LINEAR}.{key}": torch.ones(shape) for key, shape in tensors.items()}, path)
        refused(path, said)

    def test_lengths_of_another_size(self, saved, tmp_path: Path) -> None:
        more = {f"{LINEAR}.dora_scale": torch.ones(7, 1)}
        refused(changed(saved[0], tmp_path, **more), r"dora_scale \[7, 1\] does not fit")

    def test_lengths_that_no_layer_can_train_are_for_merging(self, saved, tmp_path: Path) -> None:
        more = {f"{LINEAR}.dora_scale": torch.ones(1, 16)}
        refused(changed(saved[0], tmp_path, **more), "can be merged but not put beside a model")

    def test_an_alpha_of_zero(self, saved, tmp_path: Path) -> None:
        more = {f"{LINEAR}.alpha": torch.tensor(0.0)}
        refused(changed(saved[0], tmp_path, **more), "alpha must be one number other than 0")

    def test_pickles_unopened(self, tmp_path: Path) -> None:
        path = tmp_path / "lora.pt"
        path.write_bytes(b"not even a pickle")
        refused(path, "pickles")

    def test_an_overflow_in_half_precision(self, tmp_path: Path) -> None:
        _, adapter = trained(LoRA(rank=2))
        next(iter(adapter.trainables.values())).data[0, 0] = 1e6
        with pytest.raises(ValueError, match="float16 overflowed"):
            write(
                tmp_path / "x.safetensors",
                adapter,
                name_of=name_of,
                dtype=torch.float16,
                metadata={},
            )


class TestRead:
    def test_names_of_a_file_are_kohyas(self, saved) -> None:
        """Literal keys: diffusers reads other spellings too and would not notice a wrong one."""
        names = set(load_file(saved[0]))
        for name in (
            f"{LINEAR}.lora_down.weight",
            f"{LINEAR}.lora_up.weight",
            f"{LINEAR}.alpha",
            "lora_unet_down_blocks_0_resnets_0_conv1.lora_down.weight",
            "lora_unet_time_embedding_linear_1.lora_up.weight",
            "lora_te_text_model_encoder_layers_1_self_attn_out_proj.lora_up.weight",
        ):
            assert name in names
        header = read_header(saved[0])[1]
        assert header[f"{LINEAR}.alpha"] == ("F32", ())
        conv = "lora_unet_down_blocks_0_resnets_0_conv1"
        assert header[f"{conv}.lora_down.weight"][1] == (4, 16, 3, 3)
        assert header[f"{conv}.lora_up.weight"][1] == (16, 4, 1, 1)
        project = "lora_unet_down_blocks_0_attentions_0_proj_in"
        assert header[f"{project}.lora_down.weight"][1] == (4, 16, 1, 1)

    def test_half_precision_keeps_alpha_in_fp32(self, tmp_path: Path) -> None:
        _, adapter = trained(LoRA(rank=3, rank_scaled=True))
        path = tmp_path / "x.safetensors"
        write(path, adapter, name_of=name_of, dtype=torch.bfloat16, metadata={})
        header = read_header(path)[1]
        assert {t for n, (t, _) in header.items() if n.endswith(".alpha")} == {"F32"}
        assert {t for n, (t, _) in header.items() if n.endswith(".weight")} == {"BF16"}
        stored = read(path).layers
        for name, layer in adapter.layers().items():
            other = stored[name_of(*name.split(".", 1))]
            assert other.alpha == layer.alpha
            assert torch.equal(other.up, layer.up.to(torch.bfloat16))

    def test_a_missing_alpha_is_the_rank(self, saved, tmp_path: Path) -> None:
        layer = read(changed(saved[0], tmp_path, **{f"{LINEAR}.alpha": None})).layers[LINEAR]
        assert layer.scale == 1

    def test_convolutions_stored_flat_fit(self, saved, tmp_path: Path) -> None:
        name = "lora_unet_down_blocks_0_attentions_0_proj_in"
        tensors = load_file(saved[0])
        flat = {
            f"{name}.{k}.weight": tensors[f"{name}.{k}.weight"].flatten(1).clone()
            for k in ("lora_down", "lora_up")
        }
        models = parts()
        attach_file(changed(saved[0], tmp_path, **flat), models, name_of=name_of)
        assert torch.equal(answer(models), saved[1])

    def test_a_tucker_core_is_multiplied_in(self, tmp_path: Path) -> None:
        """Against the three convolutions that such a layer runs one after the other."""
        draw = torch.Generator().manual_seed(0)
        down, mid, up = (
            torch.randn(s, generator=draw) for s in ((4, 16, 1, 1), (4, 4, 3, 3), (16, 4, 1, 1))
        )
        name = "lora_unet_down_blocks_0_resnets_0_conv1"
        path = tmp_path / "locon.safetensors"
        tensors = {"lora_down.weight": down, "lora_mid.weight": mid, "lora_up.weight": up}
        save_file({f"{name}.{key}": value for key, value in tensors.items()}, path)
        conv2d, x = torch.nn.functional.conv2d, torch.randn(1, 16, 6, 6, generator=draw)
        expected = conv2d(conv2d(conv2d(x, down), mid, padding=1), up)
        got = conv2d(x, read(path).layers[name].delta(), padding=1)
        assert torch.allclose(got, expected, atol=1e-3)


class TestPeft:
    def test_there_and_back(self, saved, tmp_path: Path) -> None:
        there = convert(saved[0], tmp_path / "peft.safetensors", to="peft")
        back = convert(there, tmp_path / "kohya.safetensors", to="kohya")
        first, last = load_file(saved[0]), load_file(back)
        assert first.keys() == last.keys()
        assert all(torch.equal(value, last[name]) for name, value in first.items())
        assert read_header(there)[0]["ss_seed"] == read_header(back)[0]["ss_seed"] == "1"
        assert "lora_adapter_metadata" not in read_header(back)[0]

    def test_attaches_with_its_own_alpha_and_ranks(self, saved, tmp_path: Path) -> None:
        models = parts()
        path = convert(
            saved[0], tmp_path / "p.safetensors", to="peft", parts=models, name_of=name_of
        )
        attach_file(path, models, name_of=name_of)
        assert torch.equal(answer(models), saved[1])

    def test_a_folder_that_peft_saved(self, tmp_path: Path) -> None:
        from peft import LoraConfig, get_peft_model

        models = parts()
        config = LoraConfig(
            r=4, lora_alpha=6, use_rslora=True, target_modules=["to_q"], init_lora_weights=False
        )
        peft = get_peft_model(models["unet"], config)
        peft.eval().save_pretrained(tmp_path)
        expected, fresh = answer(models), parts()
        attached = attach_file(tmp_path / "adapter_model.safetensors", fresh, name_of=name_of)
        assert next(iter(attached.layers().values())).scale == pytest.approx(3)
        assert torch.allclose(answer(fresh), expected, atol=1e-6)

    def test_a_dora_without_its_lengths_is_refused(self, saved, tmp_path: Path) -> None:
        there = convert(saved[0], tmp_path / "peft.safetensors", to="peft")
        path = tmp_path / "dora.safetensors"
        config = {"lora_adapter_metadata": json.dumps({"unet.use_dora": True})}
        save_file(load_file(there), path, metadata=config)
        refused(path, "a DoRA, but .* has no lora_magnitude_vector")

    def test_sdxl_names_need_the_base(self, tmp_path: Path) -> None:
        name = "lora_unet_input_blocks_4_1_proj_in"
        path = tmp_path / "sdxl.safetensors"
        tensors = {"lora_down.weight": torch.ones(4, 8), "lora_up.weight": torch.ones(8, 4)}
        save_file({f"{name}.{key}": value for key, value in tensors.items()}, path)
        with pytest.raises(FileRefused, match="name the base model"):
            convert(path, tmp_path / "x.safetensors", to="peft")

"""Adapters that start at a part of the base, or at an earlier file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import ALL_GROUPS, TARGETS, answer, learn, name_of, parts
from torch import nn

from workbench.adapters import LoHa, LoKr, LoRA, convert, write
from workbench.adapters.layers import LowRank
from workbench.adapters.networks import BlockSettings, NetworkSettings
from workbench.adapters.starting import since
from workbench.settings import SettingsError


def attach(settings: NetworkSettings, models: dict[str, nn.Module], seed: int = 0):
    draw = torch.Generator().manual_seed(seed)
    return settings.attach(models, TARGETS, generator=draw, name_of=name_of)


class TestFromTheBase:
    @pytest.mark.parametrize("init", ["pissa", "olora"])
    def test_takes_what_peft_takes(self, init: str) -> None:
        """peft's own first values, and the base that it leaves, for the same weight and scale."""
        from peft import LoraConfig, inject_adapter_in_model

        theirs = nn.Sequential(nn.Linear(24, 16))
        weight = theirs[0].weight.detach().clone()
        config = LoraConfig(r=4, lora_alpha=6, target_modules=["0"], init_lora_weights=init)
        inject_adapter_in_model(config, theirs)
        wrapped = theirs[0]
        product = wrapped.lora_B["default"].weight @ wrapped.lora_A["default"].weight
        settings = LoRA(rank=4, alpha=6, init=init)
        start = settings.start("unet.0", weight, torch.Generator())
        assert torch.allclose(start.up @ start.down, product, atol=1e-5)
        left = weight - start.product()
        assert torch.allclose(left, wrapped.base_layer.weight, atol=1e-5)

    def test_pissa_takes_the_best_approximation_of_a_convolution(self) -> None:
        weight = torch.randn(8, 5, 3, 3, generator=torch.Generator().manual_seed(0))
        start = LoRA(rank=3, alpha=2, init="pissa").start("unet.x", weight, torch.Generator())
        left = np.linalg.norm((weight - start.product()).numpy())
        values = np.linalg.svd(weight.flatten(1).numpy(), compute_uv=False)
        assert left == pytest.approx(np.sqrt((values[3:] ** 2).sum()), rel=1e-4)

    def test_the_file_has_twice_the_rank_and_survives_float16(self) -> None:
        """peft's conversion, [B | -B0] [A ; A0], is a difference of large products."""
        draw = torch.Generator().manual_seed(0)
        weight = torch.randn(64, 48, generator=draw)
        start = LoRA(rank=4, alpha=6, init="pissa").start("unet.x", weight, torch.Generator())
        moved = (start.down + 1e-3 * torch.randn(4, 48, generator=draw)).contiguous()
        now = LowRank(moved, start.up + 1e-3 * torch.randn(64, 4, generator=draw), 6.0)
        ours = since(start, now)
        assert ours.rank == 8 and ours.scale == now.scale
        exact = now.product(torch.float64) - start.product(torch.float64)
        assert torch.allclose(ours.product(torch.float64), exact, atol=1e-6)
        peft = LowRank(torch.cat([now.down, start.down]), torch.cat([now.up, -start.up], 1), 12.0)

        def lost(layer: LowRank) -> float:
            half = LowRank(layer.down.half(), layer.up.half(), layer.alpha)
            return float((half.product(torch.float64) - exact).norm() / exact.norm())

        assert lost(ours) < 1e-3
        assert lost(peft) > 20 * lost(ours)

    def test_a_rank_over_that_of_the_weight_names_the_layer(self) -> None:
        with pytest.raises(SettingsError, match=r"takes adapter\.rank=17.*unet\..* has 16"):
            attach(LoRA(rank=17, init="pissa"), parts())

    @pytest.mark.parametrize(
        "other", [{"dora": True}, {"start_from": "x.safetensors"}, {"max_norm": 1.0}]
    )
    def test_what_does_not_go_with_it(self, other: dict) -> None:
        with pytest.raises(SettingsError, match="does not go with init='pissa'"):
            LoRA(init="pissa", **other)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of each method."""
    folder = tmp_path_factory.mktemp("earlier")
    made = {
        "lora": LoRA(rank=4, alpha=2.5, groups=ALL_GROUPS, text_encoder=True),
        "dora": LoRA(rank=4, alpha=2.5, dora=True, groups=("attention", "conv")),
        "loha": LoHa(rank=3, alpha=2.0),
        "lokr": LoKr(rank=2, factor=4),
        "full": LoKr(rank=64, alpha=32.0, factor=4),
    }
    found = {}
    for name, settings in made.items():
        adapter = attach(settings, parts())
        learn(adapter.trainables, 0.05)
        found[name] = write(
            folder / f"{name}.safetensors",
            adapter,
            name_of=name_of,
            dtype=torch.float32,
            metadata={},
        )
    found["peft"] = convert(found["lora"], folder / "peft.safetensors", to="peft")
    return found


def effect(path: Path) -> torch.Tensor:
    """What the model answers with a file merged in."""
    from workbench.adapters.merge import merge

    models = parts()
    merge(models, path, name_of=name_of)
    return answer(models)


class TestFromAFile:
    @pytest.mark.parametrize(
        ("name", "settings"),
        [
            ("lora", LoRA(rank=4, groups=ALL_GROUPS, text_encoder=True)),
            ("lora", LoRA(rank=4, alpha=7.0, groups=ALL_GROUPS, text_encoder=True)),
            ("peft", LoRA(rank=4, groups=ALL_GROUPS, text_encoder=True, dropout=0.5)),
            ("lora", LoRA(rank=4, groups=ALL_GROUPS, text_encoder=True, dora=True)),
            ("dora", LoRA(rank=4, groups=("attention", "conv"), dora=True)),
            ("dora", LoRA(rank=4, alpha=1, groups=("attention", "conv", "time"), dora=True)),
            ("loha", LoHa(rank=3)),
            ("loha", LoHa(rank=3, alpha=1.0)),
            ("lokr", LoKr(rank=2, factor=4, alpha=3.0)),
            ("full", LoKr(rank=64, factor=4)),
            ("full", LoKr(rank=64, factor=4, alpha=8.0)),
        ],
        ids=lambda x: x if isinstance(x, str) else f"alpha-{x.alpha}",
    )
    def test_goes_on_with_the_same_effect(self, earlier, name: str, settings) -> None:
        models = parts()
        chosen = type(settings).model_validate(
            settings.model_dump() | {"start_from": str(earlier[name])}
        )
        adapter = attach(chosen, models)
        assert torch.allclose(answer(models), effect(earlier[name]), atol=5e-5)
        layers = list(adapter.layers().values())
        if settings.alpha is not None and not isinstance(settings, LoKr):
            assert {layer.alpha for layer in layers} == {settings.alpha}
        elif name == "lora":
            assert {layer.alpha for layer in layers} == {2.5}

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            (LoRA(rank=8, groups=ALL_GROUPS, text_encoder=True), r"rank 4, .*set adapter\.rank=4"),
            (LoRA(rank=4, groups=ALL_GROUPS), r"add its group to adapter\.groups"),
            (LoRA(rank=4, text_encoder=True), r"add its group to adapter\.groups"),
            (LoHa(rank=4, groups=ALL_GROUPS, text_encoder=True), r"set adapter\.kind=lora"),
        ],
    )
    def test_what_does_not_fit_is_refused_with_the_fix(self, earlier, settings, said: str) -> None:
        chosen = type(settings).model_validate(
            settings.model_dump() | {"start_from": str(earlier["lora"])}
        )
        models = parts()
        with pytest.raises(SettingsError, match=said):
            attach(chosen, models)
        assert not any(hasattr(m, "base_layer") for m in models["unet"].modules())

    def test_a_dora_goes_on_as_one(self, earlier) -> None:
        settings = LoRA(rank=4, groups=("attention", "conv"), start_from=str(earlier["dora"]))
        with pytest.raises(SettingsError, match=r"set adapter\.dora=true"):
            attach(settings, parts())

    def test_a_lokr_keeps_its_split(self, earlier) -> None:
        settings = LoKr(rank=2, factor=2, start_from=str(earlier["lokr"]))
        with pytest.raises(SettingsError, match=r"set adapter\.factor"):
            attach(settings, parts())

    def test_blocks_may_hold_the_files_rank(self, earlier) -> None:
        settings = LoRA(
            rank=8,
            groups=ALL_GROUPS,
            text_encoder=True,
            blocks=(BlockSettings(match="*", rank=4),),
            start_from=str(earlier["lora"]),
        )
        assert {x.rank for x in attach(settings, parts()).layers().values()} == {4}

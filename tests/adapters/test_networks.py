"""Ranks and learning rates by block: the first pattern that fits decides, slips are named."""

import pytest
import torch
from small_models import ALL_GROUPS, TARGETS, parts

from workbench.adapters import LoHa, LoKr, LoRA
from workbench.adapters.networks import BlockSettings, NetworkSettings
from workbench.optim.optimizers import AdamW
from workbench.recipe import Recipe
from workbench.settings import SettingsError

MID = BlockSettings(match="unet.mid_block.*", rank=2, alpha=6.0, rate_factor=0.5)
CROSS = BlockSettings(match="*.attn2.*", rank=8)
UP = BlockSettings(match="unet.up_blocks.*", rank=0)


def attach(settings: NetworkSettings):
    return settings.attach(parts(), TARGETS, generator=torch.Generator().manual_seed(0))


def test_the_first_pattern_that_fits_decides() -> None:
    layers = attach(LoRA(rank=4, blocks=(MID, UP, CROSS))).layers()
    found = {name: (layer.rank, layer.scale) for name, layer in layers.items()}
    assert not any(name.startswith("unet.up_blocks") for name in found)
    for name, (rank, scale) in found.items():
        if "mid_block" in name:
            assert (rank, scale) == (2, 3.0), "before *.attn2.*, which fits it too"
        else:
            assert (rank, scale) == ((8, 1.0) if "attn2" in name else (4, 1.0))


def test_convolutions_and_text_encoders_have_ranks_of_their_own() -> None:
    settings = LoRA(rank=4, conv_rank=2, text_encoder_rank=3, text_encoder=True, groups=ALL_GROUPS)
    for name, layer in attach(settings).layers().items():
        wide = layer.down.dim() == 4 and layer.down.shape[-1] > 1
        assert layer.rank == (3 if name.startswith("text") else 2 if wide else 4)


def test_rates_by_block_and_by_matrix() -> None:
    adapter = attach(LoRA(rank=4, blocks=(MID,), b_rate_factor=16, text_encoder=True))
    assert adapter.rate_factors == {
        "unet x0.5": 0.5,
        "unet x8": 8.0,
        "unet x16": 16.0,
        "text_encoder x16": 16.0,
    }
    optimizer = AdamW(learning_rate=1e-3, text_encoder_learning_rate=1e-4)
    groups = optimizer.groups(adapter.groups(), adapter.rate_factors)
    rates = {group["name"]: group["lr"] for group in groups}
    assert rates == pytest.approx(
        {
            "unet": 1e-3,
            "unet x16": 1.6e-2,
            "unet x0.5": 5e-4,
            "unet x8": 8e-3,
            "text_encoder": 1e-4,
            "text_encoder x16": 1.6e-3,
        }
    )
    names = {id(p): name for name, p in adapter.trainables.items()}
    for group in groups:
        for p in group["params"]:
            name = names[id(p)]
            assert name.endswith("lora_B") == (group["name"].split(" x")[-1] in ("16", "8"))
            assert ("mid_block" in name) == (group["name"] in ("unet x0.5", "unet x8"))


def test_a_pattern_that_fits_nothing_is_named_with_what_there_is() -> None:
    slip = BlockSettings(match="unet.middle_block.*", rank=2)
    with pytest.raises(SettingsError, match=r"'unet\.middle_block\.\*' fits.*unet\.down_blocks\.0"):
        attach(LoRA(blocks=(slip,)))
    with pytest.raises(SettingsError, match="leaves no layer to learn"):
        attach(LoRA(blocks=(BlockSettings(match="*", rank=0),)))
    with pytest.raises(SettingsError, match=r"'unet\.\*' changes nothing"):
        LoRA(blocks=(BlockSettings(match="unet.*"),))


def test_blocks_in_a_recipe() -> None:
    text = """
    [adapter]
    kind = "loha"

    [[adapter.blocks]]
    match = "unet.mid_block.*"
    rank = 2
    """
    recipe = Recipe.preset("critters").override(["adapter.rank=4"])
    from workbench import settings

    adapter = settings.from_toml(
        Recipe, recipe.to_toml(comments=False).partition("[adapter]")[0] + text
    ).adapter
    assert isinstance(adapter, LoHa) and adapter.blocks[0].rank == 2


def test_defaults() -> None:
    assert (LoRA().rank, LoHa().rank, LoKr().rank, LoKr().factor) == (16, 8, 16, 8)
    layer = next(iter(attach(LoHa()).layers().values()))
    assert (layer.rank, layer.scale) == (8, 1.0)


@pytest.mark.parametrize(
    ("settings", "zero", "bounds"),
    [
        (LoHa(rank=4, groups=("conv",)), "w2_b", {"w1_a": 4, "w1_b": 144, "w2_a": 4}),
        (LoKr(rank=1, factor=4, groups=("conv",)), "w2_b", {"w1": 4, "w2_a": 1}),
        (LoKr(rank=64, factor=4, groups=("conv",)), "w2", {"w1": 4}),
    ],
    ids=["loha", "lokr", "lokr-full"],
)
def test_starts_as_peft_does(settings: NetworkSettings, zero: str, bounds: dict) -> None:
    """Which factor is zero, and the others uniform within 1 / sqrt(fan in), as in its classes."""
    from peft import LoHaConfig, LoKrConfig, inject_adapter_in_model

    name = "unet.down_blocks.0.resnets.0.conv1"
    layer = attach(settings).layers()[name]
    theirs = parts()["unet"]
    rank = {"r": settings.rank, "target_modules": "down_blocks.0.resnets.0.conv1"}
    if isinstance(settings, LoHa):
        config = LoHaConfig(**rank)
    else:
        config = LoKrConfig(init_weights="lycoris", decompose_factor=4, **rank)
    inject_adapter_in_model(config, theirs)
    wrapped = theirs.get_submodule("down_blocks.0.resnets.0.conv1")
    for field, peft_name in layer.peft_names.items():
        ours, held = getattr(layer, field), getattr(wrapped, peft_name)
        assert (ours is not None) == ("default" in held), field
        if ours is None:
            continue
        value = held["default"]
        assert ours.shape == value.shape
        assert bool(ours.any()) == bool(value.any()) == (field != zero)
        if field in bounds:
            limit = bounds[field] ** -0.5
            assert ours.abs().max() <= limit and value.abs().max() <= limit
            assert ours.abs().max() > 0.5 * limit

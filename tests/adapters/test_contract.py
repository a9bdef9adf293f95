"""Every adapter of the union: attached, learning, switched off, saved and put back."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from small_models import ALL_GROUPS, TARGETS, answer, learn, name_of, parts
from torch import nn

from workbench.adapters import Adapter, AttachedAdapter, Full, LoHa, LoKr, LoRA, attach_file, write
from workbench.adapters.layers import squared_norm
from workbench.adapters.merge import merge
from workbench.adapters.networks import BlockSettings, NetworkSettings
from workbench.store import FileRefused

MEMBERS = get_args(get_args(Adapter)[0])
BLOCKS = (
    BlockSettings(match="unet.mid_block.*", rank=2, alpha=3.0),
    BlockSettings(match="*.attn2.*", rate_factor=0.5),
    BlockSettings(match="unet.up_blocks.1.*", rank=0),
)
DROPS = {"rank_dropout": 0.3, "module_dropout": 0.3}
EXAMPLES = {
    LoRA: [
        LoRA(rank=4),
        LoRA(rank=4, alpha=2.5, groups=ALL_GROUPS, text_encoder=True, text_encoder_rank=2),
        LoRA(rank=3, rank_scaled=True, text_encoder=True, dropout=0.5),
        LoRA(rank=3, conv_rank=2, groups=ALL_GROUPS, blocks=BLOCKS, b_rate_factor=16, **DROPS),
        LoRA(rank=4, alpha=2.5, groups=ALL_GROUPS, text_encoder=True, dora=True, dropout=0.2),
        LoRA(rank=4, alpha=2.5, groups=("attention", "conv"), init="pissa", module_dropout=0.2),
        LoRA(rank=4, alpha=6, text_encoder=True, init="olora", rank_dropout=0.2),
    ],
    LoHa: [
        LoHa(rank=3, alpha=2.0, groups=ALL_GROUPS, text_encoder=True),
        LoHa(rank=2, max_norm=0.5, blocks=BLOCKS[:2], **DROPS),
    ],
    LoKr: [
        LoKr(rank=2, alpha=1.5, factor=4, groups=ALL_GROUPS, text_encoder=True),
        LoKr(rank=64, alpha=16, groups=ALL_GROUPS),
        LoKr(rank=1, factor=4, decompose_both=True, **DROPS),
    ],
    Full: [Full(), Full(text_encoder=True)],
}
Any = NetworkSettings | Full


def test_every_member_has_an_example() -> None:
    assert set(EXAMPLES) == set(MEMBERS)


def label(settings: Any) -> str:
    """What differs from the defaults."""
    chosen = settings.model_dump(exclude_defaults=True, exclude={"blocks", "groups"})
    return "-".join([settings.kind, *(f"{key}={value}" for key, value in chosen.items())])


@pytest.fixture(params=[e for examples in EXAMPLES.values() for e in examples], ids=label)
def settings(request: pytest.FixtureRequest) -> Any:
    return request.param


def attach(settings: Any, models: dict[str, nn.Module], seed: int = 3) -> AttachedAdapter:
    return settings.attach(models, TARGETS, generator=torch.Generator().manual_seed(seed))


def moves_base(settings: Any) -> bool:
    return isinstance(settings, LoRA) and settings.init != "zero"


def is_rewritten(settings: Any) -> bool:
    """Whether files hold other matrices than those that train, with the same product."""
    return moves_base(settings) or (isinstance(settings, LoKr) and settings.alpha is not None)


def same(one: torch.Tensor, other: torch.Tensor, *, exactly: bool) -> bool:
    return torch.equal(one, other) if exactly else torch.allclose(one, other, atol=2e-5)


def test_starts_as_the_base_and_draws_from_its_generator_alone(settings: Any) -> None:
    models, others = parts(), parts()
    base = answer(models)
    before = torch.get_rng_state()
    adapter = attach(settings, models)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(answer(models), base, exactly=not moves_base(settings))
    torch.manual_seed(99)
    twin = attach(settings, others).state()
    assert all(torch.equal(value, twin[name]) for name, value in adapter.state().items())


def test_two_steps_of_training(settings: Any, tmp_path: Path) -> None:
    """With every dropout on: all learn, the base does not, and the file gives what was trained."""
    models, fresh = parts(), parts()
    base = answer(models)
    adapter = attach(settings, models)
    groups = adapter.groups()
    optimizer = torch.optim.AdamW(
        [
            {"params": params, "lr": 0.02 * adapter.rate_factors.get(name, 1.0)}
            for name, params in groups.items()
        ],
        weight_decay=0,
    )
    before = adapter.state()
    for model in models.values():
        model.train()
    for step in range(2):
        torch.manual_seed(step)
        (answer(models) - 1).square().mean().backward()
        optimizer.step()
        adapter.after_step()
        optimizer.zero_grad()
    for model in models.values():
        model.eval()
    moved = [
        name for name, value in adapter.state().items() if not torch.equal(value, before[name])
    ]
    assert len(moved) > 0.6 * len(adapter.trainables) and set(moved) <= adapter.trainables.keys()
    trained = answer(models)
    assert (trained - base).abs().max() > 1e-4
    with adapter.strength(0):
        assert torch.equal(answer(models), base)
    path = write(
        tmp_path / "x.safetensors", adapter, name_of=name_of, dtype=torch.float32, metadata={}
    )
    attach_file(path, fresh, name_of=name_of)
    assert same(answer(fresh), trained, exactly=not is_rewritten(settings))


def test_only_the_trainables_learn(settings: Any) -> None:
    models = parts()
    adapter = attach(settings, models)
    learn(adapter.trainables)
    answer(models).square().sum().backward()
    learning = {id(p) for model in models.values() for p in model.parameters() if p.requires_grad}
    assert learning == {id(p) for p in adapter.trainables.values()}
    assert all(p.dtype == torch.float32 for p in adapter.trainables.values())
    used = [name for name, p in adapter.trainables.items() if p.grad is not None]
    assert len(used) > 0.9 * len(adapter.trainables)


def test_groups_hold_each_trainable_once(settings: Any) -> None:
    adapter = attach(settings, parts())
    groups, factors = adapter.groups(), adapter.rate_factors
    learning = ["unet", "text_encoder"] if settings.text_encoder else ["unet"]
    assert list(adapter.modules) == list(dict.fromkeys(n.partition(" ")[0] for n in groups))
    assert list(adapter.modules) == learning
    flat = [id(p) for group in groups.values() for p in group]
    assert sorted(flat) == sorted(id(p) for p in adapter.trainables.values())
    for name, p in adapter.trainables.items():
        own = next(group for group, params in groups.items() if any(p is q for q in params))
        assert own.partition(" ")[0] == name.partition(".")[0]
    assert {g for g in groups if " x" in g} == set(factors)
    assert all(name.endswith(f" x{factor:g}") for name, factor in factors.items())


def test_strength_is_a_dial_that_turns_back(settings: Any) -> None:
    models = parts()
    base = answer(models)
    adapter = attach(settings, models)
    learn(adapter.trainables)
    trained = answer(models)
    assert (trained - base).abs().max() > 1e-3
    with pytest.raises(RuntimeError), adapter.strength(0):
        assert torch.equal(answer(models), base)
        with adapter.strength(0.5):
            half = answer(models)
        assert torch.equal(answer(models), base)
        raise RuntimeError
    assert torch.equal(answer(models), trained)
    assert 0 < (half - base).norm() < (trained - base).norm()
    assert all(p.requires_grad for p in adapter.trainables.values())


def test_state_goes_back_bit_for_bit(settings: Any) -> None:
    models, others = parts(), parts()
    adapter, twin = attach(settings, models), attach(settings, others, seed=4)
    learn(adapter.trainables)
    state = adapter.state()
    learn(adapter.trainables)  # the state is a copy
    twin.load(state)
    assert list(state)[: len(twin.trainables)] == list(twin.trainables)
    assert all(torch.equal(p, state[name]) for name, p in twin.trainables.items())
    assert all(torch.equal(value, state[name]) for name, value in twin.state().items())


def test_a_state_that_does_not_fit_is_refused_whole(settings: Any) -> None:
    adapter = attach(settings, parts())
    before = adapter.state()
    name = next(reversed(before))
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        adapter.load({n: v + 1 for n, v in before.items() if n != name})
    assert all(torch.equal(p, before[n]) for n, p in adapter.trainables.items())


def test_delta_is_what_was_added_to_each_weight(settings: Any) -> None:
    models, merged = parts(), parts()
    adapter = attach(settings, models)
    learn(adapter.trainables, 0.05)
    for name, delta in adapter.delta():
        part, path = name.split(".", 1)
        path = path if isinstance(settings, Full) else f"{path}.weight"
        merged[part].get_parameter(path).data += delta
    assert torch.allclose(answer(models), answer(merged), atol=5e-5)


@pytest.mark.parametrize(
    "settings", [e for member in MEMBERS if member is not Full for e in EXAMPLES[member]], ids=label
)
def test_the_size_of_a_change_is_that_of_the_whole_matrix(settings: NetworkSettings) -> None:
    models = parts()
    adapter = attach(settings, models)
    weights, untouched = adapter.weights(), adapter.layers()
    if isinstance(settings, LoRA):
        assert not any(squared_norm(untouched[name], weights[name]) for name in weights)
    learn(adapter.trainables, 0.05)
    for name, delta in adapter.delta():
        found = squared_norm(adapter.layers()[name], weights[name])
        assert found.item() == pytest.approx(delta.double().square().sum().item(), rel=2e-4), name


def test_what_is_saved_comes_back(settings: Any, tmp_path: Path) -> None:
    models, fresh, merged = parts(), parts(), parts()
    adapter = attach(settings, models)
    learn(adapter.trainables)
    path = write(
        tmp_path / "x.safetensors", adapter, name_of=name_of, dtype=torch.float32, metadata={}
    )
    base = answer(fresh)
    again = attach_file(path, fresh, name_of=name_of)
    assert same(answer(fresh), answer(models), exactly=not is_rewritten(settings))
    if not moves_base(settings):
        assert again.state().keys() == adapter.state().keys()
    with again.strength(0):
        assert torch.equal(answer(fresh), base)
    again.detach()
    assert torch.equal(answer(fresh), base)
    if not isinstance(settings, Full):
        merge(merged, path, name_of=name_of)
        assert torch.allclose(answer(merged), answer(models), atol=1e-4)


def test_part_strength_is_part_of_the_way(settings: Any, tmp_path: Path) -> None:
    """W + s (W' - W), the same for what trains and what is merged from its file."""
    if isinstance(settings, Full):
        pytest.skip("a full fine-tune has no file that merges")
    models, merged = parts(), parts()
    adapter = attach(settings, models)
    learn(adapter.trainables, 0.05)
    path = write(
        tmp_path / "x.safetensors", adapter, name_of=name_of, dtype=torch.float32, metadata={}
    )
    merge(merged, path, 0.4, name_of=name_of)
    with adapter.strength(0.4):
        assert torch.allclose(answer(models), answer(merged), atol=5e-5)


def test_nan_is_never_written(settings: Any, tmp_path: Path) -> None:
    adapter = attach(settings, parts())
    next(iter(adapter.trainables.values())).data.view(-1)[0] = float("nan")
    path = tmp_path / "x.safetensors"
    with pytest.raises(ValueError, match="NaN"):
        write(path, adapter, name_of=name_of, dtype=torch.float16, metadata={})
    assert not path.exists() and not list(tmp_path.rglob("*.safetensors"))


def test_low_precision_bases_learn_in_fp32(settings: Any) -> None:
    models = parts()
    models["unet"].to(torch.bfloat16)
    adapter = attach(settings, models)
    assert all(p.dtype == torch.float32 for p in adapter.trainables.values())
    learn(adapter.trainables)
    with torch.autocast("cpu", torch.bfloat16):
        answer(models).float().square().sum().backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in adapter.trainables.values())


def test_a_folder_of_other_weights_is_refused_whole(tmp_path: Path) -> None:
    adapter = attach(Full(), parts())
    folder = write(
        tmp_path / "x.safetensors", adapter, name_of=name_of, dtype=torch.float32, metadata={}
    )
    models = parts()
    models["unet"] = nn.Linear(3, 3).to(torch.bfloat16)
    with pytest.raises(FileRefused, match="do not fit"):
        attach_file(folder, models, name_of=name_of)
    assert models["unet"].weight.dtype == torch.bfloat16


def test_a_full_fine_tune_without_its_start_says_so() -> None:
    adapter = attach(Full(keep_start=False), parts())
    with adapter.strength(1):
        pass
    with pytest.raises(ValueError, match="keep_start is false"), adapter.strength(0):
        pass

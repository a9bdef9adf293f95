"""Every adapter of the union: attached, learning, switched off, saved and put back."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from small_models import ALL_GROUPS, TARGETS, answer, learn, name_of, parts
from torch import nn

from workbench.adapters import Adapter, AttachedAdapter, Full, LoRA, attach_file, write
from workbench.store import FileRefused

MEMBERS = get_args(get_args(Adapter)[0])
EXAMPLES = {
    LoRA: [
        LoRA(rank=4),
        LoRA(rank=4, alpha=2.5, groups=ALL_GROUPS, text_encoder=True, text_encoder_rank=2),
        LoRA(rank=3, rank_scaled=True, text_encoder=True, dropout=0.5),
    ],
    Full: [Full(), Full(text_encoder=True)],
}


def test_every_member_has_an_example() -> None:
    assert set(EXAMPLES) == set(MEMBERS)


@pytest.fixture(params=[e for examples in EXAMPLES.values() for e in examples], ids=repr)
def settings(request: pytest.FixtureRequest) -> LoRA | Full:
    return request.param


def attach(settings: LoRA | Full, models: dict[str, nn.Module], seed: int = 3) -> AttachedAdapter:
    return settings.attach(models, TARGETS, generator=torch.Generator().manual_seed(seed))


def test_starts_as_the_base_and_draws_from_its_generator_alone(settings: LoRA | Full) -> None:
    models, others = parts(), parts()
    base = answer(models)
    before = torch.get_rng_state()
    adapter = attach(settings, models)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(answer(models), base)
    torch.manual_seed(99)
    twin = attach(settings, others).state()
    assert all(torch.equal(value, twin[name]) for name, value in adapter.state().items())


def test_only_the_trainables_learn(settings: LoRA | Full) -> None:
    models = parts()
    adapter = attach(settings, models)
    learn(adapter.trainables)
    answer(models).square().sum().backward()
    learning = {id(p) for model in models.values() for p in model.parameters() if p.requires_grad}
    assert learning == {id(p) for p in adapter.trainables.values()}
    assert all(p.dtype == torch.float32 for p in adapter.trainables.values())
    used = [name for name, p in adapter.trainables.items() if p.grad is not None]
    assert len(used) > 0.9 * len(adapter.trainables)


def test_groups_hold_each_trainable_once(settings: LoRA | Full) -> None:
    adapter = attach(settings, parts())
    groups = adapter.groups()
    assert list(groups) == (["unet", "text_encoder"] if settings.text_encoder else ["unet"])
    assert list(adapter.modules) == list(groups)
    flat = [id(p) for group in groups.values() for p in group]
    assert flat == [id(p) for p in adapter.trainables.values()]
    for name, p in adapter.trainables.items():
        assert any(p is q for q in groups[name.partition(".")[0]])


def test_strength_is_a_dial_that_turns_back(settings: LoRA | Full) -> None:
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


def test_state_goes_back_bit_for_bit(settings: LoRA | Full) -> None:
    models, others = parts(), parts()
    adapter, twin = attach(settings, models), attach(settings, others, seed=4)
    learn(adapter.trainables)
    state = adapter.state()
    learn(adapter.trainables)  # the state is a copy
    twin.load(state)
    assert list(state) == list(twin.trainables)
    assert all(torch.equal(p, state[name]) for name, p in twin.trainables.items())


def test_a_state_that_does_not_fit_is_refused_whole(settings: LoRA | Full) -> None:
    adapter = attach(settings, parts())
    before = adapter.state()
    name = next(reversed(before))
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        adapter.load({n: v + 1 for n, v in before.items() if n != name})
    assert all(torch.equal(p, before[n]) for n, p in adapter.trainables.items())


def test_delta_is_what_was_added_to_each_weight(settings: LoRA | Full) -> None:
    models, merged = parts(), parts()
    adapter = attach(settings, models)
    learn(adapter.trainables, 0.05)
    for name, delta in adapter.delta():
        part, path = name.split(".", 1)
        path = path if isinstance(settings, Full) else f"{path}.weight"
        merged[part].get_parameter(path).data += delta
    assert torch.allclose(answer(models), answer(merged), atol=2e-5)


def test_what_is_saved_comes_back(settings: LoRA | Full, tmp_path: Path) -> None:
    models, fresh = parts(), parts()
    adapter = attach(settings, models)
    learn(adapter.trainables)
    path = write(
        tmp_path / "x.safetensors", adapter, name_of=name_of, dtype=torch.float32, metadata={}
    )
    base = answer(fresh)
    again = attach_file(path, fresh, name_of=name_of)
    assert torch.equal(answer(fresh), answer(models))
    assert again.state().keys() == adapter.state().keys()
    with again.strength(0):
        assert torch.equal(answer(fresh), base)
    again.detach()
    assert torch.equal(answer(fresh), base)


def test_nan_is_never_written(settings: LoRA | Full, tmp_path: Path) -> None:
    adapter = attach(settings, parts())
    next(iter(adapter.trainables.values())).data.view(-1)[0] = float("nan")
    path = tmp_path / "x.safetensors"
    with pytest.raises(ValueError, match="NaN"):
        write(path, adapter, name_of=name_of, dtype=torch.float16, metadata={})
    assert not path.exists() and not list(tmp_path.rglob("*.safetensors"))


def test_low_precision_bases_learn_in_fp32(settings: LoRA | Full) -> None:
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

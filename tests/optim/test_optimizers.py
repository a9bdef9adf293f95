"""Every optimizer of the union learns, resumes bit for bit, and takes a rate for each part."""

import copy
import sys
from typing import get_args

import numpy as np
import pytest
import torch

from workbench.optim import Averaging, optimizers
from workbench.optim.optimizers import (
    CAME,
    Adafactor,
    AdamW,
    AdamW8bit,
    Custom,
    DAdaptation,
    Lion,
    Lion8bit,
    Muon,
    Optimizer,
    OptimizerSettings,
    PagedAdamW8bit,
    Prodigy,
    ScheduleFree,
)
from workbench.records.bundle import Bundle
from workbench.settings import SettingsError, from_dict, from_toml, override, to_toml

MEMBERS = get_args(get_args(Optimizer)[0])
FINDING = (Prodigy, DAdaptation)
# Rates at which sixty steps reach the ground of a bowl of radius one.
FAST = {member: {"learning_rate": 0.05} for member in MEMBERS if member not in FINDING} | {
    Prodigy: {"d0": 1e-3},
    DAdaptation: {"d0": 1e-3},
}


def tiny(member: type[OptimizerSettings], **options: object) -> OptimizerSettings:
    """Settings under which 300 weights use the method proper (8-bit needs a low threshold)."""
    small = {"min_8bit_size": 256} if "min_8bit_size" in member.model_fields else {}
    return member(**small, **options)


def weights() -> dict[str, list[torch.nn.Parameter]]:
    draw = torch.Generator().manual_seed(0)
    shapes = {"unet": [(8, 40), (40, 8), (8,)], "text_encoder": [(4, 8, 3, 3)]}
    return {
        part: [torch.nn.Parameter(torch.randn(s, generator=draw)) for s in part_shapes]
        for part, part_shapes in shapes.items()
    }


def run(
    params: dict[str, list[torch.nn.Parameter]], optimizer: torch.optim.Optimizer, steps: range
) -> None:
    for step in steps:
        gradients(params, step)
        optimizer.step()


def gradients(params: dict[str, list[torch.nn.Parameter]], step: int) -> None:
    """A bowl around zero, with noise."""
    draw = torch.Generator().manual_seed(step)
    for group in params.values():
        for p in group:
            p.grad = p.detach() + 0.1 * torch.randn(p.shape, generator=draw)


@pytest.mark.parametrize("member", MEMBERS)
class TestEveryOptimizer:
    def test_moves_downhill(self, member: type[OptimizerSettings]) -> None:
        params, settings = weights(), tiny(member, **FAST[member])
        before = sum(float(p.detach().square().sum()) for g in params.values() for p in g)
        run(params, settings.build(settings.groups(params)), range(60))
        after = sum(float(p.detach().square().sum()) for g in params.values() for p in g)
        assert after < 0.5 * before

    def test_resumes_bit_for_bit(self, member: type[OptimizerSettings]) -> None:
        """Through the parts of a checkpoint: tensors and plain data."""
        settings, whole, halves = tiny(member, **FAST[member]), weights(), weights()
        run(whole, settings.build(settings.groups(whole)), range(5))

        first = settings.build(settings.groups(halves))
        run(halves, first, range(3))
        state = copy.deepcopy(Bundle.pack({"optimizer": first.state_dict()}).unpack()["optimizer"])
        resumed = {
            part: [torch.nn.Parameter(p.detach().clone()) for p in group]
            for part, group in halves.items()
        }
        second = settings.build(settings.groups(resumed))
        chosen = [settings.chosen(group) for group in second.param_groups]
        second.load_state_dict(state)
        settings.loaded(second)
        for group, ours in zip(second.param_groups, chosen, strict=True):
            group.update(ours)  # as a resume does: settings come from the recipe
        run(resumed, second, range(3, 5))
        for part, group in whole.items():
            for expected, got in zip(group, resumed[part], strict=True):
                assert torch.equal(expected, got)

    def test_groups_carry_name_and_rate(self, member: type[OptimizerSettings]) -> None:
        params, settings = weights(), tiny(member)
        optimizer = settings.build(settings.groups(params))
        names = [g["name"] for g in optimizer.param_groups if g.get("use_muon", True)]
        assert names == ["unet", "text_encoder"]
        assert {g["lr"] for g in optimizer.param_groups} == {settings.learning_rate}
        for steps in (range(0), range(1)):
            run(params, optimizer, steps)
            assert all(isinstance(v, float) for v in settings.traces(optimizer).values())

    def test_prints_nothing(
        self, member: type[OptimizerSettings], capsys: pytest.CaptureFixture[str]
    ) -> None:
        settings = tiny(member)
        settings.build(settings.groups(weights()))
        assert capsys.readouterr().out == ""

    def test_takes_steps_in_pieces_only_where_that_changes_nothing(
        self, member: type[OptimizerSettings]
    ) -> None:
        if not member.apart:
            return
        settings, whole, pieces = tiny(member), weights(), weights()
        run(whole, settings.build(settings.groups(whole)), range(3))
        optimizer = settings.build(settings.groups(pieces))
        groups = optimizer.param_groups
        everything = [list(group["params"]) for group in groups]
        for step in range(3):
            gradients(pieces, step)
            for place, params in enumerate(everything):
                for p in params:
                    for index, group in enumerate(groups):
                        group["params"] = [p] if index == place else []
                    optimizer.step()
        for part, group in whole.items():
            for expected, got in zip(group, pieces[part], strict=True):
                assert torch.equal(expected, got)

    def test_survives_toml(self, member: type[OptimizerSettings]) -> None:
        assert from_toml(member, to_toml(member())) == member()


@pytest.mark.parametrize("member", [m for m in MEMBERS if m not in FINDING])
def test_text_encoder_has_its_own_rate(member: type[OptimizerSettings]) -> None:
    """In effect, not only in the group: one step moves both parts by their own rate."""
    settings = member(learning_rate=2e-3, text_encoder_learning_rate=5e-4)
    params = {part: [torch.nn.Parameter(torch.ones(4, 4))] for part in ("unet", "text_encoder")}
    optimizer = settings.build(settings.groups(params))
    assert [g["lr"] for g in optimizer.param_groups] == [2e-3, 5e-4]
    assert settings.rate("text_encoder_2") == 5e-4
    for (p,) in params.values():
        p.grad = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    optimizer.step()
    moved = [float((p.detach() - 1).norm()) for (p,) in params.values()]
    assert moved[0] / moved[1] == pytest.approx(4, rel=0.02)


def test_parts_that_do_not_learn_make_no_group() -> None:
    assert AdamW().groups({"unet": weights()["unet"], "text_encoder": []})[-1]["name"] == "unet"


@pytest.mark.parametrize("member", [AdamW8bit, PagedAdamW8bit, Lion8bit])
def test_8bit_keeps_one_byte_a_weight_where_the_tensor_is_large_enough(
    member: type[OptimizerSettings],
) -> None:
    params, settings = weights(), tiny(member)
    optimizer = settings.build(settings.groups(params))
    run(params, optimizer, range(1))
    types = [optimizer.state[p]["state1"].dtype for g in params.values() for p in g]
    assert types == [torch.uint8, torch.uint8, torch.float32, torch.uint8]


def test_paged_averages_stay_where_they_are_on_a_cpu(recwarn: pytest.WarningsRecorder) -> None:
    params, settings = weights(), PagedAdamW8bit()
    optimizer = settings.build(settings.groups(params))
    run(params, optimizer, range(1))
    assert type(optimizer).__name__ == "AdamW8bit"
    assert not recwarn.list


def test_prodigy_traces_the_rate_that_it_found_and_the_way_it_came() -> None:
    params, settings = weights(), Prodigy(slice_p=1)
    start = [p.detach().clone() for group in params.values() for p in group]
    optimizer = settings.build(settings.groups(params))
    assert settings.traces(optimizer) == {"d": 1e-6, "d*lr": 1e-6, "|p-p0|": 0.0}
    run(params, optimizer, range(20))
    traces = settings.traces(optimizer)
    assert traces["d"] > 1e-5 and traces["d*lr"] == traces["d"]
    now = [p.detach() for group in params.values() for p in group]
    moved = sum(float((a - b).square().sum()) for a, b in zip(start, now, strict=True)) ** 0.5
    assert traces["|p-p0|"] == pytest.approx(moved, rel=1e-5)


@pytest.mark.parametrize("member", FINDING)
def test_two_rates_are_refused_where_one_is_found(member: type[OptimizerSettings]) -> None:
    settings = member(text_encoder_learning_rate=0.5)
    with pytest.raises(SettingsError, match=r"must equal learning_rate for .*\[0.5, 1.0\]"):
        settings.build(settings.groups(weights()))


def search(settings: OptimizerSettings, dtype: torch.dtype, steps: int) -> tuple[float, float]:
    """Rate found and largest change of weights of size .05 to .1 that are pulled to zero."""
    draw = torch.Generator().manual_seed(0)
    p = torch.nn.Parameter((0.05 + 0.05 * torch.rand(64, 64, generator=draw)).to(dtype))
    start = p.detach().clone()
    optimizer = settings.build(settings.groups({"unet": [p]}))
    for _ in range(steps):
        p.grad = p.detach().clone()
        optimizer.step()
    moved = float((p.detach() - start).abs().max())
    assert (settings.stuck(optimizer) is None) == (moved > 1e-3)
    return settings.traces(optimizer)["d"], moved


def test_prodigy_never_starts_in_bf16_unless_its_first_guess_is_large() -> None:
    """The first update is below half an ulp of such weights, 1.2e-4: they and d never move.

    It is 3.2 d0 by the library's settings, and d0 by those for diffusion.
    """
    theirs = {"beta2": 0.999, "bias_correction": False}
    assert search(Prodigy(**theirs), torch.bfloat16, 400) == (1e-6, 0.0)
    assert search(Prodigy(), torch.bfloat16, 400) == (1e-6, 0.0)
    assert search(Prodigy(learning_rate=1e-4), torch.float32, 100)[1] < 1e-4
    assert search(Prodigy(**theirs, d0=1e-4), torch.bfloat16, 100)[1] > 0.01
    assert search(Prodigy(d0=1e-4), torch.bfloat16, 100) == (1e-4, 0.0)
    found, moved = search(Prodigy(), torch.float32, 100)
    assert found > 1e-3 and moved > 0.01


@pytest.mark.parametrize("member", FINDING)
def test_a_rate_that_was_never_found_is_told(member: type[OptimizerSettings]) -> None:
    settings = member()
    optimizer = settings.build(settings.groups(weights()))
    message, fix = settings.stuck(optimizer) or ("", "")
    assert "still d0 = 1e-06" in message and "trainable_dtype" in fix
    params = weights()
    optimizer = settings.build(settings.groups(params))
    run(params, optimizer, range(20))
    assert settings.stuck(optimizer) is None


def test_adafactor_moves_a_zero_weight_at_the_given_rate() -> None:
    """With the library's defaults a weight of zeros moves a thousand times less."""
    p = torch.nn.Parameter(torch.zeros(8, 40))
    p.grad = torch.ones_like(p)
    settings = Adafactor(learning_rate=1e-3)
    settings.build(settings.groups({"unet": [p]})).step()
    assert torch.allclose(p, torch.full_like(p, -1e-3), rtol=1e-4)


def test_lion_agrees_with_bitsandbytes() -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    ours, theirs = weights(), weights()
    settings = Lion(learning_rate=1e-3, weight_decay=0.1)
    run(ours, settings.build(settings.groups(ours)), range(10))
    flat = [p for group in theirs.values() for p in group]
    oracle = bitsandbytes.optim.Lion(flat, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1)
    run(theirs, oracle, range(10))
    for part, group in ours.items():
        for a, b in zip(group, theirs[part], strict=True):
            assert torch.allclose(a, b, atol=1e-6)


def test_adafactors_own_defaults_drop_the_given_rates() -> None:
    """What our settings keep users from: relative steps ignore the rate and both groups."""
    from transformers.optimization import Adafactor as Library

    params = {part: torch.nn.Parameter(torch.zeros(8, 40)) for part in ("unet", "text_encoder")}
    groups = [
        {"params": [p], "lr": lr} for p, lr in zip(params.values(), (1e-3, 1e-5), strict=True)
    ]
    optimizer = Library(groups)
    for p in params.values():
        p.grad = torch.ones_like(p)
    optimizer.step()
    moved = [float(p.detach().abs().mean()) for p in params.values()]
    assert moved == pytest.approx([1e-5, 1e-5], rel=1e-3)  # 1e-2 relative step x 1e-3 for zeros


def test_came_agrees_with_its_paper() -> None:
    """Algorithm 2 for one matrix, two steps, in plain numpy."""
    draw = np.random.default_rng(0)
    gradients = draw.normal(size=(2, 3, 4))
    betas, lr = (0.9, 0.999, 0.9999), 0.1
    row = col = res_row = res_col = 0.0
    momentum, expected = np.zeros((3, 4)), np.zeros((3, 4))

    def factored(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return np.outer(rows, columns) / rows.mean()

    for g in gradients:
        square = g**2 + 1e-30
        row = betas[1] * row + (1 - betas[1]) * square.mean(axis=1)
        col = betas[1] * col + (1 - betas[1]) * square.mean(axis=0)
        u = g / np.sqrt(factored(row, col))
        u /= max(1.0, np.sqrt((u**2).mean()))
        momentum = betas[0] * momentum + (1 - betas[0]) * u
        unsure = (u - momentum) ** 2 + 1e-16
        res_row = betas[2] * res_row + (1 - betas[2]) * unsure.mean(axis=1)
        res_col = betas[2] * res_col + (1 - betas[2]) * unsure.mean(axis=0)
        expected -= lr * momentum / np.sqrt(factored(res_row, res_col))

    p = torch.nn.Parameter(torch.zeros(3, 4))
    settings = CAME(learning_rate=lr, weight_decay=0)
    optimizer = settings.build(settings.groups({"unet": [p]}))
    for g in gradients:
        p.grad = torch.tensor(g, dtype=torch.float32)
        optimizer.step()
    assert np.allclose(p.detach().numpy(), expected, rtol=1e-4)


def test_muon_moves_matrices_like_torchs_own_and_vectors_by_adamw() -> None:
    matrix = torch.nn.Parameter(torch.ones(8, 20))
    vector = torch.nn.Parameter(torch.ones(8))
    oracle = torch.nn.Parameter(torch.ones(8, 20))
    settings = Muon(learning_rate=1e-2, weight_decay=0.1)
    optimizer = settings.build(settings.groups({"unet": [matrix, vector]}))
    assert [g["name"] for g in optimizer.param_groups] == ["unet", "unet (AdamW)"]
    theirs = torch.optim.Muon(
        [oracle], lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw", momentum=0.95
    )
    for step in range(3):
        matrix.grad = torch.randn(8, 20, generator=torch.Generator().manual_seed(step))
        oracle.grad, vector.grad = matrix.grad.clone(), torch.ones(8)
        optimizer.step()
        theirs.step()
    moved, expected = matrix.detach() - 1, oracle.detach() - 1
    # Both iterate in bf16, in another order.
    assert float((moved - expected).norm()) < 0.02 * float(expected.norm())
    assert torch.allclose(vector, torch.full((8,), 0.967), atol=1e-3)


# ------------------------------------------------------------------------------------- custom


def test_any_installed_optimizer_can_be_named() -> None:
    settings = from_dict(
        Custom,
        {"path": "torch.optim.RMSprop", "options": {"alpha": 0.9, "centered": True}},
    )
    params = weights()
    optimizer = settings.build(settings.groups(params))
    assert type(optimizer) is torch.optim.RMSprop
    assert optimizer.param_groups[0]["alpha"] == 0.9
    assert settings.problem() == ""


def test_custom_options_survive_toml_and_overrides() -> None:
    settings = Custom(path="torch.optim.Adamax", options={"betas": (0.8, 0.9), "eps": 1e-6})
    assert from_toml(Custom, to_toml(settings)) == settings
    changed = override(settings, ["options.betas=[0.5, 0.6]", "options.foreach=true"])
    assert changed.options == {"betas": (0.5, 0.6), "eps": 1e-6, "foreach": True}
    assert changed.problem() == ""


@pytest.mark.parametrize(
    ("path", "options", "said"),
    [
        ("torch.optim.Nadam", {}, r"cannot be found .* must be package\.Class"),
        ("nowhere.at.All", {}, "cannot be found"),
        ("os.system", {"command": "false"}, r"must name a class of torch\.optim\.Optimizer"),
        ("subprocess.Popen", {"args": "false"}, "which is type 'Popen'"),
        ("torch.optim.SGD", {"momentun": 0.9}, r"momentun.*it takes momentum, dampening"),
        ("torch.optim.SGD", {"momentum": -1.0}, "Invalid momentum value"),
        ("torch.optim.SGD", {"lr": 1.0}, "multiple values"),
    ],
)
def test_what_cannot_be_built_is_told(path: str, options: dict, said: str) -> None:
    settings = Custom(path=path, options=options)  # reading a recipe imports and calls nothing
    with pytest.raises(SettingsError, match=said):
        settings.build(settings.groups(weights()))
    assert settings.problem()


def test_a_path_is_no_code() -> None:
    with pytest.raises(SettingsError, match="path must match"):
        Custom(path="os; import shutil")


# -------------------------------------------------------------------------------- schedule-free


def test_the_average_is_shown_and_the_weights_come_back_bit_for_bit() -> None:
    params, settings = weights(), ScheduleFree(learning_rate=0.1)
    optimizer = settings.build(settings.groups(params))
    run(params, optimizer, range(4))
    (p, *_), averaging = params["unet"], Averaging(optimizer)
    trained, fast = p.detach().clone(), optimizer.state[p]["z"]
    with averaging.shown():
        average = p.detach().clone()
        with averaging.shown():  # a report inside a sampling pass
            assert torch.equal(p, average)
        assert torch.equal(p, average)
    assert torch.equal(p, trained)
    assert torch.allclose(0.9 * average + 0.1 * fast, trained, atol=1e-6)  # y between x and z
    assert not torch.equal(average, trained)
    run(params, optimizer, range(4, 5))  # set to train again: it would refuse otherwise


def test_looking_at_the_average_changes_no_later_step() -> None:
    seen, unseen = weights(), weights()
    settings = ScheduleFree(learning_rate=0.1)
    looking, other = (settings.build(settings.groups(params)) for params in (seen, unseen))
    for step in range(6):
        for params, optimizer in ((seen, looking), (unseen, other)):
            run(params, optimizer, range(step, step + 1))
        with Averaging(looking).shown():
            pass
    for part, group in seen.items():
        for a, b in zip(group, unseen[part], strict=True):
            assert torch.equal(a, b)


def test_the_average_is_that_of_the_fast_weights() -> None:
    """x after n steps of one rate is the mean of z_1 to z_n: Defazio et al. 2024, eq. 3."""
    p = torch.nn.Parameter(torch.zeros(5))
    settings = ScheduleFree(learning_rate=0.1, weight_decay=0)
    optimizer = settings.build(settings.groups({"unet": [p]}))
    fast = []
    for step in range(7):
        p.grad = torch.randn(5, generator=torch.Generator().manual_seed(step))
        optimizer.step()
        fast.append(optimizer.state[p]["z"].clone())
        assert settings.traces(optimizer) == pytest.approx({"averaged_steps": step + 1})
    with Averaging(optimizer).shown():
        assert torch.allclose(p, torch.stack(fast).mean(dim=0), atol=1e-6)


def test_most_optimizers_have_one_set_of_weights() -> None:
    settings = AdamW()
    assert not Averaging(settings.build(settings.groups(weights()))).active


@pytest.mark.parametrize("member", [m for m in MEMBERS if m.package is not None])
def test_a_missing_library_is_named_with_the_fix(
    member: type[OptimizerSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, str(member.package), None)
    settings, package = member(), str(member.package).replace("_", "-")
    with pytest.raises(SettingsError, match=f"pip install {package}.*or choose adamw"):
        settings.build(settings.groups(weights()))


def test_every_optimizer_is_exported() -> None:
    assert {m.__name__ for m in MEMBERS} <= set(optimizers.__all__)

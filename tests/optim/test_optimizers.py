"""Every optimizer of the union learns, resumes bit for bit, and takes a rate for each part."""

import copy
import sys

import pytest
import torch
from optim_bowl import FINDING, MEMBERS, gradients, run, tiny, weights

from workbench.optim import Averaging, optimizers
from workbench.optim.optimizers import (
    AdamW,
    AdamW8bit,
    DAdaptation,
    Lion8bit,
    OptimizerSettings,
    PagedAdamW8bit,
    Prodigy,
    ScheduleFree,
)
from workbench.records.bundle import Bundle
from workbench.settings import SettingsError, from_toml, to_toml

# Rates at which sixty steps reach the ground of a bowl of radius one.
FAST = {member: {"learning_rate": 0.05} for member in MEMBERS if member not in FINDING} | {
    Prodigy: {"d0": 1e-3},
    DAdaptation: {"d0": 1e-3},
}


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


@pytest.mark.parametrize("member", FINDING)
def test_two_rates_are_refused_where_one_is_found(member: type[OptimizerSettings]) -> None:
    settings = member(text_encoder_learning_rate=0.5)
    with pytest.raises(SettingsError, match=r"must equal learning_rate for .*\[0.5, 1.0\]"):
        settings.build(settings.groups(weights()))


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

"""Every rule: a recipe that it applies to, and a neighbour that it does not."""

import pytest
from checks_pictures import Pictures
from rule_cases import CASES
from rule_cases.case import SD, Case, case

from workbench import checks
from workbench.recipe import Recipe

TESTED_ELSEWHERE = {"missing_library", "save_over_grace"}


def found(chosen: Case, *, good: bool, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    monkeypatch.setattr("torch.cuda.is_available", lambda: chosen.cuda)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: chosen.native_bfloat16)
    recipe = Recipe.preset(chosen.preset).override([*chosen.bad, *(chosen.good if good else ())])
    pictures = (good and chosen.better) or chosen.pictures
    return {finding.rule.id for finding in checks.check(recipe, dataset=pictures)}  # type: ignore[arg-type]


def test_every_rule_has_a_case():
    assert set(checks.RULES) - TESTED_ELSEWHERE == set(CASES)
    assert len(checks.RULES) >= 30


@pytest.mark.parametrize("name", CASES)
def test_rule(name: str, monkeypatch: pytest.MonkeyPatch):
    assert name in found(CASES[name], good=False, monkeypatch=monkeypatch)
    assert name not in found(CASES[name], good=True, monkeypatch=monkeypatch)


@pytest.mark.parametrize(
    ("bad", "fix"),
    [
        ((SD,), "base.dtype=float16 training.precision=float16"),
        (
            (SD, "training.trainable_dtype=bfloat16"),
            "base.dtype=float16 training.precision=float16 training.trainable_dtype=float32",
        ),
        (("base.path=some/z-image",), "base.dtype=float32 training.precision=float32"),
        (("base.path=some/thing",), "base.dtype=float16 training.precision=float16"),
        ((), "base.dtype=float32 training.precision=float32"),  # the critters are small
    ],
)
def test_a_gpu_without_bfloat16_is_told_what_to_set(
    bad: tuple[str, ...], fix: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: False)
    half = ("base.dtype=bfloat16", "training.precision=bfloat16")
    recipe = Recipe.preset("critters").override([*half, *bad])
    findings = {finding.rule.id: finding for finding in checks.check(recipe)}
    assert findings["bfloat16_emulated"].fix == f"set {fix}"
    mended = {finding.rule.id for finding in checks.check(recipe.override(fix.split()))}
    assert not mended & {"bfloat16_emulated", "half_on_cpu", "full_precision_on_gpu"}
    only_base = recipe.override(["training.precision=float32", *bad])
    assert "bfloat16_emulated" in {finding.rule.id for finding in checks.check(only_base)}


def test_an_optimizer_without_its_library(monkeypatch: pytest.MonkeyPatch):
    eight = case("optimizer.kind=adamw8bit")
    assert "missing_library" not in found(eight, good=False, monkeypatch=monkeypatch)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "missing_library" in found(eight, good=False, monkeypatch=monkeypatch)


@pytest.mark.parametrize("name", ["accumulation_over_epoch", "thin_buckets"])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("batch, accumulation", [(1, 4), (4, 1), (4, 4), (2, 1)])
def test_a_fix_mends_what_it_is_for(name, count, batch, accumulation):
    """Also where there is one picture, and nothing but the batch can be made smaller."""
    pictures = Pictures(["a, b"] * count, subsets=[0] * count)
    recipe = Recipe.preset("critters").override(
        [f"training.batch_size={batch}", f"training.accumulation={accumulation}"]
    )

    def finding(recipe: Recipe) -> checks.Finding | None:
        found = checks.check(recipe, dataset=pictures)
        return next((one for one in found if one.rule.id == name), None)

    if (one := finding(recipe)) is None:
        assert name == "thin_buckets" or batch * accumulation <= count
        return
    changes = one.fix.removeprefix("set ").partition(",")[0].split(" and ")
    mended = recipe.override(changes)
    assert mended != recipe and finding(mended) is None

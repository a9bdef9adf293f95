"""Every rule: a recipe that it applies to, and a neighbour that it does not."""

import pytest

from workbench import checks
from workbench.recipe import Recipe
from workbench.records.events import Started
from workbench.settings import SettingsError


def recipe(*overrides: str) -> Recipe:
    return Recipe.preset("critters").override(overrides)


class FewImages:
    """As much of a dataset as the rules look at: ten images."""

    repeats = (1,) * 10


# id -> (overrides with which it applies, overrides that make it go away)
CASES: dict[str, tuple[list[str], list[str]]] = {
    "prodigy_rate": (
        ["optimizer.kind=prodigy", "optimizer.learning_rate=1e-4"],
        ["optimizer.learning_rate=1"],
    ),
    "prodigy_two_rates": (
        ["optimizer.kind=prodigy", "optimizer.text_encoder_learning_rate=0.5"],
        ["optimizer.text_encoder_learning_rate=1"],
    ),
    "lion_rate": (
        ["optimizer.kind=lion", "optimizer.learning_rate=1e-3", "base.path=elsewhere"],
        ["optimizer.learning_rate=3e-5"],
    ),
    "small_for_8bit": (["optimizer.kind=adamw8bit", "adapter.rank=8"], ["adapter.rank=64"]),
    "ema_unreachable": (["ema.decay=0.9999"], ["ema.decay=0.9"]),
    "accumulation_over_epoch": (["training.accumulation=8"], ["training.accumulation=2"]),
    "sdxl_resolution": (
        ["base.family=sdxl", "data.buckets.resolution=512"],
        ["data.buckets.resolution=1024"],
    ),
    "resolution_over_native": (
        ["base.family=sd", "data.buckets.resolution=1024"],
        ["data.buckets.resolution=512"],
    ),
    "no_trigger": (["data.subsets.0.trigger=none"], ["data.subsets.0.trigger=zib"]),
    "dropout_takes_all": (["data.captions.tag_dropout=1"], ["data.captions.tag_dropout=0.3"]),
    "half_on_cpu": (["training.precision=float16"], ["training.precision=float32"]),
    "warmup_over_run": (["schedule.warmup=250"], ["schedule.warmup=10"]),
    "no_prompts": (["sampling.prompts=[]"], ['sampling.prompts=["a"]']),
}


def found(*overrides: str) -> set[str]:
    findings = checks.check(recipe(*overrides), dataset=FewImages())  # pyright: ignore
    return {finding.rule.id for finding in findings}


def test_every_rule_has_a_case():
    assert set(checks.RULES) - {"missing_8bit_library"} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_rule(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    bad, good = CASES[name]
    assert name in found(*bad)
    assert name not in found(*bad, *good)


def test_8bit_without_its_library(monkeypatch: pytest.MonkeyPatch):
    assert "missing_8bit_library" not in found("optimizer.kind=adamw8bit")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "missing_8bit_library" in found("optimizer.kind=adamw8bit")


@pytest.mark.parametrize("preset", ["critters", "sd15-lora"])
def test_presets_have_no_pitfall_worse_than_a_note(preset: str):
    findings = checks.check(Recipe.preset(preset))
    assert [x for x in findings if x.rule.severity != "note"] == []


SLOW_PRODIGY = ("optimizer.kind=prodigy", "optimizer.learning_rate=1e-4")


def test_a_refusal_names_reason_fix_and_way_round():
    with pytest.raises(SettingsError) as refused:
        checks.require(recipe(*SLOW_PRODIGY))
    said = str(refused.value)
    assert "0.0001" in said
    assert "optimizer.learning_rate=1" in said
    assert "checks.allow=prodigy_rate" in said


def test_an_allowed_refusal_runs_and_is_still_said():
    (finding, *_) = checks.require(recipe(*SLOW_PRODIGY, "checks.allow=prodigy_rate"))
    assert (finding.rule.id, finding.allowed, finding.stops) == ("prodigy_rate", True, False)


def test_what_cannot_run_at_all_cannot_be_allowed():
    bad = ("optimizer.kind=prodigy", "optimizer.text_encoder_learning_rate=0.5")
    with pytest.raises(SettingsError, match="one rate") as refused:
        checks.require(recipe(*bad, "checks.allow=prodigy_two_rates"))
    assert "allow it" not in str(refused.value)


def test_an_unknown_id_is_named():
    with pytest.raises(SettingsError, match="'prodigy' is no rule"):
        checks.check(recipe("checks.allow=prodigy"))


def test_the_worst_comes_first():
    findings = checks.check(recipe(*SLOW_PRODIGY, "sampling.prompts=[]", "ema.decay=0.9999"))
    ranks = [checks.SEVERITIES.index(finding.rule.severity) for finding in findings]
    assert ranks == sorted(ranks)
    assert len(ranks) == 3


def test_a_run_says_its_warnings_once_it_started():
    class Trainer:
        dataset = FewImages()

    class Run:
        recipe = recipe("ema.decay=0.9999")
        trainer = Trainer()

    started = Started(run="x", recipe_hash="", total_steps=1)
    (warned,) = checks.observe(Run(), started)  # pyright: ignore
    assert (warned.id, "89990" in warned.message) == ("ema_unreachable", True)

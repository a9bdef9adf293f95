"""What the rules say of whole recipes, and what follows from it."""

import pytest
from checks_pictures import Pictures

from workbench import checks
from workbench.recipe import Recipe, presets
from workbench.records.events import Started
from workbench.settings import SettingsError
from workbench.settings.errors import locate

SLOW_PRODIGY = ("optimizer.kind=prodigy", "optimizer.learning_rate=1e-4")
MISTAKES = {
    "prodigy_rate": ("optimizer.kind=prodigy", "optimizer.learning_rate=1e-4"),
    "prodigy_restarts": ("schedule.kind=cosine_restarts",),
    "alpha_large": ("adapter.alpha=512",),
    "ema_unreachable": ("ema.decay=0.9999",),
    "accumulation_over_epoch": ("training.accumulation=4",),
    "dropout_takes_all": ("data.captions.tag_dropout=0.95",),
    "offset_strong": ("noise.kind=offset", "noise.strength=0.5"),
    "timesteps_narrow": ("timesteps.highest=100",),
    "guidance_high": ("sampling.guidance=25",),
    "trigger_not_sampled": ('sampling.prompts=["a house"]',),
}


def recipe(*overrides: str) -> Recipe:
    return Recipe.preset("critters").override(overrides)


def test_ten_planted_mistakes_are_named_and_nothing_else():
    planted = recipe(*(change for changes in MISTAKES.values() for change in changes))
    findings = checks.check(planted, dataset=Pictures())  # type: ignore[arg-type]
    assert len(MISTAKES) == 10
    assert {finding.rule.id for finding in findings} == set(MISTAKES)


@pytest.mark.parametrize("preset", presets())
def test_presets_have_no_pitfall(preset: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: preset not in ("critters",))
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: True)
    chosen = Recipe.preset(preset)
    assert checks.check(chosen) == []
    if preset.startswith("critters"):  # their pictures are here
        from workbench.data.dataset import index

        assert checks.check(chosen, dataset=index(chosen.data)) == []


def test_findings_stand_beside_a_setting_that_exists():
    """A form shows a finding at its setting, so the path must lead there."""
    for rule in checks.RULES.values():
        path = checks.settings_path(rule)
        place = locate(Recipe, path.split("."))
        assert place.field is not None, f"{rule.id}: {path}"


def test_a_finding_names_the_place_in_the_recipe():
    pictures = Pictures(["a, b"] * 9 + [""], subsets=[0] * 9 + [1])
    plain = recipe("data.subsets.1.is_prior=false")
    findings = checks.check(plain, dataset=pictures)  # type: ignore[arg-type]
    (finding,) = [x for x in findings if x.rule.id == "no_words"]
    assert finding.setting == "data.subsets.1.missing_caption"
    assert "1 pictures of subset 1" in finding.reason


def test_a_noise_inside_another_is_found_where_it_is():
    planted = recipe("noise.kind=input_perturbation", "noise.base.kind=offset")
    (finding,) = checks.check(planted.override(["noise.base.strength=0.5"]))
    assert (finding.rule.id, finding.setting) == ("offset_strong", "noise.base.strength")


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


def test_an_unknown_id_is_answered_with_the_nearest():
    with pytest.raises(SettingsError, match="'prodigy_rat' is no rule; did you mean 'prodigy_rate"):
        checks.check(recipe("checks.allow=prodigy_rat"))


def test_the_worst_comes_first():
    findings = checks.check(recipe(*SLOW_PRODIGY, "sampling.prompts=[]", "ema.decay=0.9999"))
    ranks = [checks.SEVERITIES.index(finding.rule.severity) for finding in findings]
    assert ranks == sorted(ranks)
    assert len(ranks) == 3


def test_a_run_says_its_warnings_once_it_started():
    class Trainer:
        dataset = Pictures()

    class Run:
        recipe = recipe("ema.decay=0.9999")
        trainer = Trainer()

    started = Started(run="x", recipe_hash="", total_steps=1)
    (warned,) = checks.observe(Run(), started)  # type: ignore[arg-type]
    assert (warned.id, "89990" in warned.message) == ("ema_unreachable", True)

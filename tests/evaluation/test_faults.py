"""Each fault is recognised from the events of a run that has it, and in no sound one."""

from pathlib import Path

import pytest

from workbench.evaluation import diagnosis
from workbench.records.events import (
    Averaged,
    Event,
    Failed,
    Likeness,
    Measured,
    NearestPicture,
    Progress,
    Started,
    Validated,
)

STEPS = 40


def average(**changes) -> Averaged:
    sound = {"lag": 0.1, "distance": 1.0, "decay": 0.9, "full_decay": 0.9, "full_after": 30}
    return Averaged(**{**sound, **changes})


def measured(**changes) -> Measured:
    blocks = {"unet.down_blocks.0": 0.02, "unet.mid_block": 0.01}
    sound = {"change": blocks, "num_layers": 8, "moved": 1.0, "updated": 1.0, "spacing": 1e-9}
    return Measured(step=STEPS, **{**sound, **changes})


def progress(step: int, **changes) -> Progress:
    sound = {"loss": 0.1, "learning_rates": {"unet": 1e-4}, "gradient_norm": 0.5}
    return Progress(step=step, **{**sound, **changes})


def a_run(*extra: Event, learned: bool = False, steps=None, weights: Measured | None = None):
    """A run that moved its weights; `extra` comes at its end."""
    gain = 0.8 if learned else 1.0
    return [
        Started(run="x", recipe_hash="", total_steps=STEPS),
        *(steps or [progress(k) for k in range(1, STEPS + 1)]),
        Validated(step=STEPS, split="train", loss=gain, base_loss=1.0),
        weights or measured(),
        *extra,
    ]


def each(**changes) -> list[Progress]:
    """All steps, changed; a function of the step gives a value of its own to each."""
    return [
        progress(k, **{n: v(k) if callable(v) else v for n, v in changes.items()})
        for k in range(1, STEPS + 1)
    ]


NEAR = NearestPicture(path="samples/a.png", nearest="03.png", similarity=0.99)
FAR = NearestPicture(path="samples/b.png", nearest="04.png", similarity=0.7)
ALIKE = Likeness(step=STEPS, features="x", pictures=(NEAR, FAR), among_training=(0.6, 0.7, 0.65))

# id -> events, the recipe as plain data, words of the fix
FAULTS: dict[str, tuple[list[Event], dict, str]] = {
    "nan_latent": (a_run(Failed(error="a.png: its latent", cause="nan-latent", fix="x")), {}, "x"),
    "not_finite": (
        a_run(Failed(error="the loss is nan", cause="not-finite", fix="lower it", step=STEPS)),
        {},
        "lower it",
    ),
    "out_of_memory": (a_run(Failed(error="full", cause="out-of-memory", fix="less")), {}, "less"),
    "rate_zero": (
        a_run(steps=each(learning_rates=lambda k: {"unet": 0.0 if k > 10 else 1e-4})),
        {"schedule": {"kind": "polynomial", "warmup": 0.0}},
        "schedule.kind=constant",
    ),
    "no_gradient": (a_run(steps=each(gradient_norm=0.0)), {}, "adapter.groups"),
    "d_stuck": (
        a_run(
            steps=each(traces={"d": 1e-6}, learning_rates={"unet": 1.0}),
            weights=measured(dtype="bfloat16"),
        ),
        {"optimizer": {"kind": "prodigy", "d0": 1e-6, "learning_rate": 1.0}},
        "trainable_dtype",
    ),
    "updates_lost": (
        a_run(weights=measured(dtype="bfloat16", updated=0.01, spacing=2e-4)),
        {},
        "trainable_dtype",
    ),
    "unchanged": (a_run(weights=measured(num_unchanged=8)), {}, "adapter.groups"),
    "exploding": (a_run(steps=each(gradient_norm=lambda k: 1.3**k)), {}, "learning_rate"),
    "ema_hides": (a_run(weights=measured(average=average(lag=0.8))), {}, "ema.decay=0.75"),
    "ema_unreachable": (
        a_run(weights=measured(average=average(full_decay=0.9999, full_after=89_990))),
        {},
        "ema.decay=0.75",
    ),
    "overflows": (a_run(steps=each(traces={"overflows": 9.0})), {}, "bfloat16"),
    "copying": (a_run(ALIKE, learned=True), {}, "adapter.rank"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_named_with_its_fix(name: str):
    events, recipe, fix = FAULTS[name]
    found = diagnosis.verdict(events, recipe=recipe)
    assert [fault.id for fault in found.faults] == [name]
    assert fix in found.fix
    assert found.faults[0].sentence in found.sentence
    assert found.tone != "good"


def test_a_sound_run_has_no_fault():
    events = a_run(
        learned=True,
        steps=each(traces=lambda k: {"d": 1e-6 * k}, gradient_norm=lambda k: 1 / k),
        weights=measured(average=average()),
    )
    found = diagnosis.verdict(events, recipe={"optimizer": {"d0": 1e-6}})
    assert (found.faults, found.tone) == ((), "good")
    assert any("unet.down_blocks.0 2 %" in line for line in found.evidence)
    assert any("lacks 10% of the way" in line for line in found.evidence)


def test_a_d_that_waits_for_the_warm_up_is_not_stuck():
    rising = each(traces={"d": 1e-6}, learning_rates=lambda k: {"unet": k / 100})
    recipe = {"optimizer": {"kind": "prodigy", "d0": 1e-6, "learning_rate": 1.0}}
    assert diagnosis.verdict(a_run(steps=rising), recipe=recipe).faults == ()


def test_the_page_names_every_fault():
    page = Path(__file__).parents[2] / "docs" / "diagnosis.md"
    text = page.read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in (*FAULTS, "failed"))


def test_a_cosine_that_ends_at_zero_is_no_fault():
    from math import cos, pi

    rates = each(learning_rates=lambda k: {"unet": 1e-4 * (1 + cos(pi * k / STEPS)) / 2})
    assert diagnosis.verdict(a_run(steps=rates, learned=True)).faults == ()


def test_a_grave_fault_leads_unless_the_run_learned_all_the_same():
    stuck = each(traces={"d": 1e-4})
    recipe = {"optimizer": {"kind": "prodigy", "d0": 1e-4}}
    lost = diagnosis.verdict(a_run(steps=stuck), recipe=recipe)
    assert lost.sentence.startswith("It does not learn: prodigy's estimate d")
    won = diagnosis.verdict(a_run(steps=stuck, learned=True), recipe=recipe)
    assert won.sentence.startswith("It learned its training images.")
    assert (won.tone, "But prodigy's" in won.sentence) == ("unsure", True)


def test_a_failure_leads_and_a_resume_heals_it():
    from workbench.records.events import Resumed

    broken = a_run(Failed(error="disk on fire", fix="put it out", step=7))
    found = diagnosis.verdict(broken)
    assert found.sentence == "It failed after step 7: disk on fire."
    healed = [*broken, Resumed(step=STEPS, total_steps=STEPS)]
    assert diagnosis.verdict(healed).faults == ()


def test_training_pictures_that_are_alike_make_no_copies():
    alike = ALIKE.model_copy(update={"among_training": (0.99, 0.995, 0.998)})
    assert diagnosis.verdict(a_run(alike, learned=True)).faults == ()


def test_half_life_of_an_average():
    evidence = " ".join(diagnosis.verdict(FAULTS["ema_unreachable"][0]).evidence)
    assert "0.9 by now, a half-life of 6.6 steps" in evidence  # ln .5 / ln .9
    assert "0.9999 would be a half-life of 6,931.1 steps" in evidence

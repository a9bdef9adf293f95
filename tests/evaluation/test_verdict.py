"""One sentence of six answers, the same for every face; a leak is in it whatever was learned."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workbench.evaluation import diagnosis, leaks, verdict, wording
from workbench.evaluation.report import write_report
from workbench.evaluation.results import Comparison, Leak, Pair
from workbench.evaluation.study import Finding, decide, missing
from workbench.recipe import Recipe
from workbench.records import history, judgement
from workbench.records.events import Finished, Progress, Reported, Started, Validated
from workbench.records.judgement import ASKED, Answer
from workbench.records.log import EventLog

GOOD = {
    "learn": ("yes", "better"),
    "look like": ("yes", "better"),
    "follow": ("yes", "unchanged"),
    "leak": ("no", "better"),
    "diversity": ("no", "unchanged"),
    "colours": ("no", "unchanged"),
}


def answers(**changes: tuple[str, str] | str) -> list[Answer]:
    found = []
    for question in ASKED:
        said = changes.get(question.replace(" ", "_"), GOOD[question])
        if isinstance(said, str):
            reply, _, note = said.partition(": ")
            word = "not measured" if reply == "not measured" else "undecided"
        else:
            (reply, word), note = said, ""
        found.append(Answer(question=question, reply=reply, word=word, note=note))  # type: ignore[arg-type]
    return found


def test_a_good_lora_in_a_sentence() -> None:
    assert wording.sentence(answers()) == (
        "It learned; it looks like the concept, follows the prompt as before, stays behind its "
        "trigger, is as diverse as before and keeps its colours."
    )
    assert wording.tone(answers()) == "good"


def test_a_leak_is_never_hidden_behind_it_learned() -> None:
    leaking = answers(leak=("yes", "worse"), diversity=("yes", "worse"))
    said = wording.sentence(leaking, learned="It learned, and what it learned holds")
    assert said.startswith("It learned, and what it learned holds; it looks like the concept")
    assert "but leaks into pictures that do not call it and is less diverse" in said
    assert wording.tone(leaking) == "unsure"


def test_what_is_open_is_said_with_its_reason() -> None:
    open_ones = answers(
        look_like="undecided: 3 prompts; 8 are needed",
        follow="undecided: 3 prompts; 8 are needed",
        colours="undecided: about 20 prompts would tell",
        diversity="not measured: 4 seeds of a prompt are needed",
    )
    assert wording.sentence(open_ones) == (
        "It learned; it stays behind its trigger; undecided: likeness and prompt following (3 "
        "prompts; 8 are needed), colours (about 20 prompts would tell); not measured: diversity."
    )


def test_what_else_is_open_follows_what_is_open_first() -> None:
    said = wording.sentence(answers(learn="undecided: 2 images", leak="undecided"))
    assert said.startswith("Whether it learned is undecided (2 images); ")
    assert said.endswith("; also undecided: leak.")


@pytest.mark.parametrize(
    ("learn", "head", "tone"),
    [
        (("no", "unchanged"), "It learned nothing;", "bad"),
        (("no", "worse"), "It got worse than its base;", "bad"),
        ("undecided: 2 images", "Whether it learned is undecided (2 images);", "unsure"),
        ("not measured: x", "Whether it learned was not measured;", "unsure"),
    ],
)  # fmt: skip
def test_how_a_sentence_begins(learn: tuple[str, str] | str, head: str, tone: str) -> None:
    assert wording.sentence(answers(learn=learn)).startswith(head)
    assert wording.tone(answers(learn=learn)) == tone


BAD = {
    "leak": (("yes", "worse"), "leaks into pictures that do not call it"),
    "diversity": (("yes", "worse"), "is less diverse"),
    "colours": (("yes", "moved"), "shifts colours"),
}
STATES = ("good", "bad", "undecided: 3 prompts", "not measured: no judge")


@pytest.mark.parametrize("states", itertools.product(STATES, repeat=3), ids=" ".join)
def test_no_sentence_hides_a_leak_a_loss_of_diversity_or_a_drift(states: tuple[str, ...]) -> None:
    """Whatever the others say, what is bad is named, and what is open is called open."""
    kinds = dict(zip(BAD, states, strict=True))
    changes = {k: BAD[k][0] if s == "bad" else s for k, s in kinds.items() if s != "good"}
    given = answers(**changes)
    said = wording.sentence(given)
    told, *still_open = said.removesuffix(".").split("; ")[1:]
    for question, state in kinds.items():
        if state == "bad":
            assert BAD[question][1] in told.partition("but ")[2], said
            assert wording.tone(given) == "unsure"
        elif state != "good":
            (part,) = (one for one in still_open if one.startswith(state.partition(": ")[0]))
            assert question in part, said
        assert (BAD[question][1] in said) == (state == "bad"), said


# -------------------------------------------------------------------------------------- the leak


def leak(value: float, *, reach: float = 0.3) -> Leak:
    values = tuple(np.linspace(value - 0.02, value + 0.02, 8))
    return Leak((reach,) * 8, values, values, values)


def test_a_leak_needs_the_model_and_the_pictures() -> None:
    def told(value: float, shown: float, spread: float = 0.0) -> Answer:
        lost = [shown - spread, shown + spread] * 2
        found = leaks.answer_leak(leak(value), lost, base="critters", trigger="mochi")
        assert isinstance(found, Finding)
        return leaks.confirmed(decide([found])[0], lost)

    high, low = leaks.THRESHOLD + 0.1, leaks.THRESHOLD - 0.1
    assert told(high, 0.05).reply == "yes"
    assert told(low, 0.01).reply == "no"
    assert (told(high, 0.01).reply, told(low, 0.05).reply) == ("undecided", "undecided")
    assert "pictures do not show it" in told(high, 0.01).note
    # 0.05 +- 3.18 x 0.058 over four prompts holds 0: no evidence against a model that says no
    unsure = told(low, 0.05, spread=0.1)
    assert unsure.reply == "no"
    assert unsure.note == (
        "pictures without the trigger: +0.050 (-0.134 to +0.234), 4 prompts, which may be chance"
    )


def test_a_leak_that_cannot_be_asked_about() -> None:
    def note(found: Leak | str | None, **words) -> str:
        answer = leaks.answer_leak(found, [], **{"base": "critters", "trigger": "mochi"} | words)
        assert isinstance(answer, Answer)
        return answer.note

    assert "no trigger" in note(leak(0.9), trigger=None)
    assert note("the base is gone") == "the base is gone"
    assert "workbench compare" in note(None)
    assert "nothing was learned" in note(leak(0.9, reach=0.001))
    assert note(leak(0.9), base="owner/x") == (
        "0.90 in the model; the threshold is not calibrated for this base"
    )


def test_a_leak_survives_the_run_folder() -> None:
    found = leak(0.5)
    assert leaks.restored(leaks.recorded(found)) == found


# ------------------------------------------------------------------------------------- the folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "mochi"
    folder.mkdir()
    (folder / "recipe.toml").write_text(Recipe.preset("critters").to_toml(), encoding="utf-8")
    with EventLog(folder) as log:
        log.append(Started(run="mochi", recipe_hash="0", total_steps=20))
        log.append(Progress(step=20, loss=0.1))
        log.append(
            Validated(
                step=20, split="train", loss=0.8, base_loss=1.0,
                image_losses=(0.8, 0.81, 0.79, 0.8), base_image_losses=(1.0,) * 4,
            )
        )  # fmt: skip
        log.append(Finished(step=20))
    return folder


def comparison(found: Leak | None = None) -> Comparison:
    def grey(seed: int) -> Image.Image:
        values = np.random.default_rng(seed).integers(60, 180, (32, 32, 3)).astype(np.uint8)
        return Image.fromarray(values)

    called = tuple(
        Pair(f"mochi, critter, {k}", s, grey(9 * k + s), grey(9 * k + s))
        for k in range(8) for s in range(4)
    )  # fmt: skip
    plain = tuple(Pair(f"critter, {k}", 0, grey(k), grey(k)) for k in range(8))
    return Comparison(called, leakage=plain, trigger="mochi", leak=found)


def test_every_face_reads_one_verdict(run: Path) -> None:
    page = write_report(run, comparison=comparison(leak(leaks.THRESHOLD - 0.1)))
    judged = judgement.load(run)
    assert judged is not None
    assert judged.sentence.startswith("It learned its training images")
    replies = {one.question: one.reply for one in judged.answers}
    assert replies == {
        "learn": "yes", "look like": "no", "follow": "yes", "leak": "no", "diversity": "no",
        "colours": "no",
    }  # fmt: skip
    assert diagnosis.diagnose(run).sentence == judged.verdict
    assert history.summary(run).verdict == judged.verdict
    text = page.read_text(encoding="utf-8")
    assert text.index("Did it learn?") < text.index("With and without the LoRA")
    assert text.index("With and without the LoRA") < text.index("How sure this is")
    assert page.with_suffix(".csv").read_text().count("confirmatory") == 8
    assert judged.sentence in page.with_suffix(".json").read_text(encoding="utf-8")
    # a comparison without the model takes the leak that was measured
    write_report(run, comparison=comparison())
    again = judgement.load(run)
    assert again is not None and again.answer("leak").reply == "no"


def test_a_run_that_went_on_is_not_judged_by_its_past(run: Path) -> None:
    write_report(run, comparison=comparison())
    with EventLog(run) as log:
        log.append(Reported(path="report.html", verdict="as reported"))
        log.append(Validated(step=40, split="train", loss=0.7, base_loss=1.0))
    assert "; " not in diagnosis.diagnose(run).sentence
    assert history.summary(run).verdict == "as reported"
    assert judgement.load(run, step=20) is not None and judgement.load(run, step=40) is None


def test_a_verdict_of_another_version_is_none(run: Path) -> None:
    (run / judgement.FILE_NAME).write_text('{"step": 20, "new": 1}')
    assert judgement.load(run) is None
    assert diagnosis.diagnose(run).sentence.startswith("It learned its training images")


def test_a_copy_is_a_loss_of_diversity() -> None:
    from workbench.critters.draw import world
    from workbench.evaluation.features import critters

    known = [world(3, k)[0] for k in range(8)]
    called = tuple(Pair(f"p{k % 8}", k, world(4, k)[0], known[k % 8]) for k in range(32))
    found = verdict.answer_all(Comparison(called), (), features=critters(), known=known)
    diversity = next(one for one in found if one.question == "diversity")
    assert diversity.reply == "yes" and "copies training pictures (32 of 32" in diversity.clause
    assert missing("learn", "x").reply == "not measured"

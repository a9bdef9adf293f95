"""What a leak in the model answers: its threshold, and the pictures that must agree with it."""

from typing import TYPE_CHECKING

import numpy as np

from workbench.evaluation.results import Leak, LeakAt
from workbench.evaluation.statistics import estimate
from workbench.evaluation.study import Finding, missing
from workbench.records.judgement import Answer, Interval, LeakRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

CALIBRATED_FOR = "critters"
# Midway between good and leaking LoRAs on three concepts that no demo teaches, see
# benchmarks/leak.md: wrong for 1 of 12 by recipe, at odds with the pictures in 3 of 12.
THRESHOLD = 0.76
NO_REACH = 0.01  # share of the base's squared error; below it nothing was learned that could leak
PICTURES = 0.02  # likeness without the trigger above the base's, that pictures must show too


def answer_leak(
    leak: Leak | str | None, lost: "Sequence[float]", *, base: str, trigger: str | None
) -> Finding | Answer:
    """Ask whether a leak lies above the threshold.

    Args:
        leak: as measured, or why it was not.
        lost: likeness of pictures without the trigger above the base's, one a prompt; may be empty.
        base: the base model; the threshold was set on critters alone.
        trigger: the concept's word.
    Returns:
        A finding for the family, or an answer that needs no test.
    """
    if trigger is None:
        return missing("leak", "there is no trigger that a concept could leak from")
    if not isinstance(leak, Leak):
        return missing("leak", leak or "`workbench compare RUN` measures it in the model")
    reach = estimate(leak.reach)
    if reach.mean < NO_REACH:
        return missing("leak", f"nothing was learned that could leak (reach {reach.mean:.1%})")
    values, extra = np.asarray(leak.values)[:, None], _beside(leak, lost)
    name = "leak in the model"
    if base != CALIBRATED_FOR:
        found = estimate(leak.values)
        shown = Interval(name=name, value=found.mean, low=found.low, high=found.high,
                         values=leak.values)  # fmt: skip
        return Answer(
            question="leak", reply="undecided", word="undecided", n=found.n,
            note=f"{found.mean:.2f} in the model; the threshold is not calibrated for this base",
            intervals=(shown, *extra),
        )  # fmt: skip
    return Finding("leak", (name,), values, None, better=-1, null=THRESHOLD, extra=extra)


def confirmed(answer: Answer, lost: "Sequence[float]") -> Answer:
    """Let pictures have their say: a leak is called one where both model and pictures show it.

    Args:
        answer: to the question of the leak, by the model.
        lost: likeness of pictures without the trigger above the base's, one a prompt.
    Returns:
        The answer; undecided where the two disagree. Pictures disagree with a model that does not
        leak only where chance does not explain what they show.
    """
    if answer.question != "leak" or answer.reply not in ("yes", "no") or not len(lost):
        return answer
    found = estimate(lost)
    shown = found.mean
    if (answer.reply == "yes") == (shown > PICTURES):
        return answer
    if answer.reply == "no" and found.low <= 0:
        interval = f"{shown:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
        said = f"pictures without the trigger: {interval}, {found.n} prompts, which may be chance"
        return answer.model_copy(update={"note": said})
    said = (
        "the model carries the concept without its trigger, but pictures do not show it"
        if answer.reply == "yes"
        else "pictures without the trigger look more like the concept, though the model says no"
    )
    return answer.model_copy(
        update={
            "reply": "undecided",
            "word": "undecided",
            "note": f"{said} ({shown:+.3f})",
            "clause": "model and pictures disagree",
        }
    )


def _beside(leak: Leak, lost: "Sequence[float]") -> tuple[Interval, ...]:
    rows = {
        "leak, unrelated prompts": leak.unrelated,
        "reach": leak.reach,
        "likeness without the trigger": tuple(lost),
    }
    found = {name: (estimate(values), values) for name, values in rows.items() if len(values) > 1}
    return tuple(
        Interval(name=name, value=one.mean, low=one.low, high=one.high, values=values)
        for name, (one, values) in found.items()
    )


def recorded(leak: Leak) -> LeakRecord:
    """Bring a leak into the form that a run folder keeps.

    Args:
        leak: as measured.
    Returns:
        The same numbers.
    """
    places = tuple((p.of, p.low, p.high, p.reach, p.leak, p.unrelated) for p in leak.places)
    return LeakRecord(
        reach=leak.reach,
        concept=leak.concept,
        ordinary=leak.ordinary,
        unrelated=leak.unrelated,
        places=places,
        seconds=leak.seconds,
    )


def restored(record: LeakRecord) -> Leak:
    """Read back what `recorded` wrote.

    Args:
        record: of a run folder.
    Returns:
        The leak.
    """
    return Leak(
        record.reach,
        record.concept,
        record.ordinary,
        record.unrelated,
        tuple(LeakAt(*row) for row in record.places),
        record.seconds,
    )

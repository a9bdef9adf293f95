"""Is it learning? One plain sentence, the numbers it rests on, and what to do.

Learning is judged by the stable loss against the base; where there is none, or anything looks odd,
`faults` names the cause.
"""

import itertools
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench import store
from workbench.evaluation.faults import Seen, find
from workbench.evaluation.results import Fault, Verdict
from workbench.records import judgement
from workbench.records.events import Event, Measured, Validated
from workbench.records.judgement import Judgement
from workbench.records.log import read

# Smaller changes of the stable loss than this are within what fixed draws still wobble.
NOTHING = 0.005
# Held-out loss this much of its best gain above its best value counts as past the best step.
LOST_GAIN = 0.25
# A range of timesteps that is this much worse than the base is worth a word.
WORSE_BIN = 0.02


def diagnose(folder: str | Path, *, more: Sequence[Event] = ()) -> Verdict:
    """Judge a run by what its folder holds.

    Args:
        folder: the run folder.
        more: events that are not recorded, such as a `Likeness` found just now.
    Returns:
        The verdict.
    """
    path = Path(folder) / "recipe.toml"
    recipe = tomllib.loads(store.read_text(path)) if path.exists() else {}
    return verdict([*read(folder), *more], recipe=recipe, judged=judgement.load(folder))


def verdict(
    events: Sequence[Event],
    *,
    recipe: Mapping[str, Any] | None = None,
    judged: Judgement | None = None,
) -> Verdict:
    """Judge a run by its events.

    Args:
        events: the run's events so far.
        recipe: its settings as plain data, to name them in a fix.
        judged: what its pictures and its model said at the last measured step; its sentence goes
            before what the losses alone can say.
    Returns:
        The verdict; it says so when nothing can be said.
    """
    seen = Seen(events, recipe or {})
    faults = tuple(find(seen))
    train, held_out = _against_base(events, "train"), _against_base(events, "held_out")
    has_learned = bool(train) and _gap(train[-1]) < -NOTHING
    sentence, tone = _judge(train, held_out)
    if judged is not None and judged.step == last_measured(events):
        sentence, tone = judged.sentence, judged.tone
    if faults:
        sentence, tone = _named(faults[0], seen, learned=has_learned, sentence=sentence, tone=tone)
    evidence = [line for fault in faults for line in (*fault.evidence, f"Fix: {fault.fix}.")]
    if not train and seen.failed is None:
        evidence.append("Turn validation on, and the base is measured before the first step.")
    return Verdict(
        sentence,
        tone,
        evidence=(*evidence, *_evidence(train, held_out), *_movement(seen.measured)),
        fix=faults[0].fix if faults else "",
        faults=faults,
    )


def learned(events: Sequence[Event]) -> str | None:
    """Say what the stable losses alone show.

    Args:
        events: of a run.
    Returns:
        One or two sentences; None where they were not measured against the base.
    """
    train, held_out = _against_base(events, "train"), _against_base(events, "held_out")
    return _judge(train, held_out)[0] if train else None


def last_measured(events: Sequence[Event]) -> int:
    """The step whose weights a judgement is about.

    Args:
        events: of a run.
    Returns:
        Step of the last measurement of the stable loss; 0 without one.
    """
    return max((event.step for event in events if isinstance(event, Validated)), default=0)


def _named(fault: Fault, seen: Seen, *, learned: bool, sentence: str, tone: str) -> tuple[str, str]:
    """The verdict's sentence with its most telling fault in it."""
    if seen.failed is not None:
        step = seen.failed.step
        return f"It failed{f' after step {step}' if step else ''}: {fault.sentence}.", "bad"
    if fault.grave and not learned:
        return f"It does not learn: {fault.sentence}.", "bad"
    return f"{sentence} But {fault.sentence}.", "unsure" if tone == "good" else tone


def _against_base(events: Sequence[Event], split: str) -> list[Validated]:
    """Measurements after the first step that have a base beside them."""
    found = [e for e in events if isinstance(e, Validated) and e.split == split and e.step > 0]
    return [event for event in found if event.base_loss]


def _gap(event: Validated) -> float:
    """Relative change against the base; below 0 is better."""
    assert event.base_loss is not None
    return event.loss / event.base_loss - 1


def _percent(change: float) -> str:
    """A relative change in percent, with its sign; never -0.0."""
    return f"{round(100 * change, 1) + 0.0:+.1f}"


def _judge(train: list[Validated], held_out: list[Validated]) -> tuple[str, str]:
    if not train:
        return (
            "Whether it learned cannot be said: the stable loss was not measured against the base.",
            "unsure",
        )
    gap = _gap(train[-1])
    if gap > NOTHING:
        return (
            "It got worse than its base, even on the images it trained on: "
            "the learning rate is probably too high.",
            "bad",
        )
    if gap > -NOTHING:
        return (
            "It has learned nothing yet: on its own training images it predicts like the base. "
            "Train longer or raise the learning rate.",
            "bad",
        )
    if not held_out:
        return (
            "It learned its training images. "
            "No images were held out, so overfitting would be invisible.",
            "good",
        )
    return _judge_held_out(held_out)


def _judge_held_out(held_out: list[Validated]) -> tuple[str, str]:
    last, best = _gap(held_out[-1]), min(held_out, key=_gap)
    if last > NOTHING:
        where = f"; held-out images were best at step {best.step}" if _gap(best) < -NOTHING else ""
        return (
            "It memorises: better than the base on its training images, "
            f"worse on images it has not seen{where}.",
            "bad",
        )
    if last > -NOTHING:
        return (
            "It learned its training images, but images it has not seen are predicted "
            "no better than by the base.",
            "unsure",
        )
    if last > _gap(best) * (1 - LOST_GAIN) and best.step < held_out[-1].step:
        return (
            "It learned, but has passed its best: "
            f"images it has not seen were predicted best at step {best.step}.",
            "unsure",
        )
    return "It learned, and what it learned holds for images it has not seen.", "good"


def _evidence(train: list[Validated], held_out: list[Validated]) -> list[str]:
    sentences = []
    for name, found in (("training", train), ("held-out", held_out)):
        if found:
            last = found[-1]
            sentences.append(
                f"Stable loss on {name} images at step {last.step}: {last.loss:.4f}, "
                f"the base {last.base_loss:.4f} ({_percent(_gap(last))} %)."
            )
    for name, found in (("training", train), ("held-out", held_out)):
        sentences += _by_timestep(name, found[-1]) if found else []
    return sentences


def _by_timestep(name: str, last: Validated) -> list[str]:
    """Where it learned, bin by bin, and where it lost."""
    pairs = zip(last.bin_losses, last.base_bin_losses, strict=False)
    changes = [loss / base - 1 for loss, base in pairs if base]
    if not changes or len(changes) != len(last.timestep_edges) - 1:
        return []
    spans = [f"{low:.0f} to {high:.0f}" for low, high in itertools.pairwise(last.timestep_edges)]
    best = min(range(len(changes)), key=changes.__getitem__)
    every = ", ".join(map(_percent, changes))
    lines = [f"On {name} images, by timestep from clean to noise: {every} %."]
    if changes[best] < -NOTHING:
        lines.append(f"Most was learned at timesteps {spans[best]} ({_percent(changes[best])} %).")
    worst = max(range(len(changes)), key=changes.__getitem__)
    if changes[worst] > WORSE_BIN:
        lines.append(
            f"Worse than the base on {name} images at timesteps {spans[worst]} "
            f"({_percent(changes[worst])} %)."
        )
    return lines


def _movement(measured: Sequence[Measured]) -> list[str]:
    """How far the weights have come, in words."""
    if not measured or not measured[-1].change:
        return []
    last = measured[-1]
    rows = sorted(last.change.items(), key=lambda row: -row[1])
    shown = rows if len(rows) <= 4 else [*rows[:2], *rows[-2:]]
    words = ", ".join(f"{block} {100 * change:.2g} %" for block, change in shown)
    lines = [f"Weights at step {last.step}, |dW| / |W|, most and least: {words}."]
    if last.average is not None and last.average.distance:
        share = last.average.lag / last.average.distance
        lines.append(f"The moving average lacks {share:.0%} of the way that the weights have come.")
    return lines

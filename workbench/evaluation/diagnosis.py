"""Is it learning? One plain sentence from the stable loss, with the numbers it rests on."""

from collections.abc import Sequence

from workbench.evaluation.results import Verdict
from workbench.records.events import Event, Validated

# Smaller changes of the stable loss than this are within what fixed draws still wobble.
NOTHING = 0.005
# Held-out loss this much of its best gain above its best value counts as past the best step.
LOST_GAIN = 0.25


def verdict(events: Sequence[Event]) -> Verdict:
    """Judge a run by its stable loss against the base.

    Args:
        events: the run's events so far.
    Returns:
        The verdict; it says so when nothing can be said.
    """
    train = _measured(events, "train")
    held_out = _measured(events, "held_out")
    if not train:
        return Verdict(
            "Whether it learned cannot be said: the stable loss was not measured against the base.",
            "unsure",
            ("Turn validation on, and the base is measured before the first step.",),
        )
    sentence, tone = _judge(train, held_out)
    return Verdict(sentence, tone, _evidence(train, held_out))


def _measured(events: Sequence[Event], split: str) -> list[Validated]:
    """Measurements after the first step that have a base beside them."""
    found = [e for e in events if isinstance(e, Validated) and e.split == split and e.step > 0]
    return [event for event in found if event.base_loss]


def _gap(event: Validated) -> float:
    """Relative change against the base; below 0 is better."""
    assert event.base_loss is not None
    return event.loss / event.base_loss - 1


def _judge(train: list[Validated], held_out: list[Validated]) -> tuple[str, str]:
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


def _evidence(train: list[Validated], held_out: list[Validated]) -> tuple[str, ...]:
    sentences = []
    for name, found in (("training", train), ("held-out", held_out)):
        if found:
            last = found[-1]
            sentences.append(
                f"Stable loss on {name} images at step {last.step}: {last.loss:.4f}, "
                f"the base {last.base_loss:.4f} ({100 * _gap(last):+.1f} %)."
            )
    last = train[-1]
    changes = [x / b - 1 for x, b in zip(last.bin_losses, last.base_bin_losses, strict=False) if b]
    if changes:
        k = min(range(len(changes)), key=changes.__getitem__)
        low, high = last.timestep_edges[k], last.timestep_edges[k + 1]
        sentences.append(
            f"Most was learned at timesteps {low:.0f} to {high:.0f} ({100 * changes[k]:+.1f} %)."
        )
    return tuple(sentences)

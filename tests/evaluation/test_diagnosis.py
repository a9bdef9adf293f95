"""The verdict follows from the numbers, in each of the ways a run can go."""

import pytest

from workbench.evaluation.diagnosis import verdict
from workbench.records.events import Event, Failed, Validated


def run(train: list[float], held_out: list[float] | None = None) -> list[Event]:
    """Losses at steps 10, 20, ... against a base of 1."""
    events: list[Event] = []
    for split, losses in (("train", train), ("held_out", held_out or [])):
        for k, loss in enumerate(losses, 1):
            event = Validated(
                step=10 * k,
                split=split,  # type: ignore[arg-type]
                loss=loss,
                base_loss=1.0,
                timestep_edges=(0, 500, 1000),
                bin_losses=(1.0, 2 * loss - 1),
                base_bin_losses=(1.0, 1.0),
            )
            events.append(event)
    return events


@pytest.mark.parametrize(
    ("events", "tone", "says"),
    [
        ([], "unsure", "cannot be said"),
        (run([1.0, 0.999]), "bad", "nothing yet"),
        (run([1.0, 1.2]), "bad", "worse than its base"),
        (run([0.9, 0.8]), "good", "overfitting would be invisible"),
        (run([0.9, 0.8], [0.95, 0.9]), "good", "holds for images it has not seen"),
        (run([0.9, 0.7], [0.9, 0.96]), "unsure", "best at step 10"),
        (run([0.9, 0.7], [1.0, 1.0]), "unsure", "no better than by the base"),
        (run([0.9, 0.5], [0.97, 1.1]), "bad", "memorises"),
    ],
)
def test_verdict(events: list[Event], tone: str, says: str) -> None:
    found = verdict(events)
    assert found.tone == tone and says in found.sentence


def test_evidence_has_the_numbers() -> None:
    evidence = " ".join(verdict(run([0.9, 0.8], [0.95, 0.9])).evidence)
    assert "-20.0 %" in evidence and "-10.0 %" in evidence
    assert "timesteps 500 to 1000 (-40.0 %)" in evidence


def test_where_nothing_was_learned_no_timestep_is_praised() -> None:
    evidence = " ".join(verdict(run([0.9999])).evidence)
    assert "from clean to noise: +0.0, +0.0 %." in evidence
    assert "learned at timesteps" not in evidence


def test_a_run_that_failed_is_not_told_to_turn_validation_on() -> None:
    failed = Failed(error="a.png: its latent is NaN", fix="encode it anew", cause="nan-latent")
    assert "Turn validation on" in " ".join(verdict([]).evidence)
    found = verdict([failed])
    assert found.evidence == ("a.png: its latent is NaN", "Fix: encode it anew.")


def test_a_measurement_before_the_first_step_or_without_base_is_no_evidence() -> None:
    events: list[Event] = [
        Validated(step=0, split="train", loss=1.0, base_loss=1.0),
        Validated(step=10, split="train", loss=0.5),
    ]
    assert verdict(events).tone == "unsure"

"""Instruments read off recorded events: the numbers of the log, and nothing that is not there."""

from pathlib import Path

from workbench.evaluation.instruments import instruments
from workbench.records.events import Averaged, Measured, Progress, Started, Validated
from workbench.records.log import EventLog


def _log(folder: Path, *events) -> Path:
    with EventLog(folder) as log:
        for event in events:
            log.append(event)
    return folder


def test_every_instrument_is_the_logs_own_number(tmp_path: Path):
    rates = {"unet": 0.25, "text_encoder": 0.5}
    found = instruments(
        _log(
            tmp_path,
            Started(run="x", recipe_hash="0", total_steps=2),
            Validated(step=0, split="train", loss=0.2, base_loss=0.2),
            Progress(step=1, loss=1.0, gradient_norm=2.0, traces={"d": 1e-6}),
            Progress(
                step=2, loss=0.5, gradient_norm=0.125, learning_rates=rates, traces={"d": 3e-5}
            ),
            Measured(step=1, change={"unet.mid": 0.9}, updated=1.0),
            Measured(
                step=2,
                change={"unet.mid": 0.031, "unet.up": 0.124},
                updated=0.07,
                average=Averaged(
                    lag=1.5, distance=6.0, decay=0.9, full_decay=0.998, full_after=4490
                ),
            ),
            Validated(step=2, split="held_out", loss=0.9, base_loss=0.3),
            Validated(step=2, split="train", loss=0.15, base_loss=0.2),
        )
    )
    assert found == {
        "steps": "2",
        "stable loss": "-25.0%",
        "gradient norm, first and last": "2, 0.12",
        "rate": "0.5",
        "d, first and last": "1e-06, 3e-05",
        "|dW| / |W|": "12.4% at most",
        "weights that a step changes": "7%",
        "average lacks": "25% of the way",
    }


def test_what_was_not_measured_is_left_out(tmp_path: Path):
    assert instruments(
        _log(tmp_path / "none", Started(run="x", recipe_hash="0", total_steps=9))
    ) == {"steps": "0"}
    plain = _log(
        tmp_path / "plain",
        Progress(step=1, loss=1.0),
        Measured(step=1, change={"unet": 0.0}),
        Measured(step=1, average=Averaged(lag=0, distance=0, decay=0, full_decay=0, full_after=0)),
    )
    assert instruments(plain) == {"steps": "1", "|dW| / |W|": "0.0% at most"}


def test_an_average_of_weights_that_never_moved_lacks_nothing(tmp_path: Path):
    still = Averaged(lag=0.0, distance=0.0, decay=0.5, full_decay=0.9, full_after=10)
    folder = _log(tmp_path, Measured(step=3, change={"unet": 0.0}, updated=0.0, average=still))
    assert instruments(folder) == {
        "steps": "0",
        "|dW| / |W|": "0.0% at most",
        "weights that a step changes": "0%",
    }
